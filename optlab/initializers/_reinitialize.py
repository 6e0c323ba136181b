"""`reinitialize`: new values for a built model's parameters, leaf by leaf, with the right fans."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Hashable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from optlab.core import checks
from optlab.initializers import _fans, _paths
from optlab.initializers._base import Initializer
from optlab.initializers._depth import scaled
from optlab.initializers._fan_axes import fan_axes

PyTree = Any


def reinitialize(
    key: jax.Array,
    params: PyTree,
    rules: Mapping[Hashable, Initializer],
    *,
    stacked: Mapping[Hashable, int] | None = None,
) -> PyTree:
    """Re-initialises a built model's parameters by rule, as `model.apply(init_weights)` in PyTorch.

    Fans are those of the layer, not of the leaf's shape: attention queries (d, heads, d_head) have
    fan_in d, output kernels (heads, d_head, d) fan_in heads * d_head, scanned layers and experts
    are kernels side by side. See `fan_axes` for what is told from names. An initializer that names
    its own axes is used as it stands.

    Args:
      key: a `jax.random.key`. Each leaf draws from a key of its own, made from this and a hash
        of its path: adding a layer, or a rule, changes no other layer.
      params: the tree: Linen dict, FrozenDict, `nnx.State`, Equinox module; arrays or
        `jax.ShapeDtypeStruct`s (of `jax.eval_shape(model.init, ...)`).
      rules: `{glob or selector: initializer}`. Globs are over paths such as "block/Dense_0/kernel";
        `*` stays within one part, `**` stands for any number of parts. Leaves without a rule are
        left as they are.
      stacked: `{glob or selector: how many leading axes are stacked layers or experts}`; for a
        stack along another axis give the initializer `batch_axis`. A stack cannot be seen from the
        shape; paths that nn.scan and nn.vmap named (`ScanBlock_0`) must be declared, 0 if the
        parameters are shared.

    Returns:
      A tree of the same structure, node types, shapes, dtypes and shardings.

    Raises:
      ValueError: if a rule matches nothing (naming the nearest paths), two match one leaf, the fans
        of a leaf cannot be told, or a bias beside the kernel contradicts them.
      TypeError: for rules that are no initializers of this package (only those can be told the
        axes), leaves that are no floating-point arrays.

    Example:
      >>> import jax, jax.numpy as jnp, optlab as ol
      >>> params = {"Dense_0": {"kernel": jnp.ones((64, 32)), "bias": jnp.ones(32)}}
      >>> rules = {"**/kernel": ol.initializers.he_normal(), "**/bias": ol.initializers.zeros}
      >>> new = ol.initializers.reinitialize(jax.random.key(0), params, rules)
      >>> bool(new["Dense_0"]["bias"].any())
      False
    """
    leaves = _paths.named_leaves(params)
    chosen = _paths.assign("rule", rules, params, leaves)
    stacks = stack_counts(stacked, params, leaves)
    values = [leaf.value for leaf in leaves]
    for i, initializer in chosen.items():
        values[i] = new_value(key, leaves, i, initializer, stacks.get(i))
    return jax.tree.unflatten(jax.tree.structure(params), values)


def stack_counts(stacked: Any, params: PyTree, leaves: list[_paths.Leaf]) -> dict[int, int]:
    """How many leading axes of each declared leaf are stacks."""
    counts = _paths.assign("stacked entry", stacked or {}, params, leaves)
    for i, count in counts.items():
        counts[i] = checks.count("reinitialize", f"stacked for {leaves[i].path!r}", count)
        if counts[i] > jnp.ndim(leaves[i].value):
            raise ValueError(
                f"stacked says that {count} leading axes of {leaves[i].path!r} are stacks, but its "
                f"shape is {jnp.shape(leaves[i].value)}."
            )
    return counts


def new_value(
    key: jax.Array, leaves: list[_paths.Leaf], i: int, initializer: Initializer, stack: int | None
) -> jax.Array:
    path, old = leaves[i]
    if not isinstance(initializer, Initializer):
        raise TypeError(
            f"the rule for {path!r} must be an initializer of optlab.initializers, such as "
            f"he_normal(), got {initializer!r}: other functions see the shape only, and would "
            "get the fans wrong."
        )
    if not hasattr(old, "shape") or not hasattr(old, "dtype"):
        raise TypeError(
            f"{path!r} is no array but {old!r} of type {type(old).__name__}; narrow the rule that "
            "matches it."
        )
    try:
        told = _tell_axes(initializer, leaves, i, stack)
        return _draw_like(told, _path_key(key, path), old)
    except (ValueError, TypeError) as error:
        raise type(error)(f"at {path!r}: {error}") from error


def _path_key(key: jax.Array, path: str) -> jax.Array:
    """A key that depends on the path's text alone; 64 bits, so that paths do not collide."""
    digest = hashlib.sha256(path.encode()).digest()
    for word in (digest[:4], digest[4:8]):
        key = jax.random.fold_in(key, int.from_bytes(word, "big"))
    return key


