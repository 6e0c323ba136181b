"""Early validation: concrete values are judged once, where the user wrote them; tracers pass.

A check is a callable `(owner, name, value) -> value` that returns the value to keep (an integer
given for a real hyperparameter becomes a float, so that it can be differentiated) or raises.
Messages say what was given, what is allowed and what to do.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.core
import numpy as np

Check = Callable[[str, str, Any], Any]


def is_concrete(*values: Any) -> bool:
    """True if every value is known now: no tracer, no schedule, no `None`."""
    return all(
        isinstance(v, numbers.Real | np.ndarray | np.generic)
        or (isinstance(v, jax.Array) and not isinstance(v, jax.core.Tracer))
        for v in values
    )


def nearest(name: str, known: Iterable[str], limit: int = 3) -> str:
    """`"; did you mean 'adam'?"`, or the list of what exists where nothing is near."""
    known = sorted(set(known))
    close = difflib.get_close_matches(name, known, n=limit, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    return f"known: {', '.join(known) if known else 'none'}."


@dataclasses.dataclass(frozen=True)
class Interval:
    """A real number between two bounds; `closed` names the bounds that belong to it.

    Attributes:
      low, high: the bounds.
      closed: `"[)"`-style brackets; `[` or `]` includes the bound, `(` or `)` leaves it out.
      integer: whether the value counts something and must be a whole number.
    """

    low: float
    high: float
    closed: str = "[]"
    integer: bool = False

    def __str__(self) -> str:
        kind = "a whole number" if self.integer else "a number"
        if self.low == -math.inf and self.high == math.inf:
            return f"{kind} (finite)"
        if self.high == math.inf:
            return f"{kind} {'>=' if self.closed[0] == '[' else '>'} {self.low:g}"
        return f"{kind} in {self.closed[0]}{self.low:g}, {self.high:g}{self.closed[1]}"

    def _holds(self, value: np.ndarray) -> bool:
        above = value >= self.low if self.closed[0] == "[" else value > self.low
        below = value <= self.high if self.closed[1] == "]" else value < self.high
        whole = value == np.floor(value) if self.integer else True
        return bool(np.all(above & below & np.isfinite(value) & whole))

    def __call__(self, owner: str, name: str, value: Any) -> Any:
        if isinstance(value, jax.core.Tracer):
            return value
        if isinstance(value, bool | np.bool_) or not is_concrete(value):
            raise TypeError(
                f"{owner}: {name} must be {self}, got {value!r} of type "
                f"{type(value).__name__}. Pass a Python number or a JAX array."
            )
        array = np.asarray(value)
        if array.dtype.kind not in "iuf" and array.dtype.name not in ("bfloat16", "float16"):
            raise TypeError(f"{owner}: {name} must be {self}, got an array of {array.dtype}.")
        if not self._holds(array.astype(np.float64)):
            raise ValueError(f"{owner}: {name} must be {self}, got {value!r}.")
        if isinstance(value, numbers.Real):  # NumPy scalars are strongly typed in JAX: unwrap them
            return int(array) if self.integer else float(array)
        return value


finite = Interval(-math.inf, math.inf, "()")
nonnegative = Interval(0.0, math.inf, "[)")
positive = Interval(0.0, math.inf, "()")
decay_rate = Interval(0.0, 1.0, "[)")
probability = Interval(0.0, 1.0, "[]")
count = Interval(0, math.inf, "[)", integer=True)
positive_count = Interval(1, math.inf, "[)", integer=True)


@dataclasses.dataclass(frozen=True)
class optional:
    """`None`, or whatever the inner check accepts."""

    inner: Check

    def __str__(self) -> str:
        return f"None or {self.inner}"

    def __call__(self, owner: str, name: str, value: Any) -> Any:
        return None if value is None else self.inner(owner, name, value)


@dataclasses.dataclass(frozen=True)
class one_of:
    """One of a few names."""

    names: tuple[str, ...]

    def __init__(self, *names: str):
        object.__setattr__(self, "names", names)

    def __str__(self) -> str:
        return " | ".join(map(repr, self.names))

    def __call__(self, owner: str, name: str, value: Any) -> Any:
        if not isinstance(value, str):
            raise TypeError(
                f"{owner}: {name} must be {self}, got {value!r} of type {type(value).__name__}."
            )
        if value not in self.names:
            raise ValueError(
                f"{owner}: {name} must be {self}, got {value!r}; {nearest(str(value), self.names)}"
            )
        return value


def boolean(owner: str, name: str, value: Any) -> bool:
    """True or False, not a number that happens to be 0 or 1 (it would be traced)."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(
            f"{owner}: {name} must be True or False, got {value!r} of type {type(value).__name__}."
        )
    return bool(value)


def dtype_name(owner: str, name: str, value: Any) -> str:
    """A floating-point dtype, kept by its name so that it prints, hashes and stores as JSON."""
    problem = f"{owner}: {name} must be a dtype such as jnp.float32, got {value!r}."
    if value is None:  # NumPy reads it as float64
        raise TypeError(problem)
    try:
        dtype = jax.numpy.dtype(value)
    except TypeError as error:
        raise TypeError(problem) from error
    if not jax.numpy.issubdtype(dtype, jax.numpy.inexact):
        raise ValueError(f"{owner}: {name} must be a floating-point dtype, got {dtype.name}.")
    return dtype.name
