"""Averages of the parameters along the way: exponential, equal, of the tail.

Around a whole optimizer, or last in a chain. Updates pass through untouched; `eval_params` gives
the average.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optlab.core import (
    Chain,
    Transformation,
    as_link,
    checks,
    hyperparameter,
    numerics,
    static,
)
from optlab.transforms._average_tail import FRACTION, AverageTail
from optlab.transforms._averaging import Snapshots, chosen, moved, zeros


class AverageParamsState(NamedTuple):
    """count: int32, updates done. averaged_steps: int32, how many of them are in the average.

    weight: float32 (float64 if a leaf is), how many snapshots the average weighs.
    average: like the parameters in their compute dtype, unbiased; 0 before the first.
    inner: state of the wrapped transformation.
    """

    count: jax.Array
    averaged_steps: jax.Array
    weight: jax.Array
    average: Any
    inner: Any

    def recorded(self) -> dict[str, jax.Array]:
        return {"averaged_steps": self.averaged_steps}

    def averaged(self) -> tuple[Any, jax.Array]:
        return self.average, self.averaged_steps > 0


class AverageParams(Snapshots):
    """Attributes: ema (d) in [0, 1), or None for the equal average; warmup; start_step, every."""

    ema: Any = hyperparameter(checks.optional(checks.decay_rate), default=0.999)
    warmup: bool = static(checks.boolean, default=False)

    def check(self) -> None:
        super().check()
        if self.warmup and self.ema is None:
            raise ValueError(
                f'{self.record_name}: warmup is for the decay of an EMA, but ema="swa". Drop it.'
            )

    def rule(self) -> dict[str, Any]:
        warmup = {"warmup": True} if self.warmup else {}
        return {"ema": "swa" if self.ema is None else self.ema} | warmup

    def init(self, params: Any) -> AverageParamsState:
        dtype = numerics.widest(jax.tree.leaves(params))
        return AverageParamsState(
            count=jnp.zeros((), jnp.int32),
            averaged_steps=jnp.zeros((), jnp.int32),
            weight=jnp.zeros((), dtype),
            average=zeros(params),
            inner=self.inner.start(params),
        )

    def update(self, updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        updates, inner = self.final_step(updates, state, params, extra)
        count = numerics.increment(state.count)
        take = self.takes(count)
        weight = self._weight(state)
        average = moved(state.average, 1 / weight, updates, params)
        steps = numerics.increment(state.averaged_steps)
        old = (state.averaged_steps, state.weight, state.average)
        steps, weight, average = chosen(take, (steps, weight, average), old)
        return updates, AverageParamsState(count, steps, weight, average, inner)

    def _weight(self, state: AverageParamsState) -> jax.Array:
        """`w <- d w + 1`: equal averages (d = 1) and EMAs differ in nothing else."""
        dtype = state.weight.dtype
        one = jnp.ones((), dtype)
        if self.ema is None:
            return state.weight + one  # stays at 2**24 in float32, then an EMA of that length
        lost = numerics.complement(self.ema, dtype)
        if self.warmup:  # 1 - (1 + n) / (10 + n)
            lost = jnp.maximum(lost, 9 / (10 + state.averaged_steps.astype(dtype)))
        return state.weight + (one - lost * state.weight)


def average_params(
    tx: optax.GradientTransformation | None = None,
    ema: Any = 0.999,
    *,
    start: int = 0,
    every: int = 1,
    warmup: bool = False,
    tail_fraction: Any = 0.5,
) -> Transformation:
    """Keeps an average of the parameters after each update; `eval_params` gives it.

    With p the parameters plus the update, in float32 (float64), each snapshot does
    `w <- d w + 1; a <- a + (p - a) / w`, where d is the decay of an EMA, 1 for an equal average. So
    it is unbiased from the first snapshot on, and the average of constant parameters is them to the
    bit. With a constant decay w is (1 - d**n) / (1 - d) after n snapshots.

    Args:
      tx: the optimizer. None: the last link of a chain, which takes the updates as they come.
      ema: the decay d in [0, 1), or a schedule of it; or `"swa"`, the equal average of all
        snapshots; or `"tail"`, the equal average of the latest ones: at least the last
        `tail_fraction` α of all there are so far, at most 1 - (1 - α)² of them. With α = 1/2 and
        n = 2**k snapshots it is the last half; until 2**(k + 1) it grows to three quarters.
      start: the number of updates done at the first snapshot: snapshots are taken after updates
        `start`, `start + every`, ... 0: the multiples of `every`; the initial parameters never
        count.
      every: updates between snapshots; the decay is that of a snapshot.
      warmup: for an EMA: a decay of at most (1 + n) / (10 + n) after n snapshots, which forgets the
        early steps: of n few, the average is over about the last tenth.
      tail_fraction: α in (0, 1), for `"tail"`.

    Returns:
      A `Transformation` that gives the updates of `tx`, untouched. `read(state)` gives
      `"averaged_steps"`.

    Raises:
      ValueError: for values out of range; when updating without parameters, or before a learning
        rate of the same chain. TypeError: for no number or no transformation.

    Special cases:
      Before the first snapshot `eval_params` gives the parameters. What is averaged is the exact
      sum `params + updates`, not rounded to bf16: under stochastic rounding its expectation. A NaN
      in the parameters stays in the average (of a tail: until it is behind): put `guard` around.
      Every call of `update` counts, also a skipped step and a micro-batch: put it inside
      `accumulate_gradients` and `guard`, so that it counts optimizer steps.
      Links behind that change the updates are noticed only if they apply the learning rate.
      Integer leaves: the latest value. Statistics of batch norms are not averaged: compute them
      anew for the average.

    Cost:
      4 bytes a parameter (8 for float64), for `"tail"` twice that.

    Differs from:
      `optax.ema` averages updates, and PyTorch's `AveragedModel` and most trainers start an EMA at
      the initial parameters, which then need a warm-up to be forgotten; here it is optional. A tail
      from a known step on (Jain et al.) is `"swa"` with `start`.

    Example:
      >>> import jax.numpy as jnp, optax, optlab as ol
      >>> tx = ol.average_params(ol.sgd(1.0), "swa")
      >>> params = jnp.array([4.0])
      >>> state = tx.init(params)
      >>> for _ in range(2):  # to 3, to 2
      ...     updates, state = tx.update(jnp.ones(1), state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> ol.eval_params(state, params), ol.read(state)["averaged_steps"]
      (Array([2.5], dtype=float32), Array(2, dtype=int32))

    Source:
      Polyak, Juditsky, "Acceleration of stochastic approximation by averaging", 1992; Izmailov,
      Podoprikhin, Garipov, Vetrov, Wilson, "Averaging weights leads to wider optima and better
      generalization", 2018, arXiv:1803.05407; tails: Rakhlin, Shamir, Sridharan, "Making gradient
      descent optimal for strongly convex stochastic optimization", 2012, arXiv:1109.5647; Jain,
      Kakade, Kidambi, Netrapalli, Sidford, "Parallelizing stochastic gradient descent for least
      squares regression", 2018, arXiv:1610.03774.
    """
    inner = Chain(links=()) if tx is None else as_link(tx)
    owner = "average_params"
    steps = {
        "start_step": checks.count(owner, "start", start),
        "every": checks.positive_count(owner, "every", every),
    }
    if isinstance(ema, str) and ema not in ("swa", "tail"):
        raise ValueError(f'{owner}: ema must be a decay in [0, 1), "swa" or "tail", got {ema!r}.')
    if ema == "tail":
        if warmup:
            raise ValueError(
                f'{owner}: warmup is for the decay of an EMA, but ema="tail". Drop it.'
            )
        fraction = FRACTION(owner, "tail_fraction", tail_fraction)
        return Transformation(AverageTail(inner=inner, fraction=fraction, **steps))
    decay = None if isinstance(ema, str) else ema
    return Transformation(AverageParams(inner=inner, ema=decay, warmup=warmup, **steps))
