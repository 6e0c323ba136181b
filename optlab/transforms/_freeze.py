"""The update of parameters that do not train. Mostly a group of `route`."""

from __future__ import annotations

from typing import Any

import jax

from optlab.core import Link, Transformation, numerics, require_arrays


class Freeze(Link):
    """Has no hyperparameters."""

    def update(self, updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        require_arrays(self.record_name, updates)
        return jax.tree.map(numerics.zeros_like, updates), state


def freeze() -> Transformation:
    """Gives zero updates: `u <- 0`. Plain updates in and out.

    Returns:
      A `Transformation` without state.

    Special cases:
      Non-finite updates become 0 too. What stands before it in a chain still keeps its state, and
      weight decay behind it still moves parameters: let it be a group of `route` on its own.

    Differs from:
      `optax.set_to_zero` in nothing but that it prints, compares and stores as JSON.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.route({ol.heads: ol.scale(-0.1)}, default=ol.freeze())
      >>> params = {"body": {"kernel": jnp.ones((1, 1))}, "head": {"kernel": jnp.ones((1, 1))}}
      >>> tx.update(params, tx.init(params), params)[0]["body"]["kernel"]
      Array([[0.]], dtype=float32)
    """
    return Transformation(Freeze())
