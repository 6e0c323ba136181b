"""Where the state of any transformation lies, given where the parameters lie."""

from __future__ import annotations

import contextvars
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from optlab.core import Follower, followers, is_moments, placements, trees

PyTree = Any
Layout = Callable[[tuple[int, ...], Sharding], Sharding]

_abstract: contextvars.ContextVar[bool] = contextvars.ContextVar("_abstract", default=False)


def state_sharding(
    tx: Any, params: PyTree, param_sharding: Any = None, *, mesh: Mesh | None = None
) -> PyTree:
    """The sharding of every leaf of `tx.init(params)`, optlab's or Optax's, however wrapped.

    For `jax.jit(tx.init, out_shardings=...)`, for `in_shardings` of a step, for restoring a
    checkpoint in place. The state is found by its structure: sub-trees built like the parameters
    follow them leaf by leaf.

    Args:
      tx: any gradient transformation. `zero1` and `offload` in it are taken into account.
      params: the parameters, or a tree of `jax.ShapeDtypeStruct`; Linen, NNX and other trees.
      param_sharding: a tree like `params` of `NamedSharding`s, or of `PartitionSpec`s with `mesh`;
        or one for all; or None for the shardings that `params` carry.
      mesh: the mesh of `PartitionSpec`s, and of the counters of a tree without parameters.

    Returns:
      A tree like the state with a `jax.sharding.Sharding` in each leaf's place:

      - state in the parameter's shape: the parameter's sharding;
      - rows and columns, scales of blocks, histories: each dimension is split like the axis of
        the parameter that it runs along (as many entries, or a whole fraction of them), where its
        length divides evenly; other dimensions are not split;
      - counters, scalars, and arrays that follow no single parameter: on every device.

    Raises:
      ValueError: naming path and shape where `param_sharding` lacks a parameter, has one too many,
        or does not fit a shape; where a sharding is needed and none is known.
      TypeError: for what is no sharding.

    Special cases:
      Where a reduced shape can be had in two ways (the columns of a square matrix), optlab's own
      nodes tell which; of Optax's, the first axis that fits is taken. Any choice is correct, at
      the worst a step moves a small array.

    Example:
      >>> import jax, jax.numpy as jnp, optlab as ol
      >>> from jax.sharding import AxisType, NamedSharding, PartitionSpec
      >>> mesh = jax.make_mesh((1,), ("model",), axis_types=(AxisType.Auto,))
      >>> params = {"kernel": jax.ShapeDtypeStruct((512, 256), jnp.float32)}
      >>> split = NamedSharding(mesh, PartitionSpec(None, "model"))
      >>> places = ol.state_sharding(ol.adafactor(), params, split)
      >>> second = places[0].inner.second["kernel"]
      >>> second.rows.spec, second.columns.spec
      (P(None,), P('model',))
    """
    unboxed = trees.unbox(params)
    shardings = normalize(unboxed, param_sharding, mesh)
    registered: list[list[Layout]] = []

    def init(params):
        with placements() as known:
            state = tx.init(params)
        registered.extend(known.get(id(leaf), [None])[1:] for leaf in jax.tree.leaves(state))
        return state

    token = _abstract.set(True)
    try:
        state = jax.eval_shape(init, jax.tree.map(_shape, params))
    finally:
        _abstract.reset(token)
    rest = _everywhere(shardings, mesh)
    leaves, structure = jax.tree.flatten(state)
    shapes = [np.shape(p) for p in jax.tree.leaves(unboxed)]
    result = []
    for leaf, follower, layouts in zip(leaves, followers(state, unboxed), registered, strict=True):
        place = follow(leaf.shape, follower, shapes, shardings, rest)
        for layout in layouts:
            place = layout(leaf.shape, place)
        result.append(place)
    return jax.tree.unflatten(structure, result)


def is_abstract() -> bool:
    """Whether a `state_sharding` is under way: wrappers tell their layouts and move nothing."""
    return _abstract.get()


def follow(
    shape: tuple[int, ...],
    follower: Follower,
    param_shapes: list[tuple[int, ...]],
    shardings: Sequence[Sharding],
    rest: Sharding | None,
) -> Sharding:
    """The sharding of a leaf from that of the parameter it follows."""
    if follower.param is None or not shape:
        if rest is None:
            raise ValueError(
                "state_sharding: there is no parameter, hence no mesh for the counters. "
                "Pass mesh=, or one sharding for all."
            )
        return rest
    param, sharding = param_shapes[follower.param], shardings[follower.param]
    if shape == param and follower.axes == tuple(range(len(param))):
        return sharding
    if not isinstance(sharding, NamedSharding):
        if sharding.is_fully_replicated:
            return sharding
        raise TypeError(
            f"state_sharding: state of shape {shape} of a parameter of shape {param} can only be "
            f"split like it by its axes' names, which {sharding!r} does not tell. Use a "
            "jax.sharding.NamedSharding."
        )
    split = entries(sharding.spec, len(param))
    kept = [
        split[axis] if axis is not None and size % ways(sharding.mesh, split[axis]) == 0 else None
        for size, axis in zip(shape, follower.axes, strict=True)
    ]
    return with_entries(sharding, kept)


