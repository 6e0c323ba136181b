"""Ramps from one value to another: along a line, along a power."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from optlab.core import checks, data
from optlab.schedules._arithmetic import Part, blend, f32, progress
from optlab.schedules._base import Schedule
from optlab.schedules._fields import steps_count


class linear(Schedule):
    """From one value to another in equal steps: `init + (end - init) · count / steps`.

    Args:
      init_value: at count 0; any finite number.
      end_value: from count `steps` on; any finite number.
      steps: updates it takes, >= 1.

    Raises:
      ValueError: for steps < 1 or values that are not finite. TypeError: for no number.

    Special cases:
      Both ends are exact. The last of `steps` updates has count steps - 1 and so a value one step
      short of `end_value`.

    Differs from:
      `optax.linear_schedule` is constant, with a log message, for 0 steps. PyTorch's `LinearLR`
      takes factors of a base value.

    Example:
      >>> import optlab as ol
      >>> ol.schedules.linear(0.0, 0.1, steps=10)(5)
      Array(0.05, dtype=float32)
    """

    init_value: Any = data(checks.finite)
    end_value: Any = data(checks.finite)
    steps: Any = data(steps_count)

    def evaluate(self, count: jax.Array) -> jax.Array:
        return blend(self.init_value, self.end_value, progress(count, 0, self.steps))

    def horizon(self) -> float:
        return self.steps * 1.1


class polynomial(Schedule):
    """From one value to another along a power: `end + (init - end) · (1 - count / steps)**power`.

    Args:
      init_value: at count 0; any finite number.
      end_value: from count `steps` on; any finite number.
      steps: updates it takes, >= 1.
      power: > 0; 1 is `linear`, 2 leaves fast and arrives slowly, 0.5 the other way round.

    Raises:
      ValueError: for steps < 1, power <= 0 or values that are not finite. TypeError: for no number.

    Special cases:
      Both ends are exact, and every derivative there is finite, also for power < 1.

    Differs from:
      `optax.polynomial_schedule` has a `transition_begin`: use `join` with a `constant`.

    Example:
      >>> import optlab as ol
      >>> ol.schedules.polynomial(1.0, 0.0, steps=10, power=2)(5)
      Array(0.25, dtype=float32)
    """

    init_value: Any = data(checks.finite)
    end_value: Any = data(checks.finite)
    steps: Any = data(steps_count)
    power: Any = data(checks.positive)

    def evaluate(self, count: jax.Array) -> jax.Array:
        gone, left = progress(count, 0, self.steps)
        inside = left > 0
        left = jnp.where(inside, left, 1)  # no derivative of log or power is ever taken at 0
        log = jnp.where(gone < left, jnp.log1p(-jnp.minimum(gone, 0.5)), jnp.log(left))
        power = f32(self.power)
        risen, remaining = -jnp.expm1(power * log), left**power
        part = Part(jnp.where(inside, risen, 1), jnp.where(inside, remaining, 0))
        return blend(self.init_value, self.end_value, part)

    def horizon(self) -> float:
        return self.steps * 1.1
