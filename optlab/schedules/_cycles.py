"""Cycles of geometrically growing length: which one a count is in, and where it began.

Cycle n begins at `period · (1 + f + ... + f**(n - 1))`. Whole lengths are added up in integers, so
that a restart is never an update early or late; others in float32, in closed form.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from optlab.core import numerics
from optlab.schedules._arithmetic import LAST_COUNT, f32, minus, whole


class Start(NamedTuple):
    """A point between counts: an int32 and a float32 in [0, 1] to add to it."""

    count: jax.Array
    offset: jax.Array


class Cycles(NamedTuple):
    """Attributes: period >= 1, the length of the first cycle; factor >= 1, from one to the next."""

    period: Any
    factor: Any

    def find(self, count: jax.Array) -> jax.Array:
        """The index of the cycle that holds a count."""
        fixed = Cycles(*(lax.stop_gradient(v) if isinstance(v, jax.Array) else v for v in self))
        guess = fixed._guess(count)
        # Rounding may have put the guess into a neighbour: count which of the three have begun.
        nearby = jnp.maximum(jnp.stack([guess - 1, guess, guess + 1], axis=-1), 0)
        begun = fixed.elapsed(lax.stop_gradient(count)[..., None], nearby) >= 0
        return guess - 2 + jnp.sum(begun, axis=-1, dtype=jnp.int32)

    def _guess(self, count: jax.Array) -> jax.Array:
        excess, elapsed = self._excess(), f32(count) / f32(whole(self.period))
        steady = excess == 0
        safe = jnp.where(steady, 1, excess)
        growing = jnp.log1p(elapsed * safe) / jnp.log1p(safe)
        guess = jnp.floor(jnp.where(steady, elapsed, growing)).astype(jnp.int32)
        exact = count.astype(jnp.int32) // whole(self.period).astype(jnp.int32)
        return jnp.where(steady & self._is_whole(), exact, guess)

    def elapsed(self, count: jax.Array, index: jax.Array) -> jax.Array:
        """How long ago a cycle began; negative if it has not."""
        start = self.start(index)
        return f32(minus(count, start.count)) - start.offset

    def length(self, index: jax.Array) -> jax.Array:
        return f32(whole(self.period)) * jnp.exp(f32(index) * jnp.log1p(self._excess()))

    def start(self, index: jax.Array) -> Start:
        """Where a cycle begins; out of reach if that is beyond the last count."""
        real = jnp.minimum(f32(whole(self.period)) * self._periods(index), 2.0**32)
        error = real * 1.2e-7 * (4 + f32(index) * jnp.log1p(self._excess()))
        total = self._whole_start(index)
        is_whole = self._is_whole()
        beyond = (real > LAST_COUNT) | (is_whole & (total < 0))  # the integer sum wrapped round
        near = jnp.round(real)
        is_near = jnp.abs(real - near) <= jnp.minimum(error, 0.25)
        snapped = jnp.minimum(jnp.where(is_near, near, real), 2.0**31 - 128)
        count = jnp.where(is_whole, total, jnp.floor(snapped).astype(jnp.int32))
        count = jnp.where(beyond, LAST_COUNT, count)
        offset = jnp.where(beyond, 1, jnp.where(is_whole, 0, snapped - jnp.floor(snapped)))
        # The value found with integers, with the derivative of the real formula.
        return Start(count, lax.stop_gradient(offset) + (real - lax.stop_gradient(real)))

    def _excess(self) -> jax.Array:
        return -numerics.complement(self.factor, jnp.float32)

    def _periods(self, index: jax.Array) -> jax.Array:
        """`(f**index - 1) / (f - 1)`, or its limit at f = 1."""
        excess, index = self._excess(), f32(index)
        steady = excess == 0
        safe = jnp.where(steady, 1, excess)
        # The second term is there for the derivative.
        limit = index * (1 + (index - 1) / 2 * excess)
        return jnp.where(steady, limit, jnp.expm1(index * jnp.log1p(safe)) / safe)

    def _is_whole(self) -> jax.Array:
        period, factor = f32(whole(self.period)), f32(self.factor)
        return (jnp.round(period) == period) & (jnp.round(factor) == factor)

    def _whole_start(self, index: jax.Array) -> jax.Array:
        period = whole(self.period).astype(jnp.int32)
        factor = jnp.round(f32(self.factor)).astype(jnp.int32)
        # The last term is kept out of the fraction, whose numerator would overflow first.
        last = factor ** jnp.maximum(index - 1, 0)
        total = jnp.where(factor == 1, index, (last - 1) // jnp.maximum(factor - 1, 1) + last)
        return jnp.where(index > 0, period * total, 0)
