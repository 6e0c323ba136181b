"""Clauses on use: missing parameters, extra arguments, masks, schedules, hyperparameters."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optlab.core import Transformation, followers, trees
from optlab.testing import _compare as compare
from optlab.testing._clauses import Broken, NotApplicable, doing
from optlab.testing._clauses import transformation_clauses as catalogue
from optlab.testing._subject import Subject, apply


@catalogue.clause()
def without_params(subject: Subject) -> None:
    """`update` without parameters works, or a ValueError says that it needs them."""
    tx, run = subject.tx(), subject.plain
    extra = subject.extra(run.params[0], run.gradients[0])
    try:
        with doing("called update without params"):
            updates, _ = tx.update(run.gradients[0], run.states[0], **extra)
    except ValueError as error:
        if "param" not in str(error).lower():
            raise Broken("called update without params", error, "an error naming params") from error
        return
    compare.finite("called update without params", updates, "updates")


@catalogue.clause()
def extra_args(subject: Subject) -> None:
    """Extra arguments it does not know are ignored, also in a chain."""
    run = subject.plain
    for name, tx in {"alone": subject.make_tx(), "chained": optax.chain(subject.make_tx())}.items():
        if not isinstance(tx, optax.GradientTransformationExtraArgs):
            continue
        extra = subject.extra(run.params[0], run.gradients[0]) | {"nobody_knows": jnp.ones(3)}
        did = f"gave an unknown extra argument, {name}"
        with doing(did):
            updates, _ = tx.update(run.gradients[0], tx.init(run.params[0]), run.params[0], **extra)
        compare.close(did, updates, run.updates[0],
                      "the same update", rtol=1e-6)  # fmt: skip


@catalogue.clause()
def masked(subject: Subject) -> None:
    """Under `optax.masked` other leaves pass through, and the chosen ones are as alone."""
    leaves = jax.tree.leaves(subject.params())
    params = {"in": leaves[0], "out": leaves[-1] + 1}
    gradient = {"in": leaves[0] * 0.3 + 0.1, "out": leaves[-1] * 0.2}
    tx = optax.with_extra_args_support(optax.masked(subject.make_tx(), {"in": True, "out": False}))
    updates, _ = subject.update(tx, gradient, tx.init(params), params)
    compare.identical("masked a leaf out", updates["out"], gradient["out"], "its gradient")
    alone, single = subject.tx(), {"in": params["in"]}
    expected, _ = subject.update(alone, {"in": gradient["in"]}, alone.init(single), single)
    compare.close("masked a leaf in", updates["in"], expected["in"], "as alone", rtol=1e-5)


@catalogue.clause()
def partition(subject: Subject) -> None:
    """Under `optax.partition` a group's parameters move as they would alone."""
    leaves = jax.tree.leaves(subject.params())
    params = {"ours": leaves[0], "other": leaves[-1] + 1}
    gradient = {"ours": leaves[0] * 0.3 + 0.1, "other": leaves[-1] * 0.2}
    tx = optax.partition(
        {"ours": subject.make_tx(), "other": optax.sgd(1.0)}, {"ours": "ours", "other": "other"}
    )
    updates, _ = subject.update(tx, gradient, tx.init(params), params)
    compare.identical("left the other group to SGD", updates["other"], -gradient["other"], "-g")
    alone, single = subject.tx(), {"ours": params["ours"]}
    expected, _ = subject.update(alone, {"ours": gradient["ours"]}, alone.init(single), single)
    compare.close("gave it a group", updates["ours"], expected["ours"], "as alone", rtol=1e-5)


@catalogue.clause("property")
def accumulation(subject: Subject) -> None:
    """`optax.MultiSteps(3)` of three equal gradients is one step."""
    tx = optax.MultiSteps(subject.make_tx(), every_k_schedule=3)
    run = subject.plain
    update = jax.jit(lambda *a: subject.update(tx, *a))
    promotion = jax.numpy_dtype_promotion("standard")  # MultiSteps itself needs it
    with promotion, doing("gave one gradient three times"):
        state = tx.init(run.params[0])
        for _ in range(3):
            updates, state = update(run.gradients[0], state, run.params[0])
    compare.close("gave one gradient three times", updates, run.updates[0], "one step", rtol=1e-5)


