"""Chains: order, names, states, and what links hear of the learning rate."""

import chex
import jax
import jax.numpy as jnp
import optax
import pytest
from core_links import (
    Divide,
    Gather,
    HearsLearningRate,
    Line,
    TimesValue,
    decay,
    ema,
    params_and_grads,
    scale,
    signature,
)

import optlab as ol
from optlab import core

hears = core.Transformation(HearsLearningRate())


def update(tx, steps=1, **extra):
    params, grads = params_and_grads()
    state = tx.init(params)
    for _ in range(steps):
        updates, state = tx.update(grads, state, params, **extra)
    return updates, state


def test_links_are_applied_in_order():
    params = {"w": jnp.array([2.0])}
    added_last = core.chain(scale(10.0), decay(1.0))
    added_first = core.chain(decay(1.0), scale(10.0))
    grads = {"w": jnp.array([1.0])}
    assert added_last.update(grads, added_last.init(params), params)[0]["w"] == 12.0
    assert added_first.update(grads, added_first.init(params), params)[0]["w"] == 30.0


def test_it_equals_optax_chain_of_the_same_links():
    links = (ema(0.9), decay(0.1), scale(-0.5))
    chex.assert_trees_all_equal(update(core.chain(*links), 3), update(optax.chain(*links), 3))


def test_an_empty_chain_is_the_identity():
    _, grads = params_and_grads()
    chex.assert_trees_all_equal(update(core.chain())[0], grads)
    assert core.chain().init({}) == ()
    assert repr(core.chain()) == "chain()"


def test_a_chain_of_one_link_acts_as_the_link():
    chex.assert_trees_all_equal(update(core.chain(ema(0.5)), 2)[0], update(ema(0.5), 2)[0])


def test_nesting_changes_nothing_but_paths_and_the_shape_of_the_state():
    flat = core.chain(ema(0.5), decay(0.1), scale(2.0))
    nested = core.chain(ema(0.5), core.chain(decay(0.1), core.chain(scale(2.0))))
    chex.assert_trees_all_equal(update(flat, 3)[0], update(nested, 3)[0])
    assert core.hyperparameters(nested) == {
        "ema/decay": 0.5,
        "chain/decay/rate": 0.1,
        "chain/chain/scale/factor": 2.0,
    }
    assert jax.tree.leaves(nested) == jax.tree.leaves(flat)


def test_repeated_links_are_numbered():
    tx = core.chain(scale(1.0), ema(0.5), scale(2.0))
    assert list(core.hyperparameters(tx)) == ["scale[0]/factor", "ema/decay", "scale[1]/factor"]


def test_a_chain_passes_through_chains_of_optax():
    tx = optax.chain(core.chain(ema(0.5)), core.chain(scale(2.0)), optax.identity())
    chex.assert_trees_all_equal(update(tx)[0], update(core.chain(ema(0.5), scale(2.0)))[0])


def test_names_head_the_paths_and_key_the_state():
    tx = core.named_chain(smooth=ema(0.5), shrink=decay(0.1), step=scale(2.0))
    state = update(tx)[1]
    assert list(core.hyperparameters(tx)) == ["smooth/decay", "shrink/rate", "step/factor"]
    assert set(state) == {"smooth", "shrink", "step"}
    assert core.read(state) == {"rate": jnp.float32(0.1)}
    plain = core.chain(ema(0.5), decay(0.1), scale(2.0))
    chex.assert_trees_all_equal(update(tx, 3)[0], update(plain, 3)[0])


def test_the_order_of_names_is_the_order_of_application():
    params = jnp.array([2.0])
    tx = core.named_chain(z=scale(10.0), a=decay(1.0))
    step = jax.jit(tx.update)  # jit sorts the keys of a dict; the chain must not
    state = jax.jit(tx.init)(params)
    for _ in range(2):
        updates, state = step(jnp.array([1.0]), state, params)
        assert updates == 12.0


@pytest.mark.parametrize("name", ["a/b", "", "/"])
def test_names_with_a_slash_are_refused(name):
    with pytest.raises(ValueError, match="a name must not be empty or contain '/'"):
        core.named_chain(**{name: scale(1.0)})


@pytest.mark.parametrize("value", [None, 0.1, "adam", (scale(1.0),), lambda g: g, jnp.ones(2)])
def test_what_is_no_transformation_is_refused(value):
    with pytest.raises(TypeError, match="expected a gradient transformation of optlab or Optax"):
        core.chain(scale(1.0), value)


def test_a_factory_that_was_not_called_is_refused():
    for factory in (optax.adam, ol.scale_by_learning_rate):
        with pytest.raises(TypeError, match=r"Did you forget to call it\?"):
            core.chain(factory)


