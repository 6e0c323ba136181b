"""AdaBelief: Adam divided by the gradient's deviation from its mean."""

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


def adabelief(
    learning_rate: Any,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-16,
    *,
    eps_root: Any = 1e-16,
) -> Transformation:
    """AdaBelief: Adam divided by how far gradients stray from their mean, `(g - m)²`.

    Args:
      learning_rate: η >= 0, or a schedule.
      b1, b2: as in `adam`.
      eps: >= 0, outside of the root.
      eps_root: >= 0, added to the statistic at every step, as in the paper.

    Returns:
      A `Transformation`.

    Special cases:
      Under a constant gradient the statistic falls towards eps_root and steps grow large.

    Cost:
      8 bytes a parameter.

    Differs from:
      Equal to `optax.adabelief`.

    Example:
      >>> import optlab as ol
      >>> ol.hyperparameters(ol.adabelief(1e-3))["accumulate_moments/offset"]
      1e-16

    Source:
      Zhuang et al., "AdaBelief optimizer: adapting stepsizes by the belief in observed gradients",
      2020, arXiv:2010.07468, algorithm 2.
    """
    check_decays("adabelief", b1=b1, b2=b2)
    check_numbers("adabelief", eps_root=(eps_root, checks.nonnegative))
    return chain(
        accumulate_moments(b1, b2, second="belief", offset=eps_root),
        correct_bias(),
        divide_by_rms(eps),
        scale_by_learning_rate(learning_rate),
    )
