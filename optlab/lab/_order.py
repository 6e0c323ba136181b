"""Which examples a step takes: a permutation an epoch, as a function of key and step.

No list is shuffled: a position is mapped to an example by a keyed bijection of range(count), so a
step costs its own batch and not the data. The bijection is the swap-or-not shuffle: in each round a
random partner is chosen for every element, and a random bit of the pair says whether they swap.

Source: V. T. Hoang, B. Morris, P. Rogaway, An Enciphering Scheme Based on a Card Shuffle, 2012,
arXiv:1208.1176.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

_ROUNDS = 24


def examples(key: jax.Array, step: jax.Array, *, count: int, batch_size: int) -> jax.Array:
    """The examples of a step, int32[batch_size]; an epoch is count // batch_size steps."""
    epoch_steps = count // batch_size
    epoch, place = step // epoch_steps, step % epoch_steps
    positions = place * batch_size + jnp.arange(batch_size, dtype=jnp.int32)
    return permuted(jax.random.fold_in(key, epoch), positions, count)


def permuted(key: jax.Array, positions: jax.Array, count: int) -> jax.Array:
    """Where a random permutation of range(count) sends these positions, int32."""
    words = jax.random.bits(key, (_ROUNDS, 2), jnp.uint32)
    count_ = jnp.uint32(count)

    def swap(i, x):
        word = words[i]
        partner = word[0] % count_
        partner = jnp.where(partner >= x, partner - x, partner + (count_ - x))
        pair = jnp.maximum(x, partner)
        return jnp.where(_mixed(pair ^ word[1]) & 1, partner, x)

    x = jax.lax.fori_loop(0, _ROUNDS, swap, positions.astype(jnp.uint32))  # compiles fast
    return x.astype(jnp.int32)


def _mixed(x: jax.Array) -> jax.Array:
    """A hash of 32 bits: multiplications and shifts, each invertible."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)
