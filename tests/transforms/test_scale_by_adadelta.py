"""Adadelta's step against algorithm 1 of its paper."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transform_cases import follow, normal, once

from optlab.transforms import scale_by_adadelta


@pytest.mark.parametrize(("rho", "eps"), [(0.9, 1e-6), (0.95, 1e-2), (0.0, 1e-6)])
def test_steps_follow_the_paper(rho, eps):
    gradients, e, d, want = normal(20, 5), 0.0, 0.0, []
    for g in gradients:
        e = rho * e + (1 - rho) * g**2
        step = np.sqrt(d + eps) / np.sqrt(e + eps) * g
        d = rho * d + (1 - rho) * step**2
        want.append(step)
    with jax.enable_x64(True):
        updates = follow(scale_by_adadelta(rho, eps=eps), gradients)
        np.testing.assert_allclose(updates, want, rtol=1e-11)


def test_eps_sets_the_size_of_the_first_step():
    for eps in (1e-6, 1e-4):
        step = once(scale_by_adadelta(0.9, eps=eps), jnp.array([50.0]))
        assert float(step[0]) == pytest.approx(np.sqrt(eps / 0.1), rel=1e-3)


def test_a_zero_gradient_gives_a_zero_step_and_lets_both_means_fade():
    tx = scale_by_adadelta(0.5)
    _, state = tx.update(jnp.ones(1), tx.init(jnp.ones(1)))
    updates, later = tx.update(jnp.zeros(1), state)
    assert float(updates[0]) == 0.0
    assert float(later.gradients[0]) == 0.5 * float(state.gradients[0])
    assert float(later.steps[0]) == 0.5 * float(state.steps[0])


def test_a_huge_or_infinite_gradient_leaves_a_finite_state_that_recovers():
    tx = scale_by_adadelta(0.9)
    gradients = jnp.asarray([[1e25], [np.inf], *[[1.0]] * 1000])
    updates = follow(tx, gradients)
    assert np.isfinite(updates).all()
    assert updates[-1, 0] > 1e-4


def test_a_nan_stays_in_the_state():
    updates = follow(scale_by_adadelta(0.9), jnp.array([[np.nan, 1.0], [1.0, 1.0]]))
    np.testing.assert_array_equal(np.isnan(updates[1]), [True, False])


def test_complex_gradients_have_real_statistics():
    tx = scale_by_adadelta(0.9)
    gradient = jnp.array([3 + 4j], jnp.complex64)
    updates, state = tx.update(gradient, tx.init(gradient))
    assert updates.dtype == gradient.dtype
    for mean_square, entry in ((state.gradients, gradient), (state.steps, updates)):
        assert mean_square.dtype == jnp.float32
        np.testing.assert_allclose(mean_square, 0.1 * np.abs(entry) ** 2, rtol=1e-6)
