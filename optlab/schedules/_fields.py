"""The checks that fields of schedules share."""

from __future__ import annotations

import itertools
import numbers
from collections.abc import Callable
from typing import Any

import numpy as np

from optlab.core import PlainFunction, checks
from optlab.schedules._arithmetic import LAST_COUNT
from optlab.schedules._base import Schedule


def counts_from(low: float) -> checks.Check:
    """Whole numbers from `low` to what an int32 count can reach."""
    inner = checks.Interval(low, np.inf, "[)", integer=True)

    def check(owner: str, name: str, value: Any) -> Any:
        value = inner(owner, name, value)
        if checks.is_concrete(value) and np.any(np.abs(np.asarray(value, np.float64)) > LAST_COUNT):
            raise ValueError(
                f"{owner}: {name} must be at most {LAST_COUNT} in size, for counts are 32-bit "
                f"integers; got {value!r}."
            )
        return value

    return check


steps_count = counts_from(1)
maybe_zero_count = counts_from(0)


def each(check: checks.Check) -> checks.Check:
    """A tuple (or list) whose items each pass; errors name the item."""

    def check_all(owner: str, name: str, values: Any) -> tuple:
        if not isinstance(values, tuple | list):
            raise TypeError(
                f"{owner}: {name} must be a list or tuple, got {values!r} of type "
                f"{type(values).__name__}."
            )
        return tuple(check(owner, f"{name}[{i}]", value) for i, value in enumerate(values))

    return check_all


def as_schedule(owner: str, name: str, value: Any) -> Callable[[Any], Any]:
    """A schedule of this package, or any function of the count (Optax's), carried as it is."""
    if isinstance(value, Schedule | PlainFunction):
        return value
    hint = ""
    if isinstance(value, type):
        hint = " Did you forget to call it?"
    elif isinstance(value, numbers.Real):
        hint = f" For a value that never changes use constant({value!r})."
    elif callable(value):
        return PlainFunction(value)
    raise TypeError(
        f"{owner}: {name} must be a schedule or a function of the count, got {value!r} of type "
        f"{type(value).__name__}.{hint}"
    )


def require_order(owner: str, low: dict[str, Any], high: dict[str, Any], remedy: str) -> None:
    """Raises `ValueError` where the sum of the first is known to be more than the second."""
    if not checks.is_concrete(*low.values(), *high.values()):
        return
    total = sum(np.asarray(v, np.float64) for v in low.values())
    (name, bound), *_ = high.items()
    if np.any(total > np.asarray(bound, np.float64)):
        given = ", ".join(f"{k}={v!r}" for k, v in {**low, **high}.items())
        raise ValueError(
            f"{owner}: {' + '.join(low)} must be at most {name}, got {given}. {remedy}"
        )


def require_increasing(owner: str, name: str, values: tuple) -> None:
    """Raises `ValueError` where two neighbours, both known, do not increase."""
    for i, (a, b) in enumerate(itertools.pairwise(values)):
        if checks.is_concrete(a, b) and np.any(np.asarray(a) >= np.asarray(b)):
            raise ValueError(
                f"{owner}: {name} must increase, got {name}[{i}]={a!r} before {name}[{i + 1}]={b!r}"
                ". Sort them, and give each count once."
            )
