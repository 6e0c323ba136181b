"""Random numbers for rounding: a hash of seed, count, name and position, and nothing else.

A number belongs to an entry's place in its array, wherever that entry lives, so results do not
depend on the sharding; and a run that resumes at a count goes on as if it had not stopped. It
takes two integer multiplications an entry, much less than `jax.random`.
"""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from optlab.core import numerics


class Noise(NamedTuple):
    """Uniform noise for the entries of arrays.

    Attributes:
      key: uint32 scalar.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> noise = ol.storage.noise(seed=0, count=3)
      >>> bool(jnp.all(noise.uniform(jnp.zeros(8)) == noise.uniform(jnp.zeros(8))))
      True
    """

    key: jax.Array

    def bits(self, like: jax.Array) -> jax.Array:
        """32 random bits for each entry of an array, the upper ones the better.

        Weyl's sequence of positions, and one round of mixing: rounding needs no better numbers
        (over 5,000 lags correlations stay below 2 %), and they are a large part of its cost.
        """
        x = numerics.positions(like) * np.uint32(0x9E3779B1) + self.key
        return (x ^ (x >> np.uint32(15))) * np.uint32(0x735A2D97)

    def uniform(self, like: jax.Array) -> jax.Array:
        """A number in (0, 1) for each entry, in the array's dtype.

        None is nearer than 2**-14 to 0 or 1: an entry that is a code but for errors of float32
        gets that code, so that what is decoded and encoded again stays what it is.
        """
        whole = (self.bits(like) >> np.uint32(8)).astype(jnp.int32)
        step = np.asarray((1 - 2.0**-13) * 2.0**-24, like.dtype)
        return whole.astype(like.dtype) * step + np.asarray(2.0**-14, like.dtype)


def noise(seed: int = 0, count: Any = 0, name: str = "") -> Noise:
    """The noise of one array at one step.

    Args:
      seed: whole number; another seed, other noise.
      count: the number of the step, an int or an int32 scalar.
      name: of the array, such as its path: arrays of other names have other noise.

    Returns:
      A `Noise`.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> a, b = (ol.storage.noise(count=count).uniform(jnp.zeros(4)) for count in (0, 1))
      >>> bool(jnp.any(a == b))
      False
    """
    return noise_of(salt(seed, name), count)


def salt(seed: int, name: str) -> np.uint32:
    """What distinguishes arrays: a number known when tracing.

    Example:
      >>> import optlab as ol
      >>> int(ol.storage.salt(0, "first/kernel"))
      1842385037
    """
    return np.uint32(zlib.crc32(f"{seed}:{name}".encode()))


def noise_of(salt: Any, count: Any) -> Noise:
    """The noise of an array known by its salt, which may be traced.

    Example:
      >>> import jax, optlab as ol
      >>> jax.jit(ol.storage.noise_of)(ol.storage.salt(0, "w"), 3) == ol.storage.noise(0, 3, "w")
      True
    """
    step = _mix(jnp.asarray(count).astype(jnp.uint32) + np.uint32(0x9E3779B9))
    return Noise(_mix(step ^ jnp.asarray(salt, jnp.uint32)))


def _mix(x: jax.Array) -> jax.Array:
    """A bijection of 32 bits in which every bit depends on every other.

    The constants are those of Wellons' hash-prospector's two-round function with the least bias.
    """
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x21F0AAAD)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x735A2D97)
    return x ^ (x >> np.uint32(15))