def _tell_axes(
    initializer: Any, leaves: list[_paths.Leaf], i: int, stack: int | None
) -> Initializer:
    """The initializer with the axes it leaves open filled in."""
    if isinstance(initializer, scaled):
        inner = _tell_axes(initializer.initializer, leaves, i, stack)
        return initializer.with_values(initializer=inner)
    if not hasattr(initializer, "in_axis"):
        return initializer
    path, leaf = leaves[i]
    batch = initializer.batch_axis
    if batch is None:
        batch = tuple(range(stack or 0))
    if initializer.in_axis is not None or initializer.out_axis is not None:
        return dataclasses.replace(initializer, batch_axis=batch)
    if initializer.batch_axis is None and stack is None:
        _check_undeclared_stack(path)
    axes = fan_axes(path, leaf.shape, batch)
    _check_bias(path, leaf.shape, axes, leaves)
    return dataclasses.replace(initializer, **axes._asdict())


def _check_undeclared_stack(path: str) -> None:
    for part in path.split("/"):
        if re.fullmatch(r"(Scan|Vmap)[A-Z]\w*_\d+", part):
            raise ValueError(
                f"{part} is Flax's name for layers under nn.scan or nn.vmap, whose parameters are "
                f'stacked or shared. Say which: stacked={{"**/{part}/**": 1}} (0 if shared).'
            )


def _check_bias(path: str, shape: Any, axes: _fans.Axes, leaves: list[_paths.Leaf]) -> None:
    """A bias has its kernel's stacks and outputs; if it has not, the names misled."""
    layer, _, name = path.rpartition("/")
    beside = f"{layer}/bias" if layer else "bias"
    bias = next((leaf.value for leaf in leaves if leaf.path == beside), None)
    if name != "kernel" or bias is None:
        return
    expected = tuple(shape[a] for a in (*axes.batch_axis, *axes.out_axis))
    if jnp.shape(bias) != expected:
        raise ValueError(
            f"the name says that inputs are axes {axes.in_axis}, outputs {axes.out_axis} and "
            f"stacks {axes.batch_axis} of the shape {tuple(shape)}, which makes a bias of shape "
            f"{expected}, but {beside!r} has {jnp.shape(bias)}. Declare what is stacked with "
            'stacked={"glob/of/paths": 1}, or name the axes: he_normal(in_axis=-2, out_axis=-1).'
        )


def _draw_like(initializer: Initializer, key: jax.Array, old: Any) -> jax.Array:
    """A draw with the shape, dtype and sharding of a leaf."""
    if isinstance(old, jax.Array) and not checks.is_concrete(old):  # a tracer
        sharding = jax.typeof(old).sharding
        if any(axis is not None for axis in sharding.spec):  # Explicit: part of the type
            return initializer(key, old.shape, old.dtype, sharding)
        new = initializer(key, old.shape, old.dtype)
        # Selecting from the leaf lets the compiler see where it lives, at no cost.
        return jnp.where(jnp.zeros_like(old, bool), old, new)
    sharding = getattr(old, "sharding", None)
    if isinstance(sharding, NamedSharding):
        return initializer(key, old.shape, old.dtype, sharding)
    new = initializer(key, old.shape, old.dtype)
    return jax.device_put(new, sharding) if getattr(old, "committed", False) else new
