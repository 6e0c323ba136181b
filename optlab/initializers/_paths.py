"""Leaves of a built model by path, and the rules that address them."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from optlab.core import trees

PyTree = Any


class Leaf(NamedTuple):
    """Attributes: path: names joined by "/", without those of parameter nodes; value: the leaf."""

    path: str
    value: Any


def named_leaves(params: PyTree) -> list[Leaf]:
    """The leaves in the order of `jax.tree.leaves`.

    Nodes that only wrap a parameter (`nnx.Param`, Linen's `Partitioned`) add nothing to the path,
    so the same model has the same paths in Linen and in NNX.
    """
    leaves = []
    for path, node in jax.tree_util.tree_leaves_with_path(params, is_leaf=_is_node):
        inner = jax.tree_util.tree_leaves_with_path(node)
        for inner_path, value in inner:
            full = path if len(inner) == 1 else (*path, *inner_path)
            leaves.append(Leaf(trees.path_text(full), value))
    return leaves


def _is_node(node: Any) -> bool:
    return trees.is_boxed(node) or (hasattr(node, "unbox") and hasattr(node, "replace_boxed"))


def assign(
    what: str, table: Mapping[Any, Any], params: PyTree, leaves: list[Leaf]
) -> dict[int, Any]:
    """`{index of a leaf: the table's value for it}`.

    Args:
      what: how messages call an entry.
      table: values by glob over paths, or by selector (which has `mask(params)`).

    Raises:
      ValueError: if a key matches no leaf, or two keys match one. TypeError: for other keys.
    """
    if not isinstance(table, Mapping):
        raise TypeError(
            f"{what}s must be a dict of globs or selectors, got {table!r} of type "
            f"{type(table).__name__}."
        )
    chosen: dict[int, Any] = {}
    owner: dict[int, Any] = {}
    for pattern, value in table.items():
        matches = _matches(what, pattern, params, leaves)
        if not matches:
            near = difflib.get_close_matches(
                str(pattern), [x.path for x in leaves], n=3, cutoff=0.0
            )
            raise ValueError(
                f"{what} {pattern!r} matches no parameter; the nearest paths are "
                f"{', '.join(near) or 'none: the tree is empty'}."
            )
        for i in matches:
            if i in chosen:
                raise ValueError(
                    f"{what}s {owner[i]!r} and {pattern!r} both match {leaves[i].path!r}; "
                    "narrow one, so that each parameter has one."
                )
            chosen[i], owner[i] = value, pattern
    return chosen


def _matches(what: str, pattern: Any, params: PyTree, leaves: list[Leaf]) -> list[int]:
    if isinstance(pattern, str):
        parts = pattern.split("/")
        return [i for i, leaf in enumerate(leaves) if _fits(parts, leaf.path.split("/"))]
    if not hasattr(pattern, "mask"):
        raise TypeError(
            f"{what} {pattern!r} of type {type(pattern).__name__} is neither a glob over paths, "
            'such as "**/kernel", nor a selector.'
        )
    mask = jax.tree.leaves(pattern.mask(params))
    if len(mask) != len(leaves):
        raise ValueError(
            f"{what} {pattern!r} gave a mask of {len(mask)} leaves for parameters of {len(leaves)}."
        )
    return [i for i, chosen in enumerate(mask) if chosen]


def _fits(glob: list[str], path: list[str]) -> bool:
    """Whether a glob fits a path, part by part; `**` stands for any number of parts."""
    if not glob:
        return not path
    if glob[0] == "**":
        return any(_fits(glob[1:], path[i:]) for i in range(len(path) + 1))
    return bool(path) and fnmatch.fnmatchcase(path[0], glob[0]) and _fits(glob[1:], path[1:])
