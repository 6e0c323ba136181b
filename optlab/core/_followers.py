"""Which parameter, and which of its axes, each leaf of a state follows.

A state is searched for sub-trees built like the parameters: the same containers with, in each
parameter's place, an array, a few arrays (codes and scales, rows and columns), or nothing (masked,
frozen). Where sub-trees of both kinds nest, the innermost counts.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType

PyTree = Any


class Follower(NamedTuple):
    """What one leaf of a tree follows.

    Attributes:
      param: the number of its parameter among the parameters' leaves; None for a counter and
        whatever else belongs to no parameter.
      axes: for each dimension the axis of the parameter that it runs along; None for one of its
        own.

    Example:
      >>> import jax.numpy as jnp
      >>> from optlab import core
      >>> core.followers({"count": jnp.zeros(()), "mean": [jnp.ones((3, 2))]}, [jnp.ones((3, 2))])
      [Follower(param=None, axes=()), Follower(param=0, axes=(0, 1))]
    """

    param: int | None
    axes: tuple[int | None, ...]


def followers(tree: PyTree, params: PyTree) -> list[Follower]:
    """A `Follower` for each leaf of a tree (a state, updates), in order.

    A node that keeps less than its parameter may say what remains by a method
    `parameter_axes(ndim)`, which gives the same node with a tuple of axes in each leaf's place.
    Otherwise shapes tell:

    - as many dimensions as the parameter: each runs along the axis in its place if it is as long,
      or shorter by a whole factor (scales of blocks);
    - fewer: those of the parameter with some left out, the first that fit;
    - more: a history's in front of the parameter's, or the last axis cut into blocks.

    Args:
      tree: arrays or `jax.ShapeDtypeStruct`s in any containers.
      params: the parameters they were made for, or their shapes.

    Example:
      >>> import jax.numpy as jnp
      >>> from optlab import core
      >>> core.followers({"w": (jnp.ones(3), jnp.ones(2))}, {"w": jnp.ones((3, 2))})
      [Follower(param=0, axes=(0,)), Follower(param=0, axes=(1,))]
    """
    count = len(jax.tree.leaves(params))
    numbered = jax.tree.unflatten(jax.tree.structure(params), range(count))
    shapes = [np.shape(p) for p in jax.tree.leaves(params)]
    return _search(tree, numbered, shapes)[0]


def _search(node: Any, params: Any, shapes: list[tuple[int, ...]]) -> tuple[list[Follower], bool]:
    """The followers of a node's leaves, and whether any follows a parameter."""
    children, structure = _one_level(node)
    if not jax.tree_util.treedef_is_leaf(structure) and not _tells_axes(node):
        found = [_search(child, params, shapes) for child in children]
        if any(follows for _, follows in found):
            return [f for followers, _ in found for f in followers], True
    places = _match(params, node)
    if not places:
        return [Follower(None, (None,) * np.ndim(x)) for x in jax.tree.leaves(node)], False
    return [f for i, part in places for f in _follow(part, i, shapes[i])], True


def _match(params: Any, node: Any) -> list[tuple[int, Any]] | None:
    """Each parameter's number and what the node has in its place; None if it is built otherwise."""
    if isinstance(params, int):
        return [(params, node)] if jax.tree.leaves(node) else []
    if not jax.tree.leaves(node):
        return []
    param_children, expected = _one_level(params)
    children, structure = _one_level(node)
    if structure != expected:
        return None
    places = []
    for param, child in zip(param_children, children, strict=True):
        inside = _match(param, child)
        if inside is None:
            return None
        places += inside
    return places


def _one_level(node: Any) -> tuple[list[Any], Any]:
    return jax.tree.flatten(node, is_leaf=lambda n: n is not node)


def _tells_axes(node: Any) -> bool:
    return callable(getattr(node, "parameter_axes", None))


def _follow(part: Any, param: int, shape: tuple[int, ...]) -> list[Follower]:
    found = []
    for node in jax.tree.leaves(part, is_leaf=_tells_axes):
        if _tells_axes(node):
            axes = jax.tree.leaves(
                node.parameter_axes(len(shape)), is_leaf=lambda x: type(x) is tuple
            )
        else:
            axes = [_axes(np.shape(node), shape)]
        found += [Follower(param, a) for a in axes]
    return found


