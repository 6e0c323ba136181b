"""What a probe measures of one step: numbers a leaf, put together group by group.

Everything is a sum or a maximum over whole leaves, so it is the same however they are sharded. No
finite gradient gives anything but finite numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from optlab.core import numerics
from optlab.storage import noise_of, salt
from optlab.transforms._probe_groups import Group

METRICS = (
    "gradient_norm",
    "update_norm",
    "weight_norm",
    "update_ratio",
    "cosine",
    "zero_fraction",
    "nonfinite_fraction",
    "dead_fraction",
    "unit_spread",
)
CLIPPED = ("clipped_fraction",)
SECOND = ("second_moment_spread",)
NOISE = ("previous_norm", "successive_cosine")
LARGEST, SMALLEST = (float(x) for x in (jnp.finfo(jnp.float32).max, jnp.finfo(jnp.float32).tiny))
BOUND = 2.0**50
SMALL = 2**18  # entries
DECADES = range(-12, 4)  # lower edges of the histogram's bins; below the first and zero: bin 0

Blocks = Sequence[jax.Array]


class Layout(NamedTuple):
    """What is known of the measured leaves when tracing, in the order of blocks.

    Attributes:
      blocks: numbers, among all parameters, of the measured leaves (floating-point, not empty);
        small ones of one shape are together, so that each measure is compiled once for all.
      member: (groups, measured leaves) bools, which group has which.
      sizes: entries of each.
      units: outputs of each; 0 for vectors, which have none of their own.
      sketched: length of each one's sketch.
      dtype: of all measures: float32, float64 if a leaf is.
    """

    blocks: list[list[int]]
    member: np.ndarray
    sizes: np.ndarray
    units: np.ndarray
    sketched: np.ndarray
    dtype: Any


def layout(groups: Sequence[Group], leaves: Sequence[Any]) -> Layout:
    """The layout of leaves, which may be `jax.ShapeDtypeStruct`s."""
    wanted = {i for group in groups for i in group.leaves}
    together: dict[Any, list[int]] = {}
    for i, leaf in enumerate(leaves):
        if i in wanted and leaf.size and jnp.issubdtype(leaf.dtype, jnp.inexact):
            kind = (leaf.shape, leaf.dtype) if leaf.size <= SMALL else i
            together.setdefault(kind, []).append(i)
    numbers = [i for block in together.values() for i in block]
    found = [leaves[i] for i in numbers]
    dtype = numerics.widest(found)
    parts = [2 if jnp.issubdtype(x.dtype, jnp.complexfloating) else 1 for x in found]
    members = [[i in group.leaves for i in numbers] for group in groups]
    longest = [c * max(x.shape, default=1) for x, c in zip(found, parts, strict=True)]
    return Layout(
        list(together.values()),
        np.array(members, bool).reshape(len(groups), len(numbers)),
        np.array([x.size for x in found], dtype),
        np.array([x.shape[-1] if x.ndim > 1 else 0 for x in found], np.int64),
        np.array(longest, np.int64),
        dtype,
    )


def blocks(plan: Layout, leaves: Sequence[jax.Array] | Mapping[int, jax.Array]) -> list[jax.Array]:
    """The measured leaves, each block as one array with an axis in front.

    On an Explicit mesh, where leaves may be laid out differently, each leaf is a block.
    """
    found = []
    for block in plan.blocks:
        arrays = [jax.lax.stop_gradient(leaves[i]) for i in block]
        typed = any(AxisType.Explicit in jax.typeof(x).sharding.mesh.axis_types for x in arrays)
        if typed or len(arrays) == 1:
            found += [jnp.expand_dims(x, 0) for x in arrays]
        else:
            found.append(jnp.stack(arrays))
    return found


def whole(x: jax.Array) -> jax.Array:
    """The array on every device, where its type says that it is not."""
    mesh = jax.typeof(x).sharding.mesh
    if AxisType.Explicit in mesh.axis_types:
        return jax.sharding.reshard(x, NamedSharding(mesh, PartitionSpec(*[None] * x.ndim)))
    return x


def concatenated(parts: Sequence[jax.Array], dtype: Any) -> jax.Array:
    return (
        jnp.concatenate([whole(p.astype(dtype)) for p in parts]) if parts else jnp.zeros(0, dtype)
    )


def bounded(x: jax.Array) -> jax.Array:
    """Entries within 2**50, so that the sum of their squares stays finite; NaN stays."""
    if jnp.iscomplexobj(x):
        return jax.lax.complex(bounded(x.real), bounded(x.imag))
    return jnp.clip(x, np.asarray(-BOUND, x.dtype), np.asarray(BOUND, x.dtype))


def summed_up(x: jax.Array) -> jax.Array:
    """The sum of each leaf of a block."""
    return jnp.sum(x, axis=tuple(range(1, x.ndim)))


def squares(leaves: Blocks) -> list[jax.Array]:
    return [summed_up(numerics.squared_magnitude(bounded(x))) for x in leaves]


def norms_of(plan: Layout, leaves: Blocks) -> jax.Array:
    """Norms of the leaves, (leaves,)."""
    return jnp.sqrt(concatenated(squares(leaves), plan.dtype))


def sketches(plan: Layout, leaves: Blocks, turn: Any) -> jax.Array:
    """Of each leaf's direction: sums along all axes but its longest, with random signs.

    The cosine between two sketches with the same signs estimates that between the leaves, with a
    standard deviation of at most about `sqrt(2 / length)`, 0 for parallel ones; vectors are kept
    whole. Sketches have norm 1, or 0.
    """
    found = []
    for number, leaf in enumerate(leaves):
        g = bounded(leaf)
        if g.ndim > 2:
            kept = max(range(1, g.ndim), key=lambda axis: (g.shape[axis], axis))
            bits = noise_of(salt(0, f"probe{number}"), turn).bits(g.real)
            signed = jnp.where(bits >> np.uint32(31) == 0, g, -g)
            g = jnp.sum(signed, axis=tuple(a for a in range(1, g.ndim) if a != kept))
        g = whole(g).reshape(len(g), -1)
        g = jnp.concatenate([g.real, g.imag], axis=1) if jnp.iscomplexobj(g) else g
        found.append(g.reshape(-1))
    owners = np.repeat(np.arange(len(plan.sketched)), plan.sketched)
    sketch = concatenated(found, plan.dtype)
    lengths = jnp.sqrt(jnp.zeros(len(plan.sketched), plan.dtype).at[owners].add(sketch * sketch))
    return quotient(sketch, lengths[owners]) if found else sketch


def quiet_units(leaves: Blocks) -> jax.Array:
    """Of each matrix, which outputs (places on the last axis) have a gradient of exactly zero."""
    found = [jnp.all(g == 0, axis=tuple(range(1, g.ndim - 1))) for g in leaves if g.ndim > 2]
    return concatenated([whole(f).reshape(-1) for f in found], bool)


def measured(
    plan: Layout,
    gradients: Blocks,
    g_norm: jax.Array,
    updates: Blocks,
    params: Blocks | None,
    dead: jax.Array,
) -> dict[str, jax.Array]:
    """The metrics that every probe has: for each a number a group."""
    sums = [
        *squares(updates),
        *(squares(params) if params is not None else []),
        *map(_product, gradients, updates),
        *(summed_up(g == 0) for g in gradients),
        *(summed_up(~jnp.isfinite(g)) for g in gradients),
        *map(_apart, gradients),
    ]
    table = concatenated(sums, plan.dtype).reshape(5 + (params is not None), len(plan.sizes))
    updated, *weights, products, zeros, bad, apart = table
    u_norm, p_norm = jnp.sqrt(updated), jnp.sqrt(weights[0]) if weights else 0 * updated
    gradient, update, weight = (grouped(plan, n) for n in (g_norm, u_norm, p_norm))
    cosines = -quotient(quotient(products, g_norm), u_norm)
    sizes = np.maximum(plan.member @ plan.sizes, 1)
    units = np.repeat(np.arange(len(plan.units)), plan.units)
    lost = jnp.zeros_like(g_norm).at[units].add(dead.astype(plan.dtype))
    wide = grouped(plan, g_norm * (plan.units > 1).astype(plan.dtype))
    return {
        "gradient_norm": gradient,
        "update_norm": update,
        "weight_norm": weight,
        "update_ratio": quotient(update, weight),
        "cosine": total(plan, cosines, shares(plan, g_norm, gradient), u_norm, update),
        "zero_fraction": summed(plan, zeros) / sizes,
        "nonfinite_fraction": summed(plan, bad) / sizes,
        "dead_fraction": summed(plan, lost)
        / np.maximum(plan.member @ plan.units, 1).astype(plan.dtype),
        "unit_spread": jnp.where(wide > 0, quotient(grouped(plan, jnp.sqrt(apart)), wide), 1),
    }


def successive(
    plan: Layout, norms: jax.Array, now: jax.Array, before: jax.Array, norms_before: jax.Array
) -> dict[str, jax.Array]:
    """The norm of the previous gradient, and the cosine between it and this one, by sketches."""
    owners = np.repeat(np.arange(len(plan.sketched)), plan.sketched)
    cosines = jnp.zeros_like(norms).at[owners].add(now * before)
    gradient, previous = grouped(plan, norms), grouped(plan, norms_before)
    return {
        "previous_norm": previous,
        "successive_cosine": total(
            plan, cosines, shares(plan, norms, gradient), norms_before, previous
        ),
    }


def quotient(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    """0 where the denominator is; at most float32's largest."""
    top = np.asarray(LARGEST, numerator.dtype)
    return jnp.clip(numerics.safe_divide(numerator, denominator), -top, top)


