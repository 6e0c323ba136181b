"""LARS: momentum with layer-wise steps."""

from __future__ import annotations

from typing import Any

from optlab.core import Transformation, chain, checks
from optlab.optimizers._arguments import check_decays, check_numbers
from optlab.selectors import everything
from optlab.transforms import (
    accumulate_momentum,
    add_decayed_weights,
    scale_by_learning_rate,
    scale_by_trust_ratio,
)


def lars(
    learning_rate: Any,
    momentum: Any = 0.9,
    *,
    weight_decay: Any = 0.0,
    trust_coefficient: Any = 1e-3,
    eps: Any = 0.0,
    nesterov: bool = False,
    where: Any = everything,
    convention: str = "paper",
) -> Transformation:
    """LARS: `m <- μ m + η κ |θ| / (|g| + λ |θ|) (g + λ θ); θ <- θ - m`, leaf by leaf.

    Args:
      learning_rate: η >= 0, or a schedule.
      momentum: μ in [0, 1), or a schedule.
      weight_decay: λ >= 0, or a schedule.
      trust_coefficient: κ > 0, the relative change of a leaf in one step, in units of η.
      eps: >= 0, added to the denominator.
      nesterov: of the momentum.
      where: selector of the leaves that are scaled and decay; others take plain momentum steps. The
        paper's followers leave out biases and norms.
      convention: `"paper"`, or `"optax"`, which divides by |g + λ θ|.

    Returns:
      A `Transformation`.

    Cost:
      4 bytes a parameter.

    Differs from:
      With `convention="optax"` equal to `optax.lars`.

    Example:
      >>> import optlab as ol
      >>> ol.hyperparameters(ol.lars(0.1))["scale_by_trust_ratio/coefficient"]
      0.001

    Source:
      You, Gitman, Ginsburg, "Large batch training of convolutional networks", 2017,
      arXiv:1708.03888, algorithm 1.
    """
    check_decays("lars", momentum=momentum)
    check_numbers("lars", trust_coefficient=(trust_coefficient, checks.positive))
    checks.one_of("paper", "optax")("lars", "convention", convention)
    if convention == "paper":
        scaled = [
            scale_by_trust_ratio(trust_coefficient, weight_decay=weight_decay, eps=eps, where=where)
        ]
    else:
        scaled = [
            add_decayed_weights(weight_decay, where),
            scale_by_trust_ratio(trust_coefficient, eps=eps, where=where),
        ]
    return chain(
        *scaled,
        scale_by_learning_rate(learning_rate),
        accumulate_momentum(momentum, nesterov=nesterov),
    )
