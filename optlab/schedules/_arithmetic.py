"""Arithmetic of schedules: counts stay integers until the last division, values are float32.

float32 holds integers up to 2**24 only, so counts are subtracted first and divided then. A fraction
is always kept together with what is missing to 1, each computed by itself: near either end the
small one of the two is exact, and the ends themselves are hit to the bit.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

LAST_COUNT = 2**31 - 1


def f32(value: Any) -> jax.Array:
    """A field as float32, whatever it is traced as."""
    return jnp.asarray(value, jnp.float32)


def whole(value: Any) -> jax.Array:
    """A field that counts: int32, or float32 if it is traced as a float."""
    if not isinstance(value, jax.Array):
        value = np.asarray(value)
    is_float = jnp.issubdtype(value.dtype, jnp.floating)
    return jnp.asarray(value, jnp.float32 if is_float else jnp.int32)


def alike(*values: Any) -> list[jax.Array]:
    """Counts in one dtype: int32 if all of them are integers."""
    converted = [whole(value) for value in values]
    if all(jnp.issubdtype(value.dtype, jnp.integer) for value in converted):
        return converted
    return [f32(value) for value in converted]


def minus(a: Any, b: Any) -> jax.Array:
    """`a - b` of counts >= 0, as integers where both are."""
    a, b = alike(a, b)
    return a - b


def before(count: Any, boundary: Any) -> jax.Array:
    """Whether the count has not reached the boundary."""
    count, boundary = alike(count, boundary)
    return count < boundary


def plus(a: Any, b: Any) -> jax.Array:
    """`a + b`, the integer sum staying at the last count instead of wrapping round."""
    a, b = alike(a, b)
    if jnp.issubdtype(a.dtype, jnp.integer):
        a = jnp.minimum(a, LAST_COUNT - jnp.maximum(b, 0))
    return a + b


class Part(NamedTuple):
    """A number in [0, 1] and its complement, each accurate where it is small."""

    gone: jax.Array
    left: jax.Array


def progress(count: Any, start: Any, stop: Any) -> Part:
    """How much of [start, stop] lies behind the count; an empty interval is passed at once."""
    length = f32(minus(stop, start))
    empty = length <= 0
    length = jnp.where(empty, 1, length)
    elapsed, rest = f32(minus(count, start)), f32(minus(stop, count))
    passed = f32(elapsed >= 0)
    gone = jnp.clip(elapsed / length, 0, 1)
    left = jnp.clip(rest / length, 0, 1)
    return Part(jnp.where(empty, passed, gone), jnp.where(empty, 1 - passed, left))


def half_cosine(part: Part) -> Part:
    """From 0 to 1 along half a period of a cosine: `(1 - cos(π gone)) / 2`."""
    return Part(jnp.sin(part.gone * (math.pi / 2)) ** 2, jnp.sin(part.left * (math.pi / 2)) ** 2)


def blend(start: Any, stop: Any, part: Part) -> jax.Array:
    """From one value to the other, exact at both, never outside them."""
    start, stop = f32(start), f32(stop)
    early = start + (stop - start) * part.gone
    late = stop + (start - stop) * part.left
    return jnp.where(part.gone <= part.left, early, late)


def warm_up(count: Any, init_value: Any, peak_value: Any, warmup_steps: Any) -> jax.Array:
    """From the initial value (`None`: peak / warmup_steps) to the peak, in equal steps."""
    peak = f32(peak_value)
    if init_value is None:
        init_value = peak / jnp.maximum(f32(whole(warmup_steps)), 1)
    return blend(init_value, peak, progress(count, 0, warmup_steps))


def geometric(value: Any, factor: Any, exponent: jax.Array) -> jax.Array:
    """`value · factor**exponent` for exponent >= 0, which stops growing before it overflows.

    A factor given as a Python number has its logarithm taken in float64: as float32, 0.999 would be
    off by 3e-5 after 1,000 factors.
    """
    log = jnp.log(f32(factor)) if isinstance(factor, jax.Array) else f32(np.log(factor))
    value = f32(value)
    most = 88 - jnp.log(jnp.maximum(jnp.abs(lax.stop_gradient(value)), 1))  # exp(88.7) overflows
    return value * jnp.exp(jnp.minimum(exponent * log, most))