def second_spread(plan: Layout, moments: dict[int, jax.Array]) -> jax.Array:
    """Largest over smallest root of the second moments that are not 0, a number a group."""
    tiny, huge = (np.asarray(x, plan.dtype) for x in (SMALLEST, LARGEST))
    tops, bottoms = [], []
    for block in plan.blocks:
        if any(number not in moments for number in block):
            tops.append(jnp.zeros(len(block), plan.dtype))
            bottoms.append(jnp.full(len(block), huge, plan.dtype))
            continue
        for v in blocks(plan._replace(blocks=[block]), moments):
            most, least = (np.asarray(bound, v.dtype) for bound in (huge, tiny))
            axes = tuple(range(1, v.ndim))
            tops.append(jnp.minimum(jnp.max(v, axis=axes), most))
            bottoms.append(jnp.min(jnp.where(v >= least, v, most), axis=axes))
    member = plan.member
    top = jnp.max(jnp.where(member, concatenated(tops, plan.dtype)[None], 0), axis=1, initial=0)
    bottom = jnp.min(
        jnp.where(member, concatenated(bottoms, plan.dtype)[None], huge), axis=1, initial=huge
    )
    return jnp.where(top >= tiny, jnp.sqrt(top) / jnp.sqrt(bottom), 0)


def histogram(plan: Layout, leaves: Blocks) -> jax.Array:
    """How many entries have a magnitude in each decade, (groups, bins)."""
    edges = [10.0**power for power in DECADES]
    rows = []
    for g in leaves:
        size = jnp.abs(g)
        above = [summed_up(size >= np.asarray(edge, size.dtype)) for edge in edges]
        ends = [jnp.full_like(above[0], g[0].size), *above, jnp.zeros_like(above[0])]
        rows.append(whole(-jnp.diff(jnp.stack(ends), axis=0).T.astype(plan.dtype)))
    if not rows:
        return jnp.zeros((len(plan.member), len(edges) + 1), plan.dtype)
    kept = jnp.where(plan.member[:, :, None], jnp.concatenate(rows)[None], 0)
    return jnp.sum(kept, axis=1)


