"""A space: the hyperparameters of `make_tx` by name, some to search, some fixed."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optlab.core import checks
from optlab.lab._dimensions import Dimension, Value, plain


@dataclasses.dataclass(frozen=True)
class Space:
    """What `check_space` makes of a dict.

    Attributes:
      dimensions: what is searched, by name, in the order given.
      constants: what stays the same, by name.

    Example:
      >>> import optlab as ol
      >>> space = ol.lab.check_space({"learning_rate": ol.lab.grid([0.1, 1.0])}, ol.sgd)
      >>> space.size, space.point(1)
      (2, {'learning_rate': 1.0})
    """

    dimensions: Mapping[str, Dimension]
    constants: Mapping[str, Value]

    @property
    def size(self) -> int | None:
        """How many different points it has; None if there is a range of real numbers in it."""
        listed = [dimension.values for dimension in self.dimensions.values()]
        if any(values is None for values in listed):
            return None
        return math.prod(len(values) for values in listed if values is not None)

    def at(self, places: Sequence[float]) -> dict[str, Value]:
        """The hyperparameters at a point of the unit cube, one place in [0, 1) a dimension."""
        found = {
            name: dimension.at(u)
            for (name, dimension), u in zip(self.dimensions.items(), places, strict=True)
        }
        return {**found, **self.constants}

    @property
    def middle(self) -> dict[str, Value]:
        """The hyperparameters in the middle of every dimension."""
        return self.at([0.5] * len(self.dimensions))

    def point(self, index: int) -> dict[str, Value]:
        """Point `index` of the grid, 0 <= index < size; the last dimension changes fastest."""
        if self.size is None or not 0 <= index < self.size:
            raise IndexError(f"Space: point takes an index below {self.size}, got {index}.")
        found: dict[str, Value] = {}
        for name, dimension in reversed(list(self.dimensions.items())):
            values = dimension.values
            index, place = divmod(index, len(values))
            found[name] = values[place]
        return {**{name: found[name] for name in self.dimensions}, **self.constants}

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able data: of each name, its dimension's `to_dict` or the constant."""
        return {**{n: d.to_dict() for n, d in self.dimensions.items()}, **self.constants}


def check_space(
    space: Mapping[str, Any] | Space, make_tx: Callable[..., Any], owner: str = "sweep"
) -> Space:
    """A space of what `make_tx` takes, or an error that says what does not fit.

    `make_tx` is called in the middle of the space, and at the ends of every dimension.

    Args:
      space: by the names of `make_tx`'s arguments, dimensions (`log_uniform(...)`) and constants
        (numbers, strings, booleans, None).
      make_tx: what will be called with them.
      owner: the function the errors speak for.

    Returns:
      The space; one that is checked already, checked against this `make_tx`.

    Raises:
      ValueError: if the space is empty, names an argument that `make_tx` does not take, or leaves
        out one that it needs.
      TypeError: if it is no dict, or holds something that is neither dimension nor constant.
      Whatever `make_tx` itself raises for values in it; of these two kinds with a note.

    Example:
      >>> import optlab as ol
      >>> space = {"learning_rate": ol.lab.log_uniform(1e-3, 1.0), "momentum": 0.9}
      >>> ol.lab.check_space(space, ol.sgd).constants
      {'momentum': 0.9}
    """
    if isinstance(space, Space):
        space = {**space.dimensions, **space.constants}
    if not isinstance(space, Mapping):
        raise TypeError(
            f"{owner}: space must be a dict by the names of make_tx's arguments, such as "
            f'{{"learning_rate": log_uniform(1e-4, 1)}}, got {space!r}.'
        )
    if not space:
        raise ValueError(
            f"{owner}: the space is empty, so there is nothing to try; name a hyperparameter: "
            '{"learning_rate": log_uniform(1e-4, 1)}.'
        )
    if not callable(make_tx):
        raise TypeError(
            f"{owner}: make_tx must be a function of hyperparameters that returns a "
            f"transformation, got {type(make_tx).__name__}. "
            "Write `lambda learning_rate: ...` around it."
        )
    for name in space:
        if not isinstance(name, str):
            raise TypeError(f"{owner}: names in a space are strings, got {name!r}.")
    _check_names(owner, space, make_tx)
    dimensions = {n: v for n, v in space.items() if isinstance(v, Dimension)}
    constants = {n: _constant(owner, n, v) for n, v in space.items() if n not in dimensions}
    checked = Space(dimensions, constants)
    _check_values(owner, checked, make_tx)
    return checked


def _constant(owner: str, name: str, value: Any) -> Value:
    if isinstance(value, list | tuple | range | set):
        raise TypeError(
            f"{owner}: {name} is {value!r} in the space, which may mean several things; write "
            "choice([...]) or grid([...]) for a list, uniform(low, high) or log_uniform(low, high) "
            "for a range."
        )
    return plain(owner, f"{name} in the space", value)


def _check_names(owner: str, space: Mapping[str, Any], make_tx: Callable[..., Any]) -> None:
    try:
        parameters = inspect.signature(make_tx).parameters.values()
    except ValueError:  # some built-in functions do not tell; the call will
        return
    hidden = [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY and p.default is p.empty]
    if hidden:
        raise ValueError(
            f"{owner}: make_tx takes {hidden[0]!r} by position only; arguments are given by name. "
            "Write a lambda around it."
        )
    by_name = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    taken = [p.name for p in by_name]
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        for name in space:
            if name not in taken:
                raise ValueError(
                    f"{owner}: make_tx takes no argument {name!r}; {checks.nearest(name, taken)}"
                )
    missing = [p.name for p in by_name if p.default is p.empty and p.name not in space]
    if missing:
        raise ValueError(
            f"{owner}: make_tx needs {', '.join(map(repr, missing))}, which the space leaves out; "
            "add a dimension or a constant."
        )


def _check_values(owner: str, space: Space, make_tx: Callable[..., Any]) -> None:
    """Meets now what would end a study in its midst; the error keeps its kind and its trace."""

    def try_with(values: Mapping[str, Value], said: str) -> None:
        try:
            make_tx(**values)
        except (TypeError, ValueError) as error:
            error.add_note(f"{owner} tried make_tx {said}.")
            raise

    in_words = ", ".join(f"{name}={value!r}" for name, value in space.middle.items())
    try_with(space.middle, f"in the middle of the space, with {in_words}")
    for name, dimension in space.dimensions.items():
        for value in dimension.extremes():
            said = f"with {name}={value!r}, which its {dimension.kind} in the space holds"
            try_with({**space.middle, name: value}, said)