def arrays(updates: PyTree) -> PyTree:
    """The updates, the gradients in place of `Moments`: shaped like the parameters."""
    return jax.tree.map(lambda u: u.gradient if is_moments(u) else u, updates, is_leaf=is_moments)


def entries(spec: PartitionSpec, ndim: int) -> list[Any]:
    """One entry for each dimension: None, a name, or a tuple of names."""
    return [*spec, *[None] * (ndim - len(spec))]


def names(entry: Any) -> tuple[str, ...]:
    if entry is None or entry is PartitionSpec.UNCONSTRAINED:
        return ()
    return (entry,) if isinstance(entry, str) else tuple(entry)


def ways(mesh: Any, entry: Any) -> int:
    """Into how many parts an entry splits its dimension."""
    return math.prod(mesh.shape[name] for name in names(entry))


def with_entries(sharding: NamedSharding, kept: list[Any]) -> NamedSharding:
    spec = PartitionSpec(*kept)
    return NamedSharding(sharding.mesh, spec, memory_kind=sharding.memory_kind)


def _everywhere(shardings: list[Sharding], mesh: Mesh | None) -> Sharding | None:
    if mesh is not None:
        return NamedSharding(mesh, PartitionSpec())
    for sharding in shardings:
        if isinstance(sharding, NamedSharding):
            return NamedSharding(sharding.mesh, PartitionSpec())
    return shardings[0] if shardings else None


def _shape(leaf: Any) -> Any:
    return jax.ShapeDtypeStruct(np.shape(leaf), jax.numpy.result_type(leaf))


def is_sharding(node: Any) -> bool:
    return isinstance(node, Sharding | PartitionSpec)


def normalize(
    params: PyTree, given: Any, mesh: Mesh | None, owner: str = "state_sharding"
) -> list[Sharding]:
    """A sharding for each parameter, in order, each judged against its parameter's shape."""
    leaves = [
        (trees.path_text(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    ]
    if given is None:
        chosen = [(path, leaf, getattr(leaf, "sharding", None)) for path, leaf in leaves]
    elif is_sharding(given):
        chosen = [(path, leaf, given) for path, leaf in leaves]
    elif jax.tree_util.all_leaves([given]):
        raise TypeError(
            f"{owner}: param_sharding must be a jax.sharding.NamedSharding, a PartitionSpec (with "
            f"mesh=), or a tree of them like the parameters, got {given!r} of type "
            f"{type(given).__name__}."
        )
    else:
        by_path = {
            trees.path_text(path): sharding
            for path, sharding in jax.tree_util.tree_leaves_with_path(
                trees.unbox(given), is_leaf=is_sharding
            )
        }
        shapes = {path: np.shape(leaf) for path, leaf in leaves}
        for path in [*shapes, *by_path]:
            if path not in by_path or path not in shapes:
                has = f"shape {shapes[path]}" if path in shapes else "no parameter"
                other = "no sharding" if path in shapes else f"{by_path[path]!r}"
                raise ValueError(
                    f"{owner}: params and param_sharding differ at {path!r}: params has {has}, "
                    f"param_sharding has {other}. Give a tree like the parameters, or one sharding "
                    "for all."
                )
        chosen = [(path, leaf, by_path[path]) for path, leaf in leaves]
    return [_judged(owner, path, np.shape(leaf), s, mesh) for path, leaf, s in chosen]


def _judged(
    owner: str, path: str, shape: tuple[int, ...], sharding: Any, mesh: Mesh | None
) -> Sharding:
    if sharding is None:
        raise ValueError(
            f"{owner}: the parameter at {path!r} of shape {shape} carries no sharding. Pass "
            "param_sharding."
        )
    if isinstance(sharding, PartitionSpec):
        if mesh is None:
            raise ValueError(
                f"{owner}: {sharding!r} at {path!r} names axes of a mesh; pass mesh= too, or a "
                "NamedSharding."
            )
        sharding = NamedSharding(mesh, sharding)
    if not isinstance(sharding, Sharding):
        raise TypeError(
            f"{owner}: param_sharding at {path!r} must be a jax.sharding.NamedSharding or a "
            f"PartitionSpec, got {sharding!r} of type {type(sharding).__name__}."
        )
    spec = getattr(sharding, "spec", None)
    problem = f"{owner}: the parameter at {path!r} of shape {shape} cannot be split by {spec!r}: "
    if spec is not None and len(spec) > len(shape):
        raise ValueError(f"{problem}it has {len(shape)} axes, the spec {len(spec)}.")
    try:
        sharding.shard_shape(shape)
    except ValueError as error:
        raise ValueError(f"{problem}{error}") from error
    return sharding