def summed(plan: Layout, values: jax.Array) -> jax.Array:
    """Sum over the leaves of each group."""
    return jnp.sum(jnp.where(plan.member, values[None], 0), axis=1)


def grouped(plan: Layout, norms: jax.Array) -> jax.Array:
    """The norm of each group from those of its leaves; cannot overflow but to the largest."""
    kept = jnp.where(plan.member, norms[None], 0)
    largest = jnp.max(kept, axis=1, initial=0)
    parts = kept / jnp.where(largest > 0, largest, 1)[:, None]
    root = jnp.sqrt(jnp.sum(parts * parts, axis=1))
    return jnp.minimum(largest * root, np.asarray(LARGEST, plan.dtype))


def shares(plan: Layout, norms: jax.Array, group_norms: jax.Array) -> jax.Array:
    """(groups, leaves): norm of a leaf over that of its group."""
    kept = jnp.where(plan.member, norms[None], 0)
    return kept / jnp.where(group_norms > 0, group_norms, 1)[:, None]


def total(
    plan: Layout, cosines: jax.Array, first: jax.Array, norms: jax.Array, group_norms: jax.Array
) -> jax.Array:
    """The cosine of whole groups from those of leaves."""
    return jnp.sum(cosines[None] * first * shares(plan, norms, group_norms), axis=1)


def _product(gradient: jax.Array, update: jax.Array) -> jax.Array:
    return summed_up(jnp.real(jnp.conj(bounded(update)) * bounded(gradient)))


def _apart(gradient: jax.Array) -> jax.Array:
    """Squared distance of the outputs' gradients from their mean; 0 if they are all equal."""
    if gradient.ndim < 3 or gradient.shape[-1] < 2:
        return jnp.zeros(len(gradient), numerics.real_dtype(gradient.dtype))
    g = bounded(gradient)
    return summed_up(numerics.squared_magnitude(g - jnp.mean(g, axis=-1, keepdims=True)))
