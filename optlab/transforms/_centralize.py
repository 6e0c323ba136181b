"""Gradient centralisation. First in a chain. Plain updates in and out."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from optlab.core import Link, Transformation, require_arrays


class Centralize(Link):
    """No hyperparameters."""

    def update(self, updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        require_arrays(self.record_name, updates)

        def center(u):
            if u.ndim < 2 or u.size == 0:
                return u
            return u - jnp.mean(u, axis=tuple(range(u.ndim - 1)), keepdims=True)

        return jax.tree.map(center, updates), state


def centralize() -> Transformation:
    """Subtracts from each output unit's gradient its mean: `G_i <- G_i - mean(G_i)`.

    A unit is one index of the last axis, the outputs of a Flax kernel; leaves with fewer than two
    axes pass unchanged.

    Returns:
      A `Transformation` without state or hyperparameters.

    Differs from:
      `optax.centralize` averages over all axes but the first: the outputs of PyTorch's layout, the
      inputs of Flax's.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.centralize()
      >>> tx.update(jnp.array([[1.0, 5.0], [3.0, 5.0]]), tx.init({}))[0]
      Array([[-1.,  0.],
             [ 1.,  0.]], dtype=float32)

    Source:
      Yong et al., "Gradient centralization", 2020, arXiv:2004.01461, equation 1.
    """
    return Transformation(Centralize())
