"""Weight decay, decoupled from the gradient. Plain updates in and out; needs the parameters."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from optlab.core import (
    LearningRate,
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


class AddDecayedWeights(Link):
    """Attributes: see `add_decayed_weights`."""

    weight_decay: Any = hyperparameter(checks.nonnegative, default=1e-4)
    peak_learning_rate: Any = hyperparameter(checks.optional(checks.positive), default=None)
    where: Any = static(as_selector, default=everything)
    coupling: str = static(
        checks.one_of("lr", "schedule", "independent", "corrected", "cautious"), default="lr"
    )

    def update(self, updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        require_arrays(self.record_name, updates)
        require_params(self.record_name, params)
        rate = extra.get("chain_lr")
        after = rate.applied if rate is not None else self.coupling == "independent"

        def decay(u, p, chosen):
            if not chosen:
                return u
            real = numerics.real_dtype(p.dtype)
            amount = numerics.scalar(self.weight_decay, real) * self._factor(rate, real) * p
            if self.coupling == "cautious":
                downhill = -u if after else u
                amount = jnp.where(downhill * p >= 0, amount, jnp.zeros_like(amount))
            return u - amount if after else u + amount

        return jax.tree.map(decay, updates, params, self.where.mask(params)), state

    def _factor(self, rate: LearningRate | None, dtype: Any) -> jax.Array:
        """What the decay is multiplied by *here*, so that the chain as a whole couples as named."""
        if self.coupling == "independent":
            if rate is not None and not rate.applied:
                raise ValueError(
                    f"{self.record_name}: coupling='independent' is not multiplied by the learning "
                    "rate, so it must stand after scale_by_learning_rate in the chain; it stands "
                    "before. Move it behind."
                )
            return jnp.ones((), dtype)
        if rate is None:
            if self.coupling in ("schedule", "corrected"):
                raise ValueError(
                    f"{self.record_name}: coupling={self.coupling!r} needs the learning rate. Put "
                    "it and scale_by_learning_rate into one optlab.chain (optax.chain does not "
                    "pass it on)."
                )
            return jnp.ones((), dtype)
        # Asked for only where it is used: groups beside each other have no one learning rate.
        here = numerics.scalar(rate.value(), dtype) if rate.applied else jnp.ones((), dtype)
        if self.coupling in ("lr", "cautious"):
            return here
        peak = self.peak_learning_rate
        peak = numerics.scalar(rate.peak(self.record_name) if peak is None else peak, dtype)
        if self.coupling == "schedule":  # lr / peak once multiplied by the learning rate
            return numerics.safe_divide(here, peak)
        # corrected: lr² / peak
        return numerics.safe_divide(here * numerics.scalar(rate.value(), dtype), peak)


def add_decayed_weights(
    weight_decay: Any = 1e-4,
    where: Any = everything,
    coupling: str = "lr",
    *,
    peak_learning_rate: Any = None,
) -> Transformation:
    """Decoupled weight decay: shrinks parameters directly, outside of the gradient's statistics.

    What one step subtracts from θ, with learning rate η, its peak η_max, and λ = weight_decay:

    - `"lr"`: η λ θ (PyTorch, Optax).
    - `"schedule"`: (η / η_max) λ θ, the paper's; its λ is η_max times PyTorch's.
    - `"independent"`: λ θ, whatever the learning rate.
    - `"corrected"`: (η² / η_max) λ θ, which keeps weight norms steady as η falls.
    - `"cautious"`: η λ θ, only where the update shrinks the parameter too.

    Args:
      weight_decay: λ >= 0, or a schedule.
      where: selector of the leaves that decay; usually `kernels`.
      coupling: see above.
      peak_learning_rate: η_max > 0, where the learning rate is a plain function that cannot tell.

    Returns:
      A `Transformation` without state. `update` needs the parameters.

    Raises:
      ValueError: for values out of range; without parameters; for `"schedule"` and `"corrected"`
        outside of an optlab chain with `scale_by_learning_rate`; for `"independent"` before it.
      TypeError: for no number or selector.

    Special cases:
      0 is no decay, to the bit. A learning rate of 0 leaves only `"independent"` decay.

    Place in a chain:
      After the division by the second moment. The chain tells this link its learning rate, so
      before or after `scale_by_learning_rate` gives the same step. Outside of a chain, `"lr"` and
      `"cautious"` take their place to be before it, `"independent"` after it.

    Differs from:
      `optax.add_decayed_weights` is `"lr"` before the learning rate only, with a mask in place of a
      selector. L2 in the gradient is `add_l2`.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.chain(ol.add_decayed_weights(0.1), ol.scale_by_learning_rate(0.5))
      >>> params = jnp.array([2.0])
      >>> tx.update(jnp.zeros(1), tx.init(params), params)[0]
      Array([-0.1], dtype=float32)

    Source:
      Loshchilov, Hutter, "Decoupled weight decay regularization", 2017, arXiv:1711.05101, algorithm
      2; Defazio, "Why gradients rapidly increase near the end of training", 2025, arXiv:2506.02285;
      Chen et al., "Cautious weight decay", 2025, arXiv:2510.12402.
    """
    return Transformation(
        AddDecayedWeights(
            weight_decay=weight_decay,
            peak_learning_rate=peak_learning_rate,
            where=where,
            coupling=coupling,
        )
    )
