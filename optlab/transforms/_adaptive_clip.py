"""Adaptive gradient clipping: each output unit's gradient is bounded relative to its weights.

First in a chain. Takes and gives plain updates; needs the parameters.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from optlab.core import (
    Link,
    Transformation,
    checks,
    hyperparameter,
    numerics,
    require_arrays,
    require_params,
    static,
)
from optlab.selectors import as_selector, everything


class AdaptiveClip(Link):
    """Attributes: clipping (λ) > 0; eps > 0, the least weight norm; where: the leaves it clips."""

    clipping: Any = hyperparameter(checks.positive)
    eps: Any = hyperparameter(checks.positive, default=1e-3)
    where: Any = static(as_selector, default=everything)

    def update(self, updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        require_arrays(self.record_name, updates)
        require_params(self.record_name, params)

        def clip(u, p, chosen):
            if not chosen:
                return u
            axes = tuple(range(u.ndim - 1)) or None  # all but the output axis; a vector as one unit
            weight = numerics.norm(p, axis=axes, keepdims=True)
            gradient = numerics.norm(u, axis=axes, keepdims=True)
            limit = numerics.scalar(self.clipping, u.dtype) * jnp.maximum(
                weight, numerics.scalar(self.eps, u.dtype)
            )
            inside = gradient <= limit
            norm = jnp.where(inside, 1, gradient)  # derivatives at tiny gradients stay finite
            factor = jnp.where(inside, 1, limit / norm)
            factor = jnp.where(jnp.isfinite(gradient), factor, jnp.nan)  # nothing hides it
            return u * factor.astype(u.dtype).reshape(factor.shape if u.ndim else ())

        return jax.tree.map(clip, updates, params, self.where.mask(params)), state


def adaptive_clip(clipping: Any, *, eps: Any = 1e-3, where: Any = everything) -> Transformation:
    """Clips a unit's gradient to a multiple of its weight norm (AGC).

    `G_i <- G_i · min(1, λ max(|W_i|, ε) / |G_i|)` for each unit i: the weights of one output, that
    is every axis but the last of a Flax kernel; a vector or scalar counts as one unit.

    Args:
      clipping: λ > 0, the largest ratio of gradient norm to weight norm; 0.01 for large batches in
        the paper. A number or a schedule.
      eps: > 0, the weight norm assumed at least, so that zero weights can grow; or a schedule.
      where: selector of the leaves to clip; the paper leaves the output layer (`~heads`) alone.

    Returns:
      A `Transformation` without state. `update` needs the parameters.

    Raises:
      ValueError: for values out of range, or `params=None`. TypeError: for no number or selector.

    Special cases:
      A zero gradient stays zero. A unit with an infinite or NaN entry becomes NaN.

    Differs from:
      `optax.adaptive_grad_clip` takes a unit's norm over the first axis alone where a leaf has
      three (the inputs of an attention projection), and has no `where`.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.adaptive_clip(1.0)
      >>> params = jnp.array([[3.0], [4.0]])
      >>> tx.update(jnp.array([[6.0], [8.0]]), tx.init(params), params)[0]
      Array([[3.],
             [4.]], dtype=float32)

    Source:
      Brock, De, Smith, Simonyan, "High-performance large-scale image recognition without
      normalization", 2021, arXiv:2102.06171, equation 3.
    """
    return Transformation(AdaptiveClip(clipping=clipping, eps=eps, where=where))
