"""Narrow dtypes are honest, and one huge gradient is not the end: the cases others fail."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from law_strategies import all_updates, law

from optlab import core, optimizers
from optlab.transforms import accumulate_moments, accumulate_momentum, correct_bias

BF16 = jnp.bfloat16


def steps(tx, gradients, params=None):
    """Updates and last state of a scan, hyperparameters as written."""
    params = jnp.zeros_like(gradients[0]) if params is None else params

    def step(state, g):
        updates, state = tx.update(g, state, params)
        return state, updates

    state, updates = jax.jit(lambda g: jax.lax.scan(step, tx.init(params), g))(gradients)
    return updates, state


@pytest.mark.parametrize("gradient_dtype", [BF16, jnp.float32])
def test_a_bf16_second_moment_forgets(gradient_dtype):
    """300 steps of 1, then 5,000 of 0: Optax's stays at .338, float64 says .0017."""
    gradients = jnp.asarray(np.repeat([1.0, 0.0], [300, 5000])[:, None], gradient_dtype)
    _, state = steps(optimizers.adam(1e-3), gradients, jnp.zeros(1, BF16))
    exact = (1 - 0.999**300) * 0.999**5000
    assert exact == pytest.approx(0.0017, rel=0.05)
    assert float(state[0].second[0]) == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize("b1", [0.9, 0.95, 0.99])
def test_a_bf16_first_moment_reaches_a_constant_gradient(b1):
    """Optax's steps are .970, .951 and .689 long."""
    gradients = jnp.ones((2000, 1), BF16)
    updates, _ = steps(optimizers.sgd(1.0, b1), gradients)
    assert float(updates[-1, 0]) * (1 - b1) == pytest.approx(-1.0, rel=5e-3)
    nodes, _ = steps(core.chain(accumulate_moments(b1), correct_bias()), gradients)
    np.testing.assert_allclose(nodes.first.value, 1.0, rtol=1e-5)
    assert accumulate_momentum(b1).init(gradients[0]).momentum.dtype == jnp.float32


@pytest.mark.parametrize("drop", [10.0, 100.0])
def test_a_second_moment_follows_a_drop_of_the_gradient(drop):
    gradients = np.repeat([1.0, 1 / drop], [1000, 7000])[:, None]
    v = 0.0
    for g in np.float64(jnp.asarray(gradients[:, 0], BF16)):
        v = 0.999 * v + 0.001 * g**2
    _, state = steps(optimizers.adam(1e-3), jnp.asarray(gradients, BF16))
    assert float(state[0].second[0]) == pytest.approx(v, rel=1e-3)


@pytest.mark.parametrize("size", [3e-3, 1e-4, 500.0])
@pytest.mark.parametrize("param_dtype", [jnp.float32, jnp.float16])
def test_float16_gradients_of_any_size_make_a_step_of_the_learning_rate(size, param_dtype):
    """Optax's adam(1e-3) steps by -299.9 for 3e-3: eps and squares underflow in float16."""
    updates, _ = steps(
        optimizers.adam(1e-3), jnp.full((3, 2), size, jnp.float16), jnp.ones(2, param_dtype)
    )
    assert updates.dtype == param_dtype
    np.testing.assert_allclose(np.float32(updates), -0.001, rtol=2e-3)


@pytest.mark.parametrize("spike", [1e20, 1e25, 1e37, np.inf])
def test_after_one_huge_gradient_a_parameter_still_moves_and_recovers(spike):
    """Optax's second moment becomes infinite, and its parameter never moves again."""
    gradients = np.ones((9000, 2), np.float32)
    gradients[10, 0] = spike
    updates, state = steps(optimizers.adam(1e-3, b2=0.99), jnp.asarray(gradients))
    assert np.isfinite(updates).all()
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(state))
    assert float(updates[60, 0]) != 0.0
    np.testing.assert_allclose(updates[-1], -1e-3, rtol=0.01)
    np.testing.assert_allclose(updates[:, 1], -1e-3, rtol=1e-4)  # its neighbour saw nothing


def test_what_is_said_of_optax_is_so():
    gradients = np.ones((100, 1), np.float32)
    gradients[10] = 1e25
    with jax.numpy_dtype_promotion("standard"):
        updates, _ = steps(optax.adam(1e-3), jnp.asarray(gradients))
    assert not float(updates[-1, 0])


@law
@given(size=st.floats(1e-6, 6e4), dtype=st.sampled_from([BF16, jnp.float16]))
def test_narrow_parameters_are_updated_by_the_float32_update_rounded_once(size, dtype):
    gradients = jnp.full((4, 3), size, dtype)
    narrow, _ = all_updates(optimizers.adam(1e-2), gradients, jnp.ones(3, dtype))
    wide, _ = all_updates(
        optimizers.adam(1e-2), gradients.astype(jnp.float32), jnp.ones(3, jnp.float32)
    )
    np.testing.assert_array_equal(narrow, wide.astype(dtype))
