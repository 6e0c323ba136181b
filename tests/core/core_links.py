"""The smallest links, schedules and trees that show what core does with them."""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from optlab import core
from optlab.core import checks, numerics


class Line(core.Record):
    """A schedule: `start + slope * count`."""

    start: Any = core.data(checks.finite)
    slope: Any = core.data(checks.finite, default=0.0)

    def __call__(self, count):
        return numerics.scalar(self.start, jnp.float32) + self.slope * count.astype(jnp.float32)

    def peak(self):
        return self.start


class Scale(core.Link):
    """Multiplies by a factor; keeps no state."""

    factor: Any = core.hyperparameter(checks.finite)
    flip: bool = core.static(checks.boolean, default=False)

    def update(self, updates, state, params=None, **extra):
        sign = -1 if self.flip else 1
        return jax.tree.map(lambda u: sign * numerics.scalar(self.factor, u.dtype) * u, updates), (
            state
        )


class EmaState(NamedTuple):
    mean: Any


class Ema(core.Link):
    """Replaces the updates by their running mean."""

    decay: Any = core.hyperparameter(checks.decay_rate, default=0.9)

    def init(self, params):
        return EmaState(jax.tree.map(numerics.zeros_like, params))

    def update(self, updates, state, params=None, **extra):
        def leaf(u, m):
            d = numerics.scalar(self.decay, u.dtype)
            return d * m + numerics.complement(self.decay, u.dtype) * u

        mean = core.trees.map_leaves(leaf, updates, state.mean, names=("the mean",))
        return mean, EmaState(mean)


class Decay(core.Link):
    """Adds `rate` times the parameters."""

    rate: Any = core.hyperparameter(checks.nonnegative)
    recorded: ClassVar[tuple[str, ...]] = ("rate",)

    def update(self, updates, state, params=None, **extra):
        core.require_params(self.record_name, params)
        rate = self.rate
        return jax.tree.map(
            lambda u, p: u + numerics.scalar(rate, u.dtype) * p, updates, params
        ), state


class TimesValue(core.Link):
    """Multiplies by the extra argument `value`, as methods that look at the loss do."""

    def update(self, updates, state, params=None, *, value, **extra):
        return jax.tree.map(lambda u: u * jnp.asarray(value, u.dtype), updates), state


class Gather(core.Link):
    """Turns gradients into Moments."""

    def update(self, updates, state, params=None, **extra):
        def node(u):
            one = jnp.ones((), u.dtype)
            return core.Moments(u, core.Estimate(u, one), core.Estimate(u * u, one))

        return jax.tree.map(node, updates), state


class Divide(core.Link):
    """Turns Moments into the sign of the gradient."""

    def update(self, updates, state, params=None, **extra):
        def leaf(node):
            return numerics.safe_divide(node.first.value, numerics.safe_sqrt(node.second.value))

        return core.map_moments("divide", leaf, updates), state


class HearsLearningRate(core.Link):
    """Keeps what the chain says of its learning rate."""

    def init(self, params):
        return {"value": jnp.zeros(()), "applied": jnp.zeros((), bool)}

    def update(self, updates, state, params=None, *, chain_lr=None, **extra):
        if chain_lr is None:
            return updates, state
        value = jnp.asarray(chain_lr.value(), jnp.float32)
        return updates, {"value": value, "applied": jnp.asarray(chain_lr.applied)}


def scale(factor, flip=False):
    return core.Transformation(Scale(factor=factor, flip=flip))


def ema(decay=0.9):
    return core.Transformation(Ema(decay=decay))


def decay(rate):
    return core.Transformation(Decay(rate=rate))


def params_and_grads(params_dtype=jnp.float32, grads_dtype=None):
    """A matrix, a vector and a scalar; gradients that differ from them."""
    params = {
        "dense": {
            "kernel": jnp.linspace(-1, 1, 6, dtype=jnp.float32).reshape(2, 3).astype(params_dtype),
            "bias": jnp.full((3,), 0.5, params_dtype),
        },
        "gain": jnp.asarray(2.0, params_dtype),
    }
    grads_dtype = params_dtype if grads_dtype is None else grads_dtype
    return params, jax.tree.map(lambda p: (p * p + p).astype(grads_dtype), params)


def signature(tree):
    """Structure, and for each leaf shape, dtype and weak type: what jit compares."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(x.shape, x.dtype, x.weak_type) for x in map(jax.typeof, leaves)]


def count_traces(function):
    """The function, and a list that grows by one at every trace of it."""
    traces = []

    def counted(*args, **kwargs):
        traces.append(1)
        return function(*args, **kwargs)

    return jax.jit(counted), traces
