"""L1 and L2 penalties: the gradient of a norm of the parameters, added to the loss's gradient.

First in a chain, so that everything behind sees the penalised gradient. Plain updates in and out;
needs the parameters.
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


class _Penalty(Link):
    """Adds `strength · slope(θ)` to the gradients of the chosen leaves."""

    strength: Any = hyperparameter(checks.nonnegative)
    where: Any = static(as_selector, default=everything)

    @staticmethod
    def slope(params: jax.Array) -> jax.Array:
        raise NotImplementedError

    def update(self, updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        require_arrays(self.record_name, updates)
        require_params(self.record_name, params)
        rate = extra.get("chain_lr")
        if rate is not None and rate.applied:
            raise ValueError(
                f"{self.record_name} adds to the gradient, but stands after scale_by_learning_rate "
                "in the chain. Move it to the front."
            )

        def add(u, p, chosen):
            return u + numerics.scalar(self.strength, u.dtype) * self.slope(p) if chosen else u

        return jax.tree.map(add, updates, params, self.where.mask(params)), state


class AddL1(_Penalty, name="add_l1"):
    """Attributes: strength (λ) >= 0; where."""

    @staticmethod
    def slope(params: jax.Array) -> jax.Array:
        return jnp.sign(params)


class AddL2(_Penalty, name="add_l2"):
    """Attributes: strength (λ) >= 0; where."""

    @staticmethod
    def slope(params: jax.Array) -> jax.Array:
        return params


def add_l1(strength: Any, where: Any = everything) -> Transformation:
    """L1 (lasso) penalty `λ Σ|θ|`: `g <- g + λ sign(θ)`, which drives small weights to 0.

    Args:
      strength: λ >= 0, in loss per unit of parameter, or a schedule.
      where: selector of the penalised leaves.

    Returns:
      A `Transformation` without state. `update` needs the parameters.

    Raises:
      ValueError: for values out of range, `params=None`, or a place after the learning rate.
      TypeError: for no number or selector.

    Special cases:
      The slope at θ = 0 is 0. A gradient method does not stop at exact zeros: weights end up
      oscillating around 0 within about one step.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.add_l1(0.1)
      >>> params = jnp.array([-2.0, 0.0])
      >>> tx.update(jnp.zeros(2), tx.init(params), params)[0]
      Array([-0.1,  0. ], dtype=float32)

    Source:
      Tibshirani, "Regression shrinkage and selection via the lasso", 1996.
    """
    return Transformation(AddL1(strength=strength, where=where))


def add_l2(strength: Any, where: Any = everything) -> Transformation:
    """L2 (ridge) penalty `λ/2 Σθ²`: `g <- g + λ θ`, PyTorch's `weight_decay` of SGD and Adam.

    Args:
      strength: λ >= 0, in loss per squared unit of parameter, or a schedule.
      where: selector of the penalised leaves.

    Returns:
      A `Transformation` without state. `update` needs the parameters.

    Raises:
      ValueError: for values out of range, `params=None`, or a place after the learning rate.
      TypeError: for no number or selector.

    Special cases:
      With SGD it equals decoupled decay. With Adam it does not: the penalty is divided by the
      second moment along with the gradient, so weights with large gradients decay less; use
      `add_decayed_weights` for the same decay everywhere.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.add_l2(0.1)
      >>> params = jnp.array([-2.0])
      >>> tx.update(jnp.zeros(1), tx.init(params), params)[0]
      Array([-0.2], dtype=float32)

    Source:
      Krogh, Hertz, "A simple weight decay can improve generalization", NeurIPS 1991; Loshchilov,
      Hutter, 2017, arXiv:1711.05101, section 2, on the difference.
    """
    return Transformation(AddL2(strength=strength, where=where))
