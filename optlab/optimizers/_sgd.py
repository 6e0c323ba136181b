"""Gradient descent, with momentum, Nesterov's look-ahead and an L2 penalty."""

from __future__ import annotations

from typing import Any

from optlab.core import Transformation, chain, checks
from optlab.optimizers._arguments import check_flags, check_numbers, check_selector
from optlab.selectors import everything
from optlab.transforms import accumulate_momentum, add_l2, scale_by_learning_rate


def sgd(
    learning_rate: Any,
    momentum: Any = None,
    nesterov: bool = False,
    *,
    dampening: Any = 0.0,
    l2: Any = None,
    where: Any = everything,
) -> Transformation:
    """Stochastic gradient descent: `m <- μ m + g; θ <- θ - η m`, with Nesterov `η (g + μ m)`.

    Args:
      learning_rate: η >= 0, or a schedule.
      momentum: μ in [0, 1), or a schedule; None keeps no state for it (0.0 does).
      nesterov: look one step ahead.
      dampening: τ in [0, 1], see `accumulate_momentum`; not with Nesterov.
      l2: λ >= 0 of an L2 penalty added to the gradient (PyTorch's `weight_decay`); None for none.
      where: selector of the penalised leaves.

    Returns:
      A `Transformation`.

    Raises:
      ValueError: for values out of range, `nesterov` or `dampening` without momentum, or `where`
        without l2.

    Cost:
      No state; 4 bytes a parameter with momentum.

    Differs from:
      `optax.sgd` has no dampening and no penalty. Equal to `torch.optim.SGD`.

    Example:
      >>> import optlab as ol
      >>> ol.sgd(0.1, momentum=0.9)
      chain(accumulate_momentum(decay=0.9), scale_by_learning_rate(learning_rate=0.1))

    Source:
      Robbins, Monro, "A stochastic approximation method", 1951; Polyak, 1964; Nesterov, 1983;
      Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013.
    """
    check_flags("sgd", nesterov=nesterov)
    check_numbers(
        "sgd",
        momentum=(momentum, checks.optional(checks.decay_rate)),
        dampening=(dampening, checks.probability),
        l2=(l2, checks.optional(checks.nonnegative)),
    )
    dampened = not (checks.is_concrete(dampening) and dampening == 0)
    if momentum is None and (nesterov or dampened):
        raise ValueError(
            f"sgd: nesterov={nesterov!r} and dampening={dampening!r} are options of momentum, but "
            "momentum is None. Pass momentum=0.9, or drop them."
        )
    check_selector("sgd", where, everything, l2=l2)
    penalty = [] if l2 is None else [add_l2(l2, where)]
    momentum_links = (
        []
        if momentum is None
        else [accumulate_momentum(momentum, nesterov=nesterov, dampening=dampening)]
    )
    return chain(*penalty, *momentum_links, scale_by_learning_rate(learning_rate))
