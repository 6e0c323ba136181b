"""Adadelta: the size of past steps in place of a learning rate."""

from __future__ import annotations

from typing import Any

from optlab.core import Transformation, chain
from optlab.transforms import scale_by_adadelta, scale_by_learning_rate


def adadelta(learning_rate: Any = 1.0, rho: Any = 0.9, eps: Any = 1e-6) -> Transformation:
    """Adadelta: `θ <- θ - η sqrt(D + ε) / sqrt(E + ε) g`, with running mean squares E of gradients
    and D of steps.

    Args:
      learning_rate: η >= 0, or a schedule; 1 is the published method.
      rho: ρ in [0, 1), the decay of both means.
      eps: ε > 0, in the roots; it also sets the first steps' size, about sqrt(ε).

    Returns:
      A `Transformation`.

    Cost:
      8 bytes a parameter.

    Differs from:
      Equal to `torch.optim.Adadelta` and `optax.adadelta`.

    Example:
      >>> import optlab as ol
      >>> ol.adadelta()
      chain(scale_by_adadelta(rho=0.9, eps=1e-06), scale_by_learning_rate(learning_rate=1.0))

    Source:
      Zeiler, "ADADELTA: an adaptive learning rate method", 2012, arXiv:1212.5701, algorithm 1.
    """
    return chain(scale_by_adadelta(rho, eps=eps), scale_by_learning_rate(learning_rate))