def _axes(shape: tuple[int, ...], param: tuple[int, ...]) -> tuple[int | None, ...]:
    missing = len(param) - len(shape)
    if missing > 0:
        kept, start = [], 0
        for size in shape:
            fits = [i for i in range(start, len(param)) if param[i] == size]
            if not fits:
                return (None,) * len(shape)
            kept.append(fits[0])
            start = fits[0] + 1
        return tuple(kept)
    if missing < 0 and shape[-missing:] == param:
        return (None,) * -missing + tuple(range(len(param)))
    if missing < 0 and shape[: len(param) - 1] != param[:-1]:
        return (None,) * len(shape)
    along = [
        i if size == whole or (0 < size < whole and whole % size == 0) else None
        for i, (size, whole) in enumerate(zip(shape, param, strict=False))
    ]
    return (*along, *(None,) * -missing)


_placed: contextvars.ContextVar[dict[int, list[Any]] | None]
_placed = contextvars.ContextVar("_placed", default=None)


@contextlib.contextmanager
def placements() -> Iterator[dict[int, list[Any]]]:
    """Collects what wrappers say inside: by `id` of a leaf, the leaf and its layouts.

    Example:
      >>> import jax.numpy as jnp
      >>> from optlab import core
      >>> moment = jnp.ones(2)
      >>> with core.placements() as found:
      ...     core.has_placed([moment], layout="on the host")
      >>> found[id(moment)]
      [Array([1., 1.], dtype=float32), 'on the host']
    """
    outer, found = _placed.get(), {}
    token = _placed.set(found)
    try:
        yield found
    finally:
        _placed.reset(token)
    if outer is not None:
        outer.update(found)


def has_placed(leaves: Iterable[Any], layout: Any) -> None:
    """Tells whoever collects `placements` that these leaves of a state lie where they are to.

    Args:
      leaves: as they will be returned by `init`.
      layout: `(shape, sharding) -> sharding`: where such a leaf lies, that would else lie there.

    Example:
      >>> from optlab import core
      >>> core.has_placed([], layout=lambda shape, sharding: sharding)
    """
    known = _placed.get()
    if known is not None:
        for leaf in leaves:
            known.setdefault(id(leaf), [leaf]).append(layout)  # kept alive: ids stay unique


def place_like_params(state: PyTree, params: PyTree, done: Iterable[int] = ()) -> PyTree:
    """The same numbers in buffers of their own, where the parameters that they follow lie.

    Some Optax states hold the parameters, or one array twice, which forbids donation. Under `jit`
    on an Auto mesh a constant has no place until something ties it to one; the ties cost nothing
    in the compiled program. Leaves that are not made of a parameter's whole axes are not tied.

    Args:
      done: `id`s of the leaves to leave as they are.
    """
    flat_params = jax.tree.leaves(params)
    leaves, structure = jax.tree.flatten(state)
    tied = []
    for leaf, follower in zip(leaves, followers(state, params), strict=True):
        if id(leaf) not in done and isinstance(leaf, jax.Array):
            leaf = jnp.array(leaf)
            if follower.param is not None:
                leaf = _tie(leaf, flat_params[follower.param], follower.axes)
        tied.append(leaf)
    return jax.tree.unflatten(structure, tied)


def _tie(leaf: Any, param: Any, axes: tuple[int | None, ...]) -> Any:
    own = next((i for i, axis in enumerate(axes) if axis is not None), len(axes))
    kept = axes[own:]  # behind a history's dimensions, say
    whole = all(
        a is not None and np.shape(leaf)[own + i] == param.shape[a] for i, a in enumerate(kept)
    )
    is_number = jnp.issubdtype(jnp.result_type(leaf), jnp.number)
    if not (kept and whole and is_number and _has_place(param)):
        return leaf
    reduced = tuple(i for i in range(param.ndim) if i not in kept)
    like = jnp.sum(param, axis=reduced) if reduced else param
    like = jnp.broadcast_to(like if jnp.iscomplexobj(leaf) else like.real, leaf.shape)
    where = jax.typeof(like).sharding
    if AxisType.Explicit in where.mesh.axis_types:
        return jax.sharding.reshard(leaf, where)
    return jnp.where(jnp.zeros_like(like, bool), like.astype(leaf.dtype), leaf)


def _has_place(param: Any) -> bool:
    """Whether there is more than one device where it might be, as far as can be seen."""
    if isinstance(param, jax.core.Tracer):
        return True
    return isinstance(param, jax.Array) and len(param.devices()) > 1
