"""Multiplication by a number or a schedule. Anywhere in a chain; plain updates in and out."""

from __future__ import annotations

from typing import Any

import jax

from optlab.core import Link, Transformation, checks, hyperparameter, numerics, require_arrays


class Scale(Link):
    """Attributes: factor: any finite number."""

    factor: Any = hyperparameter(checks.finite)

    def update(self, updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        require_arrays(self.record_name, updates)
        return jax.tree.map(lambda u: numerics.scalar(self.factor, u.dtype) * u, updates), state


def scale(factor: Any) -> Transformation:
    """Multiplies updates by a factor: `u <- factor · u`.

    Args:
      factor: finite number of either sign, or a schedule of the number of updates done.

    Returns:
      A `Transformation` without state, unless the factor is a schedule (8 bytes in all).

    Raises:
      ValueError: if the factor is not finite. TypeError: if it is no number.

    Special cases:
      Non-finite updates pass through; 0 times an infinity is NaN.

    Differs from:
      `optax.scale` and `optax.scale_by_schedule`, in one; for the learning rate itself use
      `scale_by_learning_rate`, which has the sign and tells the other links.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.scale(3.0)
      >>> tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))[0]
      Array([6.], dtype=float32)
    """
    return Transformation(Scale(factor=factor))
