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


def scaled(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The leaf times a power of two that makes its largest entry about 1, and that power."""
    largest = jnp.max(jnp.abs(x))
    usable = (largest > 0) & jnp.isfinite(largest)
    exponent = jnp.clip(jnp.floor(jnp.log2(jnp.where(usable, largest, 1))), -100, 100)
    factor = jnp.exp2(-exponent)
    return x * factor.astype(x.dtype), factor


def norm_of(shrunk: jax.Array, factor: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The norm of what was scaled, and that of the leaf itself, at most float32's largest."""
    root = jnp.sqrt(jnp.sum(numerics.squared_magnitude(shrunk)))
    top = np.asarray(LARGEST, root.dtype)
    return root, jnp.minimum(root / factor, top)


def quotient(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    """0 where the denominator is; at most float32's largest."""
    top = np.asarray(LARGEST, numerator.dtype)
    return jnp.minimum(numerics.safe_divide(numerator, denominator), top)


class Gradient(NamedTuple):
    """A gradient leaf, scaled; its norm, both ways."""

    shrunk: jax.Array
    root: jax.Array
    norm: jax.Array


def gradients_of(leaves: Leaves) -> list[Gradient]:
    return [Gradient(s, *norm_of(s, factor)) for s, factor in map(scaled, leaves)]


def sketches(gradients: Sequence[Gradient], turn: Any) -> list[jax.Array]:
    """Of each leaf's direction: sums along all axes but its longest, with random signs.

    The inner product of two sketches with the same signs has the mean of that of the directions,
    and a standard deviation of about `sqrt(2 / length)`; vectors are kept whole.
    """
    found = []
    for number, (g, root, _) in enumerate(gradients):
        g = g / jnp.where(root > 0, root, 1).astype(g.dtype)
        if g.ndim > 1:
            kept = max(range(g.ndim), key=lambda axis: (g.shape[axis], axis))
            bits = noise_of(salt(0, f"probe{number}"), turn).bits(g.real)
            signed = jnp.where(bits >> np.uint32(31) == 0, g, -g)
            g = jnp.sum(signed, axis=tuple(a for a in range(g.ndim) if a != kept))
        g = whole(g.reshape(-1) if g.ndim == 0 else g)
        parts = [g.real, g.imag] if jnp.iscomplexobj(g) else [g]
        found += [jnp.concatenate(parts) if len(parts) > 1 else parts[0]]
    return found


def quiet_units(leaves: Leaves) -> list[jax.Array]:
    """Of each matrix, which outputs (places on the last axis) have a gradient of exactly zero."""
    return [whole(jnp.all(g == 0, axis=tuple(range(g.ndim - 1)))) for g in leaves if g.ndim > 1]


def measured(
    plan: Layout,
    gradients: Sequence[Gradient],
    leaves: Leaves,
    updates: Leaves,
    params: Leaves | None,
    dead: jax.Array,
) -> dict[str, jax.Array]:
    """The metrics that every probe has: for each a number a group."""
    g_norm = _vector(plan, [g.norm for g in gradients])
    u_pairs = list(map(scaled, updates))
    u_roots = [norm_of(*pair) for pair in u_pairs]
    u_norm = _vector(plan, [norm for _, norm in u_roots])
    p_norm = jnp.zeros_like(g_norm)
    if params is not None:
        p_norm = _vector(plan, [norm_of(*scaled(p))[1] for p in params])
    cosines = _vector(
        plan,
        [
            -quotient(jnp.sum(jnp.real(jnp.conj(u) * g.shrunk)), root * g.root)
            for (u, _), (root, _), g in zip(u_pairs, u_roots, gradients, strict=True)
        ],
    )
    zeros = _vector(plan, [jnp.sum(g == 0) for g in leaves])
    bad = _vector(plan, [jnp.sum(~jnp.isfinite(g)) for g in leaves])
    spreads = _vector(plan, [_spread(g) for g in gradients])
    several = (plan.units > 1).astype(plan.dtype)
    gradient, update, weight = (grouped(plan, n) for n in (g_norm, u_norm, p_norm))
    sizes = np.maximum(plan.member @ plan.sizes, 1)
    with_units = g_norm * several
    return {
        "gradient_norm": gradient,
        "update_norm": update,
        "weight_norm": weight,
        "update_ratio": quotient(update, weight),
        "cosine": total(plan, cosines, shares(plan, g_norm, gradient), u_norm, update),
        "zero_fraction": summed(plan, zeros) / sizes,
        "nonfinite_fraction": summed(plan, bad) / sizes,
        "dead_fraction": _dead(plan, dead),
        "unit_spread": quotient(grouped(plan, spreads * with_units), grouped(plan, with_units)),
    }


def successive(
    plan: Layout, gradients: Sequence[Gradient], now: jax.Array, before: jax.Array, norms: jax.Array
) -> dict[str, jax.Array]:
    """The norm of the previous gradient, and the cosine between it and this one, by sketches."""
    ends = np.cumsum(plan.sketched)
    cosines = _vector(
        plan,
        [
            jnp.sum(now[end - size : end] * before[end - size : end])
            for end, size in zip(ends, plan.sketched, strict=True)
        ],
    )
    g_norm = _vector(plan, [g.norm for g in gradients])
    gradient, previous = grouped(plan, g_norm), grouped(plan, norms)
    return {
        "previous_norm": previous,
        "successive_cosine": total(plan, cosines, shares(plan, g_norm, gradient), norms, previous),
    }


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


def _spread(gradient: Gradient) -> jax.Array:
    """Distance of the outputs' gradients from their mean, relative to all; 0 if they are equal."""
    g = gradient.shrunk
    if g.ndim < 2 or g.shape[-1] < 2:
        return jnp.zeros_like(gradient.root)
    apart = g - jnp.mean(g, axis=-1, keepdims=True)
    return quotient(jnp.sqrt(jnp.sum(numerics.squared_magnitude(apart))), gradient.root)


def _dead(plan: Layout, dead: jax.Array) -> jax.Array:
    ends = np.cumsum(plan.units)
    counts = _vector(
        plan,
        [
            jnp.sum(dead[end - size : end]) if size else jnp.zeros(())
            for end, size in zip(ends, plan.units, strict=True)
        ],
    )
    return summed(plan, counts) / np.maximum(plan.member @ plan.units, 1).astype(plan.dtype)
