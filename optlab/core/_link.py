"""Links: the records transformations are made of, and the schedules of their hyperparameters.

A link is a rule: `init` and `update` over trees that are already in their compute dtype. Any of its
data fields may be a schedule; `start` and `step`, which chains and wrappers call, keep the count,
evaluate the schedules and hand the rule plain numbers, so no rule ever deals with one.
"""

from __future__ import annotations

import dataclasses
import numbers
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optlab.core import _checks, _numerics, _records

PyTree = Any


class PlainFunction(_records.Record):
    """A schedule that is somebody's function: carried along, but opaque.

    It is compared by identity, is not stored, and runs under JAX's default dtype promotion.

    Example:
      >>> import optlab as ol
      >>> def halving(count):
      ...     return 0.5**count
      >>> ol.scale_by_learning_rate(halving)
      scale_by_learning_rate(learning_rate=halving)
    """

    function: Any = _records.static()

    def __call__(self, count: Any) -> Any:
        with jax.numpy_dtype_promotion("standard"):  # it may be one of Optax's, which need it
            return self.function(count)

    def __repr__(self) -> str:
        return _records.show(self.function)


@dataclasses.dataclass(frozen=True)
class _NumberOrSchedule:
    inner: _checks.Check

    def __str__(self) -> str:
        return f"{self.inner}, or a schedule"

    def __call__(self, owner: str, name: str, value: Any) -> Any:
        if isinstance(value, _records.Record) and callable(value):
            return value
        if isinstance(value, type):
            raise TypeError(
                f"{owner}: {name} must be {self}, got the class {value.__name__}. "
                "Did you forget to call it?"
            )
        if callable(value):
            return PlainFunction(value)
        return self.inner(owner, name, value)


def hyperparameter(check: _checks.Check, *, default: Any = dataclasses.MISSING) -> Any:
    """A data field that is a number, or a schedule of numbers, within bounds.

    Args:
      check: what a concrete number must satisfy, such as `core.checks.decay_rate`.
      default: what the field is when it is not given; without one it must be given.

    Returns:
      A dataclass field of a `Link`. Its rule always sees a number: `step` evaluates schedules.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from optlab import core
      >>> class Grow(core.Link):
      ...     factor: float = core.hyperparameter(core.checks.positive, default=2.0)
      ...     def update(self, updates, state, params=None, **extra):
      ...         return jax.tree.map(lambda u: self.factor * u, updates), state
      >>> tx = core.Transformation(Grow(lambda count: 1.0 + count))
      >>> tx.update(jnp.ones(1), tx.init(jnp.ones(1)))[0]
      Array([1.], dtype=float32)
    """
    return _records.data(_NumberOrSchedule(check), default=default)


class ScheduledState(NamedTuple):
    """State of a link whose hyperparameters change, or are recorded.

    Attributes:
      count: int32 scalar, the number of updates done.
      values: the float32 values used by the latest update (before any: those the first will use).
      held: bool scalars, in the order of the sorted names: whether the value stays as it is from
        now on, whatever the hyperparameter says; see `override`.
      inner: the link's own state.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> state = ol.scale_by_learning_rate(0.5).init(jnp.zeros(1))
      >>> state.count, state.values
      (Array(0, dtype=int32), {'learning_rate': Array(0.5, dtype=float32)})
    """

    count: jax.Array
    values: dict[str, jax.Array]
    held: tuple[jax.Array, ...]
    inner: Any

    def recorded(self) -> dict[str, jax.Array]:
        return self.values

    def effective(self, name: str, value: Any) -> jax.Array:
        """The value the next update uses, given what the hyperparameter itself says."""
        value = jnp.asarray(value)
        return jnp.where(self.is_held(name), self.values[name].astype(value.dtype), value)

    def is_held(self, name: str) -> jax.Array:
        # Not by name: optax.tree.get would find the value's name twice.
        return self.held[sorted(self.values).index(name)]


