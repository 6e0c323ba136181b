"""Momentum: a decaying sum of gradients, with Nesterov's look-ahead and PyTorch's dampening.

After clipping, before the learning rate. Takes and gives plain updates.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from optlab.core import (
    Link,
    Transformation,
    checks,
    hyperparameter,
    numerics,
    require_arrays,
    static,
    trees,
)


class MomentumState(NamedTuple):
    """momentum: like the parameters, in their compute dtype. started: bool, False at first."""

    momentum: Any
    started: jax.Array


class AccumulateMomentum(Link):
    """Attributes: decay (μ) in [0, 1); dampening (τ) in [0, 1]; nesterov."""

    decay: Any = hyperparameter(checks.decay_rate, default=0.9)
    dampening: Any = hyperparameter(checks.probability, default=0.0)
    nesterov: bool = static(checks.boolean, default=False)

    def check(self) -> None:
        scheduled = callable(self.dampening)
        given = checks.is_concrete(self.dampening) and np.any(np.asarray(self.dampening))
        if self.nesterov and (scheduled or given):
            raise ValueError(
                f"{self.record_name}: nesterov needs dampening 0, got {self.dampening!r}. "
                "Drop one of the two."
            )

    def init(self, params: Any) -> MomentumState:
        return MomentumState(jax.tree.map(numerics.zeros_like, params), jnp.zeros((), bool))

    def meanings(self) -> dict[str, str]:
        return {"momentum": "momentum"}

    def resumed(self, state: MomentumState, count: jax.Array) -> MomentumState:
        return state._replace(started=count > 0)

    def update(self, updates: Any, state: MomentumState, params: Any = None, **extra: Any) -> Any:
        require_arrays(self.record_name, updates)

        def accumulate(g, m):  # m <- μ m + (1 - τ) g, and m = g at step 1
            weight = jnp.where(
                state.started, numerics.complement(self.dampening, g.dtype), 1
            ).astype(g.dtype)
            return numerics.scalar(self.decay, g.dtype) * m + weight * g

        momentum = trees.map_leaves(accumulate, updates, state.momentum)
        new_state = MomentumState(momentum, jnp.ones((), bool))
        if not self.nesterov:
            return momentum, new_state
        return jax.tree.map(
            lambda g, m: g + numerics.scalar(self.decay, g.dtype) * m, updates, momentum
        ), new_state


def accumulate_momentum(
    decay: Any = 0.9, *, nesterov: bool = False, dampening: Any = 0.0
) -> Transformation:
    """Heavy-ball momentum: `m <- μ m + g`, giving `m`; with Nesterov `g + μ m`.

    Args:
      decay: μ in [0, 1), or a schedule.
      nesterov: look one step ahead.
      dampening: τ in [0, 1]: from the second update on gradients count 1 - τ (PyTorch). τ = μ makes
        `m` an average, with the first gradient at full weight. A number or a schedule.

    Returns:
      A `Transformation`; the update is a *sum*, 1 / (1 - μ) times a gradient in the long run.

    Raises:
      ValueError: for values out of range, or dampening with Nesterov. TypeError: for no number.

    Special cases:
      Zero gradients give μ m. Non-finite entries stay in the state until it is reset. The state is
      float32 for bf16 parameters.

    Cost:
      4 bytes a parameter.

    Differs from:
      `optax.trace` keeps the gradient's dtype and has no dampening. The EMA form
      `m <- μ m + (1 - μ) g` needs a learning rate 1 / (1 - μ) larger.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.accumulate_momentum(0.5)
      >>> g = jnp.array([1.0])
      >>> _, state = tx.update(g, tx.init(g))
      >>> tx.update(g, state)[0]
      Array([1.5], dtype=float32)

    Source:
      Polyak, "Some methods of speeding up the convergence of iteration methods", 1964; Sutskever,
      Martens, Dahl, Hinton, "On the importance of initialization and momentum in deep learning",
      2013, equations 1-4.
    """
    return Transformation(AccumulateMomentum(decay=decay, dampening=dampening, nesterov=nesterov))


class AverageState(NamedTuple):
    """average: like the parameters, in their compute dtype."""

    average: Any


class AccumulateAverage(Link):
    """Attributes: decay (μ) in [0, 1)."""

    decay: Any = hyperparameter(checks.decay_rate, default=0.9)

    def init(self, params: Any) -> AverageState:
        return AverageState(jax.tree.map(numerics.zeros_like, params))

    def meanings(self) -> dict[str, str]:
        return {"average": "mean"}

    def update(self, updates: Any, state: AverageState, params: Any = None, **extra: Any) -> Any:
        require_arrays(self.record_name, updates)

        def average(u, m):
            keep = numerics.scalar(self.decay, u.dtype)
            return keep * m + numerics.complement(self.decay, u.dtype) * u

        new = trees.map_leaves(average, updates, state.average)
        return new, AverageState(new)


def accumulate_average(decay: Any = 0.9) -> Transformation:
    """Momentum as an average that starts at zero: `m <- μ m + (1 - μ) u`, giving m.

    Args:
      decay: μ in [0, 1), or a schedule.

    Returns:
      A `Transformation`; the update has the size of one gradient in the long run, (1 - μ) of it at
      step 1.

    Raises:
      ValueError: for values out of range. TypeError: for no number.

    Cost:
      4 bytes a parameter.

    Differs from:
      `optax.ema` corrects the bias by default. For the unbiased average of gradients, with a second
      moment beside it, see `accumulate_moments`.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.accumulate_average(0.75)
      >>> tx.update(jnp.array([4.0]), tx.init(jnp.zeros(1)))[0]
      Array([1.], dtype=float32)

    Source:
      Shazeer, Stern, "Adafactor", 2018, arXiv:1804.04235, algorithm 1 (first moment).
    """
    return Transformation(AccumulateAverage(decay=decay))
