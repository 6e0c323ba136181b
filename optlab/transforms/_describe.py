"""The table of what a transformation does to which parameter, and what its state weighs."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import optax

from optlab.core import Chain, Link, as_link, link_name, trees
from optlab.selectors import Selector, everything
from optlab.transforms._route import Route

PyTree = Any
_WIDTH = 100


@dataclasses.dataclass
class _Row:
    """One parameter."""

    path: str
    array: Any
    groups: list[str] = dataclasses.field(default_factory=list)
    links: list[int] = dataclasses.field(default_factory=list)
    state: int = 0


def describe(tx: optax.GradientTransformation, params: PyTree) -> str:
    """A table with a line for each parameter: who updates it, and how much state that takes.

    Args:
      tx: a transformation of optlab or Optax.
      params: the parameters, or `jax.ShapeDtypeStruct`s of them; nothing is computed or allocated.

    Returns:
      Text of about 100 columns (long names are cut in the middle): path, shape, dtype, group (of
      `route`), numbers of the links that touch the parameter, bytes of state. Below it the bytes
      that belong to no single parameter, the links by number, and totals.

    Raises:
      ValueError: for parameters in no group or two groups of a `route`, and for a `where` that
        selects nothing. TypeError: if `tx` is no transformation.

    Special cases:
      A link with a `where` touches what that selects; the masks of Optax's transformations cannot
      be seen. State is found by the parameter's path, so statistics kept for several parameters
      together count as shared.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> params = {"Dense_0": {"bias": jnp.zeros(3), "kernel": jnp.ones((2, 3))}}
      >>> tx = ol.route({ol.kernels: ol.accumulate_momentum(0.9)}, default=ol.freeze())
      >>> print(ol.describe(tx, params))
      path            shape  dtype    group    links  state bytes
      -----------------------------------------------------------
      Dense_0/bias    3      float32  default  2                0
      Dense_0/kernel  2x3    float32  kernels  1               24
      (shared)                                                  1
      links: 1 kernels/accumulate_momentum, 2 default/freeze
      9 parameters in 2 arrays, 36 bytes; state 25 bytes, 2.78 a parameter
    """
    link = as_link(tx)
    tree = jax.eval_shape(lambda t: t, trees.unbox(params))
    rows, places = _rows(tree)
    shared = _count_state(tx, tree, places)
    legend = []
    for name, touched, groups in _walk(link, tree, "", ()):
        legend.append(f"{len(legend) + 1} {name}")
        for path in touched:
            rows[path].links.append(len(legend))
            if groups and "/".join(groups) not in rows[path].groups:
                rows[path].groups.append("/".join(groups))
    lines = _table([*rows.values()], shared)
    return "\n".join([*lines, *_wrap("links: ", legend), *_totals([*rows.values()], shared)])


def _rows(tree: PyTree) -> tuple[dict[str, _Row], dict[tuple[str, ...], _Row]]:
    """The rows by the path selectors use, and by the parts of the path in the tree."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    rows = {}
    places = {}
    for path, (keys, array) in zip(everything.paths(tree), leaves, strict=True):
        rows[path] = places[_parts(keys)] = _Row(path, array)
    return rows, places


def _parts(keys: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(trees.path_text(keys).split("/")) if keys else ()


def _count_state(tx: Any, tree: PyTree, places: dict[tuple[str, ...], _Row]) -> int:
    """Adds each array of the state to the parameter in whose name it is kept; returns the rest."""
    longest = max(map(len, places), default=0)
    shared = 0
    with jax.numpy_dtype_promotion("standard"):  # which Optax's own transformations need
        state = jax.eval_shape(tx.init, tree)
    for keys, array in jax.tree_util.tree_leaves_with_path(state):
        row = _owner(_parts(keys), places, longest)
        if row is None:
            shared += _size(array)
        else:
            row.state += _size(array)
    return shared


def _owner(parts: tuple[str, ...], places: dict[tuple[str, ...], _Row], longest: int) -> Any:
    """The parameter whose path lies within `parts`: the longest, then the rightmost one."""
    for length in range(min(longest, len(parts)), -1, -1):
        for start in range(len(parts) - length, -1, -1):
            if parts[start : start + length] in places:
                return places[parts[start : start + length]]
    return None


def _walk(
    link: Link, tree: PyTree, name: str, groups: tuple[str, ...]
) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Each link by its name: the parameters it touches, and the groups it stands in."""
    prefix = f"{name}/" if name else ""
    if isinstance(link, Chain):
        for child_name, child in link.children().items():
            yield from _walk(child, tree, f"{prefix}{child_name}", groups)
        return
    if isinstance(link, Route):
        for child_name, child, part in link.parts(tree):
            name = prefix + child_name
            name += "" if isinstance(child, Chain | Route) else f"/{link_name(child)}"
            yield from _walk(child, part, name, (*groups, child_name))
        return
    where = getattr(link, "where", everything)
    where = where if isinstance(where, Selector) else everything
    yield name or link_name(link), where.paths(tree), groups
    for child_name, child in link.children().items():
        if isinstance(child, Link):
            yield from _walk(child, tree, f"{prefix}{child_name}", groups)


def _table(rows: Sequence[_Row], shared: int) -> list[str]:
    head = ("path", "shape", "dtype", "group", "links", "state bytes")
    cells = [
        (
            row.path or "(bare array)",
            "x".join(map(str, row.array.shape)) or "scalar",
            str(row.array.dtype),
            _cut(", ".join(row.groups) or "-", 24),
            _ranges(row.links),
            f"{row.state:,}",
        )
        for row in rows
    ]
    if shared:
        cells.append(("(shared)", "", "", "", "", f"{shared:,}"))
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    widths[0] = min(widths[0], max(_WIDTH - sum(widths[1:]) - 2 * (len(head) - 1), 24))
    lines = []
    for line in (head, *cells):
        padded = [_cut(line[0], widths[0]).ljust(widths[0])]
        padded += [text.ljust(w) for text, w in zip(line[1:-1], widths[1:-1], strict=True)]
        lines.append("  ".join([*padded, line[-1].rjust(widths[-1])]))
    return [lines[0], "-" * len(lines[0]), *lines[1:]]


def _cut(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    tail = (2 * (width - 1)) // 3
    return f"{text[: width - 1 - tail]}…{text[len(text) - tail :]}"


def _ranges(numbers: Sequence[int]) -> str:
    """`[1, 2, 3, 5]` as `"1-3,5"`."""
    runs = itertools.groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    ends = [[number for _, number in run] for _, run in runs]
    shown = [f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in ends]
    return ",".join(shown) or "-"


def _wrap(title: str, entries: Sequence[str]) -> list[str]:
    lines = [title]
    for i, entry in enumerate(entries):
        text = entry + (", " if i < len(entries) - 1 else "")
        if len(lines[-1]) + len(text.rstrip()) > _WIDTH:
            lines.append(" " * len(title))
        lines[-1] += text
    return [line.rstrip() for line in lines] if entries else [f"{title}none"]


def _totals(rows: Sequence[_Row], shared: int) -> list[str]:
    count = sum(math.prod(row.array.shape) for row in rows)
    state = shared + sum(row.state for row in rows)
    weight = sum(_size(row.array) for row in rows)
    each = f", {state / count:.2f} a parameter" if count else ""
    return [
        f"{_count(count, 'parameter')} in {_count(len(rows), 'array')}, {_count(weight, 'byte')}; "
        f"state {_count(state, 'byte')}{each}"
    ]


def _size(array: Any) -> int:
    return math.prod(array.shape) * array.dtype.itemsize


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
