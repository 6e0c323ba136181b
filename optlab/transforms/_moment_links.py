"""What can happen to moments between gathering and dividing. Each takes and gives `Moments`.

`correct_bias` (Adam), `keep_maximum` (AMSGrad), `subtract_squared_mean` (centred RMSProp),
`look_ahead` (NAdam).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optlab.core import (
    Estimate,
    Link,
    Moments,
    Transformation,
    checks,
    hyperparameter,
    map_moments,
    moment_nodes,
    numerics,
)


class CorrectBias(Link):
    """No hyperparameters: decay and weight come with the moments."""

    def update(self, updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        def correct(node: Moments) -> Moments:
            return replace(node, first=_unbiased(node.first), second=_unbiased(node.second))

        return map_moments(self.record_name, correct, updates), state


def _unbiased(estimate: Estimate) -> Estimate:
    if isinstance(estimate.weight, float) and estimate.weight == 1.0:  # not an average
        return estimate
    weight = numerics.scalar(estimate.weight, estimate.value.dtype)
    return replace(estimate, value=estimate.value / weight, weight=1.0)


def correct_bias() -> Transformation:
    """Removes the averages' bias towards their zero start: `m <- m / w`, `v <- v / w'`.

    The weights w, w' are the same averages of ones: `1 - b**t` for a constant decay b.

    Returns:
      A `Transformation` without state or hyperparameters.

    Special cases:
      Step 1 gives back the gradient and its square. What is no average (Adagrad's sum, AdaMax's
      maximum) is left alone.

    Place in a chain:
      Between `accumulate_moments` and `divide_by_rms`. Leaving it out makes the first steps of Adam
      with b1=0.9, b2=0.999 three to seven times as long, fading over 1 / (1 - b2) steps.

    Differs from:
      Optax and PyTorch compute `1 - b**t`; the weight is exact also for scheduled decays.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.chain(ol.accumulate_moments(), ol.correct_bias())
      >>> float(tx.update(jnp.array(3.0), tx.init(jnp.array(0.0)))[0].first.value)
      3.0

    Source:
      Kingma, Ba, "Adam: a method for stochastic optimization", 2014, arXiv:1412.6980, section 3.
    """
    return Transformation(CorrectBias())


class MaximumState(NamedTuple):
    """maximum: the largest second moment so far, shaped like the parameters, real."""

    maximum: Any


class KeepMaximum(Link):
    """No hyperparameters."""

    def init(self, params: Any) -> MaximumState:
        return MaximumState(
            jax.tree.map(lambda p: numerics.zeros_like(p, numerics.real_dtype(p.dtype)), params)
        )

    def update(self, updates: Any, state: MaximumState, params: Any = None, **extra: Any) -> Any:
        maximum = map_moments(
            self.record_name,
            lambda node, top: jnp.maximum(top, node.second.value),
            updates,
            state.maximum,
        )
        updates = map_moments(
            self.record_name,
            lambda node, top: replace(node, second=replace(node.second, value=top)),
            updates,
            maximum,
        )
        return updates, MaximumState(maximum)


def keep_maximum() -> Transformation:
    """Lets the second moment only grow: `v̄ <- max(v̄, v)` (AMSGrad).

    Returns:
      A `Transformation` without hyperparameters.

    Special cases:
      One large gradient shortens all later steps of its parameter for good; a NaN stays.

    Cost:
      4 bytes a parameter.

    Place in a chain:
      Before `correct_bias` the maximum is of the raw average, as in the paper and PyTorch; after
      it, of the corrected one, as in Optax.

    Example:
      >>> import optlab as ol
      >>> ol.chain(ol.accumulate_moments(), ol.keep_maximum(), ol.correct_bias())
      chain(accumulate_moments(b1=0.9, b2=0.999), keep_maximum(), correct_bias())

    Source:
      Reddi, Kale, Kumar, "On the convergence of Adam and beyond", ICLR 2018, arXiv:1904.09237,
      algorithm 2.
    """
    return Transformation(KeepMaximum())


def require_squares(owner: str, node: Moments) -> None:
    """Raises `ValueError` where the second moment is a magnitude instead of a square."""
    if node.power != 2:
        raise ValueError(
            f"{owner} needs a second moment that is a mean square, but the one before it is a "
            "magnitude (second='infinity'). Use another rule of accumulate_moments."
        )


class SubtractSquaredMean(Link):
    """No hyperparameters."""

    def update(self, updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        def center(node: Moments) -> Moments:
            require_squares(self.record_name, node)
            variance = node.second.value - numerics.squared_magnitude(node.first.value)
            # Rounding can leave a variance slightly negative.
            second = replace(node.second, value=jnp.maximum(variance, 0))
            return replace(node, first=Estimate(node.gradient), second=second)

        return map_moments(self.record_name, center, updates), state


def subtract_squared_mean() -> Transformation:
    """Turns the mean square into a variance, `v <- max(v - |m|², 0)`, and steps along the gradient.

    Returns:
      A `Transformation` without state or hyperparameters.

    Raises:
      ValueError: for moments by the rule `"infinity"`, which are no squares.

    Special cases:
      A constant gradient has variance 0, so give the division behind it an eps that is not tiny.

    Place in a chain:
      After `accumulate_moments(b1=decay, b2=decay)`, both decays alike, for centred RMSProp.

    Differs from:
      PyTorch takes the root of what rounding may have left negative, which is NaN.

    Example:
      >>> import optlab as ol
      >>> ol.chain(ol.accumulate_moments(b1=0.9, b2=0.9), ol.subtract_squared_mean())
      chain(accumulate_moments(b1=0.9, b2=0.9), subtract_squared_mean())

    Source:
      Graves, "Generating sequences with recurrent neural networks", 2013, arXiv:1308.0850,
      equations 38-41.
    """
    return Transformation(SubtractSquaredMean())


class LookAheadState(NamedTuple):
    """count: int32, updates done. product: float32 (float64) scalar, the product of all μ."""

    count: jax.Array
    product: jax.Array


class LookAhead(Link):
    """Attributes: momentum_decay (ψ) >= 0, or None for a constant momentum."""

    momentum_decay: Any = hyperparameter(checks.optional(checks.nonnegative), default=None)

    def init(self, params: Any) -> LookAheadState:
        dtype = numerics.widest(jax.tree.leaves(params))
        return LookAheadState(jnp.zeros((), jnp.int32), jnp.ones((), dtype))

    def resumed(self, state: LookAheadState, count: jax.Array) -> LookAheadState:
        # The decay is told in updates only; after a few dozen of them the product is 0 anyway.
        return state._replace(product=jnp.where(count > 0, 0 * state.product, state.product))

    def update(self, updates: Any, state: LookAheadState, params: Any = None, **extra: Any) -> Any:
        nodes = moment_nodes(self.record_name, updates)
        count, dtype = numerics.increment(state.count), state.product.dtype
        step = count.astype(dtype)
        b1 = numerics.scalar(nodes[0].first.decay if nodes else 0.0, dtype)
        now, after = self._momentum(b1, step), self._momentum(b1, step + 1)
        product = state.product * now
        gradient_weight = (1 - now) / (1 - product)
        mean_weight = after / (1 - product * after)

        def look(node: Moments) -> Moments:
            real = numerics.real_dtype(node.gradient.dtype)
            value = mean_weight.astype(real) * node.first.value
            value += gradient_weight.astype(real) * node.gradient
            return replace(node, first=replace(node.first, value=value, weight=1.0))

        updates = map_moments(self.record_name, look, updates)
        return updates, LookAheadState(count, product)

    def _momentum(self, b1: jax.Array, step: jax.Array) -> jax.Array:
        if self.momentum_decay is None:
            return b1
        decay = numerics.scalar(self.momentum_decay, step.dtype)
        base = numerics.scalar(0.96, step.dtype)
        return b1 * (1 - numerics.scalar(0.5, step.dtype) * base ** (step * decay))


def look_ahead(momentum_decay: Any = None) -> Transformation:
    """Nesterov's look-ahead for averaged moments (NAdam).

    `m <- μ' m / (1 - Π μ μ') + (1 - μ) g / (1 - Π μ)`, where μ is this step's momentum, μ' the
    next one's and Π μ the product up to this step: a bias correction of its own.

    Args:
      momentum_decay: ψ >= 0 in `μ_t = b1 (1 - 0.96**(t ψ) / 2)`, Dozat's warm-up of the momentum
        (0.004 in PyTorch), or a schedule; None keeps μ = b1.

    Returns:
      A `Transformation`; b1 comes with the moments.

    Raises:
      ValueError: for a negative value. TypeError: for no number.

    Special cases:
      A constant gradient counts 1 + μ / (1 + μ) times at step 1, once in the long run.

    Cost:
      8 bytes in all.

    Place in a chain:
      Between `accumulate_moments` and `correct_bias`, which then corrects the second moment only.

    Differs from:
      `optax.nadam` has the constant form only, PyTorch the decayed one only.

    Example:
      >>> import optlab as ol
      >>> ol.chain(ol.accumulate_moments(), ol.look_ahead(0.004), ol.correct_bias())
      chain(
          accumulate_moments(b1=0.9, b2=0.999),
          look_ahead(momentum_decay=0.004),
          correct_bias(),
      )

    Source:
      Dozat, "Incorporating Nesterov momentum into Adam", ICLR workshop 2016, algorithm 8.
    """
    return Transformation(LookAhead(momentum_decay=momentum_decay))
