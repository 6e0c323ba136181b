"""What a selector is shown of each parameter: its path, its shape, and its neighbours' names."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import jax
import optax

from optlab.core import is_moments, trees

PyTree = Any
Shape = tuple[int, ...]

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


@functools.cache
def words(part: str) -> tuple[str, ...]:
    """The words of a name, without case and numbers: `"LayerNorm_0"` gives `("layer", "norm")`."""
    return tuple(word.lower() for word in _WORD.findall(part))


def plain_name(part: str) -> str:
    """`"Kernel_0"` and `"kernel"` are both `"kernel"`."""
    return "_".join(words(part))


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One parameter.

    Attributes:
      parts: its path, `("encoder", "layers_0", "kernel")`.
      shape: its shape; `None` for a leaf masked away here (`optax.MaskedNode`), of which only the
        path is known.
      siblings: plain names and shapes of the leaves of the same module, itself included.
      cousins: plain names of the modules beside its module.
      depth: how many of its first parts lead to the top level, where the model's modules lie: those
        all parameters share.

    Example:
      >>> import jax, optlab as ol
      >>> class Wide(ol.selectors.Selector):
      ...     def matches(self, leaf: ol.selectors.Leaf) -> bool:
      ...         return leaf.shape is not None and leaf.shape[-1:] >= (4096,)
      >>> Wide().paths({"a": {"kernel": jax.ShapeDtypeStruct((8, 8192), "float32")}})
      ('a/kernel',)
    """

    parts: tuple[str, ...]
    shape: Shape | None
    siblings: Mapping[str, Shape | None]
    cousins: frozenset[str]
    depth: int

    @property
    def path(self) -> str:
        return "/".join(self.parts)

    @property
    def masked(self) -> bool:
        return self.shape is None

    @property
    def name(self) -> str:
        return plain_name(self.parts[-1]) if self.parts else ""

    @property
    def module(self) -> str:
        """The part that names the leaf's module: the last one with a letter, no list index."""
        return next((part for part in reversed(self.parts[:-1]) if words(part)), "")


def plain_tree(tree: PyTree) -> PyTree:
    """The tree with one array for each parameter: nodes unwrapped, `Moments` by their gradient."""
    return jax.tree.map(
        lambda node: node.gradient if is_moments(node) else node,
        trees.unbox(tree),
        is_leaf=is_moments,
    )


def leaves(tree: PyTree) -> list[Leaf]:
    """The leaves of a plain tree in its order, those that are masked away among them."""
    found = jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_masked)
    parts = [_parts(path) for path, _ in found]
    shapes = [None if is_masked(leaf) else tuple(getattr(leaf, "shape", ())) for _, leaf in found]
    siblings: dict[tuple, dict[str, Shape | None]] = defaultdict(dict)
    cousins: dict[tuple, set[str]] = defaultdict(set)
    for place, shape in zip(parts, shapes, strict=True):
        if place:
            siblings[place[:-1]][plain_name(place[-1])] = shape
        if len(place) > 1:
            cousins[place[:-2]].add(plain_name(place[-2]))
    depth = _depth([place[:-1] for place in parts])
    frozen = {place: frozenset(names) for place, names in cousins.items()}
    return [
        Leaf(place, shape, siblings[place[:-1]], frozen.get(place[:-2], frozenset()), depth)
        for place, shape in zip(parts, shapes, strict=True)
    ]


def is_masked(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)


def _parts(path: tuple[Any, ...]) -> tuple[str, ...]:
    # Flax's boxes of sharding metadata end a path in `.value`, which names nothing.
    boxed = len(path) > 1 and getattr(path[-1], "name", None) == "value"
    if boxed and plain_name(trees.path_text(path[-2:-1])) in (
        "kernel",
        "bias",
        "scale",
        "embedding",
    ):
        path = path[:-1]
    return tuple(trees.path_text(path).split("/")) if path else ()


def _depth(modules: list[tuple[str, ...]]) -> int:
    """The length of the path all modules share; one less if there is one module only."""
    if not modules:
        return 0
    first, last = min(modules), max(modules)  # all others lie between these two
    if first == last:
        return max(len(first) - 1, 0)
    same = (a == b for a, b in zip(first, last, strict=False))
    return next((i for i, equal in enumerate(same) if not equal), min(len(first), len(last)))
