"""Decay (or growth) by a constant factor: smooth, or in steps."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optlab.core import checks, data, static
from optlab.schedules._arithmetic import alike, f32, geometric
from optlab.schedules._base import Schedule
from optlab.schedules._fields import steps_count


class exponential(Schedule):
    """Multiplied by a factor every so many updates: `init · factor**(count / every)`.

    Args:
      init_value: at count 0; any finite number.
      factor: > 0; below 1 the schedule decays towards 0, above 1 it grows.
      every: updates from one factor to the next, >= 1.
      staircase: round count / every down, as `step` does.
      end_value: where it stops, or None for nowhere. Must lie where the schedule is heading.

    Raises:
      ValueError: for factor <= 0, every < 1, values that are not finite, or an `end_value` behind
        `init_value`. TypeError: for no number.

    Special cases:
      Without `end_value` a growing schedule stops at about 1e38 instead of overflowing. With
      factor 1 it is constant, whatever `end_value`.

    Differs from:
      `optax.exponential_decay` bounds from below wherever factor < 1, which is the wrong side for a
      negative `init_value`, and jumps at once to an `end_value` behind `init_value`. PyTorch's
      `ExponentialLR` is `every=1`.

    Example:
      >>> import optlab as ol
      >>> ol.schedules.exponential(1.0, factor=0.5, every=10)(20)
      Array(0.25, dtype=float32)
    """

    init_value: Any = data(checks.finite)
    factor: Any = data(checks.positive)
    every: Any = data(steps_count)
    staircase: bool = static(checks.boolean, default=False)
    end_value: Any = data(checks.optional(checks.finite), default=None)

    def check(self) -> None:
        init, factor, end = self.init_value, self.factor, self.end_value
        if not checks.is_concrete(init, factor, end):
            return
        init, factor, end = (np.asarray(v, np.float64) for v in (init, factor, end))
        if np.any((end - init) * init * (factor - 1) < 0):
            raise ValueError(
                f"{self.record_name}: end_value must lie where the schedule is heading, but from "
                f"init_value={self.init_value!r} a factor={self.factor!r} leads away from "
                f"end_value={self.end_value!r}. Change one of the three."
            )

    def evaluate(self, count: jax.Array) -> jax.Array:
        count, every = alike(count, self.every)
        exponent = f32(count // every)
        if not self.staircase:
            exponent = exponent + f32(count % every) / f32(every)
        value = geometric(self.init_value, self.factor, exponent)
        if self.end_value is None:
            return value
        end = f32(self.end_value)
        heading = f32(self.init_value) * (f32(self.factor) - 1)
        bounded = jnp.where(heading > 0, jnp.minimum(value, end), jnp.maximum(value, end))
        return jnp.where(heading == 0, value, bounded)

    def horizon(self) -> float:
        return _horizon(self.factor, self.every)


class step(Schedule):
    """Multiplied by a factor at regular intervals: `init · factor**floor(count / every)`.

    Args:
      init_value: for the first `every` updates; any finite number.
      factor: > 0.
      every: updates from one change to the next, >= 1.

    Raises:
      ValueError: for factor <= 0, every < 1, values that are not finite. TypeError: for no number.

    Special cases:
      The change happens exactly at the multiples of `every`, at counts above 2**24 too.

    Differs from:
      PyTorch's `StepLR`: nothing, with count as epoch. For unequal intervals use `piecewise`.

    Example:
      >>> import optlab as ol
      >>> schedule = ol.schedules.step(1.0, factor=0.5, every=10)
      >>> float(schedule(9)), float(schedule(10))
      (1.0, 0.5)
    """

    init_value: Any = data(checks.finite)
    factor: Any = data(checks.positive)
    every: Any = data(steps_count)

    def evaluate(self, count: jax.Array) -> jax.Array:
        count, every = alike(count, self.every)
        return geometric(self.init_value, self.factor, f32(count // every))

    def horizon(self) -> float:
        return _horizon(self.factor, self.every)


def _horizon(factor: Any, every: Any) -> float:
    """Until the value has changed by a factor of 100, and at least four factors."""
    return every * (4 if factor == 1 else max(4.0, math.log(100) / abs(math.log(factor))))
