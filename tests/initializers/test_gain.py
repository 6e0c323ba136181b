"""Gains against PyTorch, and against the integral they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optlab.initializers import gain


def test_gains_are_those_of_torch():
    init = pytest.importorskip("torch").nn.init
    for name in ("linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"):
        assert gain(name) == pytest.approx(init.calculate_gain(name), abs=1e-15)
    assert gain("leaky_relu", 0.2) == pytest.approx(init.calculate_gain("leaky_relu", 0.2))


@pytest.mark.parametrize(
    ("name", "activation"),
    [
        ("relu", jax.nn.relu),
        ("leaky_relu", lambda z: jax.nn.leaky_relu(z, 0.01)),
        ("gelu", lambda z: jax.nn.gelu(z, approximate=False)),
        ("gelu_tanh", jax.nn.gelu),
        ("silu", jax.nn.silu),
        ("swish", jax.nn.swish),
        ("elu", jax.nn.elu),
        ("mish", jax.nn.mish),
        ("linear", lambda z: z),
    ],
)
def test_computed_gains_keep_the_second_moment_of_a_standard_normal(name, activation):
    with jax.enable_x64(True):
        z = np.linspace(-12, 12, 200_001)
        density = np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
        moment = (np.asarray(activation(jnp.asarray(z))) ** 2 * density).sum() * (z[1] - z[0])
    assert gain(name) == pytest.approx(moment**-0.5, rel=1e-6)


def test_the_slope_may_be_traced():
    slopes = jnp.array([0.0, 1.0])
    np.testing.assert_allclose(jax.vmap(lambda s: gain("leaky_relu", s))(slopes), [2**0.5, 1])


def test_bad_gains_say_what_is_known():
    with pytest.raises(ValueError, match=r"unknown activation 'reul'; did you mean 'relu'"):
        gain("reul")
    with pytest.raises(ValueError, match=r"only .leaky_relu. has a slope, got slope=0\.1"):
        gain("relu", 0.1)
    with pytest.raises(ValueError, match="slope"):
        gain("leaky_relu", float("nan"))
    with pytest.raises(ValueError, match="unknown activation None"):
        gain(None)
