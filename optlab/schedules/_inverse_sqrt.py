"""Warm-up, then the inverse square root of the count: no end has to be known in advance."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp

from optlab.core import checks, data
from optlab.schedules._arithmetic import before, f32, warm_up, whole
from optlab.schedules._base import Schedule
from optlab.schedules._fields import maybe_zero_count


class inverse_sqrt(Schedule):
    """A linear warm-up to the peak, then `peak · sqrt(warmup_steps / count)`.

    Args:
      peak_value: at count `warmup_steps`; any finite number. The paper's is
        1 / sqrt(d_model · warmup_steps).
      warmup_steps: updates before the peak, >= 0. They also set how slow the decay is.

    Raises:
      ValueError: for warmup_steps < 0 or a peak that is not finite. TypeError: for no number.

    Special cases:
      The warm-up starts at peak / warmup_steps, so no update is wasted. warmup_steps = 0 is like 1:
      the peak twice, then peak / sqrt(count). It never ends.

    Differs from:
      The paper counts from 1 and reaches the peak an update earlier.

    Example:
      >>> import optlab as ol
      >>> schedule = ol.schedules.inverse_sqrt(1.0, warmup_steps=100)
      >>> [round(float(schedule(c)), 3) for c in (0, 100, 400)]
      [0.01, 1.0, 0.5]

    Source:
      Vaswani et al., "Attention is all you need", 2017, arXiv:1706.03762, section 5.3.
    """

    peak_value: Any = data(checks.finite)
    warmup_steps: Any = data(maybe_zero_count)

    def evaluate(self, count: jax.Array) -> jax.Array:
        rise = warm_up(count, None, self.peak_value, self.warmup_steps)
        scale = jnp.maximum(f32(whole(self.warmup_steps)), 1)
        fall = f32(self.peak_value) * jnp.sqrt(scale / jnp.maximum(f32(count), scale))
        return jnp.where(before(count, self.warmup_steps), rise, fall)

    def turns(self, first: jax.Array, last: jax.Array) -> Iterable[Any]:
        return (self.warmup_steps,)

    def horizon(self) -> float:
        return max(10 * self.warmup_steps, 100)
