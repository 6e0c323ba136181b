"""ZeRO, stage 1: every device of the data axis keeps, and computes, its share of the state.

Around a whole optimizer or any part of a chain. Plain updates or `Moments` in and out; the updates
come back in the parameters' own layout.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.core
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding

from optlab.core import (
    Transformation,
    Wrapper,
    as_link,
    followers,
    has_placed,
    static,
    trees,
)
from optlab.transforms import _sharding as sharding
from optlab.transforms._meshes import MeshRecord, mesh_record

PyTree = Any


class Zero1State(NamedTuple):
    """inner: the wrapped transformation's state, each array split over the data axis too."""

    inner: Any


class Zero1(Wrapper):
    """Attributes: mesh; axis: the names of its data axes; specs: where parameters lie, by path."""

    mesh: MeshRecord = static()
    axis: tuple[str, ...] = static()
    specs: Any = static(default=())

    outermost = True

    def init(self, params: PyTree) -> Zero1State:
        state = self.inner.start(params)
        shapes_only = all(isinstance(p, jax.ShapeDtypeStruct) for p in jax.tree.leaves(params))
        if not shapes_only and not sharding.is_abstract():
            self._require_declared(params)
            state = self._place(state, params, self._layouts(params), split=True)
        has_placed(jax.tree.leaves(state), self._share)
        return Zero1State(state)

    def update(
        self, updates: PyTree, state: Zero1State, params: PyTree = None, **extra: Any
    ) -> Any:
        like = sharding.arrays(updates) if params is None else params
        whole = self._layouts(like)
        params = lying = self._place(params, like, whole, split=False)
        inner, shards, params = (
            self._place(tree, like, whole, split=True)
            for tree in (state.inner, updates, jax.tree.map(jax.lax.optimization_barrier, params))
        )
        shards, inner = self.inner.step(shards, inner, params, **extra)
        updates = self._place(shards, like, whole, split=False)
        # Tied to parameters that are held where they lie. Else XLA, which joins constraints in a
        # row and drops unused ones, may let the sum of the two lie like the shares.
        if params is not None:
            updates = jax.tree.map(
                lambda p, u: jax.lax.optimization_barrier((p, u))[1], lying, updates
            )
        return updates, Zero1State(self._place(inner, like, whole, split=True))

    def _share(self, shape: tuple[int, ...], place: Sharding) -> Sharding:
        """The layout, split further along the longest dimension that allows it."""
        if not isinstance(place, NamedSharding):
            return place
        split = sharding.entries(place.spec, len(shape))
        if any(name in self.axis for entry in split for name in sharding.names(entry)):
            return place
        parts = math.prod(self.mesh.shape[name] for name in self.axis)
        free = [
            (size, -i)
            for i, (size, entry) in enumerate(zip(shape, split, strict=True))
            if entry is None and size > 0 and size % parts == 0
        ]
        if not free:
            return place
        split[-max(free)[1]] = self.axis[0] if len(self.axis) == 1 else self.axis
        return sharding.with_entries(place, split)

    def _layouts(self, params: PyTree) -> list[NamedSharding]:
        """Where the parameters lie: by their types on an Explicit mesh, else as declared."""
        leaves = jax.tree_util.tree_leaves_with_path(params)
        return [self._layout(trees.path_text(path), leaf) for path, leaf in leaves]

    def _layout(self, path: str, leaf: Any) -> NamedSharding:
        typed = jax.typeof(leaf).sharding
        kinds = set(typed.mesh.axis_types)
        if AxisType.Manual in kinds:
            raise ValueError(
                "zero1: inside shard_map there are no layouts to change. Call update outside of it."
            )
        if kinds and dict(typed.mesh.shape) != self.mesh.shape:
            raise ValueError(
                f"zero1: the parameter at {path!r} lies on a mesh of {dict(typed.mesh.shape)}, but "
                f"zero1 was given one of {self.mesh.shape}. Give it the parameters' mesh."
            )
        if AxisType.Explicit in kinds:
            if kinds != {AxisType.Explicit}:
                raise ValueError(
                    f"zero1: the axes of {typed.mesh!r} are of several types; make all of them "
                    "Auto or all Explicit."
                )
            return NamedSharding(typed.mesh, PartitionSpec(*typed.spec))
        return NamedSharding(self.mesh.mesh(), self._declared(path))

    def _declared(self, path: str) -> PartitionSpec:
        by_path = dict(self.specs)
        if "*" in by_path:
            return PartitionSpec(*by_path["*"])
        if by_path and path not in by_path:
            raise ValueError(
                f"zero1: param_sharding has nothing for the parameter at {path!r}; it has "
                f"{', '.join(map(repr, [*by_path][:6]))}."
            )
        return PartitionSpec(*by_path.get(path, ()))

    def _require_declared(self, params: PyTree) -> None:
        """Under `jit` an Auto mesh hides where a parameter lies; here it can still be seen."""
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            place = getattr(leaf, "sharding", None)
            if isinstance(leaf, jax.core.Tracer) or not isinstance(place, NamedSharding):
                continue
            declared = self._layout(trees.path_text(path), leaf)
            spec = tuple(sharding.entries(place.spec, leaf.ndim))
            if tuple(sharding.entries(declared.spec, leaf.ndim)) != spec:
                raise ValueError(
                    f"zero1: the parameter at {trees.path_text(path)!r} of shape {leaf.shape} lies "
                    f"on {place.spec!r}, but is declared to lie on {declared.spec!r}. Pass "
                    "param_sharding with the parameters' shardings."
                )

    def _place(
        self, tree: PyTree, params: PyTree, whole: list[NamedSharding], *, split: bool
    ) -> PyTree:
        """Moves each leaf to its share, or (split=False) to where its parameter lies."""
        leaves, structure = jax.tree.flatten(tree)
        if not leaves:
            return tree
        shapes = [leaf.shape for leaf in jax.tree.leaves(params)]
        mesh = whole[0].mesh if whole else self.mesh.mesh()
        rest = NamedSharding(mesh, PartitionSpec())
        placed = []
        for leaf, follower in zip(leaves, followers(tree, params), strict=True):
            if isinstance(leaf, jax.Array):  # the weight of an Estimate may be a number
                place = sharding.follow(leaf.shape, follower, shapes, whole, rest)
                leaf = _put(leaf, self._share(leaf.shape, place) if split else place)
            placed.append(leaf)
        return jax.tree.unflatten(structure, placed)


