"""The state of a probe: fixed arrays, and names that are in its structure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Names = tuple[dict[str, None], ...] | jax.Array


class ProbeState(NamedTuple):
    """State of `probe`: float32, or float64 if a leaf is, where nothing else is said.

    Attributes:
      count: int32 scalar, updates done.
      samples: int32 scalar, samples taken.
      clipped: scalar, updates since the latest sample that a global-norm clip shortened.
      latest: (groups, metrics), the latest sample.
      history: (samples kept, groups, metrics), a ring: sample k is in row k % its length.
      steps: int32 (samples kept,), which update each row is of, from 1.
      losses: (samples kept,), the extra argument `value` there; 0 where none was given.
      valued: bool (samples kept,), whether one was.
      quiet: int32 (outputs of all matrices,), samples in a row in which the gradient was zero.
      sketch: vector, random projections of the directions of the gradient before a sample.
      previous_norms: (leaves,), the norms of that gradient; 0 where there was none.
      histogram: (groups, decades), entries by magnitude, latest sample; None if off.
      groups, metrics: names, in the order of the axes; no arrays.
      inner: state of the wrapped transformation.
    """

    count: jax.Array
    samples: jax.Array
    clipped: jax.Array
    latest: jax.Array
    history: jax.Array
    steps: jax.Array
    losses: jax.Array
    valued: jax.Array
    quiet: jax.Array
    sketch: jax.Array | None
    previous_norms: jax.Array | None
    histogram: jax.Array | None
    groups: Names
    metrics: Names
    inner: Any

    def recorded(self) -> dict[str, jax.Array]:
        """The latest sample, by `"metric/group"`; all 0 before the first."""
        return {
            f"{metric}/{group}": self.latest[..., g, m]
            for m, metric in enumerate(names(self.metrics))
            for g, group in enumerate(names(self.groups))
        }

    def probed(self) -> dict[str, Any]:
        """The samples that are kept, oldest first, for reports; outside of `jit`."""
        kept, length = int(self.samples), len(self.steps)
        order = [k % length for k in range(max(kept - length, 0), kept)]
        return {
            "groups": names(self.groups),
            "metrics": names(self.metrics),
            "steps": np.asarray(self.steps)[order],
            "values": np.asarray(self.history, np.float64)[order],
            "losses": np.where(
                np.asarray(self.valued), np.asarray(self.losses, np.float64), np.nan
            )[order],
        }


def as_names(given: Sequence[str], leaves: Sequence[Any]) -> Names:
    """Names that travel with arrays without being one: they are in the structure of the state.

    Without parameters a leaf, which stands for any names: `optax.tree.map_params` compares states.
    """
    return tuple({name: None} for name in given) if leaves else jnp.zeros(0, bool)


def names(given: Names) -> list[str]:
    return [name for entry in given for name in entry] if isinstance(given, tuple) else []
