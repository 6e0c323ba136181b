"""What the networks of the built-in tasks are made of: plain dictionaries and matrix products."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from optlab.initializers import lecun_normal

Layer = dict[str, jax.Array]


def dense(
    key: jax.Array, shape: tuple[int, int], kernel_init: Callable[..., Any] | None = None
) -> Layer:
    """A layer at its start: LeCun's kernel unless another is given, as in Flax, and a zero bias."""
    kernel_init = lecun_normal() if kernel_init is None else kernel_init
    kernel = kernel_init(key, shape, jnp.float32)
    return {"kernel": kernel, "bias": jnp.zeros(shape[1:], jnp.float32)}


def network(
    key: jax.Array, widths: Sequence[int], kernel_init: Callable[..., Any] | None = None
) -> dict[str, Layer]:
    """Layers from one width to the next: `hidden_0`, `hidden_1`, ..., and `head`.

    Layers of one shape are drawn at once, which compiles once.
    """
    *shapes, head_shape = itertools.pairwise(widths)
    head_key, *keys = jax.random.split(key, len(shapes) + 1)
    layers = {}
    for shape in dict.fromkeys(shapes):
        places = [i for i, other in enumerate(shapes) if other == shape]
        draw = jax.vmap(functools.partial(dense, shape=shape, kernel_init=kernel_init))
        drawn = draw(jnp.stack([keys[i] for i in places]))
        for row, i in enumerate(places):
            layers[i] = jax.tree.map(lambda leaf, row=row: leaf[row], drawn)
    hidden = {f"hidden_{i}": layers[i] for i in range(len(shapes))}
    return {**hidden, "head": dense(head_key, head_shape)}


def apply_dense(layer: Layer, x: jax.Array) -> jax.Array:
    """`x @ kernel + bias` for x of [rows, fan_in]."""
    return x @ layer["kernel"] + layer["bias"][None, :]


def apply_network(
    params: dict[str, Layer], x: jax.Array, activation: Callable[[jax.Array], jax.Array]
) -> jax.Array:
    """The head's outputs, [rows, outputs]."""
    for i in range(len(params) - 1):
        x = activation(apply_dense(params[f"hidden_{i}"], x))
    return apply_dense(params["head"], x)


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean over rows, in nats."""
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def judged(logits: jax.Array, labels: jax.Array) -> dict[str, jax.Array]:
    """Accuracy and cross-entropy."""
    right = (jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32)
    return {"accuracy": right.mean(), "loss": cross_entropy(logits, labels)}
