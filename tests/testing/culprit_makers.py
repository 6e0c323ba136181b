"""What broken transformations are made of: SGD but for one fault."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optlab import core

RATE = 0.125


def leafwise(direction: Callable[[Any, Any], Any]) -> Callable[[], Any]:
    """A factory of `u = -rate · direction(g, p)`, a leaf at a time."""
    return stateful(lambda p: None, lambda g, p, s: (direction(g, p), s))


def stateful(
    start: Callable[[Any], Any], rule: Callable[[Any, Any, Any], Any], cast: bool = True
) -> Callable[[], Any]:
    """The same with a state for each leaf: `rule(g, p, s) -> (direction, s)`."""

    def init(params):
        return jax.tree.map(start, params)

    def update(gradient, state, params=None, **extra):
        leaves, structure = jax.tree.flatten(gradient)
        like = leaves if params is None else structure.flatten_up_to(params)
        pairs = [rule(*x) for x in zip(leaves, like, structure.flatten_up_to(state), strict=True)]
        updates = [-RATE * d for d, _ in pairs]
        if cast:
            updates = [
                u.astype(p.dtype).reshape(p.shape) for u, p in zip(updates, like, strict=True)
            ]
        return structure.unflatten(updates), structure.unflatten([s for _, s in pairs])

    return lambda: optax.GradientTransformationExtraArgs(init, update)


def treewise(change: Callable[[Any, Any], Any]) -> Callable[[], Any]:
    """A factory of `u = -rate · change(tree of g, tree of p)`."""

    def update(gradient, state, params=None, **extra):
        return jax.tree.map(lambda d: -RATE * d, change(gradient, params)), state

    return lambda: optax.GradientTransformationExtraArgs(lambda params: (), update)


def whole(init: Callable[[Any], Any], update: Callable[..., Any]) -> Callable[[], Any]:
    """A factory of SGD with a state of its own: `update(g, state, params) -> state`."""

    def step(gradient, state, params=None, **extra):
        return jax.tree.map(lambda g: -RATE * g, gradient), update(gradient, state, params)

    return lambda: optax.GradientTransformationExtraArgs(init, step)


def traced(x: Any) -> bool:
    return isinstance(x, jax.core.Tracer)


def total(tree: Any) -> Any:
    return sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(tree))


def normalized(tree: Any, _: Any) -> Any:
    return jax.tree.map(lambda g: g / jnp.sqrt(total(tree)), tree)


def same(params: Any) -> Any:
    return params


def other_start_when_traced() -> Callable[[], Any]:
    return stateful(lambda p: p * 0 + int(traced(p)), lambda g, p, s: (g + s, s))


@jax.custom_batching.custom_vmap
def doubled_in_batches(x):
    return x


@doubled_in_batches.def_vmap
def _(axis_size, batched, x):
    return 2 * x, batched[0]


def by_path(gradient, params):
    return jax.tree_util.tree_map_with_path(
        lambda path, g: g * float(sum(map(ord, jax.tree_util.keystr(path)))), gradient
    )


def by_order(gradient, params):
    leaves, structure = jax.tree.flatten(gradient)
    return structure.unflatten([g * float(i + 1) for i, g in enumerate(leaves)])


def by_name_count(gradient, params):
    count = len(gradient) if isinstance(gradient, dict) else 1
    return jax.tree.map(lambda g: g / count, gradient)


def none_is_a_leaf(gradient, params):
    return jax.tree.map(lambda g: g * 1, gradient, is_leaf=lambda x: x is None)


def masked_is_a_leaf(gradient, params):
    return jax.tree.map(jnp.negative, gradient, is_leaf=lambda x: isinstance(x, optax.MaskedNode))


def counting(start: Any, step: Callable[[Any], Any]) -> Callable[[], Any]:
    return whole(lambda params: {"count": start()}, lambda g, s, p: {"count": step(s["count"])})


def alternating(n):
    return n.astype(jnp.float32 if n.dtype == jnp.int32 else jnp.int32)


def mutating_init(params):
    if isinstance(params, dict):
        params["mine"] = jnp.zeros(())
    return ()


def mutating_update(gradient, state, params):
    state["count"] = state["count"] + 1
    return state


def in_place(change: Callable[[Any, Any], Any]) -> Callable[[], Any]:
    """A factory of what changes its arguments, twice the same way, and returns the gradient."""

    def update(gradient, state, params=None, **extra):
        change(gradient, params)
        return gradient, state

    return lambda: optax.GradientTransformationExtraArgs(lambda params: (), update)


def unknown_extra_args():
    def update(gradient, state, params=None):
        return jax.tree.map(lambda g: -RATE * g, gradient), state

    return optax.GradientTransformationExtraArgs(lambda params: (), update)


def first_dtype(gradient, params):
    dtype = jax.tree.leaves(gradient)[0].dtype
    return jax.tree.map(lambda g: g.astype(dtype), gradient)


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Unregistered:
    """A pytree that Flax's serialization does not know."""

    total: Any


def local_class_state(params):
    class State(NamedTuple):
        total: Any

    return State(jnp.zeros(()))


def rated(direction: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """A factory with a learning rate: `u = direction(rate, g)`."""

    def make(learning_rate=RATE):
        def update(gradient, state, params=None, **extra):
            return jax.tree.map(lambda g: direction(learning_rate, g), gradient), state

        return optax.GradientTransformationExtraArgs(lambda params: (), update)

    return make


def scheduled(at: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """A factory whose learning rate may be a schedule: `u = -at(rate, count) · g`."""

    def make(learning_rate=RATE):
        def update(gradient, state, params=None, **extra):
            rate = at(learning_rate, state) if callable(learning_rate) else learning_rate
            return jax.tree.map(lambda g: -rate * g, gradient), state + 1

        return optax.GradientTransformationExtraArgs(lambda p: jnp.zeros((), jnp.int32), update)

    return make


def positive(rate, g):
    if rate <= 0:
        raise ValueError(f"learning_rate must be positive, got {rate}")
    return -rate * g


def refuses_without_name(learning_rate=RATE):
    if not learning_rate >= 0:
        raise ValueError("that is too small")
    return leafwise(lambda g, p: g)()


def power_at_zero(power=0.0):
    return leafwise(lambda g, p: g * (1 + jnp.sqrt(power)))()


class Whole(core.Link):
    """Keeps a whole number as an int, which is another dtype to `jit`."""

    factor: Any = core.data(
        lambda owner, name, value: (
            int(value) if isinstance(value, float) and value.is_integer() else value
        )
    )

    def update(self, updates, state, params=None, **extra):
        factor = jnp.asarray(self.factor, jnp.float32)
        return jax.tree.map(lambda u: factor.astype(u.dtype) * u, updates), state


def half_moment(g, p, s):
    s = (0.999 * s + 0.001 * g * g).astype(p.dtype)
    return g / (jnp.sqrt(s) + 1e-3), s


def refuses(test: Callable[[Any], Any]) -> Callable[[], Any]:
    def direction(g, p):
        if not traced(g) and bool(jnp.any(test(g))):
            raise FloatingPointError("a gradient is not finite")
        return g

    return leafwise(direction)


def adagrad(g, p, s):
    wide = g.astype(jnp.float32)
    s = s + wide * wide
    return (wide / jnp.sqrt(s + 1)).astype(g.dtype), s


def rms_in_its_dtype(g, p):
    return g / jnp.sqrt(g * g)
