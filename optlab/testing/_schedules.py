"""`check_schedule`: the clauses for schedules, optlab's, Optax's or plain functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optlab.core import Record, hyperparameters, replace
from optlab.testing import _compare as compare
from optlab.testing._clauses import Broken, NotApplicable, doing
from optlab.testing._clauses import schedule_clauses as catalogue
from optlab.testing._report import Report
from optlab.testing._transformations import described, reproduction, require_function


@dataclasses.dataclass(frozen=True)
class ScheduleSubject:
    """A schedule and what is promised of it; see `check_schedule`."""

    make: Callable[[], Any]
    steps: int
    low: float | None
    high: float | None
    first: float | None
    last: float | None
    monotone: str | None
    joins: tuple[int, ...]

    def values(self, counts: Iterable[int]) -> np.ndarray:
        schedule = self.make()
        return np.asarray([np.float64(schedule(jnp.asarray(c, jnp.int32))) for c in counts])

    def grid(self) -> np.ndarray:
        return np.unique(np.linspace(0, self.steps, 65).astype(int))


@catalogue.clause()
def scalar_float32(subject: ScheduleSubject) -> None:
    """A count gives one finite number, float32, for int32 counts and Python integers."""
    schedule = subject.make()
    for count in (0, 1, jnp.asarray(0, jnp.int32), jnp.asarray(subject.steps, jnp.int32)):
        value = jnp.asarray(schedule(count))
        if value.shape != () or value.dtype != jnp.float32:
            raise Broken(
                f"called it with {count!r}", f"{value.dtype}{value.shape}", "float32 scalar"
            )
        compare.finite(f"called it with {count!r}", value, "value")


@catalogue.clause()
def schedule_range(subject: ScheduleSubject) -> None:
    """All values lie between `low` and `high`."""
    if subject.low is None and subject.high is None:
        raise NotApplicable("no range was promised")
    low = -np.inf if subject.low is None else subject.low
    high = np.inf if subject.high is None else subject.high
    slack = 1e-6 * max(abs(x) for x in (low, high, 1e-30) if np.isfinite(x))
    counts = [*subject.grid(), subject.steps + 1, 10 * subject.steps]
    for count, value in zip(counts, subject.values(counts), strict=True):
        if not low - slack <= value <= high + slack:
            raise Broken(f"called it with {count}", value, f"within [{low:g}, {high:g}]")


@catalogue.clause(over={"first": "first", "last": "last"})
def end(subject: ScheduleSubject, which: str) -> None:
    """The first value, and the one after all steps, are those promised; the last one stays."""
    promised = getattr(subject, which)
    if promised is None:
        raise NotApplicable(f"no {which} value was promised")
    counts = [0] if which == "first" else [subject.steps, subject.steps + 1, 2 * subject.steps]
    for count, value in zip(counts, subject.values(counts), strict=True):
        if not np.isclose(value, promised, rtol=1e-5, atol=1e-9):
            raise Broken(f"called it with {count}", value, f"{promised:g}")


@catalogue.clause()
def monotone(subject: ScheduleSubject) -> None:
    """The values only fall, or only rise, where that was promised."""
    if subject.monotone is None:
        raise NotApplicable("nothing was promised")
    values = subject.values(subject.grid())
    steps = np.diff(values) * (1 if subject.monotone == "increasing" else -1)
    if np.any(steps < -1e-6 * np.max(np.abs(values))):
        at = int(subject.grid()[np.argmin(steps)])
        raise Broken(f"walked on from {at}", f"{np.min(steps):g} against it", subject.monotone)


@catalogue.clause()
def continuous_at_joins(subject: ScheduleSubject) -> None:
    """Onto each join the value changes no more than at the steps beside it; the slope may."""
    if not subject.joins:
        raise NotApplicable("no joins were named")
    for join in subject.joins:
        if join == 1:
            continue  # no step before it tells the slope
        before, jump, after = np.abs(np.diff(subject.values(range(join - 2, join + 2))))
        usual = max(before, after)
        if jump > 2 * usual + 1e-6 * np.max(np.abs(subject.values([join - 1, join]))):
            raise Broken(f"stepped from count {join - 1} to {join}", f"a jump of {jump:g}",
                         f"about {usual:g}, as beside it")  # fmt: skip


@catalogue.clause()
def schedule_jit_equals_eager(subject: ScheduleSubject) -> None:
    """Jitted values are the eager ones."""
    schedule = subject.make()
    counts = [0, 1, subject.steps // 2, subject.steps, subject.steps + 7]
    jitted = jax.jit(schedule)
    got = [np.float64(jitted(jnp.asarray(c, jnp.int32))) for c in counts]
    _close_at("jitted it", counts, got, subject.values(counts), "as eager")


@catalogue.clause()
def maps_over_counts(subject: ScheduleSubject) -> None:
    """`vmap` over counts gives what a loop gives."""
    counts = subject.grid()
    got = jax.vmap(subject.make())(jnp.asarray(counts, jnp.int32))
    _close_at("vmapped it", counts, got, subject.values(counts), "as a loop")


def _close_at(did: str, counts: Any, got: Any, expected: Any, promise: str) -> None:
    scale = np.max(np.abs(expected), initial=0.0, where=np.isfinite(expected))
    for count, one, other in zip(counts, got, expected, strict=True):
        at = f"{did} and called it with {count}"
        compare.close(at, np.asarray(one), other, promise, rtol=1e-6, atol=1e-6 * scale)


@catalogue.clause()
def large_counts(subject: ScheduleSubject) -> None:
    """Counts up to the largest int32 give finite values."""
    counts = [2**24 + 1, 2**31 - 2, 2**31 - 1]
    for count, value in zip(counts, subject.values(counts), strict=True):
        compare.finite(f"called it with {count}", value, "value")


@catalogue.clause("capability")
def traced_fields(subject: ScheduleSubject) -> None:
    """Every number it was made with can be traced, mapped and differentiated to a finite number."""
    schedule = subject.make()
    if not isinstance(schedule, Record):
        raise NotApplicable("it is not a record of optlab")
    count = jnp.asarray(subject.steps // 3, jnp.int32)
    for name, value in hyperparameters(schedule).items():

        def at(v, name=name):
            return replace(subject.make(), {name: v})(count)

        with doing(f"vmapped over {name}"):
            mapped = jax.vmap(at)(jnp.asarray([value, value]))
        expected = np.full(2, subject.values([subject.steps // 3])[0])
        compare.close(
            f"vmapped over {name}", np.asarray(mapped), expected, "as a number", rtol=1e-5
        )
        if isinstance(value, float):
            compare.finite(f"differentiated by {name}", jax.grad(at)(value), "derivative")


def check_schedule(
    make_schedule: Callable[[], Any],
    *,
    steps: int,
    low: float | None = None,
    high: float | None = None,
    first: float | None = None,
    last: float | None = None,
    monotone: str | None = None,
    joins: Iterable[int] = (),
    allow: Mapping[str, str] | None = None,
    only: str | Iterable[str] | None = None,
) -> Report:
    """Holds a schedule (a function from the count of updates done to a value) to its promises.

    Args:
      make_schedule: makes the schedule; optlab's, Optax's, or any function.
      steps: how many updates it is meant for, > 0.
      low, high: bounds of its values.
      first, last: the value at count 0, and at and after `steps`.
      monotone: `"increasing"` or `"decreasing"`.
      joins: counts at which pieces meet and the value must not jump.
      allow, only: as in `check_transformation`.

    Returns:
      A `Report`, false if a clause failed.

    Raises:
      ValueError: for a `monotone` that is neither, `steps` < 1, `low` > `high`, joins not between 0
        and `steps`, or names that are no clauses.
      TypeError: if `make_schedule` is no factory of schedules, or joins are no integers.

    Example:
      >>> import optlab as ol
      >>> bool(ol.testing.check_schedule(
      ...     lambda: ol.schedules.cosine(1e-3, 100), steps=100, first=1e-3, last=0.0,
      ...     low=0.0, high=1e-3, monotone="decreasing"))
      True
    """
    if monotone not in (None, "increasing", "decreasing"):
        raise ValueError(
            f"check_schedule: monotone must be 'increasing' or 'decreasing', got {monotone!r}."
        )
    _check_promises(steps, low, high, joins)
    require_function(
        "make_schedule", make_schedule, "a schedule, a function of the count",
        "lambda: optlab.schedules.cosine(1e-3, 100)",
    )  # fmt: skip
    subject = ScheduleSubject(make_schedule, steps, low, high, first, last, monotone, tuple(joins))
    given = dataclasses.asdict(subject)
    del given["make"]
    return catalogue.judge(
        subject,
        described(make_schedule),
        allow=allow,
        claims=(),
        only=only,
        reproduce=lambda clause: reproduction("check_schedule", make_schedule, clause, given),
    )


def _check_promises(steps: int, low: float | None, high: float | None, joins: Any) -> None:
    if not isinstance(steps, int) or isinstance(steps, bool):
        raise TypeError(f"check_schedule: steps must be an integer, got {steps!r}.")
    if steps < 1:
        raise ValueError(f"check_schedule: steps must be >= 1, got {steps}.")
    if low is not None and high is not None and low > high:
        raise ValueError(f"check_schedule: low must be <= high, got {low!r} > {high!r}.")
    if not isinstance(joins, tuple | list) or not all(isinstance(j, int) for j in joins):
        raise TypeError(f"check_schedule: joins must be counts, such as [10], got {joins!r}.")
    if outside := [j for j in joins if not 0 < j < steps]:
        raise ValueError(
            f"check_schedule: joins must lie between 0 and steps = {steps}, got {outside}."
        )