@catalogue.clause()
def mapped_params(subject: Subject) -> None:
    """`optax.tree.map_params` finds the parameter-like parts of the state."""
    tx, run = subject.tx(), subject.plain
    state, params = run.states[-1], run.params[0]
    did = "called optax.tree.map_params to add 1"
    mapped = optax.tree.map_params(tx, lambda x: x + jnp.ones((), jnp.result_type(x)), state)
    compare.same_signature(did, state, mapped)
    shapes = [np.shape(p) for p in jax.tree.leaves(params)]
    for (path, before), after, follower in zip(
        jax.tree_util.tree_leaves_with_path(state),
        jax.tree.leaves(mapped),
        followers(state, params),
        strict=True,
    ):
        if follower.param is not None and np.shape(before) == shapes[follower.param]:
            compare.identical(
                f"{did}, at {trees.path_text(path)!r}", after, before + 1, "what is mapped"
            )


def _each_number(subject: Subject) -> dict[str, Callable[[Any], Any]]:
    if not subject.numbers:
        raise NotApplicable("it has no numeric hyperparameters")
    return subject.numbers


def _made(make: Callable[[Any], Any], value: Any) -> Any:
    return make(value)


def _first_update(subject: Subject, tx: Any) -> Any:
    run = subject.plain
    state = tx.init(run.params[0])
    updates = run.gradients[0]
    for i in range(2):
        updates, state = subject.update(tx, run.gradients[i], state, run.params[i])
    return jax.tree.leaves(updates)


@catalogue.clause("capability")
def vmap_hyperparameter(subject: Subject) -> None:
    """Every numeric hyperparameter can be a traced value: vmapped, it gives what a loop gives."""
    for name, make in _each_number(subject).items():
        value = subject.number(name)
        values = np.asarray([value, value * 0.9 if value else 1e-3], np.float32)
        loop = [_first_update(subject, make(float(v))) for v in values]
        expected = jax.tree.map(lambda *x: jnp.stack(x), *loop)
        got = jax.vmap(lambda v, make=make: _first_update(subject, make(v)))(jnp.asarray(values))
        compare.close(f"vmapped over {name} = {values}", got, expected, "as a loop", rtol=2e-3)


@catalogue.clause("capability")
def grad_hyperparameter(subject: Subject) -> None:
    """The update's derivative by every numeric hyperparameter is finite."""
    for name, make in _each_number(subject).items():
        total = lambda v, make=make: sum(  # noqa: E731
            jnp.sum(jnp.real(x)) for x in _first_update(subject, make(v))
        )
        slope = jax.grad(total)(jnp.float32(subject.number(name)))
        compare.finite(f"differentiated by {name}", slope, "derivative")


@catalogue.clause("capability")
def slope_of_learning_rate(subject: Subject) -> None:
    """The update's derivative by the learning rate is that of finite differences."""
    name = subject.learning_rate()
    make, value = subject.numbers[name], subject.number(name)

    def total(rate):
        return sum(jnp.sum(jnp.real(x)) for x in _first_update(subject, make(rate)))

    slope = float(jax.grad(total)(jnp.float32(value)))
    difference = float(total(1.05 * value) - total(0.95 * value)) / (0.1 * value)
    if not abs(slope - difference) <= 0.02 * abs(difference) + 1e-3:
        raise Broken(f"differentiated by {name}", slope, f"about {difference:g}")


@catalogue.clause()
def injected_hyperparameters(subject: Subject) -> None:
    """`optax.inject_hyperparams` gives what the factory gives, for every numeric hyperparameter."""
    run = subject.plain
    for name, make in _each_number(subject).items():
        factory = functools.partial(_made, make)
        tx = optax.inject_hyperparams(factory)(value=subject.number(name))
        updates, _ = subject.update(tx, run.gradients[0], tx.init(run.params[0]), run.params[0])
        compare.close(f"injected {name}", updates, run.updates[0], "the same update", rtol=2e-3)


