"""Lookahead: every few steps the parameters go back, part of the way to where they were.

Around a whole optimizer. Takes gradients, gives updates; `eval_params` gives the slow weights.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optlab.core import (
    Transformation,
    as_link,
    checks,
    hyperparameter,
    numerics,
    static,
    trees,
)
from optlab.transforms._averaging import Averaging, unzipped, zeros


class LookaheadState(NamedTuple):
    """since_sync: int32, updates since the last synchronization; syncs: int32, how many there were.

    slow: φ, like the parameters in their compute dtype; 0 before the first update.
    inner: state of the wrapped transformation.
    """

    since_sync: jax.Array
    syncs: jax.Array
    slow: Any
    inner: Any

    def recorded(self) -> dict[str, jax.Array]:
        return {"lookahead_syncs": self.syncs}

    def averaged(self) -> tuple[Any, jax.Array]:
        return self.slow, self.started()

    def started(self) -> jax.Array:
        return (self.since_sync > 0) | (self.syncs > 0)


class Lookahead(Averaging):
    """Attributes: sync_period (k) >= 1; slow_step_size (α) in (0, 1]."""

    slow_step_size: Any = hyperparameter(checks.Interval(0.0, 1.0, "(]"), default=0.5)
    sync_period: int = static(checks.positive_count, default=6)

    def init(self, params: Any) -> LookaheadState:
        return LookaheadState(
            since_sync=jnp.zeros((), jnp.int32),
            syncs=jnp.zeros((), jnp.int32),
            slow=zeros(params),
            inner=self.inner.start(params),
        )

    def update(self, updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        updates, inner = self.final_step(updates, state, params, extra)
        since = numerics.increment(state.since_sync)
        sync, started = since >= self.sync_period, state.started()

        def step(u, phi, p):
            # Taken at the first update, not at init, between which parameters may be loaded.
            phi = jnp.where(started, phi, p)
            if not jnp.issubdtype(p.dtype, jnp.inexact):
                return u, p + u
            slow = phi + numerics.scalar(self.slow_step_size, p.dtype) * (p + u - phi)
            u = jnp.where(sync, slow - p, u)
            # Not `slow` itself: the sum is needed for the parameters anyway, which spares a copy
            # of all updates.
            return u, jnp.where(sync, p + u, phi)

        names = ("slow weights", "params")
        pairs = trees.map_leaves(step, updates, state.slow, params, names=names)
        updates, slow = unzipped(updates, pairs, 2)
        syncs = jnp.where(sync, numerics.increment(state.syncs), state.syncs)
        return updates, LookaheadState(jnp.where(sync, 0, since), syncs, slow, inner)


def lookahead(
    tx: optax.GradientTransformation, sync_period: int = 6, slow_step_size: Any = 0.5
) -> Transformation:
    """Slow weights that follow the optimizer's fast ones every few steps: `φ <- φ + α (θ - φ)`.

    At each synchronization the parameters, which are the fast weights θ, move to the slow weights
    φ; between two of them the updates are those of `tx`. `eval_params` gives φ.

    Args:
      tx: the optimizer of the fast weights.
      sync_period: k >= 1, updates from one synchronization to the next.
      slow_step_size: α in (0, 1], how far the slow weights go; or a schedule. 1 is `tx` alone.

    Returns:
      A `Transformation`; `read(state)` gives `"lookahead_syncs"`, how many there were.

    Raises:
      ValueError: for values out of range; when updating without parameters, or before a learning
        rate of the same chain. TypeError: for no number or no transformation.

    Special cases:
      The slow weights start as the parameters of the first update. They are kept in float32, so
      bf16 parameters do not lose what is smaller than their spacing at a synchronization. The
      state of `tx` goes on across one. A NaN in the parameters at one stays: put `guard` around.

    Cost:
      4 bytes a parameter (8 for float64).

    Differs from:
      `optax.lookahead` wants pairs of parameters; PyTorch has none. The paper's other treatments of
      `tx`'s momentum (reset, interpolated) are left out.

    Example:
      >>> import jax.numpy as jnp, optax, optlab as ol
      >>> tx = ol.lookahead(ol.sgd(1.0), sync_period=2)
      >>> params = jnp.array([4.0])
      >>> state = tx.init(params)
      >>> for _ in range(2):  # to 3, to 2 and back to the middle of 4 and 2
      ...     updates, state = tx.update(jnp.ones(1), state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> params
      Array([3.], dtype=float32)

    Source:
      Zhang, Lucas, Hinton, Ba, "Lookahead optimizer: k steps forward, 1 step back", 2019,
      arXiv:1907.08610, algorithm 1.
    """
    return Transformation(
        Lookahead(inner=as_link(tx), sync_period=sync_period, slow_step_size=slow_step_size)
    )
