"""A transformation whose learning rate grows by the same factor at every step, and its factory."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optlab import core
from optlab.lab import _population
from optlab.lab._fingerprint import optimizer_fingerprint, update_fingerprint
from optlab.lab._population import Rebuilt
from optlab.lab._task import Task

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


def of_rate(make_tx: Any) -> Callable[..., optax.GradientTransformation]:
    """The same as a function of `learning_rate=`: passed by that name, or else as the first.

    Raises:
      TypeError: for what cannot be called with a learning rate alone.
    """
    _require_factory(make_tx)
    by_name = _by_name(make_tx)

    def made(learning_rate: Any) -> optax.GradientTransformation:
        return make_tx(learning_rate=learning_rate) if by_name else make_tx(learning_rate)

    return made


def require_use_of_rate(
    made: Callable[..., optax.GradientTransformation],
    task: Task,
    low: float,
    high: float,
    ramp: bool,
) -> None:
    """Refuses a factory whose transformations compute the same at both rates; for a ramp, also one
    that keeps its rate in its state, where it stays.

    Raises:
      ValueError: with the remedy. TypeError: for a factory of something else.
    """
    choices = [{"learning_rate": rate} for rate in (low, high)]
    txs = _population.transformations(made, choices)
    if all(isinstance(tx, core.Transformation) for tx in txs):
        numbers = [[np.asarray(leaf) for leaf in jax.tree.leaves(tx)] for tx in txs]
        if not all(map(np.array_equal, *numbers)) or len(numbers[0]) != len(numbers[1]):
            return
    # Rates hide inside functions too: of Optax, and of schedules that are no records.
    first, last = (optimizer_fingerprint(task, tx) for tx in txs)
    if first == last:
        raise ValueError(
            f"lr_range: make_tx gives the same transformation at the rates {low:g} and {high:g}, "
            "so it does not use the one it is called with. Pass it on, as in "
            "`lambda learning_rate: optlab.adam(learning_rate)`."
        )
    first, last = (update_fingerprint(task, tx) for tx in txs)
    if ramp and first == last:
        raise ValueError(
            "lr_range: make_tx keeps its learning rate in its state (as inject_hyperparams does), "
            "so a ramp would stay at its first rate. Pass a factory that does not, such as "
            "optlab.adam or optax.adam, or ramp=False."
        )


def _require_factory(make_tx: Any) -> None:
    wanted = "lr_range: make_tx must be a function of a learning rate that returns a transformation"
    remedy = "such as optlab.adam, or `lambda learning_rate: optlab.adam(learning_rate, b1=0.8)`"
    if isinstance(make_tx, optax.GradientTransformation):
        raise TypeError(
            f"{wanted}, got a transformation, whose rate is fixed. Pass what makes it, {remedy}."
        )
    if not callable(make_tx):
        raise TypeError(f"{wanted}, got {make_tx!r:.80}. Pass one, {remedy}.")
    if _by_name(make_tx) is None:
        raise TypeError(
            f"{wanted}; this one cannot be called with a rate alone: its arguments are "
            f"{inspect.signature(make_tx)}. Pass one that can, {remedy}."
        )


def _by_name(make_tx: Callable[..., Any]) -> bool | None:
    """Whether the rate is passed as `learning_rate=`; None where it can be passed in no way."""
    try:
        signature = inspect.signature(make_tx)
    except (TypeError, ValueError):  # what is written in C has no signature
        return False
    named, first = _binds(signature, learning_rate=0.0), _binds(signature, 0.0)
    if named and ("learning_rate" in signature.parameters or not first):
        return True
    return False if first else None


def _binds(signature: inspect.Signature, *args: Any, **kwargs: Any) -> bool:
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True
