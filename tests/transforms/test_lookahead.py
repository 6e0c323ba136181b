"""Lookahead against NumPy's loop and against Optax's, over plain parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optlab as ol

START = np.random.default_rng(0).normal(size=5)
CURVATURE = np.linspace(0.5, 3.0, 5)


def train(tx, params, steps):
    """Parameters and their average after each step on a quadratic."""
    curvature = jnp.asarray(CURVATURE, jnp.float32).astype(params.dtype)

    @jax.jit
    def run(tx, params, state):
        def step(carry, _):
            params, state = carry
            updates, state = tx.update(curvature * params, state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), (params, ol.eval_params(state, params))

        return jax.lax.scan(step, (params, state), None, length=steps)

    (_, state), (fast, slow) = run(tx, params, tx.init(params))
    return np.asarray(fast), np.asarray(slow), state


def reference(steps, period, size, rate=0.1, momentum=0.9):
    fast, slow, m = START.copy(), START.copy(), 0.0
    curvature = CURVATURE.astype(np.float32).astype(np.float64)
    fasts, slows = [], []
    for t in range(1, steps + 1):
        m = momentum * m + curvature * fast
        fast = fast - rate * m
        if t % period == 0:
            slow = slow + size * (fast - slow)
            fast = slow.copy()
        fasts.append(fast)
        slows.append(slow)
    return np.stack(fasts), np.stack(slows)


@pytest.mark.parametrize(("period", "size"), [(1, 0.5), (6, 0.5), (5, 0.8), (3, 1.0)])
def test_a_hundred_steps_are_those_of_the_two_loops_written_out(period, size):
    with jax.enable_x64(True):
        tx = ol.lookahead(ol.sgd(0.1, momentum=0.9), period, size)
        fast, slow, _ = train(tx, jnp.asarray(START), 100)
    want = reference(100, period, size)
    np.testing.assert_allclose(fast, want[0], rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(slow, want[1], rtol=1e-11, atol=1e-14)


def test_a_hundred_steps_are_those_of_optax_on_pairs():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        theirs = optax.lookahead(optax.sgd(0.1, momentum=0.9), 6, 0.5)
        pair = optax.LookaheadParams.init_synced(jnp.asarray(START))
        state = theirs.init(pair)
        curvature = jnp.asarray(CURVATURE, jnp.float32).astype(jnp.float64)
        for _ in range(20):
            updates, state = theirs.update(curvature * pair.fast, state, pair)
            pair = optax.apply_updates(pair, updates)
        tx = ol.lookahead(ol.sgd(0.1, momentum=0.9), 6, 0.5)
        fast, slow, _ = train(tx, jnp.asarray(START), 20)
        np.testing.assert_allclose(fast[-1], pair.fast, rtol=1e-11)
        np.testing.assert_allclose(slow[-1], pair.slow, rtol=1e-11)
        np.testing.assert_array_equal(ol.eval_params(state, pair), pair.slow)


def test_between_synchronizations_the_updates_are_those_of_the_optimizer_to_the_bit():
    params, adam = jnp.asarray(START, jnp.float32), ol.adam(0.1)
    tx = ol.lookahead(adam, 3)
    state, inner = tx.init(params), adam.init(params)
    for _ in range(2):
        updates, state = tx.update(params, state, params)
        bare, inner = adam.update(params, inner, params)
        np.testing.assert_array_equal(updates, bare)


def test_at_a_synchronization_the_parameters_are_the_slow_weights():
    fast, slow, state = train(ol.lookahead(ol.sgd(0.1), 4), jnp.asarray(START, jnp.float32), 12)
    np.testing.assert_allclose(fast[3::4], slow[3::4], rtol=1e-6)
    assert not np.allclose(fast[4], slow[4])
    assert ol.read(state)["lookahead_syncs"] == 3


def test_slow_weights_of_bf16_parameters_keep_what_bf16_loses():
    tx = ol.lookahead(ol.sgd(1e-3), 1, 1.0)  # each step a synchronization
    params = jnp.ones(1, jnp.bfloat16)
    state = tx.init(params)
    for _ in range(2):
        _, state = tx.update(jnp.full(1, 0.5, jnp.bfloat16), state, params)
    np.testing.assert_allclose(state.slow, 1 - 5e-4, rtol=1e-6)
    assert ol.eval_params(state, params).dtype == jnp.bfloat16


def test_parameters_loaded_after_init_are_where_the_slow_weights_start():
    tx = ol.lookahead(ol.sgd(1.0), 2)
    state, params = tx.init(jnp.zeros(1)), jnp.full(1, 8.0)
    for _ in range(2):
        updates, state = tx.update(jnp.ones(1), state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_array_equal(params, [7.0])


def test_before_the_first_step_the_parameters_are_evaluated():
    params = jnp.asarray(START, jnp.float32)
    np.testing.assert_array_equal(
        ol.eval_params(ol.lookahead(ol.sgd(0.1)).init(params), params), params
    )


def test_a_scheduled_slow_step_size_is_that_of_its_step():
    tx = ol.lookahead(ol.sgd(1.0), 1, lambda n: jnp.where(n == 0, 1.0, 0.5))
    params = jnp.zeros(1)
    state = tx.init(params)
    for want in (-1.0, -1.5):
        updates, state = tx.update(jnp.ones(1), state, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_array_equal(params, [want])


def test_integers_and_missing_leaves_pass():
    params = {"w": jnp.ones(2), "n": jnp.array([3], jnp.int32), "none": None}
    tx = ol.lookahead(ol.freeze(), 1)
    updates, state = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    assert updates["none"] is None
    np.testing.assert_array_equal(updates["n"], [0])
    np.testing.assert_array_equal(ol.eval_params(state, params)["n"], [3])


def test_bad_arguments_are_refused_by_name():
    with pytest.raises(ValueError, match="sync_period must be a whole number >= 1, got 0"):
        ol.lookahead(ol.sgd(0.1), 0)
    with pytest.raises(ValueError, match=r"slow_step_size must be a number in .0, 1., got 0"):
        ol.lookahead(ol.sgd(0.1), 6, 0.0)
    tx = ol.lookahead(ol.sgd(0.1))
    with pytest.raises(ValueError, match="lookahead needs the parameters"):
        tx.update(jnp.ones(1), tx.init(jnp.ones(1)))