class LearningRate(NamedTuple):
    """What a chain tells its links about its learning rate (keyword `chain_lr` of `update`).

    Attributes:
      hyperparameter: the number or schedule held by the chain's `scale_by_learning_rate`.
      count: the number of updates done.
      applied: whether the updates have been multiplied by minus the learning rate already.
      held: `(whether, value)` where the state may hold another value; see `override`.

    Example:
      >>> from optlab import core
      >>> core.LearningRate(lambda count: 0.5**count, count=2, applied=False).value()
      0.25
    """

    hyperparameter: Any
    count: jax.Array
    applied: bool
    held: tuple[jax.Array, jax.Array] | None = None

    def value(self) -> Any:
        """The learning rate of this update."""
        h = self.hyperparameter
        value = h(self.count) if callable(h) else h
        if self.held is None:
            return value
        value = jnp.asarray(value)
        return jnp.where(self.held[0], self.held[1].astype(value.dtype), value)

    def peak(self, owner: str) -> Any:
        """The largest value the schedule takes."""
        h = self.hyperparameter
        if not callable(h):
            return h
        if not hasattr(h, "peak"):
            raise ValueError(
                f"{owner} needs the peak of the learning rate, which the schedule {h!r} does not "
                "tell. Use a schedule of optlab.schedules, or pass the peak yourself."
            )
        return h.peak()


