"""Clipping by the norm of all gradients together: the direction is kept, the length is bounded.

First in a chain. Takes and gives plain updates; records the norm before clipping.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optlab.core import Link, Transformation, checks, hyperparameter, numerics, require_arrays


class ClipState(NamedTuple):
    """norm: float32 scalar (float64 for float64 gradients), the latest norm before clipping."""

    norm: jax.Array

    def recorded(self) -> dict[str, jax.Array]:
        return {"norm": self.norm}


class ClipByGlobalNorm(Link):
    """Attributes: max_norm: > 0, the largest norm let through, in gradient units."""

    max_norm: Any = hyperparameter(checks.positive)

    def init(self, params: Any) -> ClipState:
        return ClipState(jnp.zeros((), numerics.widest(jax.tree.leaves(params))))

    def update(self, updates: Any, state: ClipState, params: Any = None, **extra: Any) -> Any:
        require_arrays(self.record_name, updates)
        norm = numerics.global_norm(updates).astype(state.norm.dtype)
        max_norm = numerics.scalar(self.max_norm, norm.dtype)
        # Exactly 1 inside the ball, so that what needs no clipping stays bit-identical.
        factor = jnp.where(norm > max_norm, numerics.safe_divide(max_norm, norm), 1)
        return jax.tree.map(lambda u: u * factor.astype(u.dtype), updates), ClipState(norm)


def clip_by_global_norm(max_norm: Any) -> Transformation:
    """doc"""
    return Transformation(ClipByGlobalNorm(max_norm=max_norm))
