"""RAdam: Adam, rectified while its second moment is young."""

from __future__ import annotations

from typing import Any

from optlab.core import Transformation, chain, checks
from optlab.optimizers._arguments import check_decays
from optlab.transforms import (
    accumulate_moments,
    divide_by_rectified_rms,
    scale_by_learning_rate,
)


def radam(
    learning_rate: Any,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    *,
    convention: str = "pytorch",
) -> Transformation:
    """RAdam: momentum SGD until the second moment can be trusted, then Adam with a growing factor.

    Args:
      learning_rate: η >= 0, or a schedule.
      b1, b2, eps: as in `adam`.
      convention: `"pytorch"` divides once ρ_t > 5 and adds eps to the uncorrected root; `"optax"`
        adds it to the corrected one; `"paper"` does that and divides once ρ_t > 4.

    Returns:
      A `Transformation`.

    Special cases:
      The first 5 steps (b2 = 0.999) are as long as the gradient is large, not normalised.

    Cost:
      8 bytes a parameter.

    Differs from:
      Equal to `torch.optim.RAdam`; with `convention="optax"` to `optax.radam`.

    Example:
      >>> import optlab as ol
      >>> ol.hyperparameters(ol.radam(1e-3))["divide_by_rectified_rms/threshold"]
      5.0

    Source:
      Liu et al., "On the variance of the adaptive learning rate and beyond", 2019,
      arXiv:1908.03265, algorithm 2.
    """
    check_decays("radam", b1=b1, b2=b2)
    checks.one_of("pytorch", "optax", "paper")("radam", "convention", convention)
    divide = divide_by_rectified_rms(
        eps,
        threshold=4.0 if convention == "paper" else 5.0,
        convention="pytorch" if convention == "pytorch" else "paper",
    )
    return chain(accumulate_moments(b1, b2), divide, scale_by_learning_rate(learning_rate))
