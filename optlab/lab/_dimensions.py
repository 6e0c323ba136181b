"""One hyperparameter's possible values: a range or a list, and how much of it lies where."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from optlab.core import checks

Value = float | int | str | bool | None
_EDGE = 2.0**-24  # how near the ends of a range are tried; the ends themselves are hardly drawn


class Dimension:
    """The values one hyperparameter may take; made by `log_uniform` and its siblings.

    Attributes:
      kind: the name of the function that made it.
      values: every value, in order, where they can be listed; None for a range of real numbers.
      log: whether equal ratios, rather than equal differences, are equally likely.

    Example:
      >>> import optlab as ol
      >>> ol.lab.grid([0.1, 1.0]).to_dict()
      {'kind': 'grid', 'values': [0.1, 1.0]}
    """

    kind: Any = "dimension"
    values: Any = None
    log: Any = False

    def at(self, u: float) -> Value:
        """The value at a place u in [0, 1); uniform places give the dimension's distribution."""
        raise NotImplementedError

    def extremes(self) -> tuple[Value, ...]:
        """The first and the last value; of a list without order, all."""
        return self.at(_EDGE), self.at(1 - _EDGE)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able data, e.g. `{"kind": "uniform", "low": 0.0, "high": 1.0}`."""
        fields = dict(vars(self))
        fields.pop("ordered", None)
        return {
            "kind": self.kind,
            **{k: list(v) if k == "values" else v for k, v in fields.items()},
        }

    def _place(self, u: float) -> float:
        if not 0 <= u < 1:
            raise ValueError(f"{self.kind}: at takes a place in [0, 1), got {u!r}.")
        return float(u)


@dataclasses.dataclass(frozen=True)
class _LogUniform(Dimension):
    low: float
    high: float

    kind = "log_uniform"
    log = True

    def at(self, u: float) -> float:
        width = math.log(self.high) - math.log(self.low)
        root = math.exp(self._place(u) * width / 2)  # the ratio itself may be beyond float64
        value = self.low * root * root
        return min(max(value, self.low), self.high)


@dataclasses.dataclass(frozen=True)
class _Uniform(Dimension):
    low: float
    high: float

    kind = "uniform"

    def at(self, u: float) -> float:
        return min(self.low + self._place(u) * (self.high - self.low), self.high)


@dataclasses.dataclass(frozen=True)
class _Integers(Dimension):
    low: int
    high: int
    log: bool = False

    kind = "integers"

    @property
    def values(self) -> range:
        return range(self.low, self.high + 1)

    def extremes(self) -> tuple[int, int]:
        return self.low, self.high

    def at(self, u: float) -> int:
        if self.log:  # each integer owns what rounds to it
            low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
            value = round(math.exp(low + self._place(u) * (high - low)))
        else:
            value = self.low + math.floor(self._place(u) * (self.high - self.low + 1))
        return min(max(value, self.low), self.high)


@dataclasses.dataclass(frozen=True)
class _Listed(Dimension):
    values: tuple[Value, ...] = ()
    ordered: bool = False

    @property
    def kind(self) -> str:
        return "grid" if self.ordered else "choice"

    def at(self, u: float) -> Value:
        return self.values[math.floor(self._place(u) * len(self.values))]

    def extremes(self) -> tuple[Value, ...]:
        return (self.values[0], self.values[-1]) if self.ordered else self.values


def log_uniform(low: float, high: float) -> Dimension:
    """A positive real number whose logarithm is uniform: for learning rates, decays, eps.

    Args:
      low: > 0.
      high: > low, finite.

    Returns:
      The dimension, for a space.

    Raises:
      ValueError, TypeError: for other bounds.

    Example:
      >>> import optlab as ol
      >>> rate = ol.lab.log_uniform(1e-4, 1.0)
      >>> [round(rate.at(u), 6) for u in (0, 0.25, 0.5)]
      [0.0001, 0.001, 0.01]
    """
    low, high = _bounds("log_uniform", low, high)
    if low <= 0:
        raise ValueError(
            f"log_uniform: low must be > 0, got {low!r}; the logarithm of zero is infinite. Name "
            "the smallest value that makes a difference, or use uniform."
        )
    return _LogUniform(low, high)


def uniform(low: float, high: float) -> Dimension:
    """A real number, all of the range equally likely: for momentum, dropout rates.

    Args:
      low: finite.
      high: > low, finite.

    Returns:
      The dimension, for a space.

    Raises:
      ValueError, TypeError: for other bounds.

    Example:
      >>> import optlab as ol
      >>> ol.lab.uniform(0.5, 0.9).at(0.5)
      0.7
    """
    return _Uniform(*_bounds("uniform", low, high))


def integers(low: int, high: int, log: bool = False) -> Dimension:
    """A whole number from low to high, both included.

    Args:
      low: smallest value; >= 1 where `log`.
      high: largest value, > low.
      log: whether equal ratios, rather than equal differences, are equally likely.

    Returns:
      The dimension, for a space.

    Raises:
      ValueError, TypeError: for other bounds.

    Special cases:
      The values reach `make_tx` as Python ints: where one shapes the transformation (a static
      field), each value is a program of its own to compile.

    Example:
      >>> import optlab as ol
      >>> [ol.lab.integers(1, 4).at(u) for u in (0, 0.3, 0.9)]
      [1, 2, 4]
    """
    whole = checks.Interval(-math.inf, math.inf, "()", integer=True)
    low, high = (int(whole("integers", n, v)) for n, v in (("low", low), ("high", high)))
    checks.boolean("integers", "log", log)
    if low >= high:
        raise ValueError(_inverted("integers", low, high))
    if log and low < 1:
        raise ValueError(f"integers: low must be >= 1 where log=True, got {low}.")
    return _Integers(low, high, bool(log))


def choice(values: Iterable[Value]) -> Dimension:
    """One of a few values, without order: names, switches, None.

    Args:
      values: at least one, all different; numbers, strings, booleans, None.

    Returns:
      The dimension, for a space.

    Raises:
      ValueError, TypeError: for other values.

    Example:
      >>> import optlab as ol
      >>> ol.lab.choice([True, False]).values
      (True, False)
    """
    return _Listed(_listed("choice", values), ordered=False)


def grid(values: Iterable[float]) -> Dimension:
    """One of a few numbers, in order: what the "grid" sampler tries one by one.

    Args:
      values: at least one number, all different.

    Returns:
      The dimension, for a space.

    Raises:
      ValueError, TypeError: for other values.

    Special cases:
      Differs from `choice` in that neighbours are alike: plots draw an axis of numbers, and Optuna
      searches among places in the list.

    Example:
      >>> import optlab as ol
      >>> ol.lab.grid([0.1, 0.01]).values
      (0.01, 0.1)
    """
    listed = _listed("grid", values)
    for value in listed:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"grid: values must be numbers, got {value!r}; use choice.")
        if not math.isfinite(value):
            raise ValueError(f"grid: values must be finite, got {value!r}.")
    return _Listed(tuple(sorted(listed)), ordered=True)  # type: ignore[type-var]


def dimension_from_dict(data: Mapping[str, Any]) -> Dimension:
    """The dimension of which this is the `to_dict`."""
    made = {f.__name__: f for f in (log_uniform, uniform, integers, choice, grid)}
    return made[data["kind"]](**{name: value for name, value in data.items() if name != "kind"})


def plain(owner: str, name: str, value: Any) -> Value:
    """A value that can be stored as JSON and read back as the same: NumPy scalars unwrapped."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"{owner}: {name} must be a number, a string, True, False or None, got {value!r} of type "
        f"{type(value).__name__}. Let make_tx turn a name into the object: "
        '{"schedule": choice(["cosine", "linear"])}.'
    )


def _bounds(owner: str, low: Any, high: Any) -> tuple[float, float]:
    for name, value in (("low", low), ("high", high)):
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError(f"{owner}: {name} must be a number, got {value!r}.")
        if not math.isfinite(value):
            raise ValueError(f"{owner}: {name} must be finite, got {value!r}.")
    low, high = float(low), float(high)
    if low >= high:
        raise ValueError(_inverted(owner, low, high))
    return low, high


def _inverted(owner: str, low: Any, high: Any) -> str:
    remedy = "give the plain number to keep it fixed" if low == high else "swap them"
    return f"{owner}: low must be below high, got low={low!r}, high={high!r}; {remedy}."


def _listed(owner: str, values: Any) -> tuple[Value, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{owner}: values must be a list, got {values!r}: {owner}([...]).")
    listed = tuple(plain(owner, "each of values", value) for value in values)
    if not listed:
        raise ValueError(f"{owner}: values must hold at least one value, got none.")
    twice = [value for i, value in enumerate(listed) if value in listed[:i]]
    if twice:
        raise ValueError(f"{owner}: values must all be different, got {twice[0]!r} more than once.")
    return listed
