"""Checksums of arrays, bit for bit, computed where the arrays are.

Of every entry the bits and the place are mixed into a number, and the numbers are added. A sum has
no order, so it is the same however an array is spread over devices and hosts, and nothing is
gathered to compute it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax import lax

from optlab.core import numerics

PyTree = Any

# Odd multipliers, so that each mixing is a bijection: Wellons' lowbias32, Appleby's murmur3.
_MIXINGS = ((0x7FEB352D, 0x846CA68B), (0x85EBCA6B, 0xC2B2AE35))
_GOLDEN = 0x9E3779B1


def checksums(tree: PyTree) -> PyTree:
    """Two 32-bit sums for each leaf: of `mix(bits ^ mix(place))`, modulo 2**32, two mixings.

    Any change of one 32-bit word of one entry changes both sums, because a mixing is a bijection;
    of other changes one in 2**64 goes unseen, by accident. They guard against damage, not against
    malice.

    Args:
      tree: arrays of JAX or NumPy of any dtype and sharding, keys of `jax.random`, Python numbers.

    Returns:
      The same tree of uint32 arrays of shape (2,).

    Special cases:
      What counts are bits: 0.0 and -0.0 differ, and so do two NaN of other payload.
      A leaf without entries has (0, 0). Shape and dtype are not part of it; entries that are
      2**32 places apart have the same place.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> plus, minus = (ol.training.checksums({"w": sign * jnp.zeros(3)}) for sign in (1, -1))
      >>> plus["w"] == minus["w"]
      Array([False, False], dtype=bool)
    """
    leaves, structure = jax.tree.flatten(tree)
    groups = defaultdict(list)
    for i, leaf in enumerate(leaves):
        groups[_place(leaf)].append(i)
    found: list[Any] = [None] * len(leaves)
    # One program for all arrays of a place: many small ones with collectives may not be in flight.
    for group in groups.values():
        sums = _sums([_prepared(leaves[i]) for i in group])
        for i, pair in zip(group, sums, strict=True):
            found[i] = pair
    return jax.tree.unflatten(structure, found)


def hex_text(pair: Any) -> str:
    """Sixteen digits for a pair of sums on the host.

    Example:
      >>> from optlab.training._checksums import hex_text
      >>> hex_text((1, 255))
      '00000001000000ff'
    """
    return "".join(f"{int(part):08x}" for part in pair)


def _place(leaf: Any) -> Any:
    """What arrays of one program have in common."""
    if not isinstance(leaf, jax.Array) or isinstance(leaf, jax.core.Tracer) or not leaf.committed:
        return None
    sharding = leaf.sharding
    return getattr(sharding, "mesh", None) or frozenset(sharding.device_set)


def _prepared(leaf: Any) -> Any:
    """A leaf as a program takes it: 64 bits of NumPy as 32-bit halves, whether x64 is on or not."""
    if isinstance(leaf, jax.Array):
        if not isinstance(leaf, jax.core.Tracer) and leaf.sharding.memory_kind == "pinned_host":
            return jax.device_put(leaf, leaf.sharding.with_memory_kind("device"))
        return leaf
    leaf = np.asarray(leaf)
    if leaf.dtype.itemsize < 8 or leaf.dtype.kind == "V":
        return leaf
    count = leaf.dtype.itemsize // 4
    words = np.ascontiguousarray(leaf.astype(leaf.dtype.newbyteorder("<"), copy=False))
    words = words.reshape(-1).view("<u4").reshape((*leaf.shape, count))
    return tuple(words[..., i] for i in range(count))


@jax.jit
def _sums(leaves: list[Any]) -> list[jax.Array]:
    return [_sum(leaf if isinstance(leaf, tuple) else _words(leaf)) for leaf in leaves]


@jax.jit  # traced and compiled once for all leaves of a shape
def _sum(words: tuple[Any, ...]) -> jax.Array:
    totals = [jnp.zeros((), jnp.uint32) for _ in _MIXINGS]
    for number, word in enumerate(words):
        offset = np.uint32(number * 0x85157AF5 & 0xFFFFFFFF)
        place = numerics.positions(word) * np.uint32(_GOLDEN) + offset
        mixed = [_mix(word ^ _mix(place, *constants), *constants) for constants in _MIXINGS]
        sums = lax.reduce(mixed, [np.uint32(0)] * len(mixed), _added, tuple(range(word.ndim)))
        totals = _added(totals, sums)
    return jnp.stack(totals)


def _added(a: Any, b: Any) -> list[jax.Array]:
    """Both sums in one pass: on CPU ten times as fast as two."""
    return [x + y for x, y in zip(a, b, strict=True)]


def _words(leaf: Any) -> tuple[jax.Array, ...]:
    """The bits of each entry as 32-bit numbers, the lower first."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return (jax.random.key_data(leaf).astype(jnp.uint32),)
    if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
        return (*_words(leaf.real), *_words(leaf.imag))
    if leaf.dtype == jnp.bool_:
        return (leaf.astype(jnp.uint32),)
    bits = unsigned(leaf)
    if bits.dtype.itemsize < 8:
        return (bits.astype(jnp.uint32),)
    return bits.astype(jnp.uint32), (bits >> np.uint64(32)).astype(jnp.uint32)


def unsigned(leaf: jax.Array) -> jax.Array:
    """The bits of each entry of whole or real numbers, as the unsigned type of that width.

    Example:
      >>> import jax.numpy as jnp
      >>> from optlab.training._checksums import unsigned
      >>> unsigned(jnp.asarray([-1, 1], jnp.int4))
      Array([15, 1], dtype=uint4)
    """
    kind = jnp.finfo if jnp.issubdtype(leaf.dtype, jnp.floating) else jnp.iinfo
    return lax.bitcast_convert_type(leaf, jnp.dtype(f"uint{kind(leaf.dtype).bits}"))


def _mix(x: jax.Array, first: int, second: int) -> jax.Array:
    """A bijection of 32 bits in which every bit depends on every other."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(first)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(second)
    return x ^ (x >> np.uint32(16))
