"""LAMB: AdamW with layer-wise steps."""

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
    scale_by_trust_ratio,
)


def lamb(
    learning_rate: Any,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-6,
    *,
    eps_root: Any = 0.0,
    weight_decay: Any = 0.0,
    where: Any = everything,
) -> Transformation:
    """LAMB: AdamW's update r, scaled for each leaf: `θ <- θ - η |θ| / |r| r`.

    Args:
      learning_rate: η >= 0, or a schedule: the relative change of a leaf in one step.
      b1, b2, eps, eps_root: as in `adam`.
      weight_decay: λ >= 0 of `r = m̂ / (sqrt(v̂) + eps) + λ θ`, or a schedule.
      where: selector of the leaves that decay.

    Returns:
      A `Transformation`.

    Special cases:
      The ratio is 1 where |θ| or |r| is 0.

    Cost:
      8 bytes a parameter.

    Differs from:
      Equal to `optax.lamb`. The paper's φ is the identity here.

    Example:
      >>> import optlab as ol
      >>> list(ol.hyperparameters(ol.lamb(1e-3)))[-2:]
      ['scale_by_trust_ratio/eps', 'scale_by_learning_rate/learning_rate']

    Source:
      You et al., "Large batch optimization for deep learning: training BERT in 76 minutes", 2019,
      arXiv:1904.00962, algorithm 2.
    """
    check_decays("lamb", b1=b1, b2=b2)
    return chain(
        accumulate_moments(b1, b2),
        correct_bias(),
        divide_by_rms(eps, eps_root=eps_root),
        add_decayed_weights(weight_decay, where),
        scale_by_trust_ratio(),
        scale_by_learning_rate(learning_rate),
    )
