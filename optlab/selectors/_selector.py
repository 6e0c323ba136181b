"""Selectors: what they share, and how they combine."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, ClassVar

import jax

from optlab.core import Record, static
from optlab.selectors import _kinds, _leaves
from optlab.selectors._leaves import Leaf

PyTree = Any


class Selector(Record):
    """A question asked of every parameter of a tree; combines with `&`, `|` and `~`.

    A record without numbers: it hashes, compares, pickles, stores as JSON and prints as the
    expression that made it. A selector of your own is a subclass with `matches` (see `Leaf`).

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> body = ol.kernels & ~(ol.heads | ol.path("frozen/**"))
      >>> body
      kernels & ~(heads | path("frozen/**"))
      >>> body.mask({"Dense_0": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}})
      {'Dense_0': {'bias': False, 'kernel': True}}
    """

    binding: ClassVar[int] = 3
    """How strongly the expression holds together when printed: `|` 0, `&` 1, `~` 2, a name 3."""

    def choose(self, tree: PyTree, leaves: Sequence[Leaf]) -> list[bool]:
        """The answer for each leaf of a plain tree. Override this, or `matches`."""
        del tree
        return [self.matches(leaf) for leaf in leaves]

    def matches(self, leaf: Leaf) -> bool:
        raise NotImplementedError(f"{type(self).__name__} must define matches or choose")

    def mask(self, params: PyTree, *, allow_empty: bool = False) -> PyTree:
        """`True` for the parameters this selector means, `False` for the others.

        Args:
          params: any pytree of arrays, `jax.ShapeDtypeStruct`s, parameter nodes (`nnx.Param`) or
            `Moments`. Leaves masked away (`optax.MaskedNode`) stay what they are, and still count
            as neighbours: within a group a selector means what it means for the whole model.
          allow_empty: whether to accept that nothing is selected.

        Returns:
          The tree with a Python bool for each leaf; nodes that wrap one array become that bool.

        Raises:
          ValueError: if nothing is selected though there are parameters, with the nearest paths.
        """
        tree = _leaves.plain_tree(params)
        chosen = self._chosen(tree, allow_empty)
        kept = [answer for leaf, answer in chosen if not leaf.masked]
        return jax.tree.unflatten(jax.tree.structure(tree), kept)

    def paths(self, params: PyTree, *, allow_empty: bool = False) -> tuple[str, ...]:
        """The paths of the selected parameters, in the tree's order.

        Raises:
          ValueError: as `mask` does.

        Example:
          >>> import jax.numpy as jnp, optlab as ol
          >>> params = {"Dense_0": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}}
          >>> ol.kernels.paths(params)
          ('Dense_0/kernel',)
        """
        chosen = self._chosen(_leaves.plain_tree(params), allow_empty)
        return tuple(leaf.path for leaf, answer in chosen if answer and not leaf.masked)

    def _chosen(self, tree: PyTree, allow_empty: bool) -> list[tuple[Leaf, bool]]:
        leaves = _leaves.leaves(tree)
        answers = self.choose(tree, leaves)
        if leaves and not any(answers) and not allow_empty and not any(map(_opaque, leaves)):
            raise ValueError(_explain_empty(self, [leaf.path for leaf in leaves]))
        return list(zip(leaves, answers, strict=True))

    def globs(self) -> tuple[str, ...]:
        """The globs the expression names, for error messages."""
        return ()

    def __and__(self, other: Selector) -> Selector:
        return And(left=self, right=other) if isinstance(other, Selector) else NotImplemented

    def __or__(self, other: Selector) -> Selector:
        return Or(left=self, right=other) if isinstance(other, Selector) else NotImplemented

    def __invert__(self) -> Selector:
        return Not(inner=self)

    def __bool__(self) -> bool:
        raise TypeError(
            f"the selector {self!r} is neither true nor false; combine selectors with &, | and ~ "
            "instead of and, or and not."
        )

    def __repr__(self) -> str:
        return self.record_name


def is_selector(owner: str, name: str, value: Any) -> Selector:
    """The check of fields that hold selectors; `as_selector` takes masks as well.

    Raises:
      TypeError: if it is none.

    Example:
      >>> import optlab as ol
      >>> ol.selectors.is_selector("decay", "where", ol.kernels)
      kernels
    """
    if not isinstance(value, Selector):
        raise TypeError(
            f"{owner}: {name} must be a selector such as kernels or path('head/**'), got {value!r} "
            f"of type {type(value).__name__}."
        )
    return value


class And(Selector):
    """Attributes: left, right: what both select is selected."""

    left: Selector = static(is_selector)
    right: Selector = static(is_selector)
    binding: ClassVar[int] = 1

    def choose(self, tree: PyTree, leaves: Sequence[Leaf]) -> list[bool]:
        pairs = zip(self.left.choose(tree, leaves), self.right.choose(tree, leaves), strict=True)
        return [a and b for a, b in pairs]

    def globs(self) -> tuple[str, ...]:
        return self.left.globs() + self.right.globs()

    def __repr__(self) -> str:
        return f"{_inside(self.left, 1)} & {_inside(self.right, 2)}"


class Or(Selector):
    """Attributes: left, right: what either selects is selected."""

    left: Selector = static(is_selector)
    right: Selector = static(is_selector)
    binding: ClassVar[int] = 0

    def choose(self, tree: PyTree, leaves: Sequence[Leaf]) -> list[bool]:
        pairs = zip(self.left.choose(tree, leaves), self.right.choose(tree, leaves), strict=True)
        return [a or b for a, b in pairs]

    def globs(self) -> tuple[str, ...]:
        return self.left.globs() + self.right.globs()

    def __repr__(self) -> str:
        return f"{_inside(self.left, 0)} | {_inside(self.right, 1)}"


class Not(Selector):
    """Attributes: inner: what it does not select is selected."""

    inner: Selector = static(is_selector)
    binding: ClassVar[int] = 2

    def choose(self, tree: PyTree, leaves: Sequence[Leaf]) -> list[bool]:
        return [not answer for answer in self.inner.choose(tree, leaves)]

    def globs(self) -> tuple[str, ...]:
        return self.inner.globs()

    def __repr__(self) -> str:
        return f"~{_inside(self.inner, 2)}"


def _inside(part: Selector, least: int) -> str:
    return repr(part) if part.binding >= least else f"({part!r})"


def _opaque(leaf: Leaf) -> bool:
    """Whether anything may lie behind a leaf: `optax.masked` masks whole branches as one node."""
    return leaf.masked and _kinds.kind(leaf) is None


def _explain_empty(selector: Selector, paths: list[str]) -> str:
    globs = selector.globs()
    if globs:
        found = f"the nearest paths are {listing(_nearest(globs, paths))}"
        whole = [g for g in globs if any(p.startswith(f"{g}/") for p in paths)]
        hint = f"Did you mean path({whole[0] + '/**'!r})? " if whole else ""
        hint += "`*` stays within one part of a path, `**` crosses parts"
    else:
        found = f"the paths are {listing(paths)}"
        hint = "What bears an unusual name is selected by path(...)"
    return (
        f"{selector!r} selects none of the {len(paths)} parameters; {found}. {hint}; "
        "mask(params, allow_empty=True) accepts an empty selection."
    )


def _nearest(globs: Sequence[str], paths: Sequence[str]) -> list[str]:
    """The paths most like a glob, as wholes, by their beginnings or by their ends."""

    def likeness(path: str) -> float:
        plain = [glob.replace("*", "").strip("/") for glob in globs]
        pairs = [(g, part) for g in plain for part in (path, path[: len(g)], path[-len(g) :])]
        return max(difflib.SequenceMatcher(None, g, part).ratio() for g, part in pairs)

    return sorted(paths, key=likeness, reverse=True)[:3]


def listing(paths: Sequence[str], limit: int = 6) -> str:
    shown = ", ".join(map(repr, paths[:limit]))
    return shown if len(paths) <= limit else f"{shown} and {len(paths) - limit} more"
