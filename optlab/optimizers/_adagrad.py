"""Adagrad: steps shrink with the sum of squared gradients."""

from __future__ import annotations

from typing import Any

from optlab.core import Transformation, chain, checks
from optlab.optimizers._arguments import check_numbers
from optlab.transforms import accumulate_moments, divide_by_rms, scale_by_learning_rate


def adagrad(
    learning_rate: Any,
    *,
    initial_accumulator_value: Any = 0.0,
    eps: Any = 1e-10,
    eps_root: Any = 0.0,
) -> Transformation:
    """Adagrad: `s <- s + g²; θ <- θ - η g / (sqrt(s + eps_root) + eps)`.

    Rare features keep a large step, frequent ones a small one; the step only ever shrinks.

    Args:
      learning_rate: η >= 0, or a schedule.
      initial_accumulator_value: s >= 0 before the first gradient.
      eps: >= 0, outside of the root.
      eps_root: >= 0, inside of the root.

    Returns:
      A `Transformation`.

    Cost:
      4 bytes a parameter.

    Differs from:
      Equal to `torch.optim.Adagrad`. `optax.adagrad(η)` is
      `adagrad(η, initial_accumulator_value=0.1, eps=0.0, eps_root=1e-7)`.

    Example:
      >>> import optlab as ol
      >>> ol.hyperparameters(ol.adagrad(0.1))["divide_by_rms/eps"]
      1e-10

    Source:
      Duchi, Hazan, Singer, "Adaptive subgradient methods for online learning and stochastic
      optimization", JMLR 2011, figure 1.
    """
    check_numbers(
        "adagrad", initial_accumulator_value=(initial_accumulator_value, checks.nonnegative)
    )
    return chain(
        accumulate_moments(b1=None, b2=None, second="sum", initial_value=initial_accumulator_value),
        divide_by_rms(eps, eps_root=eps_root),
        scale_by_learning_rate(learning_rate),
    )
