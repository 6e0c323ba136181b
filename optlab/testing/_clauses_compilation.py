"""Clauses on JAX's own transformations: jit, scan, cond, vmap, grad, donation, sharding."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from optlab.testing import _compare as compare
from optlab.testing._clauses import ONE_DEVICE, Broken, NotApplicable
from optlab.testing._clauses import transformation_clauses as catalogue
from optlab.testing._subject import Subject, apply


@catalogue.clause()
def jit_equals_eager(subject: Subject) -> None:
    """A jitted step gives what an eager one gives."""
    tx = subject.tx()
    jitted = subject.run(3, tx=tx, update=jax.jit(lambda *a: subject.update(tx, *a)))
    compare.close(
        "jitted three steps", jitted.updates, subject.plain.updates, "as eager", rtol=2e-5
    )


@catalogue.clause()
def scan(subject: Subject) -> None:
    """State carries through `lax.scan`, which gives what a loop gives."""
    tx, run = subject.tx(), subject.plain
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *run.gradients)

    def step(carry, gradient):
        params, state = carry
        updates, state = subject.update(tx, gradient, state, params)
        return (apply(params, updates), state), updates

    _, updates = jax.lax.scan(step, (run.params[0], run.states[0]), stacked)
    expected = jax.tree.map(lambda *x: jnp.stack(x), *run.updates)
    compare.close("scanned three steps", updates, expected, "as a loop", rtol=1e-4)


@catalogue.clause()
def cond(subject: Subject) -> None:
    """An update and a skipped one agree in type, so that `lax.cond` can choose."""
    tx, run = subject.tx(), subject.plain

    def maybe(take, gradient, state, params):
        return jax.lax.cond(
            take,
            lambda: subject.update(tx, gradient, state, params),
            lambda: (jax.tree.map(jnp.zeros_like, gradient), state),
        )

    args = (run.gradients[1], run.states[1], run.params[1])
    updates, _ = jax.jit(maybe)(True, *args)
    compare.close("took the step under lax.cond", updates, run.updates[1], "as eager", rtol=1e-4)
    _, state = jax.jit(maybe)(False, *args)
    compare.identical("skipped the step under lax.cond", state, run.states[1], "the same state")


@catalogue.clause()
def vmap(subject: Subject) -> None:
    """`vmap` over a batch of problems gives what a loop gives."""
    tx = subject.tx()
    problems = [jax.tree.map(lambda x, k=k: x * (1 + 0.1 * k), subject.params()) for k in range(2)]
    gradients = [subject.gradient(p, 0) for p in problems]

    def update(params, gradient):
        return subject.update(tx, gradient, tx.init(params), params)[0]

    expected = jax.tree.map(
        lambda *x: jnp.stack(x), *[update(p, g) for p, g in zip(problems, gradients, strict=True)]
    )

    def stack(trees):
        return jax.tree.map(lambda *x: jnp.stack(x), *trees)

    got = jax.vmap(update)(stack(problems), stack(gradients))
    compare.close("vmapped over two problems", got, expected, "as a loop", rtol=1e-4)


@catalogue.clause("capability", over={"generic": 1.0, "zero_gradient": 0.0})
def grad_through_update(subject: Subject, size: float) -> None:
    """The update's derivative by gradient and parameters is finite."""
    tx, run = subject.tx(), subject.plain
    gradient = jax.tree.map(lambda g: size * g, run.gradients[0])

    def total(gradient, params):
        state = tx.init(params)
        for _ in range(2):
            updates, state = subject.update(tx, gradient, state, params)
            params = apply(params, updates)
        return sum(jnp.sum(jnp.real(x)) for x in jax.tree.leaves(params))

    slopes = jax.grad(total, argnums=(0, 1))(gradient, run.params[0])
    compare.finite(f"differentiated two updates at {size:g} times a gradient", slopes, "derivative")


