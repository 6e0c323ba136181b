"""Steps that survive bad gradients: a bad step moves nothing and is forgotten.

Around a whole optimizer, or around some links of a chain. Takes and gives plain updates.
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
    hyperparameter,
    numerics,
    read,
    require_arrays,
    static,
)
from optlab.transforms._conditional import all_finite, step_if
from optlab.transforms._finite_links import current_values, keeps_finite
from optlab.transforms._loss_scale import DynamicLossScale

LARGEST_NORM = 2.0**50  # its square leaves room for 2**27 more of its kind in a float32 sum


class GuardState(NamedTuple):
    """State of `guard`.

    Attributes:
      skipped: int32 scalar, bad steps so far.
      consecutive_skipped: int32 scalar, bad steps since the last good one.
      gave_up: bool scalar, whether there ever were too many in a row.
      last_norm: float32 scalar (float64 if a leaf is), of the latest gradient, good or bad.
      accepted: int32 scalar, good steps so far.
      log_norm, weight: scalars, running average of log norms of good steps, and that of ones.
      inner: state of the wrapped transformation.
    """

    skipped: jax.Array
    consecutive_skipped: jax.Array
    gave_up: jax.Array
    last_norm: jax.Array
    accepted: jax.Array
    log_norm: jax.Array
    weight: jax.Array
    inner: Any

    def typical_norm(self) -> jax.Array:
        """Geometric average of the norms of good steps; 0 before the first."""
        average = jnp.exp(numerics.safe_divide(self.log_norm, self.weight))
        return jnp.where(self.weight > 0, average, 0)

    def recorded(self) -> dict[str, jax.Array]:
        names = ("skipped", "consecutive_skipped", "gave_up", "last_norm")
        return {name: getattr(self, name) for name in names} | {"typical_norm": self.typical_norm()}


class Guard(Wrapper):
    """Attributes: inner: the wrapped link; the others: see `guard`."""

    spike: Any = hyperparameter(checks.optional(checks.Interval(1.0, np.inf, "()")), default=None)
    decay: Any = hyperparameter(checks.decay_rate, default=0.98)
    nonfinite: str = static(checks.one_of("skip", "raise"), default="skip")
    warmup_steps: int = static(checks.count, default=20)
    max_consecutive: int | None = static(checks.optional(checks.positive_count), default=20)

    def check(self) -> None:
        super().check()
        self.refuse(
            DynamicLossScale,
            "a dynamic_loss_scale inside would never see the gradients that overflow, and never "
            "lower its scale. Put it around: dynamic_loss_scale(guard(tx)).",
        )

    def init(self, params: Any) -> GuardState:
        dtype = numerics.widest(jax.tree.leaves(params))
        return GuardState(
            skipped=jnp.zeros((), jnp.int32),
            consecutive_skipped=jnp.zeros((), jnp.int32),
            gave_up=jnp.zeros((), bool),
            last_norm=jnp.zeros((), dtype),
            accepted=jnp.zeros((), jnp.int32),
            log_norm=jnp.zeros((), dtype),
            weight=jnp.zeros((), dtype),
            inner=self.inner.start(params),
        )

    def update(self, updates: Any, state: GuardState, params: Any = None, **extra: Any) -> Any:
        require_arrays(self.record_name, updates)
        norm = lax.stop_gradient(numerics.global_norm(updates)).astype(state.last_norm.dtype)
        finite = norm <= LARGEST_NORM  # not the other way round: a NaN is not small
        known = keeps_finite(self.inner)
        if known:
            finite &= lax.stop_gradient(all_finite(list(current_values(self.inner, state.inner))))
        wanted = finite if self.spike is None else finite & ~self._spikes(norm, state)
        good, new, inner = step_if(
            wanted,
            self.record_name,
            self.inner,
            updates,
            state.inner,
            params,
            extra,
            judged=not known,
        )
        finite &= good | ~wanted
        state = self._counted(state, norm, good, finite)._replace(inner=inner)
        if checks.is_concrete(good, state.gave_up) and not good and state.gave_up:
            raise FloatingPointError(_told("guard", state))
        return new, state

    def _spikes(self, norm: jax.Array, state: GuardState) -> jax.Array:
        limit = numerics.scalar(self.spike, norm.dtype) * state.typical_norm()
        return (state.accepted >= self.warmup_steps) & (state.weight > 0) & (norm > limit)

    def _counted(
        self, state: GuardState, norm: jax.Array, good: jax.Array, finite: jax.Array
    ) -> GuardState:
        in_a_row = jnp.where(good, 0, numerics.increment(state.consecutive_skipped))
        gave_up = state.gave_up
        if self.max_consecutive is not None:
            gave_up |= in_a_row >= self.max_consecutive
        if self.nonfinite == "raise":
            gave_up |= ~finite
        counts = good & (norm > 0)
        keep = numerics.scalar(self.decay, norm.dtype)
        fresh = numerics.complement(self.decay, norm.dtype)
        log = jnp.log(jnp.where(counts, norm, 1))

        def follow(average, value):
            return jnp.where(counts, keep * average + fresh * value, average)

        return state._replace(
            skipped=jnp.where(good, state.skipped, numerics.increment(state.skipped)),
            consecutive_skipped=in_a_row,
            gave_up=gave_up,
            last_norm=norm,
            accepted=jnp.where(good, numerics.increment(state.accepted), state.accepted),
            log_norm=follow(state.log_norm, log),
            weight=follow(state.weight, jnp.ones_like(log)),
        )


def guard(
    tx: optax.GradientTransformation,
    nonfinite: str = "skip",
    *,
    spike: Any = None,
    decay: Any = 0.98,
    warmup_steps: int = 20,
    max_consecutive: int | None = 20,
) -> Transformation:
    """Skips bad steps: zero updates, and the state of `tx` stays as it was, to the bit.

    A step is bad if the norm of all gradients together is NaN, infinite or above 2**50 (1e15); if a
    scheduled hyperparameter, an update or an entry of the new state would be no finite number; or
    if the norm `n` is a spike: `n > spike · exp(mean of log n over good steps)`, the mean an
    unbiased exponential moving average.

    Args:
      tx: a whole optimizer or any other transformation of plain updates, optlab's or Optax's.
      nonfinite: what a bad step that is no spike means. `"skip"`: it is skipped. `"raise"`: it is
        skipped, and `gave_up` at once.
      spike: how many times the typical norm is too much, > 1, such as 10; a number, a schedule, or
        None for no such rule.
      decay: of the running average of log norms, in [0, 1): it remembers about 1 / (1 - decay)
        steps.
      warmup_steps: good steps before the spike rule begins to judge.
      max_consecutive: how many bad steps in a row make it give up, at least 1; None for never.

    Returns:
      A `Transformation`. `read(state)` gives `skipped` and `consecutive_skipped` (bad steps),
      `last_norm` (of the latest gradient), `typical_norm` and `gave_up`. Hyperparameters of `tx`
      are under `"inner/"`. `raise_if_gave_up(state)` stops a loop.

    Raises:
      FloatingPointError: outside of `jit`, at a bad step, when it has given up. Inside, nothing can
        raise: look at `gave_up`.
      ValueError, TypeError: for arguments out of range or of another kind.

    Special cases:
      Having given up, it goes on skipping every bad step, accepts good ones, and `gave_up` stays.
      Norms of 0 are left out of the average. If gradients grow for good within a step by more than
      `spike`, all are skipped until it gives up. Counts and schedules of `tx` count good steps.
      Parameters are not looked at.

    Cost:
      28 bytes in all; one read of the gradients. A link of optlab's is known to keep finite what is
      finite, so its results are not judged. Around any other, updates and new state are held beside
      the old until they are judged, and read once more.

    Place in a chain:
      Around everything but `zero1` and `dynamic_loss_scale`, which it refuses. What stands before
      it sees the bad gradients. Around `accumulate_gradients` it judges every micro-batch.

    Differs from:
      `optax.apply_if_finite` judges the gradients alone, so that `adam` keeps an infinite second
      moment after one of 1e25, and accepts bad ones after too many.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.guard(ol.sgd(0.5))
      >>> params = jnp.ones(2)
      >>> updates, state = tx.update(jnp.array([1.0, jnp.nan]), tx.init(params), params)
      >>> updates, ol.read(state)["skipped"]
      (Array([0., 0.], dtype=float32), Array(1, dtype=int32))
    """
    return Transformation(
        Guard(
            as_link(tx),
            spike=spike,
            decay=decay,
            nonfinite=nonfinite,
            warmup_steps=warmup_steps,
            max_consecutive=max_consecutive,
        )
    )


def raise_if_gave_up(state: Any) -> None:
    """Raises if a `guard` has seen too many bad steps in a row. For training loops, outside of jit.

    Args:
      state: any state that `read` can read, with one guard, several or none.

    Raises:
      FloatingPointError: with the counts and what to do.
      TypeError: inside `jit`, where nothing can be raised.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> ol.transforms.raise_if_gave_up(ol.guard(ol.sgd(0.5)).init(jnp.ones(2)))
    """
    values = read(state)
    for name, flag in values.items():
        place = name.removesuffix("gave_up")
        if place == name or (place and not place.endswith("/")):
            continue
        if not checks.is_concrete(flag):
            raise TypeError(
                "raise_if_gave_up: the state is traced, and nothing can be raised inside jit. Call "
                "it in the loop around the jitted step."
            )
        if np.any(np.asarray(flag)):
            fields = ("skipped", "consecutive_skipped", "last_norm", "typical_norm")
            found = {f: values.get(place + f) for f in fields}
            raise FloatingPointError(_message(f"{place}guard", found))


def _told(owner: str, state: GuardState) -> str:
    return _message(owner, state.recorded())


def _message(owner: str, found: dict[str, Any]) -> str:
    return (
        f"{owner} gave up: {found['consecutive_skipped']} bad steps in a row, "
        f"{found['skipped']} in all; the latest gradient has norm {found['last_norm']}, those of "
        f"good steps about {found['typical_norm']}. No bad step was taken: parameters and state "
        "are those of the last good one. Go back to a checkpoint, lower the learning rate, clip "
        "the gradients, look at the data; or raise spike or max_consecutive if such gradients are "
        "to be expected."
    )
