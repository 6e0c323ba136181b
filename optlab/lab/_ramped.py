"""A transformation whose learning rate grows by the same factor at every step."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optlab.lab._population import Rebuilt

PyTree = Any


class RampState(NamedTuple):
    """Updates done, int32[], and the state of the transformation."""

    count: jax.Array
    inner: Any


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["low", "high", "steps"],
    meta_fields=["make_tx"],
)
@dataclasses.dataclass(frozen=True)
class Ramped:
    """`make_tx(learning_rate=low * (high / low) ** (count / (steps - 1)))`, made anew in each step.

    So it holds for any transformation whose rate may be traced, also where an update is not
    proportional to it; the state goes on from step to step.
    """

    make_tx: Callable[..., Any]
    low: Any
    high: Any
    steps: Any

    def rate(self, count: Any) -> jax.Array:
        low, high, steps, count = (
            jnp.asarray(x, jnp.float32) for x in (self.low, self.high, self.steps, count)
        )
        return jnp.exp(jnp.log(low) + count / (steps - 1) * jnp.log(high / low))

    def _at(self, count: Any) -> Rebuilt:
        return Rebuilt(self.make_tx, {"learning_rate": self.rate(count)}, ())

    def init(self, params: PyTree) -> RampState:
        return RampState(jnp.zeros((), jnp.int32), self._at(0).init(params))

    def update(self, updates: PyTree, state: RampState, params: PyTree = None, **extra: Any):
        updates, inner = self._at(state.count).update(updates, state.inner, params, **extra)
        return updates, RampState(state.count + 1, inner)


def of_rate(make_tx: Callable[..., Any]) -> Callable[..., optax.GradientTransformation]:
    """The same as a function of `learning_rate=`: passed by that name, or else as the first."""
    try:
        named = "learning_rate" in inspect.signature(make_tx).parameters
    except (TypeError, ValueError):  # what is written in C has no signature
        named = False

    def made(learning_rate: Any) -> optax.GradientTransformation:
        return make_tx(learning_rate=learning_rate) if named else make_tx(learning_rate)

    return made
