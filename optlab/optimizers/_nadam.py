"""NAdam: Adam and Nesterov's look-ahead."""

from __future__ import annotations

from typing import Any

from optlab.core import Transformation, chain, checks
from optlab.optimizers._arguments import check_decays, check_numbers
from optlab.transforms import (
    accumulate_moments,
    correct_bias,
    divide_by_rms,
    look_ahead,
    scale_by_learning_rate,
)


def nadam(
    learning_rate: Any,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    *,
    eps_root: Any = 0.0,
    momentum_decay: Any = 0.004,
    convention: str = "pytorch",
) -> Transformation:
    """NAdam, Adam with Nesterov's look-ahead: m̂ mixes the next step's mean and the gradient.

    Args:
      learning_rate: η >= 0, or a schedule.
      b1, b2, eps, eps_root: as in `adam`.
      momentum_decay: ψ >= 0 of Dozat's warm-up of the momentum, see `look_ahead`; used by
        `"pytorch"` only.
      convention: `"pytorch"`, the paper's warm-up; or `"optax"`, a constant momentum.

    Returns:
      A `Transformation`.

    Cost:
      8 bytes a parameter.

    Differs from:
      Equal to `torch.optim.NAdam`; with `convention="optax"` to `optax.nadam`.

    Example:
      >>> import optlab as ol
      >>> ol.hyperparameters(ol.nadam(1e-3))["look_ahead/momentum_decay"]
      0.004

    Source:
      Dozat, "Incorporating Nesterov momentum into Adam", ICLR workshop 2016, algorithm 8.
    """
    check_decays("nadam", b1=b1, b2=b2)
    check_numbers("nadam", momentum_decay=(momentum_decay, checks.nonnegative))
    checks.one_of("pytorch", "optax")("nadam", "convention", convention)
    return chain(
        accumulate_moments(b1, b2),
        look_ahead(momentum_decay if convention == "pytorch" else None),
        correct_bias(),
        divide_by_rms(eps, eps_root=eps_root),
        scale_by_learning_rate(learning_rate),
    )
