"""The rules a second moment can follow: one row of `RULES` each, everything else is shared.

A rule keeps statistics of one leaf. Its names are those of the equations: v the statistic, s the
gradient's squared magnitude, d the decay b2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optlab.core import numerics
from optlab.storage import Factors


class Factored(Factors):
    """A matrix statistic as its row and column means, which are all that is ever gathered of it."""

    __slots__ = ()

    @property
    def kept_shape(self) -> None:
        """None: it is a state of its own, not what a storage keeps of one."""
        return None


class Rule(NamedTuple):
    """How a second moment is gathered.

    Attributes:
      update: `(v, g, first, decay, offset) -> v`, with `decay` and its complement as a pair.
      weighted: whether v is an average that starts at 0, hence biased towards it.
      power: 2 if v estimates |g|², 1 if |g|.
    """

    update: Callable[..., Any]
    weighted: bool = True
    power: int = 2


def _square(v, g, first, decay, offset):  # v <- d v + (1 - d) (s + ε)
    d, rest = decay
    return d * v + rest * (numerics.squared_magnitude(g) + offset)


def _sum(v, g, first, decay, offset):  # v <- v + s
    return jnp.minimum(v + numerics.squared_magnitude(g) + offset, jnp.finfo(v.dtype).max)


def _infinity(v, g, first, decay, offset):  # v <- max(d v, |g| + ε)
    return jnp.maximum(decay[0] * v, jnp.abs(g) + offset)


def _belief(v, g, first, decay, offset):  # v <- d v + (1 - d) |g - m|² + ε
    d, rest = decay
    return d * v + rest * numerics.squared_magnitude(g - first) + offset


def _yogi(v, g, first, decay, offset):  # v <- v - (1 - d) sign(v - s) s
    s = numerics.squared_magnitude(g) + offset
    return v - decay[1] * jnp.sign(v - s) * s


def _factored(v, g, first, decay, offset):  # rows and columns of `_square`
    if not isinstance(v, Factored):
        return _square(v, g, first, decay, offset)
    d, rest = decay
    s = numerics.squared_magnitude(g) + offset
    latest = Factored.of(s)
    return Factored(d * v.rows + rest * latest.rows, d * v.columns + rest * latest.columns)


RULES = {
    "square": Rule(_square),
    "sum": Rule(_sum, weighted=False),
    "infinity": Rule(_infinity, weighted=False, power=1),
    "belief": Rule(_belief),
    "yogi": Rule(_yogi),
    "factored": Rule(_factored),
}


def start(rule: str, param: Any, value: Any, min_size: int) -> Any:
    """The statistic before the first gradient: `value` everywhere."""
    dtype = numerics.real_dtype(param.dtype)
    if rule == "factored" and is_factored(param.shape, min_size):
        # Sums over an axis of the leaf itself keep its sharding along the other axes.
        zeros = numerics.zeros_like(param, dtype)
        rows, columns = jnp.sum(zeros, axis=-1), jnp.sum(zeros, axis=-2)
        return Factored(rows + jnp.asarray(value, dtype), columns + jnp.asarray(value, dtype))
    return numerics.full_like(param, value, dtype)


def is_factored(shape: tuple[int, ...], min_size: int) -> bool:
    """Only where both of the last two axes are long enough to be worth it."""
    return len(shape) >= 2 and min(shape[-2:]) >= min_size


def dense(v: Any) -> jax.Array:
    """The statistic in the parameter's shape."""
    return v.dense() if isinstance(v, Factored) else v


def is_factored_node(node: Any) -> bool:
    return isinstance(node, Factored)


def described(v: Any) -> Any:
    """The shape of the parameter that a statistic belongs to."""
    if not isinstance(v, Factored):
        return v
    return jax.ShapeDtypeStruct((*v.rows.shape, v.columns.shape[-1]), v.rows.dtype)
