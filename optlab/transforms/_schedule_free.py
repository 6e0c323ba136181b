"""Schedule-Free: an average of the iterates in place of a learning rate that decays.

Around a whole optimizer without momentum. The parameters are where gradients are taken;
`eval_params` gives the average.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optlab.core import (
    Transformation,
    as_link,
    checks,
    hyperparameter,
    numerics,
    trees,
)
from optlab.transforms._averaging import Averaging, unzipped, zeros


class ScheduleFreeState(NamedTuple):
    """averaged_steps: int32, updates done.

    max_learning_rate: the largest so far; weight: the sum of its powers; both float32 (float64 if a
    leaf is).
    z, average: the optimizer's iterate z and the average x, like the parameters in their compute
    dtype; 0 before the first update.
    inner: state of the wrapped transformation.
    """

    averaged_steps: jax.Array
    max_learning_rate: jax.Array
    weight: jax.Array
    z: Any
    average: Any
    inner: Any

    def recorded(self) -> dict[str, jax.Array]:
        return {"averaged_steps": self.averaged_steps}

    def averaged(self) -> tuple[Any, jax.Array]:
        return self.average, self.averaged_steps > 0


class ScheduleFree(Averaging):
    """Attributes: learning_rate (γ) >= 0 or None; b1 (β) in [0, 1); weight_lr_power >= 0."""

    learning_rate: Any = hyperparameter(checks.optional(checks.nonnegative), default=None)
    b1: Any = hyperparameter(checks.decay_rate, default=0.9)
    weight_lr_power: Any = hyperparameter(checks.nonnegative, default=2.0)

    def init(self, params: Any) -> ScheduleFreeState:
        dtype = numerics.widest(jax.tree.leaves(params))
        return ScheduleFreeState(
            averaged_steps=jnp.zeros((), jnp.int32),
            max_learning_rate=jnp.zeros((), dtype),
            weight=jnp.zeros((), dtype),
            z=zeros(params),
            average=zeros(params),
            inner=self.inner.start(params),
        )

    def update(self, updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        dtype = state.weight.dtype
        rate = numerics.scalar(self._learning_rate(state), dtype)
        updates, inner = self.final_step(updates, state, params, extra)
        top = jnp.maximum(state.max_learning_rate, rate)
        gain = top ** numerics.scalar(self.weight_lr_power, dtype)
        weight = state.weight + gain
        share = numerics.safe_divide(gain, weight)  # c; 0 while the learning rate is
        started = state.averaged_steps > 0

        def step(u, z, x, y):
            # Taken at the first update, not at init, between which parameters may be loaded.
            z, x = jnp.where(started, z, y), jnp.where(started, x, y)
            if not jnp.issubdtype(y.dtype, jnp.inexact):
                return u, z + u, z + u
            z = z + u
            x = x + numerics.scalar(share, y.dtype) * (z - x)
            return x + numerics.complement(self.b1, y.dtype) * (z - x) - y, z, x

        names = ("z", "average", "params")
        found = trees.map_leaves(step, updates, state.z, state.average, params, names=names)
        updates, z, x = unzipped(updates, found, 3)
        steps = numerics.increment(state.averaged_steps)
        return updates, ScheduleFreeState(steps, top, weight, z, x, inner)

    def _learning_rate(self, state: Any) -> Any:
        if self.learning_rate is not None:
            return self.learning_rate
        found = self.inner.find_learning_rate(state.inner)
        if found is None:
            raise ValueError(
                f"{self.record_name} weighs the average by the learning rate, and found none in "
                f"{self.inner!r}. Pass it: {self.record_name}(tx, learning_rate=...)."
            )
        return found.value()


def schedule_free(
    tx: optax.GradientTransformation,
    learning_rate: Any = None,
    *,
    b1: Any = 0.9,
    weight_lr_power: Any = 2.0,
) -> Transformation:
    """Takes gradients between the iterate and its average: `y = (1 - β) z + β x`.

    z moves by the updates of `tx`, and `x <- x + c (z - x)` with c = w / Σ w, w = γ**r for the
    largest learning rate γ so far. The parameters are y; `eval_params` gives x.

    Args:
      tx: an optimizer without momentum, its learning rate constant after a warm-up:
        `ol.adamw(1e-3, b1=0.0)`.
      learning_rate: γ >= 0, or a schedule. None: that of `tx`, if it is optlab's.
      b1: β in [0, 1), or a schedule; in the role of momentum.
      weight_lr_power: r >= 0, or a schedule: how much less early steps of a warm-up weigh.

    Returns:
      A `Transformation`; `read(state)` gives `"averaged_steps"`.

    Raises:
      ValueError: for values out of range; when updating, if no learning rate is given or found,
        without parameters, or before a learning rate of the same chain. TypeError: for no number or
        no transformation.

    Special cases:
      z and x start as the parameters of the first update, where y = z = x. While γ is 0 the average
      does not move. Whoever changes the parameters otherwise is overruled: each update leads to y.
      For bf16 parameters z and x are float32, so nothing smaller than their spacing is lost. A NaN
      stays: put `guard` around.

    Cost:
      8 bytes a parameter (16 for float64). `adamw(b1=0.0)` still keeps a mean of gradients: a chain
      with `accumulate_moments(b1=None)` spares its 4 bytes.

    Differs from:
      `optax.contrib.schedule_free` recovers x from the parameters (4 bytes less; not for β = 0, and
      for bf16 parameters rounding moves x away from z), keeps its sums in the lowest dtype of the
      parameters, and calls a schedule one step ahead of `tx`. Else the same.

    Example:
      >>> import jax.numpy as jnp, optax, optlab as ol
      >>> tx = ol.schedule_free(ol.sgd(1.0), b1=0.5)
      >>> params = jnp.array([4.0])
      >>> state = tx.init(params)
      >>> for _ in range(2):  # z: 3, 2; x: 3, 2.5
      ...     updates, state = tx.update(jnp.ones(1), state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> params, ol.eval_params(state, params)
      (Array([2.25], dtype=float32), Array([2.5], dtype=float32))

    Source:
      Defazio, Yang, Mehta, Mishchenko, Khaled, Cutkosky, "The road less scheduled", 2024,
      arXiv:2405.15682, equations 3-5; weights and maximum as in the authors' implementation.
    """
    return Transformation(
        ScheduleFree(
            inner=as_link(tx),
            learning_rate=learning_rate,
            b1=b1,
            weight_lr_power=weight_lr_power,
        )
    )
