"""What initializers are for, signals that survive depth, and what wrong ones do to them."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from optlab import initializers

KEY = jax.random.key(5)
WIDTH, DEPTH = 128, 20
X = jax.random.normal(jax.random.key(6), (WIDTH, WIDTH))


def growth(init, activation, layers=DEPTH):
    """The factor a layer multiplies the signal's root mean square by, over 20 layers."""
    kernels = jax.vmap(lambda key: init(key, (WIDTH, WIDTH)))(jax.random.split(KEY, layers))
    out, _ = jax.lax.scan(lambda x, w: (activation(x @ w), None), X, kernels)
    return float(jnp.sqrt(jnp.mean(out**2) / jnp.mean(activation(X) ** 2))) ** (1 / layers)


def linear(x):
    return x


@pytest.mark.parametrize(
    ("init", "activation"),
    [
        (initializers.he_normal(), jax.nn.relu),
        (initializers.he_uniform(slope=0.2), lambda x: jax.nn.leaky_relu(x, 0.2)),
        (initializers.xavier_uniform(), linear),
    ],
)
def test_the_signal_keeps_its_size_through_20_layers(init, activation):
    assert growth(init, activation) == pytest.approx(1, abs=0.05)


def test_orthogonal_layers_keep_every_norm_exactly():
    x = X[:, :16]
    for kernel in initializers.orthogonal(batch_axis=0)(KEY, (DEPTH, 16, 16)):
        x = x @ kernel
    np.testing.assert_allclose(
        np.linalg.norm(x, axis=1), np.linalg.norm(X[:, :16], axis=1), rtol=1e-5
    )


def test_the_standard_deviations_that_tutorials_print_are_wrong():
    # He as std = 2/sqrt(n): sqrt(2) too large, at every layer.
    printed_he = initializers.normal(2 / math.sqrt(WIDTH))
    assert growth(printed_he, jax.nn.relu) == pytest.approx(math.sqrt(2), abs=0.07)
    # "Xavier" as std = 1/sqrt(n) is LeCun's: in a layer that widens fourfold the gradient's second
    # moment grows fourfold. Xavier shares the error out: 0.4 forward, 1.6 backward.
    shape = (WIDTH, 4 * WIDTH)
    printed_xavier = initializers.normal(1 / math.sqrt(WIDTH))
    assert printed_xavier.variance(shape) == pytest.approx(
        initializers.lecun_normal().variance(shape)
    )
    assert printed_xavier.variance(shape) * shape[1] == pytest.approx(4)
    assert initializers.xavier_normal().variance(shape) * shape[0] == pytest.approx(0.4)
    assert initializers.xavier_normal().variance(shape) * shape[1] == pytest.approx(1.6)
    # And with ReLU it loses half of the second moment at every layer.
    assert growth(printed_xavier, jax.nn.relu) == pytest.approx(math.sqrt(0.5), abs=0.05)


class Mlp(nn.Module):
    kernel_init: object

    @nn.compact
    def __call__(self, x):
        x = nn.tanh(nn.Dense(8, kernel_init=self.kernel_init)(x))
        return nn.Dense(1, kernel_init=self.kernel_init)(x)


def gradient(kernel_init):
    model, x = Mlp(kernel_init), jax.random.normal(KEY, (16, 4))
    params = model.init(KEY, x)["params"]
    return jax.grad(lambda p: jnp.mean((model.apply({"params": p}, x) - 1) ** 2))(params)


def test_zeros_pass_nothing_back_and_constants_keep_units_equal():
    dead = gradient(initializers.zeros)
    assert not dead["Dense_0"]["kernel"].any()
    assert not dead["Dense_1"]["kernel"].any()
    assert dead["Dense_1"]["bias"].any()
    equal = np.asarray(gradient(initializers.constant(0.1))["Dense_0"]["kernel"])
    assert equal.any()
    np.testing.assert_array_equal(equal, np.broadcast_to(equal[:, :1], equal.shape))
    broken = np.asarray(gradient(initializers.lecun_normal())["Dense_0"]["kernel"])
    assert not np.allclose(broken, broken[:, :1])


def residual_growth(last, layers):
    inner = initializers.he_normal()

    def block(x, key):
        keys = jax.random.split(key)
        h = jax.nn.relu(x @ inner(keys[0], (WIDTH, WIDTH)))
        return x + h @ last(keys[1], (WIDTH, WIDTH)), None

    out, _ = jax.lax.scan(block, X, jax.random.split(KEY, layers))
    return float(jnp.var(out) / jnp.var(X))


def test_depth_scaled_branches_add_up_to_one():
    # Every branch of variance 1 doubles the stream: 2**8. Divided by sqrt(2L), (1 + 1/2L)**L.
    lecun = initializers.lecun_normal()
    assert residual_growth(lecun, 8) == pytest.approx(2**8, rel=0.2)
    scaled = initializers.depth_scaled(lecun, layers=8)
    assert residual_growth(scaled, 8) == pytest.approx((1 + 1 / 16) ** 8, rel=0.05)


def test_linen_layers_take_initializers_as_they_are():
    model = nn.Dense(32, kernel_init=initializers.he_normal(), bias_init=initializers.zeros)
    params = model.init(KEY, jnp.ones((1, 64)))["params"]
    assert params["kernel"].var() == pytest.approx(2 / 64, rel=0.2)
    assert hash(model) == hash(
        nn.Dense(32, kernel_init=initializers.he_normal(), bias_init=initializers.zeros)
    )
    attention = nn.MultiHeadDotProductAttention(4, kernel_init=initializers.lecun_normal())
    params = attention.init(KEY, jnp.ones((1, 5, 64)))["params"]
    assert params["query"]["kernel"].shape == (64, 4, 16)
    assert params["query"]["kernel"].var() == pytest.approx(1 / 64, rel=0.15)


def test_linen_partitioning_wraps_them():
    init = nn.with_partitioning(initializers.he_normal(), ("in", "out"))
    params = nn.Dense(8, kernel_init=init).init(KEY, jnp.ones((1, 4)))["params"]
    assert params["kernel"].names == ("in", "out")


def test_nnx_layers_take_initializers_as_they_are():
    model = nnx.Linear(
        64, 32, kernel_init=initializers.he_normal(), bias_init=initializers.ones, rngs=nnx.Rngs(0)
    )
    assert model.kernel[...].var() == pytest.approx(2 / 64, rel=0.2)
    assert model.bias[...].all()
    attention = nnx.MultiHeadAttention(
        4, 64, kernel_init=initializers.orthogonal(), decode=False, rngs=nnx.Rngs(0)
    )
    query = np.asarray(attention.query.kernel[...]).reshape(64, 64)
    np.testing.assert_allclose(query @ query.T, np.eye(64), atol=1e-5)
    conv = nnx.Conv(8, 8, (3, 3), kernel_init=initializers.delta_orthogonal(), rngs=nnx.Rngs(0))
    assert not conv.kernel[...][0].any()
