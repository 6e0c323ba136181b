"""Stochastic rounding: up or down at random, so that the expected result is the value itself."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from optlab.storage._noise import Noise


def stochastic_round(value: jax.Array, dtype: Any, noise: Noise) -> jax.Array:
    """An array in a narrower dtype whose expectation is the array.

    Args:
      value: real array of float32 or float64.
      dtype: bfloat16 or float16 (or the array's own, which changes nothing).
      noise: see `optlab.storage.noise`.

    Returns:
      One of the two neighbours of each entry in the dtype, each with a probability in proportion
      to the distance from the other, to within 2**-16 (float16: 2**-24).

    Raises:
      TypeError: for other dtypes.

    Special cases:
      Entries that the dtype holds, infinities and NaN stay what they are. What is beyond the
      dtype's range is rounded to nearest.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> x = jnp.full(4096, 1.001)
      >>> x.astype(jnp.bfloat16).astype(x.dtype).mean()
      Array(1., dtype=float32)
      >>> rounded = ol.storage.stochastic_round(x, jnp.bfloat16, ol.storage.noise())
      >>> rounded.astype(x.dtype).mean().round(3)
      Array(1.001, dtype=float32)
    """
    dtype = jnp.dtype(dtype)
    if dtype == value.dtype:
        return value
    if dtype == jnp.bfloat16:
        return _by_bits(value, noise)
    if dtype == jnp.float16:
        return _by_neighbours(value, dtype, noise)
    raise TypeError(f"stochastic_round: dtype must be bfloat16 or float16, got {dtype.name}.")


def _by_bits(value: jax.Array, noise: Noise) -> jax.Array:
    """Random bits below the last one kept, added to the value's bits, carry as often as needed."""
    wide = value.dtype.itemsize == 8
    bits_type = jnp.uint64 if wide else jnp.uint32
    dropped = 45 if wide else 16  # of 52 or 23 bits of mantissa, bfloat16 has 7
    random = (noise.bits(value) >> np.uint32(16)).astype(bits_type) << bits_type(dropped - 16)
    bits = lax.bitcast_convert_type(value, bits_type)
    kept = ((bits + random) >> bits_type(dropped)) << bits_type(dropped)
    rounded = lax.bitcast_convert_type(kept, value.dtype)
    # An infinity plus random bits would be NaN.
    return jnp.where(jnp.isfinite(value), rounded, value).astype(jnp.bfloat16)


def _by_neighbours(value: jax.Array, dtype: np.dtype, noise: Noise) -> jax.Array:
    nearest = value.astype(dtype)
    error = value - nearest.astype(value.dtype)
    side = jnp.where(error > 0, jnp.full_like(nearest, jnp.inf), jnp.full_like(nearest, -jnp.inf))
    other = jnp.nextafter(nearest, side)
    gap = jnp.abs(other.astype(value.dtype) - nearest.astype(value.dtype))
    take = noise.uniform(value) * gap < jnp.abs(error)
    inside = jnp.isfinite(other) & (error != 0)
    return jnp.where(take & inside, other, nearest)


def quantum(x: jax.Array, mantissa: int, least: int) -> jax.Array:
    """The distance between the numbers of a narrow float format at each entry, a power of two.

    Args:
      x: array of float32 or float64.
      mantissa: bits of the format's mantissa.
      least: the exponent of its smallest normal number.

    Returns:
      An array like x.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> ol.storage.quantum(jnp.array([1.0, 1.99, 2.0, 0.0]), mantissa=7, least=-126)
      Array([0.0078125, 0.0078125, 0.015625 , 0.       ], dtype=float32)
    """
    wide = x.dtype.itemsize == 8
    kind, mask = (jnp.uint64, 0x7FF << 52) if wide else (jnp.uint32, 0xFF << 23)
    exponent = lax.bitcast_convert_type(x, kind) & kind(mask)
    binade = lax.bitcast_convert_type(exponent, x.dtype)
    least_binade = np.asarray(2.0**least, x.dtype)
    return jnp.maximum(binade, least_binade) * np.asarray(2.0**-mantissa, x.dtype)
