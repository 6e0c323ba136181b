"""The one-cycle policy: up to a high peak, down to almost nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optlab.core import checks, data, static
from optlab.schedules._arithmetic import before, blend, f32, half_cosine, progress, whole
from optlab.schedules._base import Schedule
from optlab.schedules._fields import steps_count


class one_cycle(Schedule):
    """From `peak / div_factor` to the peak and down to `peak / div_factor / final_div_factor`.

    The peak is at count `pct_start · steps - 1`, the end at count `steps - 1`, the last update.
    With `three_phase` it first returns the way it came, until `2 · pct_start · steps - 2`.

    Args:
      peak_value: any finite number.
      steps: updates in all, >= 1.
      pct_start: fraction of the updates that go up, in [0, 1]; at most 0.5 with `three_phase`.
      div_factor: > 0, peak over first value.
      final_div_factor: > 0, first over last value.
      anneal: 'cos' (half a cosine) or 'linear'.
      three_phase: up, down symmetrically, then on to the end.

    Raises:
      ValueError: for values out of range. TypeError: for no number.

    Special cases:
      Where pct_start · steps < 1 there is no way up: count 0 is already past the peak, as in
      PyTorch. After the end it stays there.

    Differs from:
      PyTorch's `OneCycleLR`: equal, update for update; it also cycles momentum, divides by 0 where
      pct_start · steps is exactly 1, and fails after the end. `optax.cosine_onecycle_schedule`
      truncates the boundaries to integers and divides the peak by `final_div_factor` alone.

    Example:
      >>> import optlab as ol
      >>> schedule = ol.schedules.one_cycle(1.0, steps=100)
      >>> [round(float(schedule(c)), 6) for c in (0, 29, 99)]
      [0.04, 1.0, 4e-06]

    Source:
      Smith, Topin, "Super-convergence: very fast training of neural networks using large learning
      rates", 2017, arXiv:1708.07120.
    """

    peak_value: Any = data(checks.finite)
    steps: Any = data(steps_count)
    pct_start: Any = data(checks.probability, default=0.3)
    div_factor: Any = data(checks.positive, default=25.0)
    final_div_factor: Any = data(checks.positive, default=1e4)
    anneal: str = static(checks.one_of("cos", "linear"), default="cos")
    three_phase: bool = static(checks.boolean, default=False)

    def check(self) -> None:
        known = checks.is_concrete(self.pct_start)
        if self.three_phase and known and np.any(np.asarray(self.pct_start) > 0.5):
            raise ValueError(
                f"{self.record_name}: pct_start must be at most 0.5 with three_phase, for the way "
                f"down is as long as the way up; got {self.pct_start!r}."
            )

    def evaluate(self, count: jax.Array) -> jax.Array:
        peak = f32(self.peak_value)
        first = peak / f32(self.div_factor)
        last = first / f32(self.final_div_factor)
        values = (first, peak, first, last) if self.three_phase else (first, peak, last)
        bounds = [whole(0), *self._bounds()]
        value = last
        for i in reversed(range(len(bounds) - 1)):
            part = progress(count, bounds[i], bounds[i + 1])
            if self.anneal == "cos":
                part = half_cosine(part)
            # A boundary belongs to the phase it ends.
            is_past = before(bounds[i + 1], count)
            value = jnp.where(is_past, value, blend(values[i], values[i + 1], part))
        return value

    def _bounds(self) -> list[Any]:
        """The counts at which phases end; only the last is whole."""
        if isinstance(self.pct_start, float) and isinstance(self.steps, int):
            rise = self.pct_start * self.steps  # in float64, as PyTorch does
        else:
            rise = f32(self.pct_start) * f32(whole(self.steps))
        return [rise - 1, *([2 * rise - 2] if self.three_phase else []), whole(self.steps) - 1]

    def turns(self, first: jax.Array, last: jax.Array) -> Iterable[Any]:
        return self._bounds()

    def horizon(self) -> float:
        return self.steps * 1.1
