"""The selectors users name: by kind, by role, by path."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from optlab.core import static
from optlab.selectors import _kinds
from optlab.selectors._leaves import Leaf
from optlab.selectors._selector import Selector


class _OfKind(Selector):
    kind: ClassVar[str]

    def matches(self, leaf: Leaf) -> bool:
        return _kinds.kind(leaf) == self.kind


class Kernels(_OfKind):
    """The weights that multiply inputs: Dense, Conv, attention's query/key/value/out, LoRA."""

    kind = _kinds.KERNEL


class Biases(_OfKind):
    """The biases that are added, of any rank, except those of norms."""

    kind = _kinds.BIAS


class Norms(_OfKind):
    """Scales and biases of normalisation layers, and other elementwise gains."""

    kind = _kinds.NORM


class Embeddings(_OfKind):
    """Token and position tables, class and mask tokens."""

    kind = _kinds.EMBEDDING


class Heads(Selector):
    """Every parameter of the output layer, its bias included, where it bears an output's name."""

    def matches(self, leaf: Leaf) -> bool:
        return _kinds.is_head(leaf)


class Matrices(Selector):
    """Hidden kernels that are matrices: no heads, embeddings or convolutions."""

    def matches(self, leaf: Leaf) -> bool:
        return _kinds.is_matrix(leaf)


class Everything(Selector):
    """Every parameter."""

    def matches(self, leaf: Leaf) -> bool:
        return True


def _check_glob(owner: str, name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(
            f"{owner}: the {name} must be a string such as 'encoder/**', got {value!r} of type "
            f"{type(value).__name__}."
        )
    if not all(value.split("/")):
        raise ValueError(
            f"{owner}: the {name} must be parts joined by single slashes, such as 'encoder/**'; "
            f"{value!r} has an empty part."
        )
    try:
        re.compile(_expression(value))
    except re.error as error:
        raise ValueError(f"{owner}: cannot read the {name} {value!r}: {error}.") from error
    return value


class Path(Selector):
    """Attributes: glob: see `path`."""

    glob: str = static(_check_glob)

    def matches(self, leaf: Leaf) -> bool:
        return re.fullmatch(_expression(self.glob), leaf.path) is not None

    def globs(self) -> tuple[str, ...]:
        return (self.glob,)

    def __repr__(self) -> str:
        return f'path("{self.glob}")' if '"' not in self.glob else f"path({self.glob!r})"


def path(glob: Any) -> Path:
    """Selects parameters by where they are in the tree.

    Args:
      glob: the whole path, parts joined by `/` (dict keys, attribute names, list indices), upper
        and lower case told apart. `*` and `?` stand for any characters and one character within a
        part, `[ab]` and `[!ab]` for one of (none of) some, `**` for any number of parts.

    Returns:
      A selector.

    Raises:
      TypeError: if it is no string. ValueError: if it or one of its parts is empty.

    Special cases:
      `"encoder/*"` is what lies directly in `encoder`, `"encoder/**"` all of it, `"**/bias"` every
      leaf called `bias`, one at the top level included. A tree that is one bare array has an empty
      path, which only `"**"` matches.

    Differs from:
      `fnmatch`, whose `*` crosses slashes.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tree = {"encoder": {"Dense_0": {"kernel": jnp.ones((2, 2))}}, "kernel": jnp.ones((2, 2))}
      >>> ol.path("encoder/**").paths(tree)
      ('encoder/Dense_0/kernel',)
      >>> ol.kernels & ~ol.path("encoder/**")
      kernels & ~path("encoder/**")
    """
    return Path(glob=glob)


def _expression(glob: str) -> str:
    parts = glob.split("/")
    pattern = ""
    for i, part in enumerate(parts):
        last = i == len(parts) - 1
        if part == "**":
            pattern += ".*" if last else "(?:.*/)?"
        else:
            pattern += _part_expression(part) + ("" if last else "/")
    return f"(?s:{pattern})"


def _part_expression(part: str) -> str:
    tokens = re.findall(r"\*\*|\*|\?|\[[!]?[^\]]+\]|.", part, re.DOTALL)
    return "".join(_TOKENS.get(t) or _class_or_literal(t) for t in tokens)


_TOKENS = {"**": ".*", "*": "[^/]*", "?": "[^/]"}


def _class_or_literal(token: str) -> str:
    if len(token) == 1:
        return re.escape(token)
    negate, body = token[1] == "!", token[1:-1].removeprefix("!")
    body = re.sub(r"([\\\[\]^&~|])", r"\\\1", body)
    return f"[^/{body}]" if negate else f"(?!/)[{body}]"


kernels = Kernels()
biases = Biases()
norms = Norms()
embeddings = Embeddings()
heads = Heads()
matrices = Matrices()
everything = Everything()
