"""Adafactor: Adam's second moment in sublinear memory."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from optlab.core import Record, Transformation, chain, checks, data
from optlab.optimizers._arguments import check_flags, check_numbers, check_selector
from optlab.selectors import everything
from optlab.transforms import (
    accumulate_average,
    accumulate_moments,
    add_decayed_weights,
    clip_by_rms,
    divide_by_rms,
    scale_by_learning_rate,
    scale_by_parameter_rms,
)


class AdafactorDecay(Record):
    """The decay `1 - t**(-c)` of update t: an average over a window that grows.

    Attributes:
      exponent: c > 0.
    """

    exponent: Any = data(checks.positive, default=0.8)

    def __call__(self, count: Any) -> Any:
        step = 1.0 + jnp.asarray(count, jnp.result_type(float))
        return 1 - step ** -jnp.asarray(self.exponent, step.dtype)


class RelativeStep(Record):
    """The learning rate `min(peak, 1 / sqrt(t))` of update t.

    Attributes:
      peak_value: > 0, held for the first 1 / peak² updates.
    """

    peak_value: Any = data(checks.positive, default=1e-2)

    def __call__(self, count: Any) -> Any:
        step = 1.0 + jnp.asarray(count, jnp.result_type(float))
        return jnp.minimum(jnp.asarray(self.peak_value, step.dtype), 1 / jnp.sqrt(step))

    def peak(self) -> Any:
        return jnp.minimum(self.peak_value, 1.0)


def adafactor(
    learning_rate: Any = None,
    *,
    decay_rate: Any = 0.8,
    clipping_threshold: Any = 1.0,
    multiply_by_parameter_scale: bool = True,
    min_scale: Any = 1e-3,
    eps: Any = 1e-30,
    min_dim_size_to_factor: int = 128,
    momentum: Any = None,
    weight_decay: Any = None,
    where: Any = everything,
) -> Transformation:
    """Adafactor: Adam's second moment as row and column means, steps relative to the parameters.

    `V <- b V + (1 - b) (G² + eps)` in rows and columns, with `b = 1 - t**-0.8`;
    `U = G / sqrt(V)`, clipped to root mean square 1; `θ <- θ - η max(ε2, RMS(θ)) U`.

    Args:
      learning_rate: η >= 0, or a schedule; None for the paper's `min(0.01, 1 / sqrt(t))`.
      decay_rate: c > 0 in `b = 1 - t**-c`.
      clipping_threshold: d > 0, the largest root mean square of U; None for no clipping.
      multiply_by_parameter_scale: steps relative to the parameters' size.
      min_scale: ε2 > 0, that size at least.
      eps: ε1 >= 0, added to squared gradients.
      min_dim_size_to_factor: leaves whose last two axes are both at least this long are factored.
      momentum: μ in [0, 1) of `m <- μ m + (1 - μ) U`; None for none.
      weight_decay: λ >= 0, decoupled, times η; None for none.
      where: selector of the leaves that decay.

    Returns:
      A `Transformation`.

    Cost:
      4 (n + m) bytes for a factored n x m matrix, 4 bytes a parameter for other leaves; 4 more a
      parameter with momentum.

    Differs from:
      `optax.adafactor` factors the two longest axes (here: the last two), and does not multiply its
      decay by the learning rate. `torch.optim.Adafactor` factors every matrix
      (`min_dim_size_to_factor=1`), floors V in place of adding eps, and takes the smaller of its
      learning rate and 1 / sqrt(t).

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> params = {"kernel": jnp.ones((1024, 256)), "bias": jnp.ones(256)}
      >>> state = ol.adafactor().init(params)
      >>> state[0].inner.second["kernel"].rows.shape
      (1024,)

    Source:
      Shazeer, Stern, "Adafactor: adaptive learning rates with sublinear memory cost", 2018,
      arXiv:1804.04235, algorithms 4 and 5.
    """
    check_flags("adafactor", multiply_by_parameter_scale=multiply_by_parameter_scale)
    check_numbers(
        "adafactor",
        decay_rate=(decay_rate, checks.positive),
        clipping_threshold=(clipping_threshold, checks.optional(checks.positive)),
        eps=(eps, checks.nonnegative),
        min_dim_size_to_factor=(min_dim_size_to_factor, checks.positive_count),
        momentum=(momentum, checks.optional(checks.decay_rate)),
    )
    check_selector("adafactor", where, everything, weight_decay=weight_decay)
    rate = RelativeStep() if learning_rate is None else learning_rate
    return chain(
        accumulate_moments(
            b1=None,
            b2=AdafactorDecay(decay_rate),
            second="factored",
            offset=eps,
            min_size=min_dim_size_to_factor,
        ),
        divide_by_rms(0.0),
        *([] if clipping_threshold is None else [clip_by_rms(clipping_threshold)]),
        *([scale_by_parameter_rms(min_scale)] if multiply_by_parameter_scale else []),
        *([] if momentum is None else [accumulate_average(momentum)]),
        *([] if weight_decay is None else [add_decayed_weights(weight_decay, where)]),
        scale_by_learning_rate(rate),
    )
