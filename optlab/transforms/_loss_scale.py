"""Dynamic loss scaling: float16 gradients kept in range by a factor on the loss.

Around a whole optimizer. Takes gradients of the scaled loss, gives plain updates.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from optlab.core import (
    Transformation,
    Wrapper,
    as_link,
    checks,
    data,
    hyperparameter,
    numerics,
    read,
    require_arrays,
    static,
)
from optlab.transforms._conditional import step_if


class LossScaleState(NamedTuple):
    """State of `dynamic_loss_scale`.

    Attributes:
      loss_scale: float32 scalar, what the next loss is to be multiplied by.
      good_steps: int32 scalar, good steps since the scale changed last.
      skipped: int32 scalar, bad steps so far.
      inner: state of the wrapped transformation.
    """

    loss_scale: jax.Array
    good_steps: jax.Array
    skipped: jax.Array
    inner: Any

    def recorded(self) -> dict[str, jax.Array]:
        return {"loss_scale": self.loss_scale, "skipped": self.skipped}


class DynamicLossScale(Wrapper):
    """Attributes: inner: the wrapped link; the others: see `dynamic_loss_scale`."""

    initial: Any = data(checks.positive, default=2.0**16)
    factor: Any = hyperparameter(checks.Interval(1.0, np.inf, "()"), default=2.0)
    backoff: Any = hyperparameter(checks.Interval(0.0, 1.0, "()"), default=0.5)
    minimum: Any = hyperparameter(checks.positive, default=1.0)
    maximum: Any = hyperparameter(checks.positive, default=2.0**24)
    growth_interval: int = static(checks.positive_count, default=2000)

    def check(self) -> None:
        super().check()
        bounds = (self.minimum, self.initial, self.maximum)
        if checks.is_concrete(*bounds) and not np.all(
            (np.asarray(self.minimum) <= self.initial) & (np.asarray(self.initial) <= self.maximum)
        ):
            raise ValueError(
                f"{self.record_name}: initial must lie between minimum and maximum, got "
                f"minimum={self.minimum}, initial={self.initial}, maximum={self.maximum}."
            )

    def init(self, params: Any) -> LossScaleState:
        zero = jnp.zeros((), jnp.int32)
        scale = jnp.array(self.initial, jnp.float32)
        return LossScaleState(scale, zero, jnp.zeros_like(zero), self.inner.start(params))

    def update(self, updates: Any, state: LossScaleState, params: Any = None, **extra: Any) -> Any:
        require_arrays(self.record_name, updates)
        inverse = 1 / state.loss_scale

        def unscaled(updates):
            return jax.tree.map(lambda u: u * inverse.astype(u.dtype), updates)

        # The root of scale · root: large finite entries are no overflow.
        good = lax.stop_gradient(jnp.isfinite(numerics.scaled_norm(updates).root))
        _, new, inner = step_if(
            good,
            self.record_name,
            self.inner,
            updates,
            state.inner,
            params,
            extra,
            prepare=unscaled,
        )
        good_steps = jnp.where(good, numerics.increment(state.good_steps), 0)
        grows = good_steps >= self.growth_interval
        smaller, larger = (
            state.loss_scale * numerics.scalar(f, jnp.float32) for f in (self.backoff, self.factor)
        )
        # At a bound it stays: going up must not undo a step down that the bound cut short.
        low, high = (numerics.scalar(b, jnp.float32) for b in (self.minimum, self.maximum))
        scale = jnp.where(
            good,
            jnp.where(grows, jnp.minimum(larger, high), state.loss_scale),
            jnp.maximum(smaller, low),
        )
        skipped = jnp.where(good, state.skipped, numerics.increment(state.skipped))
        return new, LossScaleState(scale, jnp.where(grows, 0, good_steps), skipped, inner)


def dynamic_loss_scale(
    tx: optax.GradientTransformation,
    initial: Any = 2.0**16,
    *,
    growth_interval: int = 2000,
    factor: Any = 2.0,
    backoff: Any = 0.5,
    minimum: Any = 1.0,
    maximum: Any = 2.0**24,
) -> Transformation:
    """Divides gradients by the loss scale, which it finds: `u = tx(g / s)`, or 0 if g overflowed.

    The loss must have been multiplied by s: `scale_loss(loss, state)`. If an entry of g is NaN or
    infinite, updates are 0, the state of `tx` stays as it was, to the bit, and `s <- backoff · s`;
    after `growth_interval` good steps on end, `s <- factor · s`.

    Args:
      tx: a whole optimizer, optlab's or Optax's.
      initial: s at the start, between `minimum` and `maximum`.
      growth_interval: good steps on end before the scale grows, at least 1.
      factor: what it then grows by, > 1, or a schedule.
      backoff: what it shrinks by when gradients overflow, in (0, 1), or a schedule.
      minimum, maximum: bounds of the scale, > 0, or schedules.

    Returns:
      A `Transformation`. `read(state)` gives `loss_scale`, for the next loss, and `skipped`, the
      steps that overflowed. Hyperparameters of `tx` are under `"inner/"`.

    Raises:
      ValueError: for values out of range. TypeError: for no number, and no transformation.

    Special cases:
      float16 gradients are divided in float32: none underflows there. Counts and schedules of `tx`
      count good steps. Gradients that are NaN for another reason than overflow bring the scale down
      to `minimum`; `guard(dynamic_loss_scale(tx))` would hide overflow from it, so put a guard
      inside: `dynamic_loss_scale(guard(tx))`.

    Cost:
      12 bytes in all; one read of the gradients.

    Differs from:
      `torch.amp.GradScaler`, whose rule this is: it has no bounds. Flax's `DynamicScale` calls the
      gradient function itself and leaves skipping to the user.

    Example:
      >>> import jax, jax.numpy as jnp, optlab as ol
      >>> tx = ol.dynamic_loss_scale(ol.sgd(0.5), initial=1024.0)
      >>> params = jnp.ones(1)
      >>> state = tx.init(params)
      >>> grads = jax.grad(lambda p: ol.scale_loss(jnp.sum(p**2), state))(params)
      >>> updates, state = tx.update(grads, state, params)
      >>> grads, updates
      (Array([2048.], dtype=float32), Array([-1.], dtype=float32))

    Source:
      Micikevicius et al., "Mixed precision training", 2017, arXiv:1710.03740, section 3.2.
    """
    return Transformation(
        DynamicLossScale(
            as_link(tx),
            initial=initial,
            factor=factor,
            backoff=backoff,
            minimum=minimum,
            maximum=maximum,
            growth_interval=growth_interval,
        )
    )


def scale_loss(loss: Any, state: Any) -> jax.Array:
    """The loss times the loss scale of a `dynamic_loss_scale`, in float32 (float64) at least.

    Args:
      loss: scalar, or losses by example.
      state: the optimizer's state, however nested.

    Returns:
      What to differentiate in place of the loss.

    Raises:
      ValueError: if the state holds no loss scale, or several.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.dynamic_loss_scale(ol.sgd(0.5), initial=4.0)
      >>> ol.scale_loss(0.5, tx.init(jnp.ones(1)))
      Array(2., dtype=float32)
    """
    found = [v for name, v in read(state).items() if name.rsplit("/", 1)[-1] == "loss_scale"]
    if len(found) != 1:
        raise ValueError(
            f"scale_loss: the state holds {len(found)} loss scales, and needs one. Wrap the "
            "optimizer once: dynamic_loss_scale(tx)."
        )
    loss = numerics.promote(loss)
    return loss * found[0].astype(loss.dtype)