@pytest.mark.parametrize(
    "state",
    [
        (),
        (optax.EmptyState(),),
        [optax.EmptyState()] * 2,
        None,
        {"scale": optax.EmptyState()},
        optax.TraceState(trace=None),
        optax.ScaleByRStdDevState(mu=None, nu=None),
    ],
    ids=lambda state: type(state).__name__,
)
def test_a_state_of_another_chain_is_refused(state):
    tx = core.chain(scale(1.0), decay(0.1))
    with pytest.raises(ValueError, match=r"not belong to this chain of 2 links \(scale, decay\)"):
        tx.update(jnp.ones(2), state, jnp.ones(2))


def test_a_tuple_of_wrong_states_is_refused_by_the_link():
    tx = core.chain(ema(0.5), ol.scale_by_learning_rate(0.1))
    with pytest.raises(ValueError, match="scale_by_learning_rate: the state does not fit"):
        tx.update(jnp.ones(2), ((), ()), jnp.ones(2))


def test_a_dict_with_other_names_is_refused():
    tx = core.named_chain(a=scale(1.0), b=decay(0.1))
    state = tx.init(jnp.ones(2))
    for wrong in ({"a": state["a"]}, {"a": state["a"], "c": state["b"]}, tuple(state.values())):
        with pytest.raises(ValueError, match=r"chain of 2 links \(a, b\)"):
            tx.update(jnp.ones(2), wrong, jnp.ones(2))


def test_extra_arguments_reach_the_links_that_want_them():
    tx = core.chain(scale(2.0), core.chain(core.Transformation(TimesValue())), ema(0.0))
    chex.assert_trees_all_equal(update(tx, value=3.0)[0], update(scale(6.0))[0])
    with pytest.raises(TypeError, match="value"):
        update(tx)


def test_links_hear_the_learning_rate_and_whether_it_was_applied():
    lr = ol.scale_by_learning_rate(Line(1.0, 0.5))
    _, state = update(core.chain(hears, core.chain(hears), lr, hears), steps=3)
    for heard, applied in ((state[0], False), (state[1][0], False), (state[3], True)):
        assert heard["value"] == 2.0  # the third update is the one after two
        assert heard["applied"] == applied


def test_an_inner_chain_hears_its_own_learning_rate():
    lr = ol.scale_by_learning_rate
    _, state = update(core.chain(core.chain(hears, lr(0.5)), hears, lr(0.25)))
    assert state[0][0]["value"] == 0.5
    assert state[1] == {"value": 0.5, "applied": True}


def test_without_a_learning_rate_links_hear_nothing():
    _, state = update(core.chain(hears, scale(2.0)))
    assert state[0] == {"value": 0.0, "applied": False}


def test_the_learning_rate_is_not_shown_to_optax():
    seen = {}

    def spy(updates, state, params=None, **extra):
        seen.update(extra)
        return updates, state

    foreign = optax.GradientTransformationExtraArgs(lambda params: (), spy)
    update(core.chain(foreign, ol.scale_by_learning_rate(0.1)), value=1.0)
    assert seen == {"value": 1.0}


def test_moments_may_leave_a_chain():
    gathering, dividing = core.Transformation(Gather()), core.Transformation(Divide())
    split = core.chain(core.chain(gathering), dividing)
    whole = core.chain(gathering, dividing)
    chex.assert_trees_all_equal(update(split)[0], update(whole)[0])


def test_repr_is_the_call_on_one_line_or_one_link_a_line():
    assert repr(core.chain(ema(0.5), scale(2.0))) == "chain(ema(decay=0.5), scale(factor=2.0))"
    assert repr(core.named_chain(a=ema(0.5))) == "named_chain(a=ema(decay=0.5))"
    inner = core.chain(*[scale(1000.25)] * 4)
    lines = repr(core.chain(ema(0.5), inner)).splitlines()
    assert lines[:3] == ["chain(", "    ema(decay=0.5),", "    chain("]
    assert lines[3] == "        scale(factor=1000.25),"
    assert lines[-2:] == ["    ),", ")"]
    long = core.chain(ema(0.5), inner)
    assert eval(repr(long), {"chain": core.chain, "ema": ema, "scale": scale}) == long


def test_a_long_chain_keeps_its_signature():
    tx = core.chain(*[ema(0.5), decay(0.1)] * 5)
    params, grads = params_and_grads(jnp.bfloat16)
    state = tx.init(params)
    assert signature(tx.update(grads, state, params)[1]) == signature(state)