class Link(_records.Record):
    """Base of every rule. Subclasses override `update`, and `init` if they hold state.

    Both see trees in their compute dtype (float32 for bfloat16 parameters) and hyperparameters that
    are numbers; `update` is a function of its arguments alone.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from optlab import core
      >>> class Halve(core.Link):
      ...     def update(self, updates, state, params=None, **extra):
      ...         return jax.tree.map(lambda u: u / 2, updates), state
      >>> tx = core.chain(core.Transformation(Halve()), core.Transformation(Halve()))
      >>> tx.update(jnp.ones(1), tx.init(jnp.ones(1)))[0]
      Array([0.25], dtype=float32)
    """

    recorded: ClassVar[tuple[str, ...]] = ()
    """Fields whose current value the state always keeps for `read`, scheduled or not."""

    def init(self, params: PyTree) -> Any:
        """The state for parameters (arrays or `jax.ShapeDtypeStruct`s) in their compute dtype."""
        del params
        return optax.EmptyState()

    def update(self, updates: PyTree, state: Any, params: PyTree = None, **extra: Any) -> Any:
        """`(new updates, new state)`; everything is in its compute dtype."""
        raise NotImplementedError(f"{type(self).__name__} must define update")

    def find_learning_rate(self, state: Any) -> LearningRate | None:
        """The learning rate applied inside this link, if it applies one."""
        del state
        return None

    # What a state is edited by (`migrate`).

    def substates(self, state: Any, params: PyTree = None) -> dict[str, tuple[Link, Any, PyTree]]:
        """The links inside this one by name, each with its part of the state and of the parameters.

        With `params` (or their shapes) in the form the links themselves know, else as it is kept.
        """
        del state, params
        return {}

    def with_substates(self, state: Any, parts: dict[str, Any], params: PyTree = None) -> Any:
        """The state with those parts replaced."""
        del parts, params
        return state

    def meanings(self) -> dict[str, str]:
        """What fields of the state hold, in words that other links share: `{"first": "mean"}`."""
        return {}

    def resumed(self, state: Any, count: jax.Array) -> Any:
        """The state with scalars that follow from the count as they are after `count` updates."""
        del count
        return state

    def start(self, params: PyTree) -> Any:
        """`init`, with a count and the first values where the link has schedules."""
        self._require_scalars()
        inner = self.init(params)
        return self.scheduled(inner, jnp.zeros((), jnp.int32)) if self.kept() else inner

    def scheduled(self, inner: Any, count: jax.Array) -> ScheduledState:
        """The link's own state with the count, and the values its schedules had just before it."""
        latest = jnp.maximum(count, 1) - jnp.ones((), count.dtype)
        values = {name: self._value(name, latest) for name in self.kept()}
        held = tuple(jnp.zeros((), bool) for _ in values)
        return ScheduledState(count, _recordable(values), held, inner)

    def step(self, updates: PyTree, state: Any, params: PyTree = None, **extra: Any) -> Any:
        """`update`, with every schedule replaced by its value at the current count."""
        self._require_scalars()
        self.require_state(state)
        if not self.kept():
            return self.update(updates, state, params, **extra)
        current = self.current(state)
        updates, inner = self.with_values(**current).update(updates, state.inner, params, **extra)
        count = _numerics.increment(state.count)
        return updates, ScheduledState(count, _recordable(current), state.held, inner)

    def require_state(self, state: Any) -> None:
        """Raises `ValueError` unless the state counts and keeps what this link counts and keeps."""
        kept, found = set(self.kept()), None
        if isinstance(state, ScheduledState):
            found = set(state.values)
            # A wrapper's state may be that of the link inside: only names of its own are its own.
            if not kept and not found <= {field.name for field in _records.fields(self)}:
                return
        if found == (kept or None):
            return
        given = type(state).__name__ if found is None else f"one that keeps {sorted(found)}"
        raise ValueError(
            f"{self.record_name}: the state does not fit {self!r}, which keeps {sorted(kept)}; got "
            f"{given}. It belongs to another transformation, or was made when other "
            "hyperparameters had a schedule. Make a new state with init, or migrate the old one."
        )

    def _require_scalars(self) -> None:
        for field in _records.fields(self):
            value = getattr(self, field.name)
            if isinstance(field.metadata["check"], _NumberOrSchedule) and np.ndim(value) > 0:
                raise ValueError(
                    f"{self.record_name}: {field.name} must be a scalar where it is used, got "
                    f"shape {np.shape(value)}. To try several values at once, jax.vmap over the "
                    "transformation."
                )

    def kept(self) -> tuple[str, ...]:
        """Names of the hyperparameters whose values the state keeps, in a `ScheduledState`."""
        scheduled = (
            f.name for f in _records.fields(self) if _is_schedule(f, getattr(self, f.name))
        )
        return tuple(dict.fromkeys([*self.recorded, *scheduled]))

    def current(self, state: ScheduledState) -> dict[str, jax.Array]:
        """The values of the kept hyperparameters that the next step uses."""
        return {n: state.effective(n, self._value(n, state.count)) for n in self.kept()}

    def _value(self, name: str, count: jax.Array) -> Any:
        schedule = getattr(self, name)
        if not callable(schedule):
            return schedule
        value = schedule(count)
        is_number = isinstance(value, numbers.Real | np.ndarray | jax.Array)
        if is_number and getattr(value, "ndim", 0) == 0:
            return value
        raise TypeError(
            f"{self.record_name}: the schedule {_records.show(schedule)} given for {name} must "
            f"turn a count into one number, but returned {_records.show(value)}. "
            "If it makes schedules, call it first."
        )


def _recordable(values: dict[str, Any]) -> dict[str, jax.Array]:
    # Copies: donating the state must not delete an array that is the hyperparameter itself.
    return {name: jnp.array(value, jnp.float32) for name, value in values.items()}


def _is_schedule(field: dataclasses.Field, value: Any) -> bool:
    return isinstance(field.metadata["check"], _NumberOrSchedule) and callable(value)


def require_params(owner: str, params: PyTree) -> None:
    """Raises `ValueError` naming the link when it was not given the parameters.

    Example:
      >>> from optlab import core
      >>> core.require_params("my_link", None)
      Traceback (most recent call last):
      ValueError: my_link needs the parameters, but update was called with params=None. ...
    """
    if params is None:
        raise ValueError(
            f"{owner} needs the parameters, but update was called with params=None. "
            "Call tx.update(gradients, state, params)."
        )
