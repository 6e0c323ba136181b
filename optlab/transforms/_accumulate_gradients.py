"""One optimizer step for several micro-batches.

Around a whole optimizer. Takes the gradient of a micro-batch, gives zero updates until the last one
of a step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from optlab.core import (
    Transformation,
    Wrapper,
    as_link,
    checks,
    numerics,
    require_arrays,
    static,
    trees,
)
from optlab.transforms._conditional import step_if
from optlab.transforms._loss_scale import DynamicLossScale


class AccumulateGradientsState(NamedTuple):
    """State of `accumulate_gradients`.

    Attributes:
      micro_step: int32 scalar, micro-batches in the sum so far, less than `every`.
      skipped: int32 scalar, optimizer steps lost to gradients that were no finite numbers.
      total: sums like the parameters, in their compute dtype; at `micro_step` 0 it is left over
        and not looked at.
      inner: state of the wrapped transformation.
    """

    micro_step: jax.Array
    skipped: jax.Array
    total: Any
    inner: Any

    def recorded(self) -> dict[str, jax.Array]:
        return {"micro_step": self.micro_step, "skipped": self.skipped}


class AccumulateGradients(Wrapper):
    """Attributes: inner: the wrapped link; every >= 1: micro-batches a step; mean: or their sum."""

    every: int = static(checks.positive_count)
    mean: bool = static(checks.boolean, default=True)

    def check(self) -> None:
        super().check()
        self.refuse(
            DynamicLossScale,
            "a dynamic_loss_scale inside would never see the gradients that overflow, and never "
            "lower its scale. Put it around: dynamic_loss_scale(accumulate_gradients(tx, every)).",
        )

    def init(self, params: Any) -> AccumulateGradientsState:
        return AccumulateGradientsState(
            jnp.zeros((), jnp.int32),
            jnp.zeros((), jnp.int32),
            jax.tree.map(numerics.zeros_like, params),
            self.inner.start(params),
        )

    def update(
        self, updates: Any, state: AccumulateGradientsState, params: Any = None, **extra: Any
    ) -> Any:
        require_arrays(self.record_name, updates)
        first = state.micro_step == 0  # resets the sum, so that no step has to write zeros

        def add(update, total):
            return update.astype(total.dtype) + jnp.where(first, jnp.zeros((), total.dtype), total)

        total = trees.map_leaves(add, updates, state.total, names=("the sum",))
        last = state.micro_step >= self.every - 1
        good = self._finite(last, total)
        _, new, inner = step_if(
            last & good,
            self.record_name,
            self.inner,
            updates,
            state.inner,
            params,
            extra,
            prepare=lambda updates: jax.tree.map(self._result, updates, total),
        )
        micro_step = jnp.where(last, 0, numerics.increment(state.micro_step))
        skipped = jnp.where(last & ~good, numerics.increment(state.skipped), state.skipped)
        return new, AccumulateGradientsState(micro_step, skipped, total, inner)

    def _result(self, update: jax.Array, total: jax.Array) -> jax.Array:
        result = total / numerics.scalar(self.every, total.dtype) if self.mean else total
        return result.astype(update.dtype)

    def _finite(self, last: jax.Array, total: Any) -> jax.Array:
        """Whether the sum is a number; looked at only where it is used."""

        def look(total):
            return jnp.isfinite(numerics.scaled_norm(total).root)

        total = lax.stop_gradient(total)
        if checks.is_concrete(last):
            return look(total) if last else jnp.asarray(True)
        return lax.cond(last, look, lambda _: jnp.asarray(True), total)


def accumulate_gradients(
    tx: optax.GradientTransformation, every: int, mean: bool = True
) -> Transformation:
    """Gives `tx` the mean gradient of `every` micro-batches: `u = tx((g_1 + ... + g_k) / k)`.

    Args:
      tx: a whole optimizer or any other transformation of plain updates, optlab's or Optax's.
      every: micro-batches an optimizer step, at least 1. Part of the structure: another value means
        a new compile, but the same state.
      mean: whether to take the mean; False for the sum, if the loss is a sum over the batch.

    Returns:
      A `Transformation`: zero updates for all but each `every`-th call, which steps. `read(state)`
      gives `micro_step`, micro-batches in the sum, and `skipped`, optimizer steps lost.
      Hyperparameters of `tx` are under `"inner/"`; its counts and schedules count optimizer steps.

    Raises:
      ValueError, TypeError: unless `every` is a whole number >= 1.

    Special cases:
      If one of its micro-batches is NaN or infinite, an optimizer step is left out, its whole sum
      dropped, the state of `tx` untouched, and the next step begins with the next micro-batch.
      (Leaving out the one micro-batch would cost a look at every gradient, and give a mean of
      others.) bf16 gradients are summed in float32. Extra arguments reach `tx` from the last
      micro-batch. Equal to one step on the mean of the gradients up to the rounding of the sum.

    Cost:
      4 bytes a parameter and 8 in all; reads and writes them once a micro-batch.

    Place in a chain:
      Around everything that remembers or decays, averages of the parameters included; inside
      `dynamic_loss_scale`, `guard` and `zero1`. Clipping before it clips micro-batches, inside it
      their mean.

    Differs from:
      `optax.MultiSteps` holds three more copies of the parameters while it steps, and without
      `should_skip_update_fn` a NaN stays in its optimizer for good.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.accumulate_gradients(ol.sgd(0.5), every=2)
      >>> params = jnp.ones(1)
      >>> state = tx.init(params)
      >>> for gradient in (1.0, 3.0):
      ...     updates, state = tx.update(jnp.array([gradient]), state, params)
      ...     print(updates)
      [0.]
      [-1.]
    """
    return Transformation(AccumulateGradients(as_link(tx), every=every, mean=mean))
