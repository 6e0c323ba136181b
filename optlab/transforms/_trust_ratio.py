"""Layer-wise step sizes: a leaf's update is scaled by the size of its parameters.

Before the learning rate. Plain updates in and out; needs the parameters.
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


class ScaleByTrustRatio(Link):
    """Attributes: coefficient (κ) > 0; weight_decay (λ) >= 0; eps >= 0; where."""

    coefficient: Any = hyperparameter(checks.positive, default=1.0)
    weight_decay: Any = hyperparameter(checks.nonnegative, default=0.0)
    eps: Any = hyperparameter(checks.nonnegative, default=0.0)
    where: Any = static(as_selector, default=everything)

    def update(self, updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        require_arrays(self.record_name, updates)
        require_params(self.record_name, params)

        def scale(u, p, chosen):
            if not chosen:
                return u
            weight, gradient = numerics.norm(p), numerics.norm(u)
            real = weight.dtype
            decay = numerics.scalar(self.weight_decay, real)
            size = gradient + decay * weight + numerics.scalar(self.eps, real)
            ratio = numerics.scalar(self.coefficient, real) * numerics.safe_divide(weight, size)
            unscaled = (weight == 0) | (gradient == 0)
            return jnp.where(unscaled, jnp.ones_like(ratio), ratio) * (u + decay * p)

        return jax.tree.map(scale, updates, params, self.where.mask(params)), state


def scale_by_trust_ratio(
    coefficient: Any = 1.0, *, weight_decay: Any = 0.0, eps: Any = 0.0, where: Any = everything
) -> Transformation:
    """Scales each leaf's update to its parameters: `u <- κ |θ| / (|u| + λ |θ| + ε) · (u + λ θ)`.

    Args:
      coefficient: κ > 0, or a schedule; 1 in LAMB, 0.001 in LARS.
      weight_decay: λ >= 0, or a schedule: LARS's decay, whose norm counts apart from the
        gradient's. LAMB puts `add_decayed_weights` before this link instead.
      eps: ε >= 0, in update units, or a schedule.
      where: selector of the leaves to scale; others pass unchanged, without decay.

    Returns:
      A `Transformation` without state. `update` needs the parameters.

    Raises:
      ValueError: for values out of range, or `params=None`. TypeError: for no number or selector.

    Special cases:
      The ratio is 1 for zero parameters or a zero update. Norms cannot overflow.

    Differs from:
      `optax.scale_by_trust_ratio` has no decay: its LARS divides by |u + λ θ|, the paper's by
      |u| + λ |θ|.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.scale_by_trust_ratio()
      >>> params = jnp.array([3.0, 4.0])
      >>> tx.update(jnp.array([0.0, 1.0]), tx.init(params), params)[0]
      Array([0., 5.], dtype=float32)

    Source:
      You, Gitman, Ginsburg, "Large batch training of convolutional networks", 2017,
      arXiv:1708.03888, equation 6; You et al., "Large batch optimization for deep learning", 2019,
      arXiv:1904.00962, algorithm 2.
    """
    return Transformation(
        ScaleByTrustRatio(coefficient=coefficient, weight_decay=weight_decay, eps=eps, where=where)
    )


class ScaleByParameterRms(Link):
    """Attributes: min_scale (ε2) > 0."""

    min_scale: Any = hyperparameter(checks.positive, default=1e-3)

    def update(self, updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        require_arrays(self.record_name, updates)
        require_params(self.record_name, params)

        def scale(u, p):
            size = _rms(p)
            return u * jnp.maximum(size, numerics.scalar(self.min_scale, size.dtype))

        return jax.tree.map(scale, updates, params), state


def _rms(x: jax.Array) -> jax.Array:
    return numerics.norm(x) / max(x.size, 1) ** 0.5


def scale_by_parameter_rms(min_scale: Any = 1e-3) -> Transformation:
    """Makes steps relative to the parameters: `u <- max(ε2, RMS(θ)) u` (Adafactor).

    Args:
      min_scale: ε2 > 0, the size assumed at least, or a schedule.

    Returns:
      A `Transformation` without state. `update` needs the parameters.

    Raises:
      ValueError: for values out of range, or `params=None`. TypeError: for no number.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.scale_by_parameter_rms()
      >>> tx.update(jnp.ones(2), tx.init(jnp.ones(2)), jnp.array([2.0, -2.0]))[0]
      Array([2., 2.], dtype=float32)

    Source:
      Shazeer, Stern, "Adafactor", 2018, arXiv:1804.04235, section 8.
    """
    return Transformation(ScaleByParameterRms(min_scale=min_scale))


class ClipByRms(Link):
    """Attributes: max_rms (d) > 0."""

    max_rms: Any = hyperparameter(checks.positive, default=1.0)

    def update(self, updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        require_arrays(self.record_name, updates)

        def clip(u):
            ratio = _rms(u) / numerics.scalar(self.max_rms, numerics.real_dtype(u.dtype))
            return u / jnp.where(jnp.isfinite(ratio), jnp.maximum(ratio, 1), jnp.nan)

        return jax.tree.map(clip, updates), state


def clip_by_rms(max_rms: Any = 1.0) -> Transformation:
    """Bounds the root mean square of each leaf: `u <- u / max(1, RMS(u) / d)` (Adafactor).

    Args:
      max_rms: d > 0, in update units, or a schedule.

    Returns:
      A `Transformation` without state.

    Raises:
      ValueError: for values out of range. TypeError: for no number.

    Special cases:
      A leaf with an infinite or NaN entry becomes NaN.

    Place in a chain:
      After the division by the root of the second moment, where 1 is the expected size.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.clip_by_rms(1.0)
      >>> tx.update(jnp.array([2.0, -2.0]), tx.init(jnp.zeros(2)))[0]
      Array([ 1., -1.], dtype=float32)

    Source:
      Shazeer, Stern, "Adafactor", 2018, arXiv:1804.04235, section 6.
    """
    return Transformation(ClipByRms(max_rms=max_rms))