def _put(leaf: Any, place: Any) -> Any:
    if AxisType.Explicit in place.mesh.axis_types:
        return jax.sharding.reshard(leaf, place)
    if isinstance(leaf, jax.core.Tracer):
        return jax.lax.with_sharding_constraint(leaf, place)
    return jax.device_put(leaf, place)


def zero1(
    tx: Any, mesh: Mesh, axis: str | tuple[str, ...] = "data", *, param_sharding: Any = None
) -> Transformation:
    """Splits the state of a transformation over the devices that share the parameters.

    Each device keeps and updates its share of the state, then all gather the updates:
    gradients are scattered over `axis`, `tx` runs on shares, updates are gathered. To the
    transformation inside everything looks whole: norms over all leaves are those of all leaves.

    Args:
      tx: the transformation to wrap, optlab's or Optax's.
      mesh: the mesh that the parameters lie on, all its axes Auto or all Explicit.
      axis: name, or names, of the axes over which the batch is split and the parameters are not.
      param_sharding: on an Auto mesh, where the parameters lie: a tree like them of
        `PartitionSpec`s or `NamedSharding`s, or one for all; None for whole on every device. On an
        Explicit mesh parameters tell themselves.

    Returns:
      A `Transformation`. Its state is that of `tx`, each array split over `axis` along its longest
      dimension that is not split yet and divides evenly; an array without one, and what is split
      over `axis` already, keeps its parameter's layout. `state_sharding(zero1(...), params, ...)`
      shows which.

    Raises:
      ValueError: for an axis the mesh has not, a sharding that does not fit, parameters that lie on
        another mesh or (where that can be seen) elsewhere than declared; inside `shard_map`.
      TypeError: for what is no mesh, or no transformation.

    Special cases:
      With an axis of one device nothing moves. Outside of `jit` arrays are moved by
      `jax.device_put`. Without `params`, `update` takes the layout of the updates from their
      shapes, but cannot hold the parameters where they lie: on an Auto mesh XLA may then split
      the sum of the two.

    Cost:
      State bytes a device: 1 / size of `axis`. Traffic of a step: that of data parallelism, one
      reduce-scatter and one all-gather instead of one all-reduce; the gather is of updates in the
      compute dtype (float32 for bf16 parameters). XLA for CPU writes the scatter as all-reduce and
      slice.

    Place in a chain:
      Around the whole optimizer, or a part of a chain, its wrappers included: around `zero1`,
      `guard` would leave XLA free to split the new parameters, and `state_sharding` would not see
      the split in a `store`, so they refuse it. Only `offload` goes around it.

    Differs from:
      Sharding the state by `out_shardings` alone leaves to XLA's propagation whether the new
      parameters, too, end up split; here they do not.

    Example:
      >>> import jax, jax.numpy as jnp, optlab as ol
      >>> from jax.sharding import AxisType
      >>> mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,))
      >>> tx = ol.zero1(ol.adam(1e-3), mesh)
      >>> tx.init(jnp.ones((4, 2))).inner[0].first.sharding.spec
      P('data', None)

    Source:
      Rajbhandari, Rasley, Ruwase, He, "ZeRO: memory optimizations toward training trillion
      parameter models", 2019, arXiv:1910.02054, section 5.1.
    """
    record = mesh_record("zero1", mesh)
    axes = (axis,) if isinstance(axis, str) else tuple(axis)
    unknown = [name for name in axes if name not in record.names]
    if unknown or not axes:
        raise ValueError(
            f"zero1: axis must name axes of the mesh, {', '.join(map(repr, record.names))}; got "
            f"{axis!r}."
        )
    return Transformation(
        Zero1(inner=as_link(tx), mesh=record, axis=axes, specs=_specs(mesh, param_sharding))
    )


def _specs(mesh: Mesh, given: Any) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    """Where parameters lie, as pairs of path and spec; one pair `"*"` for all."""
    if given is None:
        return ()
    if sharding.is_sharding(given):
        return (("*", _spec(mesh, "", given)),)
    leaves = jax.tree_util.tree_leaves_with_path(trees.unbox(given), is_leaf=sharding.is_sharding)
    return tuple((trees.path_text(p), _spec(mesh, trees.path_text(p), s)) for p, s in leaves)


def _spec(mesh: Mesh, path: str, given: Any) -> tuple[Any, ...]:
    where = f" at {path!r}" if path else ""
    if isinstance(given, NamedSharding):
        if dict(given.mesh.shape) != dict(mesh.shape):
            raise ValueError(
                f"zero1: param_sharding{where} is on a mesh of {dict(given.mesh.shape)}, not of "
                f"{dict(mesh.shape)}. Use one mesh."
            )
        given = given.spec
    if not isinstance(given, PartitionSpec):
        raise TypeError(
            f"zero1: param_sharding{where} must be a PartitionSpec or a NamedSharding, got "
            f"{given!r} of type {type(given).__name__}."
        )
    return tuple(given)
