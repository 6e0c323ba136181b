"""The schedule that does not change."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from optlab.core import checks, data
from optlab.schedules._arithmetic import f32
from optlab.schedules._base import Schedule


class constant(Schedule):
    """The same value at every count.

    Args:
      value: any finite number.

    Raises:
      ValueError: if it is not finite. TypeError: if it is no number.

    Special cases:
      Useful as a part of `join`; elsewhere the plain number does the same.

    Example:
      >>> import optlab as ol
      >>> ol.schedules.constant(0.1)(1000)
      Array(0.1, dtype=float32)
    """

    value: Any = data(checks.finite)

    def evaluate(self, count: jax.Array) -> jax.Array:
        return jnp.broadcast_to(f32(self.value), jnp.shape(count))

    def horizon(self) -> float:
        return 100
