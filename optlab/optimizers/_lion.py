"""Lion: the sign of an interpolated momentum."""

from __future__ import annotations

from typing import Any

from optlab.core import Transformation, chain
from optlab.selectors import everything
from optlab.transforms import (
    add_decayed_weights,
    interpolate_momentum,
    scale_by_learning_rate,
    sign,
)


def lion(
    learning_rate: Any,
    b1: Any = 0.9,
    b2: Any = 0.99,
    *,
    weight_decay: Any = 1e-3,
    where: Any = everything,
) -> Transformation:
    """Lion: `θ <- θ - η (sign(b1 m + (1 - b1) g) + λ θ); m <- b2 m + (1 - b2) g`.

    Every entry moves by η, so η is 3 to 10 times smaller than Adam's, and λ larger by as much.

    Args:
      learning_rate: η >= 0, or a schedule.
      b1: decay of what the sign is taken of, in [0, 1), or a schedule.
      b2: decay of what is kept, in [0, 1), or a schedule.
      weight_decay: λ >= 0, or a schedule.
      where: selector of the leaves that decay.

    Returns:
      A `Transformation`.

    Cost:
      4 bytes a parameter.

    Differs from:
      Equal to `optax.lion`.

    Example:
      >>> import optlab as ol
      >>> ol.hyperparameters(ol.lion(1e-4))["interpolate_momentum/b2"]
      0.99

    Source:
      Chen et al., "Symbolic discovery of optimization algorithms", 2023, arXiv:2302.06675,
      program 1.
    """
    return chain(
        interpolate_momentum(b1, b2),
        sign(),
        add_decayed_weights(weight_decay, where),
        scale_by_learning_rate(learning_rate),
    )
