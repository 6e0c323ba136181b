"""Adam: the four-link sentence the other recipes vary."""

from __future__ import annotations

from typing import Any

from optlab.core import Transformation, chain
from optlab.optimizers._arguments import check_decays
from optlab.transforms import (
    accumulate_moments,
    correct_bias,
    divide_by_rms,
    scale_by_learning_rate,
)


def adam(
    learning_rate: Any,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    *,
    eps_root: Any = 0.0,
) -> Transformation:
    """Adam: `θ <- θ - η m̂ / (sqrt(v̂ + eps_root) + eps)`, m̂ and v̂ the unbiased moments.

    Args:
      learning_rate: η >= 0, or a schedule; about the length of a step in each parameter.
      b1: decay of the mean, in [0, 1), or a schedule.
      b2: decay of the mean square, in [0, 1), or a schedule.
      eps: >= 0, outside of the root, in gradient units.
      eps_root: >= 0, inside of the root.

    Returns:
      A `Transformation`.

    Special cases:
      Step 1 is η sign(g) but for eps.

    Cost:
      8 bytes a parameter.

    Differs from:
      Equal to `torch.optim.Adam` and `optax.adam`. An L2 penalty, PyTorch's `weight_decay`, is
      `chain(add_l2(λ), adam(η))`; decoupled decay is `adamw`.

    Example:
      >>> import optlab as ol
      >>> tx = ol.adam(1e-3)
      >>> ol.replace(tx, {"b2": 0.95}) == ol.adam(1e-3, b2=0.95)
      True

    Source:
      Kingma, Ba, "Adam: a method for stochastic optimization", 2014, arXiv:1412.6980, algorithm 1.
    """
    check_decays("adam", b1=b1, b2=b2)
    return chain(
        accumulate_moments(b1, b2),
        correct_bias(),
        divide_by_rms(eps, eps_root=eps_root),
        scale_by_learning_rate(learning_rate),
    )