@catalogue.clause(over={"eager_init": False, "jit_init": True})
def donation(subject: Subject, jitted: bool) -> None:
    """Parameters and a fresh state can be donated: no buffer is shared, no number changes."""
    tx = subject.tx()
    params = jax.tree.map(jnp.array, subject.params())
    state = (jax.jit(tx.init) if jitted else tx.init)(params)
    gradient = subject.gradient(params, 0)

    def step(params, state):
        updates, state = subject.update(tx, gradient, state, params)
        return apply(params, updates), state

    got, _ = jax.jit(step, donate_argnums=(0, 1))(params, state)
    compare.close("donated", got, subject.plain.params[1], "as without", rtol=2e-5)


@catalogue.clause()
def determinism(subject: Subject) -> None:
    """Two fresh jitted runs are bit-identical."""

    def run():
        tx = subject.tx()
        return subject.run(2, tx=tx, update=jax.jit(lambda *a: subject.update(tx, *a)))

    compare.identical("ran twice", run().updates, run().updates, "the same bits")


@catalogue.clause("capability", over={"auto": AxisType.Auto, "explicit": AxisType.Explicit})
def sharding(subject: Subject, kind: AxisType) -> None:
    """State lands where its parameter lives, and a sharded step gives what one device gives."""
    if jax.device_count() < 2:
        raise NotApplicable(ONE_DEVICE)
    devices = 4 if jax.device_count() >= 4 else 2
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(kind,), devices=jax.devices()[:devices])
    tx = subject.tx()
    whole = {"matrix": jnp.asarray(np.linspace(-1, 1, 8 * 6).reshape(8, 6), jnp.float32)}
    gradient = subject.gradient(whole, 0)
    with jax.set_mesh(mesh):
        spread = NamedSharding(mesh, PartitionSpec("data"))
        params, g = jax.device_put((whole, gradient), spread)
        state = jax.jit(tx.init)(params)
        for path, leaf in jax.tree_util.tree_leaves_with_path(state):
            shape = (8, 6)
            if np.shape(leaf) == shape and leaf.sharding.shard_shape(shape) != (8 // devices, 6):
                raise Broken(
                    f"jitted init of parameters sharded over {devices} devices",
                    f"state at {jax.tree_util.keystr(path)} on {leaf.sharding}",
                    "the parameter's sharding",
                )
        got, _ = jax.jit(lambda *a: subject.update(tx, *a))(g, state, params)
        got = jax.device_get(got)
    expected, _ = subject.update(tx, gradient, tx.init(whole), whole)
    compare.close(
        "updated sharded parameters", got, jax.device_get(expected), "as one device", rtol=1e-4
    )


@catalogue.clause()
def passes_through_frameworks(subject: Subject) -> Any:
    """Works inside optax.chain, in Flax's TrainState and in nnx.Optimizer."""
    import optax

    tx, run = subject.tx(), subject.plain
    chained = optax.with_extra_args_support(optax.chain(tx, optax.identity()))
    got = subject.run(2, tx=chained)
    compare.close("put it into optax.chain", got.updates, run.updates[:2], "as alone", rtol=1e-5)
    if subject.needs:
        return  # Flax's train states do not pass extra arguments on
    try:
        from flax import nnx
        from flax.training.train_state import TrainState
    except ImportError:
        return
    state = TrainState.create(apply_fn=None, params=run.params[0], tx=tx)
    state = state.apply_gradients(grads=run.gradients[0])
    compare.close("used a TrainState", state.params, run.params[1], "the same step", rtol=1e-5)

    class Model(nnx.Module):
        def __init__(self):
            for name, value in _flat(run.params[0]).items():
                setattr(self, name, nnx.Param(value))

    model = Model()
    as_optax = optax.GradientTransformationExtraArgs(tx.init, tx.update)
    optimizer = nnx.Optimizer(model, as_optax, wrt=nnx.Param)
    gradients = nnx.State({n: nnx.Param(g) for n, g in _flat(run.gradients[0]).items()})
    optimizer.update(model, gradients)
    new = {name: np.asarray(getattr(model, name)[...]) for name in _flat(run.params[0])}
    compare.close("used nnx.Optimizer", new, _flat(run.params[1]), "the same step", rtol=1e-5)


def _flat(tree: Any) -> dict[str, Any]:
    return {f"leaf_{i}": x for i, x in enumerate(jax.tree.leaves(tree))}
