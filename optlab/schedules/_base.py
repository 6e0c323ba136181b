"""The base of all schedules: what may be asked of one, and what a count may be."""

from __future__ import annotations

import functools
import numbers
from collections.abc import Iterable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from optlab.core import PlainFunction, Record
from optlab.schedules._arithmetic import LAST_COUNT, f32, whole


class Schedule(Record):
    """A number that depends on how many updates are done; frozen, and a pytree of its fields.

    A subclass is one kind of schedule: its fields are `core.data` (numbers, which may be traced,
    mapped and differentiated) or `core.static` (flags), and `evaluate` is its formula.

    Example:
      >>> import optlab as ol
      >>> isinstance(ol.schedules.constant(0.1), ol.schedules.Schedule)
      True
    """

    def __call__(self, count: Any) -> jax.Array:
        """The value after `count` updates.

        Args:
          count: whole number or array of them (elementwise); Python, NumPy, JAX or traced. Below 0
            it counts as 0, above 2**31 - 1 as that. A floating count is a fraction of an update
            further, and exact up to 2**24.

        Returns:
          float32, shaped like `count`.

        Raises:
          TypeError: if the count is no number.
        """
        return _run(self, "_value", _as_count(self.record_name, count))

    def _value(self, count: jax.Array) -> jax.Array:
        return f32(self.evaluate(count))

    def evaluate(self, count: jax.Array) -> jax.Array:
        """The value at an int32 (or float32) count >= 0; what a subclass defines."""
        raise NotImplementedError(f"{type(self).__name__} must define evaluate")

    def peak(self) -> jax.Array:
        """The largest value at any count from 0 on: a float32 scalar, also of traced fields."""
        return _run(self, "_peak")

    def _peak(self) -> jax.Array:
        zero, last = jnp.zeros((), jnp.int32), jnp.full((), LAST_COUNT, jnp.int32)
        counts = [zero, last, *(c for turn in self.turns(zero, last) for c in _around(turn))]
        return jnp.max(self._value(jnp.stack(counts)))

    def turns(self, first: jax.Array, last: jax.Array) -> Iterable[Any]:
        """Counts between which the schedule is monotone; only those in [first, last] matter.

        A jump from c - 1 to c needs both, unless the schedule is monotone across it. A subclass
        that only rises or only falls has none.
        """
        del first, last
        return ()

    def horizon(self) -> float:
        """How many updates show what is worth seeing, for plots; needs concrete fields."""
        raise NotImplementedError(f"{type(self).__name__} must define horizon")


def _run(schedule: Schedule, method: str, *counts: jax.Array) -> jax.Array:
    """Calls a method; outside of any trace compiled, 20 times faster than op by op.

    Python numbers are compiled in, as they are where a schedule is closed over, so that what
    depends on them alone is computed in float64 here and there.
    """
    leaves, structure = jax.tree.flatten(schedule)
    traced = any(isinstance(x, jax.core.Tracer) for x in (*leaves, *counts))
    parts = jax.tree.leaves(schedule, is_leaf=lambda part: isinstance(part, PlainFunction))
    if traced or any(isinstance(part, PlainFunction) for part in parts):  # which may be Python
        return getattr(schedule, method)(*counts)
    known = tuple(None if isinstance(x, jax.Array | np.ndarray) else x for x in leaves)
    arrays = [x for x in leaves if isinstance(x, jax.Array | np.ndarray)]
    return _compiled(structure, method, known, arrays, *counts)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _compiled(structure: Any, method: str, known: tuple, arrays: list, *counts: jax.Array) -> Any:
    rest = iter(arrays)
    leaves = [next(rest) if leaf is None else leaf for leaf in known]
    return getattr(jax.tree.unflatten(structure, leaves), method)(*counts)


def _as_count(owner: str, count: Any) -> jax.Array:
    if isinstance(count, numbers.Integral) and not isinstance(count, bool):
        return jnp.asarray(min(max(int(count), 0), LAST_COUNT), jnp.int32)
    if isinstance(count, numbers.Real) and not isinstance(count, bool):
        return f32(max(float(count), 0.0))
    if isinstance(count, jax.Array | np.ndarray):
        if jnp.issubdtype(count.dtype, jnp.integer):
            # Before int64 is narrowed, for 2**32 would become 0.
            highest = min(LAST_COUNT, jnp.iinfo(count.dtype).max)
            clip = jnp.clip if isinstance(count, jax.Array) else np.clip
            return jnp.asarray(clip(count, 0, highest), jnp.int32)
        if jnp.issubdtype(count.dtype, jnp.floating):
            return jnp.maximum(f32(count), 0)
    raise TypeError(
        f"{owner}: count must be the number of updates done, got {count!r} of type "
        f"{type(count).__name__}. Pass a whole number or an integer array."
    )


def _around(turn: Any) -> list[jax.Array]:
    """The whole counts next to a turn, within range."""
    turn = whole(turn)
    if jnp.issubdtype(turn.dtype, jnp.integer):
        return [jnp.maximum(turn, 0)]
    turn = jnp.clip(jax.lax.stop_gradient(turn), 0, 2.0**31 - 128)  # the last float32 in int32
    return [jnp.floor(turn).astype(jnp.int32), jnp.ceil(turn).astype(jnp.int32)]
