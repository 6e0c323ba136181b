"""AdaMax: Adam in the infinity norm."""

from __future__ import annotations

from typing import Any

from optlab.core import Transformation, chain, checks
from optlab.optimizers._arguments import check_decays, check_numbers
from optlab.transforms import (
    accumulate_moments,
    correct_bias,
    divide_by_rms,
    scale_by_learning_rate,
)


def adamax(learning_rate: Any, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8) -> Transformation:
    """AdaMax, Adam in the infinity norm: `u <- max(b2 u, |g| + eps); θ <- θ - η m̂ / u`.

    Args:
      learning_rate: η >= 0, or a schedule (0.002 in the paper).
      b1: decay of the mean, in [0, 1), or a schedule.
      b2: decay of the maximum, in [0, 1), or a schedule.
      eps: >= 0, in gradient units.

    Returns:
      A `Transformation`.

    Cost:
      8 bytes a parameter.

    Differs from:
      Equal to `torch.optim.Adamax` and `optax.adamax`; the paper has no eps.

    Example:
      >>> import optlab as ol
      >>> ol.hyperparameters(ol.adamax(2e-3))["accumulate_moments/b2"]
      0.999

    Source:
      Kingma, Ba, "Adam: a method for stochastic optimization", 2014, arXiv:1412.6980, algorithm 2.
    """
    check_decays("adamax", b1=b1, b2=b2)
    check_numbers("adamax", eps=(eps, checks.nonnegative))
    return chain(
        accumulate_moments(b1, b2, second="infinity", offset=eps),
        correct_bias(),
        divide_by_rms(0.0),
        scale_by_learning_rate(learning_rate),
    )
