"""Clipping: bounds on entries, on each leaf's norm, on the norm of all leaves together.

First in a chain, before anything that remembers. Takes and gives plain updates. What is inside the
bound passes bit-identical; norms are computed in float32 and cannot overflow.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from optlab.core import Link, Transformation, checks, hyperparameter, numerics, require_arrays


class ClipState(NamedTuple):
    """norm: float32 scalar (float64 if a leaf is): the latest global norm, before clipping."""

    norm: jax.Array

    def recorded(self) -> dict[str, jax.Array]:
        return {"norm": self.norm}


class ClipByValue(Link):
    """Attributes: max_value: > 0, the largest magnitude of an entry, in gradient units."""

    max_value: Any = hyperparameter(checks.positive)

    def update(self, updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        require_arrays(self.record_name, updates)

        def clip(u):
            bound = numerics.scalar(self.max_value, u.dtype)
            if jnp.iscomplexobj(u):
                return lax.complex(jnp.clip(u.real, -bound, bound), jnp.clip(u.imag, -bound, bound))
            return jnp.clip(u, -bound, bound)

        return jax.tree.map(clip, updates), state


class ClipByNorm(Link):
    """Attributes: max_norm: > 0, the largest norm of a leaf, in gradient units."""

    max_norm: Any = hyperparameter(checks.positive)

    def update(self, updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        require_arrays(self.record_name, updates)
        return jax.tree.map(
            lambda u: shrink(u, numerics.scaled_norm(u), self.max_norm), updates
        ), state


class ClipByGlobalNorm(Link):
    """Attributes: max_norm: > 0, the largest norm of all leaves together, in gradient units."""

    max_norm: Any = hyperparameter(checks.positive)

    def init(self, params: Any) -> ClipState:
        return ClipState(jnp.zeros((), numerics.widest(jax.tree.leaves(params))))

    def update(self, updates: Any, state: ClipState, params: Any = None, **extra: Any) -> Any:
        require_arrays(self.record_name, updates)
        norm = numerics.scaled_norm(updates)
        recorded = norm.value().astype(state.norm.dtype)
        return shrink(updates, norm, self.max_norm), ClipState(recorded)


def shrink(updates: Any, norm: numerics.ScaledNorm, max_norm: Any) -> Any:
    """Scales a tree of the given norm down to `max_norm`; the identity, to the bit, inside it."""
    max_norm = numerics.scalar(max_norm, norm.root.dtype)
    inside = norm.value() <= max_norm  # not the other way round: a NaN is not inside
    coarse = jnp.where(inside, 1, 1 / norm.scale)
    root = jnp.where(inside, 1, norm.root)  # derivatives at a zero gradient stay finite
    fine = jnp.where(inside, 1, max_norm / root)
    infinite = jnp.isinf(norm.root)

    def apply(u):
        clipped = u * coarse.astype(u.dtype) * fine.astype(u.dtype)
        return jnp.where(infinite, jnp.zeros((), u.dtype), clipped)

    return jax.tree.map(apply, updates)


def clip_by_value(max_value: Any) -> Transformation:
    """Bounds every entry: `u <- min(max(u, -max_value), max_value)`.

    Args:
      max_value: > 0, in gradient units, or a schedule.

    Returns:
      A `Transformation` without state.

    Raises:
      ValueError: unless `max_value` is positive and finite. TypeError: if it is no number.

    Special cases:
      An infinity becomes `max_value` with its sign, NaN stays NaN. Real and imaginary parts of a
      complex entry are bounded separately. The direction of the gradient changes; `clip_by_norm`
      keeps it.

    Differs from:
      `optax.clip` takes negative bounds.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.clip_by_value(1.0)
      >>> tx.update(jnp.array([-3.0, 0.5]), tx.init(jnp.zeros(2)))[0]
      Array([-1. ,  0.5], dtype=float32)
    """
    return Transformation(ClipByValue(max_value=max_value))


def clip_by_norm(max_norm: Any) -> Transformation:
    """Bounds the Euclidean norm of each leaf by itself: `u <- u · min(1, max_norm / |u|)`.

    Args:
      max_norm: > 0, in gradient units, or a schedule.

    Returns:
      A `Transformation` without state.

    Raises:
      ValueError: unless `max_norm` is positive and finite. TypeError: if it is no number.

    Special cases:
      As `clip_by_global_norm`, leaf by leaf: a NaN stays in its leaf.

    Differs from:
      `optax.clip_by_block_rms` divides by the number of entries, `clip_by_global_norm` looks at all
      leaves together.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.clip_by_norm(1.0)
      >>> tx.update({"a": jnp.array([3.0, 4.0]), "b": jnp.array([0.5])}, tx.init({}))[0]["b"]
      Array([0.5], dtype=float32)

    Source:
      Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks", 2013,
      arXiv:1211.5063, algorithm 1.
    """
    return Transformation(ClipByNorm(max_norm=max_norm))


def clip_by_global_norm(max_norm: Any) -> Transformation:
    """Bounds the Euclidean norm of all leaves together: `u <- u · min(1, max_norm / |u|)`.

    Args:
      max_norm: > 0, in gradient units, or a schedule.

    Returns:
      A `Transformation` whose state keeps the norm before clipping: `read(state)["norm"]`.

    Raises:
      ValueError: unless `max_norm` is positive and finite. TypeError: if it is no number.

    Special cases:
      Zero gradients stay zero, and the derivative there is finite. Finite entries of any size give
      a finite result in the gradient's direction. With an infinite entry all becomes 0, as
      max_norm / inf is, and the recorded norm is inf. With a NaN anywhere all becomes NaN, the
      recorded norm too: nothing hides it from a guard behind. bf16 leaves are squared and summed in
      float32.

    Cost:
      4 bytes of state in all; one more read of the gradients.

    Differs from:
      `optax.clip_by_global_norm` gives NaN for an infinite entry and zeros for a finite one of
      1e25, sums bf16 in bf16, accepts a negative bound (which flips the sign), and records nothing.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.clip_by_global_norm(1.0)
      >>> updates, state = tx.update(jnp.array([3.0, 4.0]), tx.init(jnp.zeros(2)))
      >>> updates, ol.read(state)["norm"]
      (Array([0.6, 0.8], dtype=float32), Array(5., dtype=float32))

    Source:
      Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks", 2013,
      arXiv:1211.5063, algorithm 1.
    """
    return Transformation(ClipByGlobalNorm(max_norm=max_norm))
