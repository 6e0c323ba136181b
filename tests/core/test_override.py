"""Overriding: hyperparameters change in the middle of a run, and nothing compiles again."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from core_links import Line, count_traces, decay, params_and_grads, scale, signature

import optlab as ol
from optlab import core


def rate_of(tx, state):
    """The learning rate that the next update really uses, from the update of ones."""
    ones = {"a": jnp.ones(2)}
    with jax.numpy_dtype_promotion("standard"):  # for Optax's wrappers
        return -float(tx.update(ones, state, ones)[0]["a"][0])


def sgd(learning_rate):
    return core.chain(scale(1.0), ol.scale_by_learning_rate(learning_rate))


SGD = {"constant": sgd(0.5), "scheduled": sgd(Line(0.5, 0.25))}
WRAPS = {
    "alone": lambda tx: tx,
    "chain": lambda tx: core.chain(scale(1.0), tx),
    "named_chain": lambda tx: core.named_chain(step=tx),
    "route": lambda tx: ol.route({ol.path("a"): tx}),
    "optax.chain": lambda tx: optax.chain(optax.identity(), tx),
    "optax.masked": lambda tx: optax.masked(tx, True),
    "optax.MultiSteps": lambda tx: optax.MultiSteps(tx, 1),
}


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("kind", SGD)
def test_the_next_update_uses_the_value_given(kind, wrap):
    tx = WRAPS[wrap](SGD[kind])
    with jax.numpy_dtype_promotion("standard"):
        state = tx.init({"a": jnp.ones(2)})
    assert rate_of(tx, core.override(state, {"learning_rate": 0.125})) == 0.125


@pytest.mark.parametrize("kind", SGD)
def test_it_needs_no_new_trace_and_keeps_the_state_signature(kind):
    tx, (params, grads) = SGD[kind], params_and_grads()
    update, traces = count_traces(tx.update)
    state = tx.init(params)
    for value in (None, 0.125, 0.25, None):
        changed = core.override(state, {"learning_rate": value})
        assert signature(changed) == signature(state)
        _, state = update(grads, changed, params)
    assert len(traces) == 1


def test_an_override_lasts_until_it_is_ended_and_the_schedule_has_gone_on():
    tx, (params, grads) = SGD["scheduled"], params_and_grads()
    state = core.override(tx.init(params), {"learning_rate": 0.125})
    for _ in range(3):
        _, state = tx.update(grads, state, params)
        assert core.read(state)["learning_rate"] == 0.125
    _, state = tx.update(grads, core.override(state, {"learning_rate": None}), params)
    assert core.read(state)["learning_rate"] == 0.5 + 3 * 0.25


def test_what_is_read_is_the_value_in_force_at_once():
    state = core.override(SGD["scheduled"].init(jnp.ones(2)), {"learning_rate": 0.125})
    assert core.read(state) == {"learning_rate": 0.125}


def test_the_given_state_is_unchanged():
    state = SGD["constant"].init(jnp.ones(2))
    core.override(state, {"learning_rate": 0.125})
    assert core.read(state) == {"learning_rate": 0.5}


def test_decay_coupled_to_the_learning_rate_follows():
    tx = core.chain(ol.scale_by_learning_rate(0.5), ol.add_decayed_weights(0.5))
    params = {"a": jnp.ones(2)}
    state = core.override(tx.init(params), {"learning_rate": 0.125})
    updates, _ = tx.update({"a": jnp.zeros(2)}, state, params)
    chex.assert_trees_all_equal(updates, {"a": jnp.full(2, -0.125 * 0.5)})


def test_any_scheduled_hyperparameter_can_be_overridden_alone():
    tx = core.chain(scale(Line(2.0, 1.0)), decay(0.25))
    params = {"a": jnp.ones(2)}
    state = core.override(tx.init(params), {"factor": 8.0})
    updates, _ = tx.update({"a": jnp.ones(2)}, state, params)
    chex.assert_trees_all_equal(updates, {"a": jnp.full(2, 8.25)})


def test_of_several_the_path_that_read_gives_chooses_one():
    tx = ol.route({ol.path("a"): sgd(0.5), ol.path("b"): sgd(0.25)})
    params = {"a": jnp.ones(2), "b": jnp.ones(2)}
    state = tx.init(params)
    with pytest.raises(KeyError, match="ambiguous"):
        core.override(state, {"learning_rate": 1.0})
    names = list(core.read(state))
    values = core.read(core.override(state, {names[1]: 1.0}))
    assert values == {names[0]: 0.5, names[1]: 1.0}


def test_an_unknown_name_is_refused_with_the_nearest_and_what_to_do():
    state = SGD["constant"].init(jnp.ones(2))
    with pytest.raises(KeyError, match=r"did you mean .*learning_rate.*replace"):
        core.override(state, {"learning_rat": 1.0})
    with pytest.raises(KeyError, match=r"no hyperparameter 'factor'"):
        core.override(state, {"factor": 1.0})


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        ("1", TypeError),
        (True, TypeError),
        ([1.0], TypeError),
        (np.ones(3), ValueError),
    ],
)
def test_what_is_no_finite_number_is_refused(value, error):
    with pytest.raises(error, match="learning_rate"):
        core.override(SGD["constant"].init(jnp.ones(2)), {"learning_rate": value})


def test_it_works_inside_jit_and_a_sweep_overrides_each_state():
    tx, params = SGD["scheduled"], jnp.ones(2)

    def updates(rate, state):
        state = core.override(state, {"learning_rate": rate})
        return tx.update(params, state, params)[0][0]

    rates = jnp.array([0.125, 0.25])
    got = jax.jit(jax.vmap(updates, in_axes=(0, None)))(rates, tx.init(params))
    chex.assert_trees_all_equal(got, -rates)
    batch = jax.vmap(lambda _: tx.init(params))(rates)
    batch = core.override(batch, {"learning_rate": rates})
    chex.assert_trees_all_equal(core.read(batch)["learning_rate"], rates)


def test_the_derivative_by_a_hyperparameter_is_that_without_override():
    params = jnp.ones(2)

    def update(rate, value):
        tx = sgd(rate)
        state = core.override(tx.init(params), {"learning_rate": value})
        return tx.update(params, state, params)[0][0]

    assert jax.grad(update)(0.5, None) == -1.0
    assert jax.grad(update)(0.5, 0.125) == 0.0
    assert jax.grad(update, argnums=1)(0.5, 0.125) == -1.0


def test_float64_rates_keep_their_precision():
    with jax.enable_x64(True):
        tx, params = sgd(0.1), jnp.ones(2, jnp.float64)
        assert tx.update(params, tx.init(params), params)[0][0] == -0.1


def test_numbers_of_a_transformation_are_replaced_without_a_new_trace():
    params = jnp.ones(2)
    update, traces = count_traces(lambda tx, state: tx.update(params, state, params)[0])
    tx = core.chain(scale(2.0), ol.scale_by_learning_rate(0.5))
    state = tx.init(params)
    update(tx, state)
    changed = core.override(tx, {"learning_rate": 0.25, "factor": 4.0})
    chex.assert_trees_all_equal(update(changed, state), jnp.full(2, -1.0))
    assert len(traces) == 1


def test_a_scheduled_number_of_a_transformation_is_overridden_in_the_state():
    with pytest.raises(ValueError, match=r"schedule.*Override the state"):
        core.override(SGD["scheduled"], {"learning_rate": 0.25})
    with pytest.raises(TypeError, match=r"must be a number"):
        core.override(SGD["constant"], {"learning_rate": None})
    with pytest.raises(ValueError, match="learning_rate must be"):
        core.override(SGD["constant"], {"learning_rate": -1.0})


def test_a_schedule_that_is_a_plain_function_is_overridden_in_the_state_too():
    with pytest.raises(ValueError, match="is a schedule"):
        core.override(sgd(lambda count: 0.5), {"learning_rate": 0.25})


def test_a_state_that_keeps_nothing_has_nothing_to_override():
    with pytest.raises(KeyError, match="known: none"):
        core.override(scale(0.5).init(jnp.ones(2)), {"factor": 1.0})
