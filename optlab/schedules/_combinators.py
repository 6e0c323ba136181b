"""Schedules made of schedules: one after the other, scaled, shifted."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp

from optlab.core import checks, data
from optlab.schedules._arithmetic import LAST_COUNT, alike, before, f32, minus, plus, whole
from optlab.schedules._base import Schedule
from optlab.schedules._fields import (
    as_schedule,
    counts_from,
    each,
    maybe_zero_count,
    require_increasing,
)


class join(Schedule):
    """Schedules one after the other; each starts at its own count 0 at its boundary.

    Args:
      schedules: one or more, of this package or functions of the count (Optax's).
      boundaries: the counts at which the second, third, ... begins; increasing, >= 0.

    Raises:
      ValueError: unless there is one boundary fewer than schedules, and they increase.
      TypeError: for what is no schedule or no number.

    Special cases:
      A boundary 0 leaves the first schedule out. What a schedule would do after its boundary does
      not matter, also to `peak`.

    Differs from:
      `optax.join_schedules` does not check its boundaries, and lets later schedules see negative
      counts; here they see 0 until their turn.

    Example:
      >>> import optlab as ol
      >>> from optlab.schedules import constant, join, linear
      >>> schedule = join([linear(0.0, 1.0, steps=10), constant(0.5)], [10])
      >>> [float(schedule(c)) for c in (0, 5, 10)]
      [0.0, 0.5, 0.5]
    """

    schedules: Any = data(each(as_schedule))
    boundaries: Any = data(each(maybe_zero_count))

    def check(self) -> None:
        if not self.schedules or len(self.boundaries) != len(self.schedules) - 1:
            raise ValueError(
                f"{self.record_name}: n schedules need n - 1 boundaries between them, got "
                f"{len(self.schedules)} schedules and {len(self.boundaries)} boundaries."
            )
        require_increasing(self.record_name, "boundaries", self.boundaries)

    def evaluate(self, count: jax.Array) -> jax.Array:
        value = f32(self.schedules[0](count))
        for boundary, part in zip(self.boundaries, self.schedules[1:], strict=True):
            value = jnp.where(before(count, boundary), value, f32(part(_since(boundary, count))))
        return value

    def turns(self, first: jax.Array, last: jax.Array) -> Iterable[Any]:
        starts, stops = [0, *self.boundaries], [*self.boundaries, LAST_COUNT]
        found = [turn for b in self.boundaries for turn in (minus(b, 1), b)]
        for part, start, stop in zip(self.schedules, starts, stops, strict=True):
            end = _since(start, jnp.minimum(*alike(last, stop)))
            inner = _known(self, part).turns(_since(start, first), end)
            found += [plus(turn, start) for turn in inner]
        return found

    def horizon(self) -> float:
        start = self.boundaries[-1] if self.boundaries else 0
        return start + _known(self, self.schedules[-1]).horizon()


class scale(Schedule):
    """Another schedule times a factor.

    Args:
      schedule: of this package, or a function of the count.
      factor: any finite number.

    Raises:
      ValueError: for a factor that is not finite. TypeError: for no schedule or no number.

    Special cases:
      With a negative factor the peak is where the schedule is lowest.

    Example:
      >>> import optlab as ol
      >>> ol.schedules.scale(ol.schedules.cosine(1.0, steps=10), 0.5)(0)
      Array(0.5, dtype=float32)
    """

    schedule: Any = data(as_schedule)
    factor: Any = data(checks.finite)

    def evaluate(self, count: jax.Array) -> jax.Array:
        return f32(self.schedule(count)) * f32(self.factor)

    def turns(self, first: jax.Array, last: jax.Array) -> Iterable[Any]:
        return _known(self, self.schedule).turns(first, last)

    def horizon(self) -> float:
        return _known(self, self.schedule).horizon()


class shift(Schedule):
    """Another schedule, seen from another count: `schedule(count + by)`.

    Args:
      schedule: of this package, or a function of the count.
      by: updates to skip, any whole number. Positive resumes a schedule with a fresh optimizer
        state; negative delays it, and until it starts it has its value at 0.

    Raises:
      ValueError: for a `by` that is not whole. TypeError: for no schedule or no number.

    Special cases:
      count + by stops at 2**31 - 1 instead of wrapping round.

    Example:
      >>> import optlab as ol
      >>> schedule = ol.schedules.linear(1.0, 0.0, steps=10)
      >>> float(ol.schedules.shift(schedule, 4)(1)) == float(schedule(5))
      True
    """

    schedule: Any = data(as_schedule)
    by: Any = data(counts_from(-math.inf))

    def evaluate(self, count: jax.Array) -> jax.Array:
        return f32(self.schedule(self._inner(count)))

    def turns(self, first: jax.Array, last: jax.Array) -> Iterable[Any]:
        inner = _known(self, self.schedule).turns(self._inner(first), self._inner(last))
        return [plus(turn, -whole(self.by)) for turn in inner]

    def horizon(self) -> float:
        return max(_known(self, self.schedule).horizon() - self.by, 10)

    def _inner(self, count: jax.Array) -> jax.Array:
        return jnp.maximum(plus(count, self.by), 0)


def _since(start: Any, count: jax.Array) -> jax.Array:
    return jnp.maximum(minus(count, start), 0)


def _known(owner: Schedule, part: Any) -> Schedule:
    if isinstance(part, Schedule):
        return part
    raise ValueError(
        f"{owner.record_name}: {part!r} is a plain function, which tells neither its peak nor its "
        "length. Use a schedule of optlab.schedules."
    )
