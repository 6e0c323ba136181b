"""The equal average of the last part of the steps, without knowing how many there will be.

Made by `average_params(tx, "tail")`. Two averages of stretches that follow each other: when the
recent one is long enough to be the tail alone, the older one is dropped.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optlab.core import checks, data, numerics
from optlab.transforms._averaging import Snapshots, chosen, moved, zeros

FRACTION = checks.Interval(0.0, 1.0, "()")


class AverageTailState(NamedTuple):
    """count: int32, updates done. averaged_steps: int32, snapshots seen.

    older, recent: the equal averages of two stretches that follow each other, like the parameters
    in their compute dtype. older_steps, recent_steps: int32, their lengths in snapshots.
    inner: state of the wrapped transformation.
    """

    count: jax.Array
    averaged_steps: jax.Array
    older_steps: jax.Array
    recent_steps: jax.Array
    older: Any
    recent: Any
    inner: Any

    def recorded(self) -> dict[str, jax.Array]:
        return {"averaged_steps": self.older_steps + self.recent_steps}

    def averaged(self) -> tuple[Any, jax.Array]:
        def join(a, b):
            if not jnp.issubdtype(a.dtype, jnp.inexact):
                return b
            dtype = numerics.real_dtype(a.dtype)
            lengths = [n.astype(dtype) for n in (self.older_steps, self.recent_steps)]
            return a + lengths[1] / jnp.maximum(lengths[0] + lengths[1], 1) * (b - a)

        return jax.tree.map(join, self.older, self.recent), self.averaged_steps > 0


class AverageTail(Snapshots):
    """Attributes: fraction (α) in (0, 1); start_step, every."""

    fraction: Any = data(FRACTION, default=0.5)

    def rule(self) -> dict[str, Any]:
        return {"ema": "tail", "tail_fraction": self.fraction}

    def init(self, params: Any) -> AverageTailState:
        return AverageTailState(
            count=jnp.zeros((), jnp.int32),
            averaged_steps=jnp.zeros((), jnp.int32),
            older_steps=jnp.zeros((), jnp.int32),
            recent_steps=jnp.zeros((), jnp.int32),
            older=zeros(params),
            recent=zeros(params),
            inner=self.inner.start(params),
        )

    def update(self, updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        updates, inner = self.final_step(updates, state, params, extra)
        count = numerics.increment(state.count)
        seen = numerics.increment(state.averaged_steps)
        length = numerics.increment(state.recent_steps)
        # The first snapshot of a stretch replaces what is left of the last stretch.
        room = jax.tree.map(
            lambda r: jnp.where(length == 1, jnp.zeros((), r.dtype), r), state.recent
        )
        dtype = numerics.widest(jax.tree.leaves(params))
        recent = moved(room, 1 / length.astype(dtype), updates, params)
        # Long enough to be the tail alone: the older stretch is dropped.
        full = length.astype(dtype) >= numerics.scalar(self.fraction, dtype) * seen.astype(dtype)
        older = chosen(full, recent, state.older)
        older_steps, recent_steps = chosen(
            full, (length, jnp.zeros_like(length)), (state.older_steps, length)
        )
        new = AverageTailState(count, seen, older_steps, recent_steps, older, recent, inner)
        take = self.takes(count)
        if take is None:
            return updates, new
        kept = state._replace(count=count, inner=inner)
        return updates, chosen(take, new, kept)
