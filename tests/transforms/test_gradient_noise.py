"""Gradient noise: its variance, its fading, and what it depends on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transform_cases import once

from optlab import core
from optlab.transforms import add_gradient_noise, scale

N = 20_000


def noise(tx, steps=1, tree=None):
    tree = jnp.zeros(N) if tree is None else tree
    state, out = tx.init(tree), []
    for _ in range(steps):
        updates, state = tx.update(tree, state)
        out.append(updates)
    return out


def test_the_variance_fades_as_a_power_of_the_step():
    """Within five standard errors of equation 1: η / (1 + t)**γ."""
    for t, sample in enumerate(noise(add_gradient_noise(0.3, 0.55), steps=4)):
        want = 0.3 / (1 + t) ** 0.55
        assert abs(float(jnp.mean(sample))) < 5 * np.sqrt(want / N)
        assert float(jnp.var(sample)) == pytest.approx(want, rel=5 * np.sqrt(2 / N))


def test_annealing_zero_keeps_the_variance():
    *_, last = noise(add_gradient_noise(0.3, 0.0), steps=4)
    assert float(jnp.var(last)) == pytest.approx(0.3, rel=5 * np.sqrt(2 / N))


def test_it_is_added_to_the_gradient():
    zero = noise(add_gradient_noise(0.3))[0]
    shifted = noise(add_gradient_noise(0.3), tree=jnp.full(N, 4.0))[0]
    np.testing.assert_allclose(shifted, 4.0 + zero, rtol=1e-5)


def test_a_variance_of_zero_changes_nothing():
    gradient = jnp.array([1.0, -0.25])
    np.testing.assert_array_equal(once(add_gradient_noise(0.0), gradient), gradient)


def test_derivatives_at_a_variance_of_zero_are_zero():
    def total(variance, annealing):
        return jnp.sum(once(add_gradient_noise(variance, annealing), jnp.ones(3)))

    assert jax.grad(total, argnums=(0, 1))(0.0, 0.5) == (0, 0)


def test_a_complex_leaf_gets_complex_noise_of_that_variance():
    (sample,) = noise(add_gradient_noise(0.3), tree=jnp.zeros(N, jnp.complex64))
    assert float(jnp.var(sample)) == pytest.approx(0.3, rel=0.1)
    assert float(jnp.var(sample.real)) == pytest.approx(0.15, rel=0.1)


def test_it_depends_on_seed_step_and_path_only():
    a, b = noise(add_gradient_noise(0.3), steps=2)
    again = noise(add_gradient_noise(0.3))[0]
    other = noise(add_gradient_noise(0.3, seed=1))[0]
    np.testing.assert_array_equal(a, again)
    for x, y in ((a, b), (a, other)):
        assert abs(np.corrcoef(x, y)[0, 1]) < 5 / np.sqrt(N)


def test_adding_a_leaf_changes_no_other_leafs_noise():
    small = noise(add_gradient_noise(0.3), tree={"b": jnp.zeros(50)})[0]
    large = noise(add_gradient_noise(0.3), tree={"a": jnp.zeros(50), "b": jnp.zeros(50)})[0]
    np.testing.assert_array_equal(large["b"], small["b"])
    assert abs(np.corrcoef(large["a"], large["b"])[0, 1]) < 0.7


def test_jit_gives_the_same_noise_as_eager():
    tx = core.chain(add_gradient_noise(0.3, seed=7), scale(2.0))
    gradient = jnp.zeros(100)
    eager, _ = tx.update(gradient, tx.init(gradient))
    jitted, _ = jax.jit(tx.update)(gradient, tx.init(gradient))
    np.testing.assert_allclose(eager, jitted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("seed", [0, 2**31, 2**32 - 1])
def test_any_seed_of_32_bits_works(seed):
    assert np.isfinite(once(add_gradient_noise(0.3, seed=seed), jnp.zeros(3))).all()
