"""Blocks along the last axis: their largest magnitude, and one number for each of their entries.

Nothing is flattened: an array sharded along any axis keeps its layout, as long as a device's part
of the last axis is whole blocks. Where it is not, the compiler moves data.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_LANES = 32  # measured on AVX2 with 8 to 128; 64 is 4 times slower


def block_shape(shape: tuple[int, ...], block: int) -> tuple[int, ...]:
    """The shape of one number a block: `(..., ceil(n / block))`."""
    return (*shape[:-1], -(-shape[-1] // _width(shape, block))) if shape else ()


def block_max(x: jax.Array, block: int) -> jax.Array:
    """The largest magnitude of each block; NaN or infinite if an entry is."""
    magnitude = jnp.abs(x)
    if not x.ndim:
        return magnitude
    # Magnitudes order like their bits, and compilers vectorise the maximum of integers only: for
    # floats its result would depend on the order of NaNs. This is 7 times faster on CPU.
    bits = lax.bitcast_convert_type(magnitude, jnp.dtype(f"int{8 * x.dtype.itemsize}"))
    bits = _split(bits, _width(x.shape, block))
    if bits.shape[-1] % _LANES == 0:
        bits = jnp.max(bits.reshape(*bits.shape[:-1], -1, _LANES), axis=-2)
    return lax.bitcast_convert_type(jnp.max(bits, axis=-1, initial=0), x.dtype)


def spread(values: jax.Array, like: jax.Array, block: int) -> jax.Array:
    """One number a block, for each entry of an array of such blocks, sharded like the array."""
    shape = like.shape
    if not shape:
        return values
    width = _width(shape, block)
    whole = jnp.broadcast_to(values[..., None], (*values.shape, width))
    whole = whole.reshape(*shape[:-1], values.shape[-1] * width)
    whole = whole if whole.shape == shape else whole[..., : shape[-1]]
    spec = _explicit_spec(like)
    if spec is not None and _explicit_spec(whole) != spec:
        whole = jax.sharding.reshard(whole, spec)
    return whole


def _width(shape: tuple[int, ...], block: int) -> int:
    return max(1, min(block, shape[-1]))


def _split(x: jax.Array, width: int) -> jax.Array:
    """`(..., n)` as `(..., n / width, width)`, the last block filled up with zeros."""
    missing = -x.shape[-1] % width
    spec = _explicit_spec(x)
    if spec is not None and spec[-1] is not None:
        names = spec[-1] if isinstance(spec[-1], tuple) else (spec[-1],)
        parts = math.prod(jax.typeof(x).sharding.mesh.shape[name] for name in names)
        if x.shape[-1] % (parts * width):  # Auto meshes do this by themselves
            x = jax.sharding.reshard(x, jax.sharding.PartitionSpec(*spec[:-1], None))
    if missing:
        x = jnp.pad(x, [*[(0, 0)] * (x.ndim - 1), (0, missing)])
    return x.reshape(*x.shape[:-1], x.shape[-1] // width, width)


def _explicit_spec(x: jax.Array) -> jax.sharding.PartitionSpec | None:
    """The sharding that belongs to an array's type, on meshes with Explicit axes."""
    sharding = getattr(jax.typeof(x), "sharding", None)
    if sharding is None or jax.sharding.AxisType.Explicit not in sharding.mesh.axis_types:
        return None
    return sharding.spec


def reciprocal(scales: jax.Array) -> jax.Array:
    """`1 / scale`, and 0 where that would overflow: entries of blocks below 1e-37 become 0."""
    tiny = np.asarray(jnp.finfo(scales.dtype).tiny * 8, scales.dtype)
    return jnp.where(scales < tiny, jnp.zeros_like(scales), 1 / jnp.maximum(scales, tiny))
