"""Masks written out by users, as selectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from optlab.core import static
from optlab.selectors import _leaves
from optlab.selectors._leaves import Leaf
from optlab.selectors._selector import Selector, listing

PyTree = Any
Parts = tuple[str, ...]


class MaskTree(Selector):
    """A tree of bools, which may be a prefix of the parameters' tree.

    Attributes:
      selected, others: paths of leaves, or of branches taken whole (`""`: everything).
    """

    selected: tuple[str, ...] = static()
    others: tuple[str, ...] = static()

    def choose(self, tree: PyTree, leaves: Sequence[Leaf]) -> list[bool]:
        entries = [(_split(p), True) for p in self.selected]
        entries += [(_split(p), False) for p in self.others]
        return _look_up(repr(self), dict(entries), leaves)

    def __repr__(self) -> str:
        return f"mask({len(self.selected)} of {len(self.selected) + len(self.others)})"


class MaskFunction(Selector):
    """Attributes: function: `params -> mask`, the mask as Optax takes it."""

    function: Any = static()

    def choose(self, tree: PyTree, leaves: Sequence[Leaf]) -> list[bool]:
        return _look_up(repr(self), dict(mask_entries(repr(self), self.function(tree))), leaves)

    def __repr__(self) -> str:
        return getattr(self.function, "__name__", None) or repr(self.function)


def mask_entries(owner: str, mask: PyTree) -> list[tuple[Parts, bool]]:
    """Path and bool of each leaf of a mask tree.

    Raises:
      TypeError: if a leaf is not a bool.
    """
    entries = []
    shown = [leaf for leaf in _leaves.leaves(mask) if not leaf.masked]
    for leaf, value in zip(shown, jax.tree.leaves(mask), strict=True):
        if not isinstance(value, bool | np.bool_):
            raise TypeError(
                f"{owner}: a mask is a tree of Python bools, got {value!r} of type "
                f"{type(value).__name__} at {leaf.path!r}."
            )
        entries.append((leaf.parts, bool(value)))
    return entries


def _look_up(owner: str, answers: dict[Parts, bool], leaves: Sequence[Leaf]) -> list[bool]:
    """Each leaf's answer: that of the path in `answers` which leads to it."""
    chosen, used, missing = [], set(), []
    for leaf in leaves:
        prefixes = (leaf.parts[:n] for n in range(len(leaf.parts), -1, -1))
        entry = next((prefix for prefix in prefixes if prefix in answers), None)
        if entry is None and not leaf.masked:
            missing.append(leaf.path)
        used.add(entry)
        chosen.append(entry is not None and answers[entry])
    unknown = ["/".join(entry) for entry in answers if entry not in used]
    if leaves and (missing or unknown):
        wrong = f"has no entry for {listing(missing)}"
        if not missing:
            wrong = f"has entries for {listing(unknown)}, which are no parameters"
        raise ValueError(f"{owner} {wrong}. Build the mask from the same tree, or use a selector.")
    return chosen


def _split(path: str) -> Parts:
    return tuple(path.split("/")) if path else ()
