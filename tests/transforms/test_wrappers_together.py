"""Wrappers in one another, in chains and groups, sharded, checkpointed in the middle of a step."""

import pickle

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from wrapper_cases import NAN, OPTIMIZERS, bits, gradients, is_zero, moves, params, poisoned

from optlab import core, optimizers, selectors, storage
from optlab import transforms as t


def adam():
    return optimizers.adam(1e-2)


ORDERS = {
    "guard(accumulate)": lambda tx: t.guard(t.accumulate_gradients(tx, 2)),
    "accumulate(guard)": lambda tx: t.accumulate_gradients(t.guard(tx), 2),
    "scale(guard)": lambda tx: t.dynamic_loss_scale(t.guard(tx), 1.0),
    "scale(accumulate)": lambda tx: t.dynamic_loss_scale(t.accumulate_gradients(tx, 2), 1.0),
}
PLACES = {
    "chain": lambda tx: core.chain(t.scale(1.0), tx),
    "named_chain": lambda tx: core.named_chain(all=tx),
    "route": lambda tx: t.route({selectors.path("kernel"): tx}, t.guard(t.scale(-0.1))),
    "optax.chain": lambda tx: optax.chain(optax.identity(), tx),
}
SOME = ("guard(accumulate)", "accumulate(guard)")
slow = pytest.mark.slow
every_order = pytest.mark.parametrize(
    "order", [o if o in SOME else pytest.param(o, marks=slow) for o in ORDERS]
)


def run(tx, many, state=None):
    update, updates = jax.jit(tx.update), []
    state = tx.init(params()) if state is None else state
    for g in many:
        u, state = update(g, state, params())
        updates.append(u)
    return updates, state


@every_order
@pytest.mark.parametrize(
    "name", ["adamw", *[pytest.param(n, marks=slow) for n in OPTIMIZERS if n != "adamw"]]
)
def test_after_a_nan_the_optimizer_goes_on_as_if_it_had_not_been(order, name):
    tx = ORDERS[order](OPTIMIZERS[name]())
    good = [gradients(i // 2) for i in range(6)]  # pairs: a pair's mean is each of it
    _, state = run(tx, good[:2])
    updates, state = run(tx, [poisoned(NAN), poisoned(NAN)], state)
    assert all(map(is_zero, updates))
    got, _ = run(tx, good[2:4], state)
    want, _ = run(tx, good[2:4], run(tx, good[:2])[1])
    chex.assert_trees_all_equal(got, want)
    assert moves(got[1])


def test_a_guard_around_accumulation_asks_for_another_micro_batch():
    tx = t.guard(t.accumulate_gradients(t.scale(-1.0), 2))
    updates, state = run(tx, [gradients(0), poisoned(NAN), gradients(1)])
    mean = jax.tree.map(lambda a, b: -(a + b) / 2, gradients(0), gradients(1))
    chex.assert_trees_all_close(updates[2], mean, rtol=1e-6)
    values = core.read(state)
    assert (values["skipped"], values["inner/skipped"], values["micro_step"]) == (1, 0, 0)


def test_accumulation_around_a_guard_loses_the_step():
    tx = t.accumulate_gradients(t.guard(t.scale(-1.0)), 2)
    updates, state = run(tx, [gradients(0), poisoned(NAN), gradients(1)])
    assert all(map(is_zero, updates))
    values = core.read(state)
    assert (values["skipped"], values["inner/skipped"], values["micro_step"]) == (1, 0, 1)


@pytest.mark.parametrize("place", PLACES)
def test_anywhere_a_bad_step_moves_nothing_it_guards_and_values_are_read(place):
    tx = PLACES[place](t.guard(t.accumulate_gradients(adam(), 1)))
    before, state = run(tx, [gradients(0)])
    updates, after = run(tx, [poisoned(NAN)], state)
    assert moves(before[0])
    assert is_zero(updates[0]["kernel"])
    values = core.read(after)
    skipped = [v for name, v in values.items() if name.endswith("skipped") and "consec" not in name]
    assert max(map(int, skipped)) == 1
    np.testing.assert_allclose(values["learning_rate"], 1e-2)
    assert core.read(core.override(after, {"learning_rate": 0.5}))["learning_rate"] == 0.5


@every_order
def test_a_state_stored_in_the_middle_of_an_optimizer_step_goes_on_to_the_bit(order):
    tx = ORDERS[order](adam())
    many = [gradients(i) for i in range(4)]
    _, state = run(tx, many[:3])
    restored = pickle.loads(pickle.dumps(state))
    got, want = run(tx, many[3:], restored), run(tx, many[3:], state)
    assert bits(got) == bits(want)
    assert moves(got[0][0])


@pytest.mark.skipif(jax.device_count() < 8, reason="needs 8 devices")
@pytest.mark.parametrize("kind", [AxisType.Auto, pytest.param(AxisType.Explicit, marks=slow)])
def test_on_8_devices_state_and_updates_lie_where_the_parameters_lie(kind):
    tx = t.guard(t.accumulate_gradients(adam(), 2), spike=10.0)
    mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(kind, kind))
    spread = NamedSharding(mesh, PartitionSpec("x", "y"))
    whole = jnp.linspace(-1, 1, 48).reshape(8, 6)
    bad = whole.at[7, 5].set(jnp.nan)

    def steps(p, g, bad):
        state = tx.init(p)
        for each in (g, bad, g, bad):
            updates, state = tx.update(each, state, p)
            p = optax.apply_updates(p, updates)
        return p, state

    with jax.set_mesh(mesh):
        got, state = jax.jit(steps)(*jax.device_put((whole, whole, bad), spread))
    want, _ = jax.jit(steps)(whole, whole, bad)
    np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=1e-6)
    for leaf in [got, *jax.tree.leaves(state)]:
        if leaf.shape == whole.shape:
            assert leaf.sharding.is_equivalent_to(spread, 2)


