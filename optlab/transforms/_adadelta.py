"""Adadelta's step: its own running size of updates takes the place of a learning rate.

After clipping. Plain updates in and out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from optlab.core import (
    Link,
    Transformation,
    checks,
    hyperparameter,
    numerics,
    require_arrays,
    trees,
)


class AdadeltaState(NamedTuple):
    """gradients, steps: mean squares of gradients and of steps, like the parameters, real."""

    gradients: Any
    steps: Any


class ScaleByAdadelta(Link):
    """Attributes: rho (ρ) in [0, 1); eps (ε) > 0, inside both roots."""

    rho: Any = hyperparameter(checks.decay_rate, default=0.9)
    eps: Any = hyperparameter(checks.positive, default=1e-6)

    def init(self, params: Any) -> AdadeltaState:
        def zeros(p):
            return numerics.zeros_like(p, numerics.real_dtype(p.dtype))

        return AdadeltaState(jax.tree.map(zeros, params), jax.tree.map(zeros, params))

    def meanings(self) -> dict[str, str]:
        return {"gradients": "mean square", "steps": "mean square step"}

    def update(self, updates: Any, state: AdadeltaState, params: Any = None, **extra: Any) -> Any:
        require_arrays(self.record_name, updates)
        updates = jax.tree.map(numerics.saturate, updates)

        def average(new, old):
            squared = numerics.squared_magnitude(new)
            decay = numerics.scalar(self.rho, old.dtype)
            return decay * old + numerics.complement(self.rho, old.dtype) * squared

        def rms(mean_square):
            return numerics.safe_sqrt(mean_square + numerics.scalar(self.eps, mean_square.dtype))

        gradients = trees.map_leaves(average, updates, state.gradients)
        stepped = jax.tree.map(  # sqrt(D + ε) / sqrt(E + ε) g
            lambda g, e, d: rms(d) / rms(e) * g, updates, gradients, state.steps
        )
        return stepped, AdadeltaState(gradients, jax.tree.map(average, stepped, state.steps))


def scale_by_adadelta(rho: Any = 0.9, *, eps: Any = 1e-6) -> Transformation:
    """Scales gradients to the size of past steps: `u = sqrt(D + ε) / sqrt(E + ε) g`.

    E is the running mean square of gradients, D that of the u before this one.

    Args:
      rho: ρ in [0, 1) of both means, or a schedule.
      eps: ε > 0, in squared units; it also sets the size of the first steps.

    Returns:
      A `Transformation`; follow it with `scale_by_learning_rate(1.0)` for the published method.

    Raises:
      ValueError: for values out of range. TypeError: for no number.

    Special cases:
      A zero gradient gives a zero update. Entries are bounded to 2**60 so that E stays finite; a
      NaN stays in the state.

    Cost:
      8 bytes a parameter.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.scale_by_adadelta(0.9, eps=1e-6)
      >>> tx.update(jnp.array([1.0]), tx.init(jnp.zeros(1)))[0]
      Array([0.00316226], dtype=float32)

    Source:
      Zeiler, "ADADELTA: an adaptive learning rate method", 2012, arXiv:1212.5701, algorithm 1.
    """
    return Transformation(ScaleByAdadelta(rho=rho, eps=eps))
