"""Layer-wise step sizes: LAMB, LARS and Adafactor's two factors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transform_cases import normal, once

from optlab import core
from optlab.selectors import kernels
from optlab.transforms import (
    add_decayed_weights,
    clip_by_rms,
    scale_by_learning_rate,
    scale_by_parameter_rms,
    scale_by_trust_ratio,
)

U, W = normal(4, 3), normal(4, 3, seed=1)
SIZE = np.linalg.norm


def test_lars_divides_by_the_norm_of_the_gradient_and_of_the_decay_apart():
    """Equation 6: κ |θ| / (|g| + λ |θ| + ε) (g + λ θ)."""
    with jax.enable_x64(True):
        tx = scale_by_trust_ratio(0.01, weight_decay=0.1, eps=0.5)
        ratio = 0.01 * SIZE(W) / (SIZE(U) + 0.1 * SIZE(W) + 0.5)
        got = once(tx, jnp.asarray(U), jnp.asarray(W))
        np.testing.assert_allclose(got, ratio * (U + 0.1 * W), rtol=1e-13)


def test_lamb_divides_by_the_norm_of_the_sum():
    with jax.enable_x64(True):
        tx = core.chain(
            add_decayed_weights(0.1), scale_by_trust_ratio(), scale_by_learning_rate(0.5)
        )
        r = U + 0.1 * W
        got = once(tx, jnp.asarray(U), jnp.asarray(W))
        np.testing.assert_allclose(got, -0.5 * SIZE(W) / SIZE(r) * r, rtol=1e-13)


def test_each_leaf_has_its_own_ratio():
    u, w = {"a": jnp.ones(4), "b": jnp.ones(4)}, {"a": jnp.full(4, 2.0), "b": jnp.full(4, 3.0)}
    updates = once(scale_by_trust_ratio(), u, w)
    np.testing.assert_allclose(updates["a"], 2.0, rtol=1e-6)
    np.testing.assert_allclose(updates["b"], 3.0, rtol=1e-6)


def test_the_ratio_is_one_for_zero_parameters_or_a_zero_update():
    tx = scale_by_trust_ratio(0.01, weight_decay=0.1)
    u, w, zeros = jnp.array([3.0, 4.0]), jnp.array([1.0, -2.0]), jnp.zeros(2)
    np.testing.assert_array_equal(once(tx, u, zeros), u)
    np.testing.assert_allclose(once(tx, zeros, w), 0.1 * np.asarray(w), rtol=1e-6)


def test_at_a_zero_update_the_slopes_are_those_of_a_ratio_of_one():
    tx, u, p = scale_by_trust_ratio(0.01), jnp.zeros(2), jnp.array([1.0, -2.0])
    by_update, by_params = jax.jacobian(lambda u, p: once(tx, u, p), argnums=(0, 1))(u, p)
    np.testing.assert_array_equal(by_update, np.eye(2))
    np.testing.assert_array_equal(by_params, np.zeros((2, 2)))


def test_leaves_that_are_not_selected_pass_without_decay():
    u = {"Dense_0": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}}
    w = jax.tree.map(lambda x: 2 * x, u)
    updates = once(scale_by_trust_ratio(weight_decay=0.5, where=kernels), u, w)["Dense_0"]
    np.testing.assert_array_equal(updates["bias"], [1, 1])
    np.testing.assert_allclose(updates["kernel"], 2 / (1 + 0.5 * 2) * (1 + 0.5 * 2), rtol=1e-6)


@pytest.mark.parametrize("size", [1e-25, 1e25, 1e37])
def test_norms_neither_overflow_nor_underflow(size):
    u, w = jnp.array([3.0, 4.0]), jnp.array([6.0, 8.0])
    scaled = np.float32(size)
    np.testing.assert_allclose(once(scale_by_trust_ratio(), u * scaled, w), 2 * u, rtol=1e-5)
    got = once(scale_by_trust_ratio(), u, w * np.float32(size / 10))
    np.testing.assert_allclose(got, 2 * np.asarray(u) * np.float32(size / 10), rtol=1e-5)


def rms(x):
    return np.sqrt(np.mean(x**2))


def test_steps_relative_to_the_parameters_rms():
    with jax.enable_x64(True):
        u, w = jnp.asarray(U), jnp.asarray(W)
        np.testing.assert_allclose(once(scale_by_parameter_rms(), u, w), U * rms(W), rtol=1e-13)
        small = once(scale_by_parameter_rms(1e-3), u, 1e-9 * w)
        np.testing.assert_allclose(small, 1e-3 * U, rtol=1e-13)


def test_clipping_the_rms_of_each_leaf():
    with jax.enable_x64(True):
        got = once(clip_by_rms(0.1), {"a": jnp.asarray(U), "b": jnp.asarray(U * 1e-2)})
        np.testing.assert_allclose(got["a"], U / (rms(U) / 0.1), rtol=1e-13)
        np.testing.assert_array_equal(got["b"], U * 1e-2)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_leaf_with_a_non_finite_entry_becomes_nan_and_no_other(bad):
    got = once(clip_by_rms(1.0), {"a": jnp.array([bad, 1.0]), "b": jnp.array([2.0])})
    assert np.isnan(got["a"]).all()
    np.testing.assert_array_equal(got["b"], [1.0])
