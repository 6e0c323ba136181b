"""Gradient centralisation against equation 1 of its paper."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from transform_cases import normal, once, once_optax

from optlab.transforms import centralize


@pytest.mark.parametrize("shape", [(4, 3), (3, 3, 2, 5), (1, 3)])
def test_each_output_unit_loses_its_mean(shape):
    g = normal(*shape)
    want = g - g.mean(axis=tuple(range(g.ndim - 1)), keepdims=True)
    with jax.enable_x64(True):
        np.testing.assert_allclose(once(centralize(), jnp.asarray(g)), want, atol=1e-15)


@pytest.mark.parametrize("shape", [(), (5,), (0, 3), (3, 0)])
def test_vectors_scalars_and_empty_leaves_pass_unchanged(shape):
    g = jnp.asarray(normal(*shape), jnp.float32)
    np.testing.assert_array_equal(once(centralize(), g), g)


def test_centralising_twice_is_centralising_once():
    once_ = once(centralize(), jnp.asarray(normal(6, 4), jnp.float32))
    np.testing.assert_allclose(once(centralize(), once_), once_, atol=1e-6)


def test_optax_averages_over_the_other_axes():
    """The `Differs from` of the docstring: the same on the transposed kernel."""
    g = jnp.asarray(normal(6, 4), jnp.float32)
    theirs = once_optax(optax.centralize(), g.T).T
    np.testing.assert_allclose(once(centralize(), g), theirs, atol=1e-6)
