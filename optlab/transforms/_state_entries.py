"""The leaves of any transformation's state: where each is, what it holds, of which parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from optlab.core import Foreign, Link, trees

PyTree = Any
Parameters = dict[tuple[str, ...], tuple[int, ...]]

# What fields of Optax's states hold. How its `nu` was gathered (a mean square, Yogi's rule, an
# infinity norm) its states do not tell: it is taken to be what the new transformation gathers.
OPTAX = {
    "e_g": "mean square",
    "e_x": "mean square step",
    "mu": "mean",
    "nu": "mean square",
    "sum_of_squares": "sum",
    "trace": "momentum",
}
COUNTS = ("count", "gradient_step", "step")


class Part(NamedTuple):
    """A link and its own state, the states of links inside it emptied.

    Attributes:
      place: names of the links that lead to it.
      link: the link.
      state: its own state.
      is_scheduled: whether that stands in a `ScheduledState`.
    """

    place: tuple[str, ...]
    link: Link
    state: Any
    is_scheduled: bool


class Entry(NamedTuple):
    """One leaf of a state.

    Attributes:
      text: the whole path, `"accumulate_moments/first/dense/kernel"`.
      owner: record name of its link.
      field: what it is called there, `"first"`.
      parameter: key path of the parameter it belongs to, or None.
      rest: keys below that, `("rows",)` of a factored moment.
      meaning: what it holds, in words that links share; of its own link only if empty.
      leaf: the array.
    """

    text: str
    owner: str
    field: str
    parameter: tuple[str, ...] | None
    rest: tuple[str, ...]
    meaning: str
    leaf: Any

    @property
    def same_link(self) -> tuple[Any, ...]:
        """Equal for leaves that are one another's in two states of one kind of link."""
        return (self.owner, self.field, self.parameter, self.rest)

    @property
    def same_meaning(self) -> tuple[Any, ...] | None:
        return (self.meaning, self.parameter, self.rest) if self.meaning else None

    @property
    def is_schedule(self) -> bool:
        """Whether a `ScheduledState` keeps it."""
        return self.field.startswith("schedule/")

    @property
    def is_hold(self) -> bool:
        """Whether it tells that a value is overridden."""
        return self.field.startswith("schedule/held")

    @property
    def is_count(self) -> bool:
        return self.parameter is None and self.field.rsplit("/", 1)[-1] in COUNTS


def split(
    link: Link, state: Any, params: PyTree, place: tuple[str, ...] = ()
) -> tuple[Part, dict[str, Any]]:
    """A link's own part, and the links inside with their states and parameters."""
    is_scheduled = bool(link.kept())
    own = state.inner if is_scheduled else state
    inside = link.substates(own, params)
    emptied = _joined(link, state, dict.fromkeys(inside, optax.EmptyState()), None, is_scheduled)
    return Part(place, link, emptied, is_scheduled), inside


def _joined(
    link: Link, state: Any, inside: dict[str, Any], params: PyTree, is_scheduled: bool
) -> Any:
    if not inside:
        return state
    if is_scheduled:
        return state._replace(inner=link.with_substates(state.inner, inside, params))
    return link.with_substates(state, inside, params)


def parts(link: Link, state: Any, params: PyTree, place: tuple[str, ...] = ()) -> Iterator[Part]:
    """The parts of a state, in order."""
    own, inside = split(link, state, params, place)
    yield own
    for name, (inner, inner_state, group) in inside.items():
        yield from parts(inner, inner_state, group, (*place, name))


def edited(
    link: Link,
    state: Any,
    params: PyTree,
    edit: Callable[[Part], Any],
    place: tuple[str, ...] = (),
) -> Any:
    """The state with every part replaced by what `edit` makes of it."""
    own, inside = split(link, state, params, place)
    new = {
        name: edited(inner, inner_state, group, edit, (*place, name))
        for name, (inner, inner_state, group) in inside.items()
    }
    return _joined(link, edit(own), new, params, own.is_scheduled)


def parameter_shapes(params: PyTree) -> Parameters:
    """Shapes of the parameters by their key paths as text."""
    leaves = jax.tree_util.tree_leaves_with_path(trees.unbox(params))
    return {keys(path): np.shape(leaf) for path, leaf in leaves}


def entries(part: Part, parameters: Parameters) -> list[Entry]:
    """The leaves of a part's own state, in order."""
    foreign = isinstance(part.link, Foreign)
    meanings = OPTAX if foreign else part.link.meanings()
    found = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(part.state):
        names = keys(path)
        start, stop = _parameter_in(names, np.shape(leaf), parameters, meanings)
        field = names[:start]
        if part.is_scheduled:  # so that it is called alike with and without a schedule
            field = field[1:] if field[0] == "inner" else ("schedule", *field)
        found.append(
            Entry(
                text="/".join((*part.place, *names)),
                owner="optax" if foreign else part.link.record_name,
                field="/".join(field),
                parameter=None if stop is None else names[start:stop],
                rest=() if stop is None else names[stop:],
                meaning="" if stop is None else meanings.get(field[-1] if field else "", ""),
                leaf=leaf,
            )
        )
    return found


def _parameter_in(
    names: tuple[str, ...], shape: tuple[int, ...], parameters: Parameters, meanings: dict[str, str]
) -> tuple[int, int | None]:
    """Where in a path that of a parameter starts and stops; (length, None) if it has none."""
    if () in parameters:  # one bare array, whose path is empty: told by its shape, a scalar by name
        is_like_it = bool(shape) and shape == parameters[()]
        gathered = [i + 1 for i, key in enumerate(names) if key in meanings]
        gathered = gathered or ([len(names)] if is_like_it else [])
        return (gathered[-1], gathered[-1]) if gathered else (len(names), None)
    spans = [
        (stop - start, start)
        for start in range(len(names))
        for stop in range(start + 1, len(names) + 1)
        if names[start:stop] in parameters
    ]
    if not spans:
        return len(names), None
    length, start = max(spans)
    return start, start + length


def keys(path: tuple[Any, ...]) -> tuple[str, ...]:
    """A key path of `jax.tree_util` as text."""
    return tuple(trees.path_text((key,)) for key in path)
