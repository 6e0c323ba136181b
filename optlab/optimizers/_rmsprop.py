"""RMSProp: steps divided by a running root mean square."""

from __future__ import annotations

from typing import Any

from optlab.core import Transformation, chain, checks
from optlab.optimizers._arguments import check_decays, check_flags, check_numbers
from optlab.transforms import (
    accumulate_moments,
    accumulate_momentum,
    correct_bias,
    divide_by_rms,
    scale_by_learning_rate,
    subtract_squared_mean,
)


def rmsprop(
    learning_rate: Any,
    decay: Any = 0.9,
    eps: Any = 1e-8,
    *,
    eps_root: Any = 0.0,
    initial_scale: Any = 0.0,
    centered: bool = False,
    momentum: Any = None,
    nesterov: bool = False,
    bias_correction: bool = False,
) -> Transformation:
    """RMSProp: `v <- ρ v + (1 - ρ) g²; θ <- θ - η g / (sqrt(v + eps_root) + eps)`.

    Args:
      learning_rate: η >= 0, or a schedule.
      decay: ρ in [0, 1), or a schedule.
      eps: >= 0, outside of the root.
      eps_root: >= 0, inside of the root (TensorFlow's place for it).
      initial_scale: v >= 0 before the first gradient.
      centered: divide by the standard deviation, `v - mean(g)²`, in place of the root mean square.
      momentum: μ in [0, 1) of momentum on the scaled gradient; None for none.
      nesterov: of that momentum.
      bias_correction: remove the bias of v (and of the mean) towards zero.

    Returns:
      A `Transformation`.

    Raises:
      ValueError: for values out of range, or `nesterov` without momentum.

    Special cases:
      One gradient has no variance, so with both `centered` and `bias_correction` step 1 is
      η g / (sqrt(eps_root) + eps): give an eps_root that is not tiny.

    Cost:
      4 bytes a parameter, and 4 more each for `centered` and `momentum`.

    Differs from:
      Equal to `torch.optim.RMSprop` (whose default decay is 0.99). `optax.rmsprop` has eps inside
      of the root, and its momentum runs over steps already multiplied by the learning rate.

    Example:
      >>> import optlab as ol
      >>> ol.rmsprop(1e-3)
      chain(
          accumulate_moments(b1=None, b2=0.9),
          divide_by_rms(eps=1e-08),
          scale_by_learning_rate(learning_rate=0.001),
      )

    Source:
      Tieleman, Hinton, "Lecture 6.5: rmsprop", Coursera, 2012; Graves, 2013, arXiv:1308.0850,
      equations 38-41 (centred, with momentum).
    """
    check_decays("rmsprop", decay=decay)
    check_flags("rmsprop", centered=centered, nesterov=nesterov, bias_correction=bias_correction)
    check_numbers(
        "rmsprop",
        initial_scale=(initial_scale, checks.nonnegative),
        momentum=(momentum, checks.optional(checks.decay_rate)),
    )
    if nesterov and momentum is None:
        raise ValueError("rmsprop: nesterov=True needs momentum, which is None. Pass momentum=0.9.")
    return chain(
        accumulate_moments(b1=decay if centered else None, b2=decay, initial_value=initial_scale),
        *([correct_bias()] if bias_correction else []),
        *([subtract_squared_mean()] if centered else []),
        divide_by_rms(eps, eps_root=eps_root),
        *([] if momentum is None else [accumulate_momentum(momentum, nesterov=nesterov)]),
        scale_by_learning_rate(learning_rate),
    )
