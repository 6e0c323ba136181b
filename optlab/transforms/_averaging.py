"""What the wrappers that average parameters share: where they may stand, which steps they take.

Their states offer `averaged()`, the average and whether it holds anything yet, to `eval_params`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from optlab.core import (
    Wrapper,
    checks,
    numerics,
    require_arrays,
    require_params,
    show,
    static,
    trees,
)


class Averaging(Wrapper):
    """Base of wrappers that need the final update and the parameters it is added to."""

    def final_step(self, updates: Any, state: Any, params: Any, extra: Any) -> tuple[Any, Any]:
        """The wrapped link's updates and state.

        Raises:
          ValueError: without parameters, and where a learning rate of the chain comes later.
          TypeError: if `Moments` come out of the wrapped link.
        """
        require_params(self.record_name, params)
        rate = extra.get("chain_lr")
        later = rate is not None and not rate.applied
        if later and self.inner.find_learning_rate(state.inner) is None:
            raise ValueError(
                f"{self.record_name} follows the parameters, so it needs the final updates, but "
                "the learning rate is applied behind it. Wrap the whole chain, "
                f"{self.record_name}(chain(...)), or make it the last link."
            )
        updates, inner = self.inner.step(updates, state.inner, params, **extra)
        require_arrays(self.record_name, updates)
        return updates, inner


class Snapshots(Averaging):
    """Base of averages of every `every`-th step from step `start` on."""

    start_step: int = static(checks.count, default=0)
    every: int = static(checks.positive_count, default=1)

    def __repr__(self) -> str:
        steps = {"start": self.start_step, "every": self.every}
        shown = {k: v for k, v in steps.items() if v != (0 if k == "start" else 1)}
        options = ", ".join(f"{k}={show(v)}" for k, v in (self.rule() | shown).items())
        return f"average_params({self.inner!r}, {options})"

    def rule(self) -> dict[str, Any]:
        """The arguments of `average_params` that say how to average."""
        raise NotImplementedError(f"{type(self).__name__} must define rule")

    def takes(self, count: jax.Array) -> jax.Array | None:
        """Whether step `count` (from 1) is averaged; None if every step is."""
        if self.start_step <= 1 and self.every == 1:
            return None
        turn = (count - self.start_step) % self.every == 0
        return turn if self.start_step <= 1 else turn & (count >= self.start_step)


def chosen(take: jax.Array | None, new: Any, old: Any) -> Any:
    """`new` where the step is taken, else `old`, for trees and scalars."""
    return new if take is None else jax.tree.map(lambda n, o: jnp.where(take, n, o), new, old)


def moved(average: Any, share: jax.Array, updates: Any, params: Any) -> Any:
    """`a <- a + share (p + u - a)`: an average of equal values is that value to the bit."""

    def move(u, a, p):
        new = p + u
        if not jnp.issubdtype(new.dtype, jnp.inexact):
            return new  # an integer has no average of its kind: the latest
        return a + numerics.scalar(share, new.dtype) * (new - a)

    return trees.map_leaves(move, updates, average, params, names=("average", "params"))


def zeros(params: Any) -> Any:
    """Room for an average: where the parameters live, in buffers of its own."""
    return jax.tree.map(numerics.zeros_like, params)


def unzipped(like: Any, tuples: Any, length: int) -> list[Any]:
    """A tree of tuples as that many trees."""
    return [jax.tree.map(lambda _, t, i=i: t[i], like, tuples) for i in range(length)]
