"""Which parameters a probe measures together: by selectors, or one group a layer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from optlab.selectors import as_selector, everything

PyTree = Any


class Group(NamedTuple):
    """name: what tables call it. leaves: the numbers of its parameters among all of them."""

    name: str
    leaves: tuple[int, ...]


def checked(owner: str, groups: Any) -> tuple[tuple[str, Any], ...] | None:
    """Pairs of name and selector, as a static field keeps them."""
    if groups is None:
        return None
    if not isinstance(groups, Mapping):
        raise TypeError(
            f"{owner}: groups must be a dict of selectors by name, such as {{'kernels': kernels}}, "
            f"got {groups!r} of type {type(groups).__name__}."
        )
    if not groups:
        raise ValueError(f"{owner}: groups is empty. Name one, or drop it for one group a layer.")
    for name in groups:
        if not isinstance(name, str) or not name:
            raise TypeError(f"{owner}: a group's name must be a text that is not empty: {name!r}.")
    return tuple(
        (name, as_selector(owner, f"groups[{name!r}]", selector))
        for name, selector in groups.items()
    )


def groups_of(chosen: tuple[tuple[str, Any], ...] | None, params: PyTree) -> list[Group]:
    """The groups of a tree of parameters; without selectors by layer, in natural order.

    Raises:
      ValueError: for a selector that selects nothing.
    """
    if chosen is not None:
        return [
            Group(name, tuple(i for i, yes in enumerate(jax.tree.leaves(mask)) if yes))
            for name, mask in ((name, selector.mask(params)) for name, selector in chosen)
        ]
    found: dict[str, list[int]] = {}
    paths = [path.split("/") for path in everything.paths(params, allow_empty=True)]
    modules = [path[:-1] or path for path in paths]
    depth = _shared(modules)
    for i, module in enumerate(modules):
        found.setdefault(_layer(module, depth), []).append(i)
    return [Group(name, tuple(found[name])) for name in sorted(found, key=_natural)]


def _layer(module: list[str], depth: int) -> str:
    """`encoder/layers_0` for whatever lies in it: down to the first part that is numbered."""
    numbered = next((i for i, part in enumerate(module) if re.search(r"\d", part)), len(module))
    first = numbered if numbered < len(module) else depth
    return "/".join(module[: first + 1]) or "params"


def _shared(modules: list[list[str]]) -> int:
    """How many first parts all paths share, leaving the last of each."""
    if not modules:
        return 0
    shortest = min(map(len, modules)) - 1
    same = (len({module[i] for module in modules}) == 1 for i in range(shortest))
    return next((i for i, equal in enumerate(same) if not equal), max(shortest, 0))


def _natural(name: str) -> list[Any]:
    """So that `layer_10` comes behind `layer_9`."""
    return [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", name) if p]
