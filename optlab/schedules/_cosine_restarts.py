"""Cosine annealing with warm restarts (SGDR)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp

from optlab.core import checks, data
from optlab.schedules._arithmetic import Part, blend, f32, geometric, half_cosine, plus
from optlab.schedules._base import Schedule
from optlab.schedules._cycles import Cycles
from optlab.schedules._fields import steps_count


class cosine_restarts(Schedule):
    """Half cosines from the peak towards the end, one after the other, each longer than the last.

    Cycle n = 0, 1, ... takes `T = period · period_factor**n` updates, and t updates into it the
    value is `end + (peak · peak_factor**n - end) · (1 + cos(π t / T)) / 2`.

    Args:
      peak_value: at count 0; any finite number.
      period: updates in the first cycle, >= 1.
      period_factor: in [1, 1e9], how much longer each cycle is; need not be whole.
      peak_factor: > 0, how much higher or lower each peak is.
      end_value: what each cycle approaches, and would reach at its restart; any finite number.

    Raises:
      ValueError: for period < 1, period_factor < 1, peak_factor <= 0, values that are not finite.
      TypeError: for no number.

    Special cases:
      With a whole `period_factor` restarts are exact at every count. With another, a cycle begins
      between two updates and the later one is the restart; it may come a few updates early or late
      (one in a million) where float32 cannot tell.

    Differs from:
      `optax.sgdr_schedule` takes a list of cycles, and ends with it. PyTorch's
      `CosineAnnealingWarmRestarts` needs a whole factor and has no `peak_factor`.

    Example:
      >>> import optlab as ol
      >>> schedule = ol.schedules.cosine_restarts(1.0, period=10, period_factor=2, peak_factor=0.5)
      >>> [float(schedule(c)) for c in (0, 5, 10, 30)]
      [1.0, 0.5, 0.5, 0.25]

    Source:
      Loshchilov, Hutter, "SGDR: stochastic gradient descent with warm restarts", 2016,
      arXiv:1608.03983, equation 5.
    """

    peak_value: Any = data(checks.finite)
    period: Any = data(steps_count)
    period_factor: Any = data(checks.Interval(1.0, 1e9), default=1.0)
    peak_factor: Any = data(checks.positive, default=1.0)
    end_value: Any = data(checks.finite, default=0.0)

    def evaluate(self, count: jax.Array) -> jax.Array:
        cycles = Cycles(self.period, self.period_factor)
        index = cycles.find(count)
        elapsed, length = cycles.elapsed(count, index), cycles.length(index)
        gone = jnp.clip(elapsed / length, 0, 1)
        left = jnp.clip((length - elapsed) / length, 0, 1)
        top = geometric(self.peak_value, self.peak_factor, f32(index))
        return blend(top, self.end_value, half_cosine(Part(gone, left)))

    def turns(self, first: jax.Array, last: jax.Array) -> Iterable[Any]:
        """The restarts next to both ends: peaks and troughs change one way in between."""
        cycles = Cycles(self.period, self.period_factor)
        index = jnp.stack([cycles.find(first), cycles.find(last)])
        start = cycles.start(jnp.concatenate([index, index + 1]))
        restart = plus(start.count, jnp.ceil(start.offset).astype(jnp.int32))
        return [turn for count in restart for turn in (count - 1, count)]

    def horizon(self) -> float:
        return self.period * sum(self.period_factor**n for n in range(4)) - 1
