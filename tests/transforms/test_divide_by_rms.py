"""The division by the root, plain and rectified, against float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transform_cases import follow, normal, once

from optlab import core
from optlab.core import Estimate, Moments
from optlab.transforms import (
    accumulate_moments,
    correct_bias,
    divide_by_rectified_rms,
    divide_by_rms,
)

G = normal(20, 4)


def divide(first, second, power=2, **options):
    first, second = jnp.asarray(first), jnp.asarray(second)
    tx = divide_by_rms(**options)
    return tx.update(Moments(first, Estimate(first), Estimate(second), power), tx.init(None))[0]


def test_eps_stands_outside_of_the_root_and_eps_root_inside():
    updates = divide([3.0, -1.0], [4.0, 0.25], eps=0.5, eps_root=0.75)
    want = [3 / (np.sqrt(4.75) + 0.5), -1 / (1 + 0.5)]
    np.testing.assert_allclose(updates, want, rtol=1e-6)


def test_zero_over_zero_is_zero_with_a_finite_derivative():
    np.testing.assert_array_equal(divide([0.0, 1.0], [0.0, 1.0], eps=0.0), [0, 1])
    tx = core.chain(accumulate_moments(), correct_bias(), divide_by_rms(0.0))
    jacobian = jax.jacobian(lambda g: once(tx, g))(jnp.zeros(2))
    assert np.isfinite(jacobian).all()


def test_a_magnitude_is_not_rooted_and_takes_no_eps_root():
    updates = divide([6.0], [4.0], power=1, eps=0.5, eps_root=100.0)
    np.testing.assert_allclose(updates, [6 / 4.5], rtol=1e-6)


def test_scheduled_eps_is_used():
    tx = core.chain(accumulate_moments(None, 0.0), divide_by_rms(lambda count: 1.0 + count))
    updates = follow(tx, jnp.full((3, 1), 2.0)).ravel()
    np.testing.assert_allclose(updates, [2 / 3, 2 / 4, 2 / 5], rtol=1e-6)


def length(b2, t):
    """rho_t of RAdam's equation 5, in float64 by the paper's formula."""
    infinite = 2 / (1 - b2) - 1
    return infinite, infinite - 2 * t * b2**t / (1 - b2**t)


def rectified(gradients, b1, b2, eps, threshold, convention):
    m = v = 0.0
    out = []
    for t, g in enumerate(gradients, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        mean = m / (1 - b1**t)
        infinite, rho = length(b2, t)
        if rho <= threshold:
            out.append(mean)
            continue
        top = (rho - 4) * (rho - 2) * infinite
        r = np.sqrt(top / ((infinite - 4) * (infinite - 2) * rho))
        root = np.sqrt(v / (1 - b2**t)) + eps
        if convention == "pytorch":
            root = (np.sqrt(v) + eps) / np.sqrt(1 - b2**t)
        out.append(r * mean / root)
    return np.stack(out)


@pytest.mark.parametrize("b2", [0.0, 0.5, 0.8, 0.9, 0.999, 0.9999])
@pytest.mark.parametrize("threshold", [4.0, 5.0])
@pytest.mark.parametrize("convention", ["paper", "pytorch"])
def test_rectification_is_radam(b2, threshold, convention):
    with jax.enable_x64(True):
        tx = core.chain(
            accumulate_moments(0.9, b2),
            divide_by_rectified_rms(0.1, threshold=threshold, convention=convention),
        )
        want = rectified(G, 0.9, b2, 0.1, threshold, convention)
        np.testing.assert_allclose(follow(tx, G), want, rtol=2e-9)


@pytest.mark.parametrize("convention", ["paper", "pytorch"])
def test_rectified_zero_over_zero_is_zero_too(convention):
    rectify = divide_by_rectified_rms(0.0, convention=convention)
    updates = follow(core.chain(accumulate_moments(b2=0.9), rectify), jnp.zeros((20, 1)))
    np.testing.assert_array_equal(updates, 0)


def test_with_b2_999_the_first_five_steps_are_plain_means():
    updates = follow(
        core.chain(accumulate_moments(), divide_by_rectified_rms()), jnp.full((6, 1), 7.0)
    )
    np.testing.assert_allclose(updates[:5], 7.0, rtol=1e-5)
    assert updates[5, 0] < 0.1


@pytest.mark.parametrize("b2", [0.9, 0.999, 0.9999])
def test_the_rectification_is_accurate_in_float32_from_its_first_step(b2):
    """The paper's difference of large numbers is 1e-4 off, and worse for larger b2."""
    steps = np.unique(np.geomspace(5, 20000, 60).astype(int))
    infinite, rho = length(np.float64(b2), steps)
    keep = rho > 4.01
    exact = np.sqrt((rho - 4) * (rho - 2) * infinite / ((infinite - 4) * (infinite - 2) * rho))
    tx = core.chain(accumulate_moments(0.0, b2), divide_by_rectified_rms(0.0, threshold=4.0))
    one = jnp.ones(())
    moments, rectified = tx.init(one)

    def factor(count):
        return tx.update(one, (moments, rectified._replace(count=count - 1)))[0]

    got = jax.jit(jax.vmap(factor))(jnp.asarray(steps, jnp.int32))
    np.testing.assert_allclose(np.asarray(got)[keep], exact[keep], rtol=3e-6)


def test_below_four_no_threshold_is_accepted_for_the_factor_is_not_real_there():
    with pytest.raises(ValueError, match=r"threshold must be a number >= 4.*got 3.9"):
        divide_by_rectified_rms(threshold=3.9)
