"""Signs, and Lion's two averages from one memory."""

import jax
import jax.numpy as jnp
import numpy as np
from transform_cases import follow, normal, once

from optlab import core
from optlab.transforms import interpolate_momentum, sign


def test_sign_of_everything():
    updates = once(sign(), jnp.array([-3.0, -0.0, 0.0, 1e-30, np.inf, -np.inf, np.nan]))
    np.testing.assert_array_equal(updates, [-1, 0, 0, 1, 1, -1, np.nan])


def test_sign_of_a_complex_entry_is_its_direction():
    updates = once(sign(), jnp.array([3 + 4j, 0j, -2j], jnp.complex64))
    np.testing.assert_allclose(updates, [0.6 + 0.8j, 0, -1j], rtol=1e-6)


def test_the_derivative_of_sign_is_zero():
    slope = jax.grad(lambda g: jnp.sum(once(sign(), g)))(jnp.array([-3.0, 0.0, 2.0]))
    np.testing.assert_array_equal(slope, np.zeros(3))


def test_lion_gives_one_average_and_keeps_another():
    """Program 1 of the paper: u = sign(b1 m + (1 - b1) g), then m = b2 m + (1 - b2) g."""
    gradients, m, given = normal(30, 6), 0.0, []
    for g in gradients:
        given.append(0.9 * m + 0.1 * g)
        m = 0.99 * m + 0.01 * g
    with jax.enable_x64(True):
        mixed = follow(interpolate_momentum(0.9, 0.99), gradients)
        np.testing.assert_allclose(mixed, given, rtol=1e-12)
        signs = follow(core.chain(interpolate_momentum(0.9, 0.99), sign()), gradients)
        np.testing.assert_array_equal(signs, np.sign(given))


def test_equal_decays_are_a_plain_average():
    m, want, gradients = 0.0, [], normal(10, 3)
    for g in gradients:
        m = 0.9 * m + 0.1 * g
        want.append(m)
    np.testing.assert_allclose(follow(interpolate_momentum(0.9, 0.9), gradients), want, rtol=1e-4)
