"""Clipping against its definition, and the special cases its docstrings promise."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from transform_cases import normal, once, once_optax

from optlab import core
from optlab.transforms import clip_by_global_norm, clip_by_norm, clip_by_value

INF, NAN = np.inf, np.nan
by_norm = pytest.mark.parametrize("factory", [clip_by_norm, clip_by_global_norm])


def test_clip_by_value_bounds_every_entry_and_its_sign():
    updates = once(clip_by_value(1.0), jnp.array([-3.0, -1.0, -0.5, 0.5, 3.0, INF, -INF, NAN]))
    np.testing.assert_array_equal(updates, [-1, -1, -0.5, 0.5, 1, 1, -1, NAN])


def test_clip_by_value_bounds_real_and_imaginary_parts_separately():
    updates = once(clip_by_value(1.0), jnp.array([3 - 0.5j, 0.5 + 4j], jnp.complex64))
    np.testing.assert_array_equal(updates, np.array([1 - 0.5j, 0.5 + 1j]))


def test_clip_by_norm_looks_at_each_leaf_alone():
    updates = once(clip_by_norm(1.0), {"a": jnp.array([3.0, 4.0]), "b": jnp.array([0.3, 0.4])})
    np.testing.assert_allclose(updates["a"], [0.6, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(updates["b"], np.float32([0.3, 0.4]))


@by_norm
def test_just_outside_of_the_bound_is_clipped_too(factory):
    np.testing.assert_allclose(once(factory(1.0), jnp.array([0.6, -0.81])), [
        0.6 / np.hypot(0.6, 0.81), -0.81 / np.hypot(0.6, 0.81)], rtol=1e-6)  # fmt: skip


def test_clip_by_norm_keeps_a_nan_and_an_infinity_in_their_leaves():
    leaves = {"nan": jnp.array([NAN, 1.0]), "inf": jnp.array([INF, 1.0]), "ok": jnp.array([3.0])}
    updates = once(clip_by_norm(1.0), leaves)
    assert np.isnan(updates["nan"]).all()
    np.testing.assert_array_equal(updates["inf"], [0, 0])
    np.testing.assert_array_equal(updates["ok"], [1])


def test_clip_by_global_norm_looks_at_all_leaves_together():
    gradients = {"a": normal(5, 4), "b": normal(4, seed=1), "s": normal(seed=2)}
    norm = np.sqrt(sum(np.sum(g**2) for g in gradients.values()))
    with jax.enable_x64(True):
        leaves = jax.tree.map(jnp.asarray, gradients)
        updates = once(clip_by_global_norm(0.7), leaves)
        for name, gradient in gradients.items():
            np.testing.assert_allclose(updates[name], gradient * 0.7 / norm, rtol=1e-14)


def test_the_recorded_norm_is_as_wide_as_the_widest_leaf():
    with jax.enable_x64(True):
        tx = clip_by_global_norm(1.0)
        params = {"a": jnp.ones(2, jnp.float32), "b": jnp.full(2, 1 / 3, jnp.float64)}
        state = tx.update(params, tx.init(params))[1]
        norm = core.read(state)["norm"]
        assert norm.dtype == jnp.float64
        np.testing.assert_allclose(norm, np.sqrt(2 + 2 / 9), rtol=1e-12)


def test_the_norm_before_clipping_is_recorded():
    tx = clip_by_global_norm(1.0)
    state = tx.init(jnp.zeros(2))
    assert core.read(state) == {"norm": 0.0}
    _, state = tx.update(jnp.array([3.0, 4.0]), state)
    assert core.read(state) == {"norm": 5.0}


def test_a_scheduled_bound_is_used_and_recorded():
    tx = clip_by_global_norm(lambda count: 1.0 / (1 + count))
    gradient = jnp.array([3.0, 4.0])
    state = tx.init(gradient)
    for step in range(3):
        updates, state = tx.update(gradient, state)
        assert float(jnp.linalg.norm(updates)) == pytest.approx(1 / (1 + step), rel=1e-6)
        assert float(core.read(state)["max_norm"]) == pytest.approx(1 / (1 + step), rel=1e-6)


@by_norm
@pytest.mark.parametrize(
    ("size", "bound"), [(1e-30, 1e-31), (1e18, 1.0), (1e25, 1.0), (1e37, 1e-3), (3e38, 1e-3)]
)
def test_finite_entries_of_any_size_keep_their_direction(factory, size, bound):
    gradient = np.float32([1.0, -0.5, 0.25, 1.0]) * np.float32(size)
    updates = once(factory(bound), jnp.asarray(gradient))
    unit = gradient / np.linalg.norm(gradient.astype(np.float64))
    np.testing.assert_allclose(updates, bound * unit, rtol=1e-5)


@by_norm
def test_an_infinite_entry_makes_all_zero(factory):
    np.testing.assert_array_equal(once(factory(1.0), jnp.array([INF, 2.0, -INF])), [0, 0, 0])


def test_an_infinite_entry_is_recorded():
    tx = clip_by_global_norm(1.0)
    gradients = {"a": jnp.array([INF, 1.0]), "b": jnp.array(2.0)}
    updates, state = tx.update(gradients, tx.init(gradients))
    assert not any(np.any(u) for u in jax.tree.leaves(updates))
    assert core.read(state)["norm"] == INF


def test_a_nan_anywhere_makes_everything_nan_and_is_recorded():
    tx = clip_by_global_norm(1.0)
    gradients = {"a": jnp.array([NAN, INF]), "b": jnp.array(2.0), "c": jnp.array([1e25])}
    updates, state = tx.update(gradients, tx.init(gradients))
    assert all(np.isnan(u).all() for u in jax.tree.leaves(updates))
    assert np.isnan(core.read(state)["norm"])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_narrow_leaves_are_squared_and_summed_in_float32(dtype):
    gradient = jnp.full((1024, 1024), 1e-3, dtype)
    tx = clip_by_global_norm(0.512)
    updates, state = tx.update(gradient, tx.init(gradient))
    exact = 1024 * float(gradient[0, 0])
    assert float(core.read(state)["norm"]) == pytest.approx(1.024, rel=2e-3)
    assert float(core.read(state)["norm"]) == pytest.approx(exact, rel=1e-5)
    assert updates.dtype == dtype
    assert float(updates[0, 0]) == pytest.approx(5e-4, rel=5e-3)


@by_norm
def test_inside_the_bound_nothing_changes_not_even_a_sign_of_zero(factory):
    gradient = np.float32([1e-3, -0.0, 0.0, -7e-20, np.pi, 1.1754944e-38])
    updates = np.asarray(once(factory(4.0), jnp.asarray(gradient)))
    np.testing.assert_array_equal(updates.view(np.int32), gradient.view(np.int32))


@by_norm
def test_the_derivative_at_a_zero_gradient_is_the_identity(factory):
    jacobian = jax.jacobian(lambda g: once(factory(1.0), g))(jnp.zeros(3))
    np.testing.assert_array_equal(jacobian, np.eye(3))


@by_norm
def test_at_the_bound_everything_passes_bit_identical(factory):
    gradient = jnp.array([2.0**100, 1e-20])
    np.testing.assert_array_equal(once(factory(2.0**100), gradient), gradient)


@by_norm
def test_the_derivative_outside_is_that_of_the_projection_on_the_sphere(factory):
    g = np.float32([3.0, -4.0, 12.0])
    unit = g / 13
    want = 2.0 / 13 * (np.eye(3) - np.outer(unit, unit))
    jacobian = jax.jacobian(lambda g: once(factory(2.0), g))(jnp.asarray(g))
    np.testing.assert_allclose(jacobian, want, atol=1e-6)


@by_norm
def test_the_norm_of_complex_entries_is_that_of_their_magnitudes(factory):
    gradient = jnp.array([3 + 4j, 12j], jnp.complex64)
    np.testing.assert_allclose(once(factory(1.0), gradient), gradient / 13, rtol=1e-6)


def test_where_optax_overflows_or_flips_signs_we_do_not():
    """The `Differs from` of the docstring, as it stands."""
    ours, theirs = clip_by_global_norm(1.0), optax.clip_by_global_norm(1.0)
    infinite, huge = jnp.array([INF, 1.0]), jnp.full(4, 1e25)
    assert np.isnan(once_optax(theirs, infinite)).any()
    assert not np.any(once_optax(theirs, huge))
    np.testing.assert_allclose(once(ours, huge), 0.5, rtol=1e-6)
    assert float(once_optax(optax.clip_by_global_norm(-1.0), jnp.array([2.0]))[0]) < 0
    assert float(once_optax(optax.clip(-1.0), jnp.array([2.0]))[0]) == -1
