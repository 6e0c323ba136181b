"""Overriding: another value for a hyperparameter in the middle of a run, without a new compile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from optlab.core import _checks, _hyperparameters
from optlab.core._link import ScheduledState
from optlab.core._reading import is_recording, place_inside
from optlab.core._transformation import Transformation
from optlab.core._trees import path_text

T = TypeVar("T")


def override(tx_or_state: T, values: Mapping[str, Any]) -> T:
    """A transformation or state with other values, of the same structure: nothing recompiles.

    Args:
      tx_or_state: a state, however nested, also one inside a train state: its links use the given
        values from the next update on, scheduled or not. Or a `Transformation` that is passed to
        `jit` as an argument: its numbers are replaced.
      values: numbers by name, as `read` lists them, or by the end of a path where only one ends so:
        `{"learning_rate": 1e-4}`. `None` ends an override: the hyperparameter rules again.

    Returns:
      A copy; what was given is unchanged. Counts go on, so a schedule is later found where it would
      have been. Works inside `jit`, and on states with a batch axis.

    Raises:
      KeyError: if a name fits nothing the state keeps, or more than one; with the candidates.
      ValueError, TypeError: for a value that is no finite number; with a transformation also for
        one that its factory would refuse, and for a hyperparameter that is a schedule.

    Special cases:
      A state keeps the learning rate and whatever is scheduled; of these alone it can hold another
      value, and it knows no bounds for it. A decay coupled to the learning rate follows. What
      `read` gives is the value in force. An override is part of the state: it is checkpointed.

    Differs from:
      `replace` gives another transformation. `optax.inject_hyperparams` is overridden by assigning
      to the state, and a schedule there overwrites the assignment.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.chain(ol.scale_by_learning_rate(lambda count: 0.5**count))
      >>> grads = jnp.ones(1)
      >>> state = ol.override(tx.init(grads), {"learning_rate": 0.1})
      >>> updates, state = tx.update(grads, state)
      >>> updates, ol.read(state)["learning_rate"]
      (Array([-0.1], dtype=float32), Array(0.1, dtype=float32))
      >>> tx.update(grads, ol.override(state, {"learning_rate": None}))[0]
      Array([-0.5], dtype=float32)
    """
    if isinstance(tx_or_state, Transformation):
        return _override_numbers(tx_or_state, values)
    paths: list[str] = []
    _map_scheduled(lambda place, node: paths.extend(_names(place, node)) or node, tx_or_state, "")
    hint = (
        " A state holds values of learning rates and scheduled hyperparameters only; change a "
        "constant with optlab.replace(tx, ...)."
    )
    chosen = {_hyperparameters.resolve(name, paths, hint): v for name, v in values.items()}

    def change(place: str, node: ScheduledState) -> ScheduledState:
        held, kept = list(node.held), dict(node.values)
        for i, (path, name) in enumerate(_names(place, node).items()):
            if path in chosen:
                value = chosen[path]
                held[i] = jnp.full_like(held[i], value is not None)
                if value is not None:
                    kept[name] = _like(name, value, kept[name])
        return node._replace(held=tuple(held), values=kept)

    return _map_scheduled(change, tx_or_state, "")


def _override_numbers(tx: Transformation, values: Mapping[str, Any]) -> Any:
    parts = _hyperparameters.parts(tx)
    for name, value in values.items():
        if isinstance(value, bool) or not (
            isinstance(value, jax.core.Tracer) or _checks.is_concrete(value)
        ):
            raise TypeError(
                f"override: {name} must be a number, got {value!r} of type "
                f"{type(value).__name__}. To give a transformation a schedule, or to end an "
                "override, which lives in the state, use optlab.replace(tx, ...) or "
                "optlab.override(state, ...)."
            )
        if callable(parts[_hyperparameters.resolve(name, list(parts))]):
            raise ValueError(
                f"override: {name} is a schedule, and a number in its place would be another "
                "structure, hence a new compile. Override the state: "
                f"optlab.override(state, {{{name!r}: {value!r}}})."
            )
    return _hyperparameters.replace(tx, values)


def _like(name: str, value: Any, old: jax.Array) -> jax.Array:
    value = _checks.finite("override", name, value)
    if np.shape(value) not in ((), np.shape(old)):
        raise ValueError(
            f"override: {name} is one number{'' if np.ndim(old) == 0 else ' a state'}, got an "
            f"array of shape {np.shape(value)}."
        )
    return jnp.broadcast_to(jnp.asarray(value, old.dtype), jnp.shape(old))


def _names(place: str, node: ScheduledState) -> dict[str, str]:
    """Name of each value by its whole path, in the order of `held`."""
    return {f"{place}/{name}" if place else name: name for name in sorted(node.values)}


def _map_scheduled(
    change: Callable[[str, ScheduledState], ScheduledState], tree: Any, prefix: str
) -> Any:
    """Applies a function to every `ScheduledState`, by the places that `read` gives them."""

    def visit(path, node):
        if not is_recording(node):
            return node
        place = "/".join(filter(None, (prefix, path_text(path))))
        if isinstance(node, ScheduledState):
            node = change(place, node)
        if getattr(node, "inner", None) is None:
            return node
        return node._replace(inner=_map_scheduled(change, node.inner, place_inside(node, place)))

    return jax.tree_util.tree_map_with_path(visit, tree, is_leaf=is_recording)
