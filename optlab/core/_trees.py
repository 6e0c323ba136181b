"""Trees: paths as text, parameter nodes unwrapped, and mismatches named by path and shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

PyTree = Any


def path_text(path: tuple[Any, ...]) -> str:
    """`"encoder/layers_0/kernel"` for a key path of `jax.tree_util`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def is_boxed(node: Any) -> bool:
    """True for nodes such as `flax.nnx.Param` that carry an array and metadata about it."""
    return hasattr(node, "get_value") and hasattr(node, "get_metadata")


def unbox(tree: PyTree) -> PyTree:
    """Replaces parameter nodes by their arrays.

    `nnx.Optimizer` calls `init` with `Param` nodes and `update` with arrays; without this the two
    trees differ, and sharding metadata leaks into the state.
    """
    return jax.tree.map(lambda n: n.get_value() if is_boxed(n) else n, tree, is_leaf=is_boxed)


def rebox(given: PyTree, result: PyTree) -> PyTree:
    """Puts the arrays of `result` into the parameter nodes that `given` came with, if it did."""
    if not any(map(is_boxed, jax.tree.leaves(given, is_leaf=is_boxed))):
        return result
    return jax.tree.unflatten(jax.tree.structure(given), jax.tree.leaves(result))


def require_numbers(name: str, tree: PyTree) -> None:
    """Raises `TypeError` naming the path of a leaf that is no number: text, a key, float0."""
    if all(map(_is_number, jax.tree.leaves(tree))):
        return
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if not _is_number(leaf):
            dtype = getattr(leaf, "dtype", None)
            if dtype is None:
                kind = f"{leaf!r} of type {type(leaf).__name__}"
            elif dtype == jax.dtypes.float0:
                kind = "a float0 array, the gradient of integers"
            else:
                kind = f"an array of {dtype}"
            raise TypeError(
                f"{name} at {path_text(path)!r} is {kind}; an optimizer takes arrays of numbers. "
                "Put None in its place, or keep it from the optimizer with optax.masked."
            )


def _is_number(leaf: Any) -> bool:
    dtype = getattr(leaf, "dtype", None)
    if dtype is None:
        return isinstance(leaf, int | float | complex)
    return dtype != jax.dtypes.float0 and jnp.issubdtype(dtype, jnp.number)


def map_leaves(
    function: Callable[..., Any],
    updates: PyTree,
    *rest: PyTree,
    names: tuple[str, ...] = (),
    is_leaf: Callable[[Any], bool] | None = None,
) -> PyTree:
    """`jax.tree.map`, refusing trees of other structure or leaves of other shape, at trace time.

    Raises:
      ValueError: naming the tree, the first path that differs, and both shapes.
    """
    names = names or ("state",) * len(rest)
    for name, tree in zip(names, rest, strict=True):
        check_same("updates", updates, name, tree, is_leaf=is_leaf)
    return jax.tree.map(function, updates, *rest, is_leaf=is_leaf)


def check_same(
    left_name: str,
    left: PyTree,
    right_name: str,
    right: PyTree,
    is_leaf: Callable[[Any], bool] | None = None,
) -> None:
    """Raises `ValueError` with path and both shapes unless the trees match leaf for leaf."""
    lefts, left_structure = jax.tree.flatten(left, is_leaf=is_leaf)
    rights, right_structure = jax.tree.flatten(right, is_leaf=is_leaf)
    if left_structure == right_structure and all(
        _shape(a) == _shape(b) or None in (_shape(a), _shape(b))
        for a, b in zip(lefts, rights, strict=True)
    ):
        return
    remedy = (
        "Use the trees this optimizer was initialised with; "
        "if the model changed, make a new state with init, or migrate the old one."
    )
    left_shapes, right_shapes = _shapes_by_path(left, is_leaf), _shapes_by_path(right, is_leaf)
    for path in [*left_shapes, *right_shapes]:
        a, b = left_shapes.get(path, "missing"), right_shapes.get(path, "missing")
        if a != b:
            where = f"at {path!r}" if path else "at the root"
            raise ValueError(
                f"{left_name} and {right_name} differ {where}: "
                f"{left_name} has {a}, {right_name} has {b}. {remedy}"
            )
    raise ValueError(
        f"{left_name} and {right_name} have the same leaves in containers of other kinds: "
        f"{left_structure} against {right_structure}. {remedy}"
    )


def _shape(leaf: Any) -> tuple[int, ...] | None:
    return getattr(leaf, "shape", () if isinstance(leaf, int | float | complex) else None)


def _shapes_by_path(tree: PyTree, is_leaf: Callable[[Any], bool] | None) -> dict[str, str]:
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_leaf)
    return {path_text(path): f"shape {_shape(leaf)}" for path, leaf in leaves}
