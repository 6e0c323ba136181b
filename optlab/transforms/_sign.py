"""Sign methods: every entry moves by the same amount. Plain updates in and out."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optlab.core import (
    Link,
    Transformation,
    checks,
    hyperparameter,
    numerics,
    require_arrays,
    trees,
)


class Sign(Link):
    """No hyperparameters."""

    def update(self, updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        require_arrays(self.record_name, updates)
        return jax.tree.map(jnp.sign, updates), state


def sign() -> Transformation:
    """Keeps the sign of each entry: `u <- sign(u)`, and 0 for 0.

    Returns:
      A `Transformation` without state or hyperparameters.

    Special cases:
      NaN stays NaN. A complex entry is divided by its magnitude. Its derivative is zero.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.sign()
      >>> tx.update(jnp.array([-3.0, 0.0]), tx.init(jnp.zeros(2)))[0]
      Array([-1.,  0.], dtype=float32)

    Source:
      Bernstein, Wang, Azizzadenesheli, Anandkumar, "signSGD", 2018, arXiv:1802.04434.
    """
    return Transformation(Sign())


class InterpolatedState(NamedTuple):
    """momentum: like the parameters, in their compute dtype."""

    momentum: Any


class InterpolateMomentum(Link):
    """Attributes: b1 in [0, 1), of what is given on; b2 in [0, 1), of what is kept."""

    b1: Any = hyperparameter(checks.decay_rate, default=0.9)
    b2: Any = hyperparameter(checks.decay_rate, default=0.99)

    def init(self, params: Any) -> InterpolatedState:
        return InterpolatedState(jax.tree.map(numerics.zeros_like, params))

    def meanings(self) -> dict[str, str]:
        return {"momentum": "mean"}

    def update(
        self, updates: Any, state: InterpolatedState, params: Any = None, **extra: Any
    ) -> Any:
        require_arrays(self.record_name, updates)

        def mix(decay):
            return lambda g, m: (
                numerics.scalar(decay, g.dtype) * m + numerics.complement(decay, g.dtype) * g
            )

        given = trees.map_leaves(mix(self.b1), updates, state.momentum)
        kept = jax.tree.map(mix(self.b2), updates, state.momentum)
        return given, InterpolatedState(kept)


def interpolate_momentum(b1: Any = 0.9, b2: Any = 0.99) -> Transformation:
    """Two averages of gradients for the price of one: the first half of Lion.

    Gives `b1 m + (1 - b1) g`, then keeps `m <- b2 m + (1 - b2) g`.

    Args:
      b1: decay of what is given on, in [0, 1), or a schedule.
      b2: decay of what is kept, in [0, 1), or a schedule.

    Returns:
      A `Transformation`.

    Raises:
      ValueError: for values out of range. TypeError: for no number.

    Cost:
      4 bytes a parameter.

    Place in a chain:
      After clipping; for Lion `sign()` follows.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.interpolate_momentum(b1=0.5)
      >>> tx.update(jnp.array([3.0]), tx.init(jnp.zeros(1)))[0]
      Array([1.5], dtype=float32)

    Source:
      Chen et al., "Symbolic discovery of optimization algorithms", 2023, arXiv:2302.06675,
      program 1.
    """
    return Transformation(InterpolateMomentum(b1=b1, b2=b2))
