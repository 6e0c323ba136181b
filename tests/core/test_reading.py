"""Reading a state: what links recorded, wherever they are."""

import chex
import jax
import jax.numpy as jnp
import optax
import pytest
from core_links import Line, decay, ema, params_and_grads, scale

import optlab as ol
from optlab import core


def state_of(tx, steps=1):
    params, grads = params_and_grads()
    with jax.numpy_dtype_promotion("standard"):  # Optax needs it
        state = tx.init(params)
        for _ in range(steps):
            _, state = tx.update(grads, state, params)
    return state


def test_unique_names_stand_alone_and_repeated_ones_tell_their_place():
    tx = core.chain(decay(0.25), scale(Line(1.0)), core.chain(ema(0.5), decay(0.5)))
    assert core.read(state_of(tx)) == {"factor": 1.0, "0/rate": 0.25, "2/1/rate": 0.5}


def test_names_of_a_named_chain_are_places():
    tx = core.named_chain(one=decay(0.25), two=decay(0.5))
    assert core.read(state_of(tx)) == {"one/rate": 0.25, "two/rate": 0.5}


def test_a_state_that_records_nothing_reads_empty():
    for state in ((), None, {}, state_of(ema(0.5)), state_of(optax.adam(0.1))):
        assert core.read(state) == {}


def test_the_learning_rate_is_read_before_and_after_updates():
    tx = core.chain(ema(0.5), ol.scale_by_learning_rate(Line(1.0, 0.5)))
    assert core.read(state_of(tx, 0)) == {"learning_rate": 1.0}
    assert core.read(state_of(tx, 3)) == {"learning_rate": 2.0}


def test_the_norm_before_clipping_is_read():
    params, grads = params_and_grads()
    tx = core.chain(ol.clip_by_global_norm(1e-3), ol.scale_by_learning_rate(0.5))
    _, state = tx.update(grads, tx.init(params), params)
    chex.assert_trees_all_close(core.read(state)["norm"], optax.tree.norm(grads), rtol=1e-6)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tx: optax.chain(optax.identity(), tx),
        lambda tx: optax.masked(tx, True),
        lambda tx: optax.MultiSteps(tx, 1),
        lambda tx: optax.apply_if_finite(tx, 3),
        lambda tx: core.chain(optax.chain(tx)),
    ],
    ids=["chain", "masked", "MultiSteps", "apply_if_finite", "chain-in-chain"],
)
def test_it_finds_values_inside_wrappers_of_optax(wrap):
    values = core.read(state_of(wrap(decay(0.25))))
    assert [float(v) for v in values.values()] == [0.25]


def test_it_finds_values_inside_any_container():
    state = state_of(decay(0.25))
    assert core.read({"step": 3, "opt": [state]}) == {"rate": 0.25}


def test_a_scheduled_link_and_the_state_inside_it_are_both_read():
    tx = ol.clip_by_global_norm(Line(2.0))
    assert set(core.read(state_of(tx))) == {"max_norm", "norm"}


def test_it_works_inside_jit_and_vmap():
    tx, (params, grads) = decay(0.25), params_and_grads()
    read = jax.jit(lambda state: core.read(tx.update(grads, state, params)[1])["rate"])
    assert read(tx.init(params)) == 0.25
    rates = jnp.array([0.25, 0.5])
    swept = jax.vmap(lambda rate: core.read(decay(rate).init(params))["rate"])(rates)
    chex.assert_trees_all_equal(swept, rates)
