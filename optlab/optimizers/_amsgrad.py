"""AMSGrad: Adam whose second moment only grows."""

from __future__ import annotations

from typing import Any

from optlab.core import Transformation, chain, checks
from optlab.optimizers._arguments import check_decays
from optlab.transforms import (
    accumulate_moments,
    correct_bias,
    divide_by_rms,
    keep_maximum,
    scale_by_learning_rate,
)


def amsgrad(
    learning_rate: Any,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    *,
    eps_root: Any = 0.0,
    convention: str = "pytorch",
) -> Transformation:
    """AMSGrad: Adam with the largest second moment seen so far, so that steps only shrink.

    Args:
      learning_rate: η >= 0, or a schedule.
      b1, b2, eps, eps_root: as in `adam`.
      convention: what the maximum is of: `"pytorch"`, as in the paper, the raw average, corrected
        afterwards; `"optax"`, the corrected average.

    Returns:
      A `Transformation`.

    Cost:
      12 bytes a parameter.

    Differs from:
      Equal to `torch.optim.Adam(amsgrad=True)`; with `convention="optax"` to `optax.amsgrad`. The
      paper corrects no bias at all.

    Example:
      >>> import optlab as ol
      >>> ol.amsgrad(1e-3) == ol.amsgrad(1e-3, convention="optax")
      False

    Source:
      Reddi, Kale, Kumar, "On the convergence of Adam and beyond", ICLR 2018, arXiv:1904.09237,
      algorithm 2.
    """
    check_decays("amsgrad", b1=b1, b2=b2)
    checks.one_of("pytorch", "optax")("amsgrad", "convention", convention)
    links = (keep_maximum(), correct_bias())
    return chain(
        accumulate_moments(b1, b2),
        *(links if convention == "pytorch" else reversed(links)),
        divide_by_rms(eps, eps_root=eps_root),
        scale_by_learning_rate(learning_rate),
    )
