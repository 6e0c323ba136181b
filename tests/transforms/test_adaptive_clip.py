"""Adaptive gradient clipping against equation 3 of its paper."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transform_cases import normal, once

from optlab.selectors import biases, kernels
from optlab.transforms import adaptive_clip


def reference(g, w, clipping, eps):
    """Unit by unit, in a loop over the output axis."""
    units = range(g.shape[-1]) if g.ndim > 1 else [...]
    out = g.copy()
    for i in units:
        where = (..., i) if g.ndim > 1 else ...
        limit = clipping * max(np.linalg.norm(w[where]), eps)
        size = np.linalg.norm(g[where])
        if size > limit:
            out[where] = g[where] * limit / size
    return out


@pytest.mark.parametrize("shape", [(5, 4), (3, 3, 2, 4), (6,)])
def test_each_output_unit_is_bounded_relative_to_its_weights(shape):
    g, w = normal(*shape) * np.linspace(0.01, 2, shape[-1]), normal(*shape, seed=1)
    with jax.enable_x64(True):
        updates = once(adaptive_clip(0.3, eps=0.5), jnp.asarray(g), jnp.asarray(w))
        want = reference(g, w, 0.3, 0.5)
        np.testing.assert_allclose(updates, want, rtol=1e-13)
        assert 0 < np.sum(np.isclose(want, g)) < g.size or g.ndim == 1


def test_a_scalar_is_one_unit():
    updates = once(adaptive_clip(0.1), jnp.array(-3.0), jnp.array(2.0))
    assert float(updates) == pytest.approx(-0.2)


def test_zero_weights_can_grow_by_eps():
    updates = once(adaptive_clip(0.1, eps=1e-3), jnp.ones((2, 1)), jnp.zeros((2, 1)))
    assert float(jnp.linalg.norm(updates)) == pytest.approx(1e-4)


@pytest.mark.parametrize("size", [0.0, 1e-25])
def test_the_derivative_at_a_tiny_gradient_is_the_identity(size):
    params, g = jnp.ones((2, 1)), jnp.full((2, 1), size)
    jacobian = jax.jacobian(lambda g: once(adaptive_clip(0.1), g, params))(g)
    np.testing.assert_array_equal(jacobian.reshape(2, 2), np.eye(2))


def test_units_inside_their_bound_pass_bit_identical():
    g, w = jnp.array([[3.0, 1e-3], [4.0, -0.0]]), jnp.ones((2, 2))
    updates = np.asarray(once(adaptive_clip(0.1), g, w))
    np.testing.assert_array_equal(updates[:, 1].view(np.int32), np.asarray(g)[:, 1].view(np.int32))


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_unit_with_a_non_finite_entry_becomes_nan_and_no_other(bad):
    g = jnp.array([[bad, 30.0], [1.0, 40.0]])
    updates = once(adaptive_clip(0.1), g, jnp.full((2, 2), 5.0 / np.sqrt(2)))
    assert np.isnan(updates[:, 0]).all()
    np.testing.assert_allclose(updates[:, 1], [0.3, 0.4], rtol=1e-6)


def test_only_the_selected_leaves_are_clipped():
    g = {"Dense_0": {"kernel": jnp.full((2, 2), 9.0), "bias": jnp.full(2, 9.0)}}
    w = jax.tree.map(jnp.ones_like, g)
    updates = once(adaptive_clip(0.1, where=kernels), g, w)["Dense_0"]
    np.testing.assert_array_equal(updates["bias"], [9, 9])
    assert float(updates["kernel"].max()) < 1
    updates = once(adaptive_clip(0.1, where=biases), g, w)["Dense_0"]
    assert float(updates["bias"].max()) < 1
    np.testing.assert_array_equal(updates["kernel"], np.full((2, 2), 9.0))