@catalogue.clause("capability")
def one_trace_for_hyperparameters(subject: Subject) -> None:
    """Passed to `jit` as an argument, other values need no new trace."""
    if not isinstance(subject.make_tx(), Transformation):
        raise NotApplicable("it is not an optlab transformation")
    run, traces = subject.plain, []

    @jax.jit
    def update(tx, *args):
        traces.append(None)
        return subject.update(tx, *args)

    for name, make in _each_number(subject).items():
        before = len(traces)
        for factor in (1.0, 0.9, 0.8):
            tx = make(subject.number(name) * factor)
            update(tx, run.gradients[0], run.states[0], run.params[0])
        if len(traces) > 1:
            new = len(traces) - before
            raise Broken(f"gave three values of {name}", f"{new} new traces", "1 trace in all")


BAD = {
    "learning_rate": (-1.0, float("nan")),
    "lr": (-1.0, float("nan")),
    "b1": (1.0, -0.1),
    "b2": (1.0, -0.1),
    "decay": (1.0, -0.1),
    "momentum": (1.0, -0.1),
    "eps": (-1.0, float("nan")),
    "weight_decay": (-1.0, float("nan")),
    "max_norm": (-1.0, 0.0),
}


@catalogue.clause("capability")
def bad_hyperparameters(subject: Subject) -> None:
    """Values out of range (lr = -1, b1 = 1, eps = -1, NaN) are refused at once, by name."""
    for name, make in _each_number(subject).items():
        short = name.rsplit("/", 1)[-1]
        for value in BAD.get(short, (float("nan"),)):
            try:
                make(value)
            except (ValueError, TypeError) as error:
                if short not in str(error):
                    raise Broken(f"made it with {name}={value}", error, "the name in it") from error
                continue
            raise Broken(f"made it with {name}={value}", "no error", "a ValueError")


@catalogue.clause("capability")
def learning_rate_schedule(subject: Subject) -> None:
    """A schedule can stand for the learning rate; a constant one gives what the number gives."""
    name = subject.learning_rate()
    value = subject.number(name)
    with doing("gave a constant schedule"):
        got = subject.run(3, tx=subject.numbers[name](lambda count: jnp.float32(value)))
    compare.close(
        "gave a constant schedule", got.updates, subject.plain.updates, "as the number", rtol=1e-5
    )


@catalogue.clause("capability")
def learning_rate_zero(subject: Subject) -> None:
    """A learning rate of 0 is finite and moves nothing; a warm-up from 0 moves afterwards."""
    name = subject.learning_rate()
    value = subject.number(name)
    make = subject.numbers[name]

    def warmup(count):
        return jnp.asarray(value, jnp.float32) * jnp.minimum(count.astype(jnp.float32) / 3, 1.0)

    run = subject.run(5, tx=make(warmup))
    zeros = jax.tree.map(jnp.zeros_like, run.updates[0])
    compare.identical("took a step at learning rate 0", run.updates[0], zeros, "no movement")
    compare.finite("warmed up from 0", run.updates, "updates")
    if not any(np.any(np.asarray(x) != 0) for x in jax.tree.leaves(run.updates[-1])):
        raise Broken("warmed up from 0 for 5 steps", "no movement", "some")


@catalogue.clause("property")
def linear_in_learning_rate(subject: Subject) -> None:
    """Twice the learning rate is twice the update."""
    name = subject.learning_rate()
    params = subject.params()

    def updates(factor):
        tx = subject.numbers[name](factor * subject.number(name))
        state = tx.init(params)
        for i in range(3):
            new, state = subject.update(tx, subject.gradient(params, i), state, params)
        return new

    double = jax.tree.map(lambda x: 2 * x, updates(1.0))
    compare.close("doubled the learning rate", updates(2.0), double, "twice", rtol=1e-4)


@catalogue.clause()
def descends(subject: Subject) -> None:
    """What has a learning rate lowers a quadratic loss within 300 steps."""
    subject.learning_rate()
    tx = subject.tx()
    params = subject.params()

    def loss(p):
        return sum(jnp.sum(jnp.square(x - 0.5)) for x in jax.tree.leaves(p))

    def step(carry, _):
        p, state = carry
        updates, state = subject.update(tx, jax.grad(loss)(p), state, p)
        return (apply(p, updates), state), None

    (last, _), _ = jax.lax.scan(step, (params, tx.init(params)), length=300)
    if not loss(last) < loss(params):
        raise Broken("took 300 steps on a quadratic", float(loss(last)), f"< {float(loss(params))}")
