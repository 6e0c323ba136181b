"""What a probe measures of one step: numbers a leaf, put together group by group.

Everything is a sum or a maximum over whole leaves, so it is the same however they are sharded. No
finite gradient gives anything but finite numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
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
DECADES = range(-12, 4)  # lower edges of the histogram's bins; below the first and zero: bin 0

Leaves = Sequence[jax.Array]


class Layout(NamedTuple):
    """What is known of the measured leaves when tracing.

    Attributes:
      numbers: of the measured leaves among all parameters: floating-point, not empty.
      member: (groups, measured leaves) bools, which group has which.
      sizes: entries of each.
      units: outputs of each; 0 for vectors, which have none of their own.
      sketched: length of each one's sketch.
      dtype: of all measures: float32, float64 if a leaf is.
    """

    numbers: list[int]
    member: np.ndarray
    sizes: np.ndarray
    units: np.ndarray
    sketched: np.ndarray
    dtype: Any


def layout(groups: Sequence[Group], leaves: Sequence[Any]) -> Layout:
    """The layout of leaves, which may be `jax.ShapeDtypeStruct`s."""
    wanted = {i for group in groups for i in group.leaves}
    numbers = [
        i
        for i, leaf in enumerate(leaves)
        if i in wanted and leaf.size and jnp.issubdtype(leaf.dtype, jnp.inexact)
    ]
    dtype = numerics.widest([leaves[i] for i in numbers])
    shapes = [leaves[i].shape for i in numbers]
    complexes = [2 if jnp.issubdtype(leaves[i].dtype, jnp.complexfloating) else 1 for i in numbers]
    return Layout(
        numbers,
        np.array([[i in group.leaves for i in numbers] for group in groups], bool).reshape(
            len(groups), len(numbers)
        ),
        np.array([leaves[i].size for i in numbers], dtype),
        np.array([s[-1] if len(s) > 1 else 0 for s in shapes], np.int64),
        np.array([c * max(s, default=1) for s, c in zip(shapes, complexes, strict=True)], np.int64),
        dtype,
    )


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


def squares(leaves: Leaves) -> list[jax.Array]:
    return [jnp.sum(numerics.squared_magnitude(bounded(x))) for x in leaves]


def norms_of(plan: Layout, leaves: Leaves) -> jax.Array:
    """Norms of the leaves, (leaves,)."""
    return jnp.sqrt(_vector(plan, squares(leaves)))


def sketches(plan: Layout, leaves: Leaves, norms: jax.Array, turn: Any) -> jax.Array:
    """Of each leaf's direction: sums along all axes but its longest, with random signs.

    The inner product of two sketches with the same signs has the mean of that of the directions,
    and a standard deviation of about `sqrt(2 / length)`; vectors are kept whole.
    """
    found = []
    for number, leaf in enumerate(leaves):
        g = bounded(leaf)
        if g.ndim > 1:
            kept = max(range(g.ndim), key=lambda axis: (g.shape[axis], axis))
            bits = noise_of(salt(0, f"probe{number}"), turn).bits(g.real)
            signed = jnp.where(bits >> np.uint32(31) == 0, g, -g)
            g = jnp.sum(signed, axis=tuple(a for a in range(g.ndim) if a != kept))
        g = g.reshape(-1) if g.ndim == 0 else g
        found += [g.real, g.imag] if jnp.iscomplexobj(g) else [g]
    owners = np.repeat(np.arange(len(leaves)), plan.sketched)
    lengths = jnp.where(norms > 0, norms, 1)
    return concatenated(found, plan.dtype) / (lengths[owners] if len(leaves) else 1)


def quiet_units(leaves: Leaves) -> jax.Array:
    """Of each matrix, which outputs (places on the last axis) have a gradient of exactly zero."""
    found = [jnp.all(g == 0, axis=tuple(range(g.ndim - 1))) for g in leaves if g.ndim > 1]
    return concatenated(found, bool)


def measured(
    plan: Layout,
    gradients: Leaves,
    g_norm: jax.Array,
    updates: Leaves,
    params: Leaves | None,
    dead: jax.Array,
) -> dict[str, jax.Array]:
    """The metrics that every probe has: for each a number a group."""
    sums = [
        *squares(updates),
        *(squares(params) if params is not None else []),
        *map(_product, gradients, updates),
        *(jnp.sum(g == 0) for g in gradients),
        *(jnp.sum(~jnp.isfinite(g)) for g in gradients),
        *map(_apart, gradients),
    ]
    table = _vector(plan, sums).reshape(-1, len(gradients))
    updated, *weights, products, zeros, bad, apart = table
    u_norm, p_norm = jnp.sqrt(updated), jnp.sqrt(weights[0]) if weights else 0 * updated
    gradient, update, weight = (grouped(plan, n) for n in (g_norm, u_norm, p_norm))
    cosines = -quotient(quotient(products, g_norm), u_norm)
    sizes = np.maximum(plan.member @ plan.sizes, 1)
    units = np.repeat(np.arange(len(gradients)), plan.units)
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
    for number in plan.numbers:
        v = moments.get(number)
        v = jnp.zeros(1, plan.dtype) if v is None else v
        top, bottom = (np.asarray(bound, v.dtype) for bound in (huge, tiny))
        tops.append(jnp.minimum(jnp.max(v), top))
        bottoms.append(jnp.min(jnp.where(v >= bottom, v, top)))
    member = plan.member
    top = jnp.max(jnp.where(member, _vector(plan, tops)[None], 0), axis=1, initial=0)
    bottom = jnp.min(jnp.where(member, _vector(plan, bottoms)[None], huge), axis=1, initial=huge)
    return jnp.where(top >= tiny, jnp.sqrt(top) / jnp.sqrt(bottom), 0)


def histogram(plan: Layout, leaves: Leaves) -> jax.Array:
    """How many entries have a magnitude in each decade, (groups, bins)."""
    edges = [10.0**power for power in DECADES]
    rows = []
    for g in leaves:
        size = jnp.abs(g)
        above = [jnp.sum(size >= np.asarray(edge, size.dtype)).astype(plan.dtype) for edge in edges]
        above = [jnp.asarray(g.size, plan.dtype), *above, jnp.zeros((), plan.dtype)]
        rows.append(jnp.stack(above)[:-1] - jnp.stack(above)[1:])
    if not rows:
        return jnp.zeros((len(plan.member), len(edges) + 1), plan.dtype)
    stacked = jnp.stack(rows)
    return jnp.sum(jnp.where(plan.member[:, :, None], stacked[None], 0), axis=1)


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


def _vector(plan: Layout, values: Sequence[jax.Array]) -> jax.Array:
    if not values:
        return jnp.zeros(0, plan.dtype)
    return jnp.stack([whole(v.astype(plan.dtype)) for v in values])


def _product(gradient: jax.Array, update: jax.Array) -> jax.Array:
    return jnp.sum(jnp.real(jnp.conj(bounded(update)) * bounded(gradient)))


def _apart(gradient: jax.Array) -> jax.Array:
    """Squared distance of the outputs' gradients from their mean; 0 if they are all equal."""
    if gradient.ndim < 2 or gradient.shape[-1] < 2:
        return jnp.zeros((), numerics.real_dtype(gradient.dtype))
    g = bounded(gradient)
    return jnp.sum(numerics.squared_magnitude(g - jnp.mean(g, axis=-1, keepdims=True)))
