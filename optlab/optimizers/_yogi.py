"""Yogi: Adam whose second moment grows by small steps only."""

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


def yogi(
    learning_rate: Any,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-3,
    *,
    initial_accumulator_value: Any = 1e-6,
) -> Transformation:
    """Yogi: Adam whose second moment moves towards g² by at most (1 - b2) g² a step.

    Args:
      learning_rate: η >= 0, or a schedule (0.01 in the paper).
      b1, b2: as in `adam`.
      eps: >= 0, outside of the root.
      initial_accumulator_value: v >= 0 before the first gradient.

    Returns:
      A `Transformation`.

    Cost:
      8 bytes a parameter.

    Differs from:
      `optax.yogi` starts the mean, too, at `initial_accumulator_value`; here it starts at 0. The
      paper corrects no bias.

    Example:
      >>> import optlab as ol
      >>> ol.hyperparameters(ol.yogi(0.01))["divide_by_rms/eps"]
      0.001

    Source:
      Zaheer, Reddi, Sachan, Kale, Kumar, "Adaptive methods for nonconvex optimization", NeurIPS
      2018, algorithm 2.
    """
    check_decays("yogi", b1=b1, b2=b2)
    check_numbers("yogi", initial_accumulator_value=(initial_accumulator_value, checks.nonnegative))
    return chain(
        accumulate_moments(b1, b2, second="yogi", initial_value=initial_accumulator_value),
        correct_bias(),
        divide_by_rms(eps),
        scale_by_learning_rate(learning_rate),
    )
