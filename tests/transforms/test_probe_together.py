"""Probes inside and around other wrappers, on meshes, in populations, in Flax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from optlab import core, optimizers, selectors, storage
from optlab import transforms as t
from optlab.lab.health import gradient_report

ALL = {"all": selectors.everything}
AROUND = {
    "guard": t.guard,
    "accumulate_gradients": lambda tx: t.accumulate_gradients(tx, 2),
    "average_params": t.average_params,
    # Stochastic rounding draws by the path of an entry, which a probe lengthens.
    "store": lambda tx: t.store(tx, {selectors.everything: storage.bf16("nearest")}, min_size=0),
    "with_master": t.with_master,
    "dynamic_loss_scale": lambda tx: t.dynamic_loss_scale(tx, 1.0),
}


def params():
    return {"kernel": jnp.linspace(-1.0, 1.0, 32).reshape(8, 4), "bias": jnp.ones(4)}


def gradients(step):
    rng = np.random.default_rng(step)
    return jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), jnp.float32), params())


def scanned(tx, p, steps=5):
    """All updates, and the last state, of one compiled scan."""
    given = jax.tree.map(lambda *g: jnp.stack(g), *map(gradients, range(steps)))

    @jax.jit
    def run(p, given):
        def step(state, g):
            updates, state = tx.update(g, state, p)
            return state, updates

        return jax.lax.scan(step, tx.init(p), given)

    return run(p, given)


@pytest.mark.slow
@pytest.mark.parametrize("outside", [False, True], ids=["inside", "outside"])
@pytest.mark.parametrize("name", AROUND)
def test_updates_stay_what_they_are_in_every_wrapper(name, outside):
    around, bare = AROUND[name], optimizers.adamw(1e-2)
    add = lambda tx: t.probe(tx, every=2, groups=ALL)  # noqa: E731
    probed = add(around(bare)) if outside else around(add(bare))
    (_, expected), (state, found) = (scanned(tx, params()) for tx in (around(bare), probed))
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_array_equal(a, b)
    assert float(core.read(state)["gradient_norm/all"]) > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
def test_a_sharded_probe_measures_what_one_device_does(kind):
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(kind, kind))
    tx = t.probe(optimizers.adamw(1e-2), every=2)
    expected = core.read(scanned(tx, params())[0])
    with jax.set_mesh(mesh):
        places = {"kernel": P("data", "model"), "bias": P("model")}
        p = {n: jax.device_put(x, NamedSharding(mesh, places[n])) for n, x in params().items()}
        given = [
            {n: jax.device_put(x, NamedSharding(mesh, places[n])) for n, x in gradients(i).items()}
            for i in range(5)
        ]
        state = jax.jit(tx.init)(p)
        step = jax.jit(tx.update)
        for g in given:
            _, state = step(g, state, p)
            jax.block_until_ready(state)
    for name, value in core.read(state).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_zero1_goes_around_a_probe():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    tx = t.probe(optimizers.adamw(1e-2), every=2)
    expected = core.read(scanned(tx, params())[0])
    found = core.read(scanned(t.zero1(tx, mesh), params())[0])
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-6, err_msg=name)
    with pytest.raises(ValueError, match=r"Write zero1\(probe\(tx"):
        t.probe(t.zero1(optimizers.sgd(0.1), mesh))


def test_a_population_of_probes_measures_each_member():
    rates = jnp.array([0.1, 0.2])
    tx = t.probe(optimizers.sgd(0.1), every=2, groups=ALL, noise=False)

    def run(rate):
        one = core.replace(tx, {"learning_rate": rate})
        _, state = one.update(gradients(0), one.init(params()), params())
        return state

    states = jax.jit(jax.vmap(run))(rates)
    sizes = np.asarray(core.read(states)["update_norm/all"])
    np.testing.assert_allclose(sizes[1], 2 * sizes[0], rtol=1e-6)


@pytest.mark.slow
def test_an_nnx_optimizer_takes_a_probe():
    nnx = pytest.importorskip("flax.nnx")
    model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, t.probe(optimizers.sgd(0.1)), wrt=nnx.Param)
    gradient = jax.tree.map(jnp.ones_like, nnx.state(model, nnx.Param))
    optimizer.update(model, gradient)
    rows = gradient_report(optimizer.opt_state).rows
    assert {row["group"] for row in rows} == {"bias", "kernel"}