def test_hyperparameters_of_what_is_wrapped_are_found_and_replaced_without_a_new_trace():
    tx = t.guard(t.accumulate_gradients(adam(), 2), spike=10.0)
    assert core.hyperparameters(tx)["inner/inner/scale_by_learning_rate/learning_rate"] == 1e-2
    traces = []

    @jax.jit
    def update(tx, state):
        traces.append(1)
        return tx.update(gradients(), state, params())

    state = tx.init(params())
    for change in ({"learning_rate": 0.5}, {"b1": 0.5}, {"spike": 20.0}):
        update(core.replace(tx, change), state)
    assert len(traces) == 1


@pytest.mark.parametrize("outer", [t.guard, lambda tx: t.accumulate_gradients(tx, 2)])
def test_a_loss_scale_that_could_not_see_overflows_is_refused(outer):
    scaled = t.dynamic_loss_scale(optimizers.sgd(0.1))
    for inner in (scaled, core.chain(t.scale(1.0), t.guard(optimizers.sgd(0.1)), scaled)):
        with pytest.raises(ValueError, match=r"never lower its scale.*Put it around"):
            outer(inner)


WRAPPERS = {
    "guard": t.guard,
    "dynamic_loss_scale": t.dynamic_loss_scale,
    "accumulate_gradients": lambda tx: t.accumulate_gradients(tx, 2),
    "store": lambda tx: t.store(tx, {"first": storage.bf16()}),
    "average_params": t.average_params,
    "lookahead": t.lookahead,
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_zero1_is_refused_inside_of_what_it_must_go_around(name):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    split = t.zero1(adam(), mesh)
    for inner in (split, core.chain(t.scale(1.0), t.offload(split))):
        with pytest.raises(ValueError, match=rf"^{name}: zero1 .* Write zero1\({name}\("):
            WRAPPERS[name](inner)
    t.offload(t.zero1(WRAPPERS[name](adam()), mesh))


@pytest.mark.parametrize("kept", [storage.int8(8), storage.fp8(8), storage.bf16()])
def test_a_guard_keeps_stored_state_to_the_bit(kept):
    tx = t.store(t.guard(adam()), {selectors.everything: kept}, min_size=0)
    _, before = run(tx, [gradients(0), gradients(1)])
    updates, after = run(tx, [poisoned(NAN), poisoned(NAN)], before)
    assert all(map(is_zero, updates))
    chex.assert_trees_all_equal(after.inner.inner, before.inner.inner)


def test_a_store_in_a_store_is_refused():
    half = {"first": storage.bf16()}
    for inner in (optimizers.adam(0.1), core.chain(t.scale(1.0), optimizers.adam(0.1))):
        with pytest.raises(ValueError, match="Give one store all storages"):
            t.store(t.guard(t.store(inner, half)), {"second": storage.bf16()})
