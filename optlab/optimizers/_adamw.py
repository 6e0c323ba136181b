"""AdamW: Adam and decoupled weight decay."""

from __future__ import annotations

from typing import Any

from optlab.core import Transformation, chain
from optlab.optimizers._arguments import check_decays
from optlab.selectors import everything
from optlab.transforms import (
    accumulate_moments,
    add_decayed_weights,
    correct_bias,
    divide_by_rms,
    scale_by_learning_rate,
)


def adamw(
    learning_rate: Any,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    *,
    eps_root: Any = 0.0,
    weight_decay: Any = 1e-4,
    where: Any = everything,
    coupling: str = "lr",
) -> Transformation:
    """Adam with decoupled weight decay: `θ <- θ - η (m̂ / (sqrt(v̂ + eps_root) + eps) + λ θ)`.

    Args:
      learning_rate: η >= 0, or a schedule.
      b1, b2, eps, eps_root: as in `adam`.
      weight_decay: λ >= 0, or a schedule (PyTorch's default is 1e-2).
      where: selector of the leaves that decay; `kernels` leaves out biases, norms and embeddings.
      coupling: how the decay follows the learning rate: `"lr"`, `"schedule"`, `"independent"`,
        `"corrected"` or `"cautious"`, see `add_decayed_weights`.

    Returns:
      A `Transformation`.

    Cost:
      8 bytes a parameter.

    Differs from:
      Equal to `torch.optim.AdamW` and `optax.adamw`. The paper's λ is η_max times this one: that is
      `coupling="schedule"`.

    Example:
      >>> import optlab as ol
      >>> ol.adamw(1e-3, where=ol.kernels)
      chain(
          accumulate_moments(b1=0.9, b2=0.999),
          correct_bias(),
          divide_by_rms(eps=1e-08),
          add_decayed_weights(weight_decay=0.0001, where=kernels),
          scale_by_learning_rate(learning_rate=0.001),
      )

    Source:
      Loshchilov, Hutter, "Decoupled weight decay regularization", 2017, arXiv:1711.05101, algorithm
      2.
    """
    check_decays("adamw", b1=b1, b2=b2)
    decay = add_decayed_weights(weight_decay, where, coupling)
    step = scale_by_learning_rate(learning_rate)
    # Independent decay is not multiplied by the learning rate: it stands behind it.
    tail = (step, decay) if coupling == "independent" else (decay, step)
    return chain(
        accumulate_moments(b1, b2), correct_bias(), divide_by_rms(eps, eps_root=eps_root), *tail
    )
