"""What is drawn for each example, and the ranges that users write for it."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from optlab.core import checks


@dataclasses.dataclass(frozen=True)
class span:
    """The check of a range: `(low, high)` within limits, or `d >= 0`, short for `(-d, d)`."""

    limits: Any = checks.finite
    symmetric: bool = True

    def __str__(self) -> str:
        pair = f"a pair (low, high), each {self.limits}"
        return f"a number >= 0 or {pair}" if self.symmetric else pair

    def __call__(self, owner: str, name: str, value: Any) -> Any:
        if not isinstance(value, tuple | list):
            if self.symmetric:
                return checks.nonnegative(owner, name, value)
            raise TypeError(f"{owner}: {name} must be {self}, got {value!r}.")
        if len(value) != 2:
            raise ValueError(f"{owner}: {name} must be {self}, got {len(value)} values: {value!r}.")
        low, high = (self.limits(owner, f"{name}[{i}]", end) for i, end in enumerate(value))
        check_order(owner, name, low, high)
        return low, high


def check_order(owner: str, name: str, low: Any, high: Any) -> None:
    if checks.is_concrete(low, high) and low > high:
        raise ValueError(f"{owner}: {name} must have low <= high, got ({low!r}, {high!r}).")


def ends(value: Any) -> tuple[Any, Any]:
    return value if isinstance(value, tuple) else (-value, value)


def uniform(key: Any, count: int) -> jax.Array:
    """All that is random about one example, drawn at once: every draw takes long to compile.

    Always in float32, so that choices do not depend on the dtype of the images.
    """
    return jax.random.uniform(key, (count,), jnp.float32)


def between(chance: jax.Array, low: Any, high: Any) -> jax.Array:
    """`chance`, uniform in [0, 1), as a number in [low, high]."""
    low, high = jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32)
    # The bounds hold anyway, rounding aside; they also keep compilers from merging a product and a
    # sum into one operation here and not there, which moves a last bit.
    part = jnp.minimum((high - low) * chance, high - low)
    return jnp.minimum(low + part, high)


def below(chance: jax.Array, count: int) -> jax.Array:
    """`chance`, uniform in [0, 1), as one of the whole numbers 0 ... count - 1."""
    return jnp.minimum((chance * count).astype(jnp.int32), count - 1)
