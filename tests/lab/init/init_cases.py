"""Small models for the tests of initialisation reports."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

KEY = jax.random.key(3)
X = jax.random.normal(jax.random.key(4), (32, 12))


class Deep(nn.Module):
    """A chain of equal layers."""

    layers: int = 8
    width: int = 16
    activation: object = nn.relu
    kernel_init: object = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x):
        for _ in range(self.layers - 1):
            x = self.activation(nn.Dense(self.width, kernel_init=self.kernel_init)(x))
        return nn.Dense(4, kernel_init=self.kernel_init)(x)


class Zoo(nn.Module):
    """One of everything that can follow a layer, or stand before it."""

    @nn.compact
    def __call__(self, x):
        x = nn.leaky_relu(nn.Dense(8, name="leaky")(x), 0.2)
        x = jnp.tanh(nn.LayerNorm(name="norm")(nn.Dense(8, name="normed")(x)))
        x = nn.gelu(nn.DenseGeneral((2, 4), name="split")(x))
        x = nn.silu(nn.DenseGeneral(8, axis=(-2, -1), name="joined")(x))
        h = nn.Dense(8, use_bias=False, name="inner")(x)
        x = x + nn.Dense(8, name="last")(nn.relu(h))
        kernel = self.param("experts", nn.initializers.lecun_normal(), (3, 8, 4))
        y = nn.sigmoid(jnp.einsum("bd,edh->beh", x, kernel))
        tokens = jnp.broadcast_to(x[:, None], (x.shape[0], 5, 8))
        z = nn.MultiHeadDotProductAttention(2, name="attention")(tokens)
        return nn.Dense(3, name="head")(y.reshape(y.shape[0], -1)) + z.mean((1, 2))[:, None]


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return nn.relu(nn.Dense(6)(x)), None


class Images(nn.Module):
    """A convolution, then scanned layers."""

    @nn.compact
    def __call__(self, x):
        x = x.reshape(-1, 3, 4, 1)
        x = nn.relu(nn.Conv(6, (3, 3))(x)).mean((1, 2))
        scan = nn.scan(Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
        x, _ = scan(name="scanned")(x, None)
        return nn.Dense(2)(x)


class Fused(nn.Module):
    """Kernels whose fans Flax's default initializer gets wrong, and one that it gets right."""

    @nn.compact
    def __call__(self, x):
        init = nn.initializers.lecun_normal()
        x = nn.Dense(32)(x)
        qkv = jnp.einsum("bd,dthk->bthk", x, self.param("qkv", init, (32, 3, 4, 8)))
        x = jnp.tanh(qkv.sum(1).reshape(-1, 32))
        x = jnp.einsum("bd,edf->bef", x, self.param("experts", init, (16, 32, 16))).mean(1)
        right = nn.initializers.lecun_normal(in_axis=0, out_axis=(1, 2))
        return jnp.einsum("bd,dhk->bhk", x, self.param("right", right, (16, 8, 32))).sum(1)


class Chain(nnx.Module):
    def __init__(self, rngs, width=16, dropout=0.0):
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.first = nnx.Linear(12, width, rngs=rngs)
        self.rest = nnx.List([nnx.Linear(width, width, rngs=rngs) for _ in range(2)])
        self.head = nnx.Linear(width, 1, rngs=rngs)

    def __call__(self, x):
        x = self.first(x)
        for layer in self.rest:
            x = layer(self.dropout(jnp.tanh(x)))
        return self.head(jnp.tanh(x))


def drawn(model, scale=1.0, seed=0, x=X):
    """Parameters with Var(w) = scale / (first axis), and zero biases; nothing is compiled."""
    shapes = jax.eval_shape(model.init, KEY, x)["params"]
    generator = np.random.default_rng(seed)

    def draw(leaf):
        values = generator.standard_normal(leaf.shape) * (scale / leaf.shape[0]) ** 0.5
        return jnp.asarray(values if len(leaf.shape) > 1 else 0 * values, leaf.dtype)

    return jax.tree.map(draw, shapes)


def captured(params, batch):
    """Outputs of layers by the paths of their kernels, as `lsuv` takes them."""
    a = batch @ params["a"]
    b = jnp.tanh(a) @ params["b"]
    return {"a": a, "b": b, "c": jnp.tanh(b) @ params["c"]}


CAPTURED = {
    name: jax.random.normal(jax.random.fold_in(KEY, i), shape) / 4
    for i, (name, shape) in enumerate({"a": (12, 16), "b": (16, 16), "c": (16, 2)}.items())
}
