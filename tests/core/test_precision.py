"""Precision: the update takes the parameter's dtype, the state never changes its own."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from core_links import Line, decay, ema, params_and_grads, scale, signature

from optlab import core

dtypes = (jnp.float32, jnp.bfloat16, jnp.float16)
pairs = [
    pytest.param(p, g, id=f"{p.__name__}-{g.__name__}")
    for p, g in itertools.product(dtypes, dtypes)
]


def sentence():
    return core.chain(ema(0.9), optax.trace(0.9), decay(Line(0.01, 0.1)), scale(-0.1))


def check(params, grads, state_dtype):
    tx = sentence()
    state = tx.init(params)
    first = signature(state)
    floats = [x.dtype for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert set(floats) <= {jnp.dtype(state_dtype), jnp.dtype(jnp.float32)}
    assert jax.tree.leaves(state[0])[0].dtype == state_dtype
    assert jax.tree.leaves(state[1])[0].dtype == state_dtype
    for update in (tx.update, jax.jit(tx.update)):
        for _ in range(2):
            updates, state = update(grads, state, params)
            assert signature(state) == first
            assert signature(updates) == signature(jax.tree.map(jnp.array, params))
            chex.assert_tree_all_finite(updates)


@pytest.mark.parametrize(("params_dtype", "grads_dtype"), pairs)
def test_state_signature_is_fixed_and_updates_take_the_dtype_of_the_parameters(
    params_dtype, grads_dtype
):
    check(*params_and_grads(params_dtype, grads_dtype), jnp.float32)


@pytest.mark.parametrize("grads_dtype", [jnp.float64, jnp.float32])
def test_float64_parameters_have_float64_state(grads_dtype):
    with jax.enable_x64(True):
        check(*params_and_grads(jnp.float64, grads_dtype), jnp.float64)


def test_float64_updates_are_exact_to_float64():
    with jax.enable_x64(True):
        params, grads = params_and_grads(jnp.float64)
        tx = core.chain(ema(0.9), scale(0.1))
        updates, _ = tx.update(grads, tx.init(params), params)
        expected = jax.tree.map(lambda g: 0.1 * (0.1 * np.asarray(g)), grads)
        chex.assert_trees_all_close(updates, expected, rtol=1e-15)


def test_float32_maths_stays_float32_under_x64():
    with jax.enable_x64(True):
        params, grads = params_and_grads(jnp.float32)
        tx = sentence()
        jaxpr = jax.make_jaxpr(tx.update)(grads, jax.eval_shape(tx.init, params), params)
        assert "f64[2" not in str(jaxpr)
        assert "f64[3" not in str(jaxpr)


def test_wider_gradients_do_not_widen_the_state():
    with jax.enable_x64(True):
        check(*params_and_grads(jnp.float32, jnp.float64), jnp.float32)
        check(*params_and_grads(jnp.bfloat16, jnp.float64), jnp.float32)


def test_without_parameters_the_update_takes_the_dtype_of_the_gradient():
    _, grads = params_and_grads(jnp.bfloat16)
    tx = core.chain(ema(0.9), scale(2.0))
    updates, _ = tx.update(grads, tx.init(grads))
    assert signature(updates) == signature(grads)


def test_mixed_trees_keep_each_dtype():
    params = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones(2), "c": jnp.ones(2, jnp.float16)}
    tx = sentence()
    updates, _ = tx.update(params, tx.init(params), params)
    assert signature(updates) == signature(params)


def test_weakly_typed_and_python_parameters_give_a_strong_state():
    params = {"a": jnp.asarray(1.0), "b": 2.0}
    assert params["a"].weak_type
    tx = sentence()
    state = tx.init(params)
    assert not any(x.weak_type for x in jax.tree.leaves(state))
    updates, new_state = tx.update(params, state, params)
    assert signature(new_state) == signature(state)
    assert not any(x.weak_type for x in jax.tree.leaves(updates))


def test_links_of_a_chain_do_not_round_to_bf16_between_them():
    params = jnp.ones(4, jnp.bfloat16)
    grads = jnp.asarray([1.0, 1.0078125, 0.5, 3.0], jnp.bfloat16)
    tx = core.chain(scale(1.001), scale(1 / 1.001))
    chex.assert_trees_all_equal(tx.update(grads, tx.init(params), params)[0], grads)


def test_a_decay_near_one_still_moves_a_bf16_mean():
    """bf16(0.9999) is 1, with which the mean would stay zero for ever."""
    params = jnp.ones(2, jnp.bfloat16)
    tx = ema(0.9999)
    _, state = tx.update(params, tx.init(params), params)
    np.testing.assert_allclose(state.mean, 1e-4, rtol=1e-3)


def test_complex_parameters_keep_their_dtype():
    params = jnp.array([1 + 2j, -3j])
    tx = core.chain(ema(0.5), scale(2.0))
    with jax.numpy_dtype_promotion("standard"):  # a real factor times a complex update
        updates, state = tx.update(params, tx.init(params), params)
    chex.assert_trees_all_close(updates, params)
    assert updates.dtype == jnp.complex64
    assert signature(state) == signature(tx.init(params))
