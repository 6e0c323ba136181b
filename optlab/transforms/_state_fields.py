"""Which arrays of a state belong to which parameter, whatever transformation made it.

A field is a part of the state built like the parameters, with an array of the parameter's shape in
the place of at least one of them; the others may be anything (row and column means), or masked
away. Fields are called by the last name on their path.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from optlab.core import trees

PyTree = Any
Path = tuple[Any, ...]


class Place(NamedTuple):
    """An array of a state that is shaped like a parameter.

    Attributes:
      index: its number among the leaves of the state.
      parameter: the number of its parameter.
      field: the name of its field; empty where no name leads to it.
      path: the path of its field, "0/first".
      leaf_path: its own path, "0/first/encoder/kernel".
    """

    index: int
    parameter: int
    field: str
    path: str
    leaf_path: str


class Fields(NamedTuple):
    """A state, taken apart.

    Attributes:
      leaves: its arrays and stored arrays.
      places: those that are shaped like a parameter, in order.
      paths: of all leaves, as text.
      structure: what the leaves are put together by.
    """

    leaves: list[Any]
    places: list[Place]
    paths: list[str]
    structure: Any

    def rebuilt(self, leaves: list[Any]) -> PyTree:
        return jax.tree.unflatten(self.structure, leaves)


def is_stored(node: Any) -> bool:
    """Whether a node is what a storage keeps of one array."""
    return isinstance(node, tuple) and getattr(node, "kept_shape", None) is not None


def shape_of(leaf: Any) -> tuple[int, ...]:
    return leaf.kept_shape if is_stored(leaf) else tuple(leaf.shape)


def find(params: PyTree, state: PyTree) -> Fields:
    """Takes a state apart into arrays shaped like parameters and the rest."""
    numbers = {
        path: (i, tuple(leaf.shape))
        for i, (path, leaf) in enumerate(jax.tree_util.tree_leaves_with_path(params))
    }
    found, structure = jax.tree_util.tree_flatten_with_path(state, is_leaf=is_stored)
    paths, leaves = [path for path, _ in found], [leaf for _, leaf in found]
    places: list[Place] = []

    def visit(indices: list[int], depth: int) -> None:
        rests = {i: paths[i][depth:] for i in indices}
        here = [i for i in indices if numbers.get(rests[i], (0, None))[1] == shape_of(leaves[i])]
        if here and all(_leads_past(numbers, rest) for rest in rests.values()):
            start = paths[here[0]][:depth]
            for i in here:
                number = numbers[rests[i]][0]
                name = trees.path_text
                places.append(Place(i, number, _name(start), name(start), name(paths[i])))
            return
        children: dict[Any, list[int]] = {}
        for i in indices:
            if rests[i]:
                children.setdefault(rests[i][0], []).append(i)
        for child in children.values():
            visit(child, depth + 1)

    visit(list(range(len(leaves))), 0)
    return Fields(leaves, places, [trees.path_text(path) for path in paths], structure)


def _leads_past(numbers: dict[Path, Any], path: Path) -> bool:
    """Whether a path goes to, or on from, the place of a parameter."""
    return any(path[:i] in numbers for i in range(len(path) + 1))


def _name(path: Path) -> str:
    """The last part of a path that is no list index."""
    parts = [trees.path_text((key,)) for key in path]
    return next((part for part in reversed(parts) if not part.isdigit()), "")
