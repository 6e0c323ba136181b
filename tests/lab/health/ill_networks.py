"""Small networks trained for real: healthy ones, and some that have one illness each."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optlab import core, optimizers, transforms

CLASSES, FEATURES, EXAMPLES = 4, 8, 512
EVERY, STEPS = 5, 300


def data(label_noise: float = 0.0) -> tuple[jax.Array, jax.Array]:
    """Points around the means of two clusters for each class."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(2 * CLASSES, FEATURES)) * 1.2
    which = rng.integers(2 * CLASSES, size=EXAMPLES)
    x = means[which] + rng.normal(size=(EXAMPLES, FEATURES))
    labels = which % CLASSES
    random = rng.uniform(size=EXAMPLES) < label_noise
    labels = np.where(random, rng.integers(CLASSES, size=EXAMPLES), labels)
    return jnp.asarray(x, jnp.float32), jnp.asarray(labels)


def network(
    seed: int,
    depth: int = 2,
    width: int = 32,
    make: Callable[..., jax.Array] | None = None,
    bias: float = 0.0,
) -> dict[str, Any]:
    """`depth` hidden layers; `make(key, shape)` draws a kernel, by default He's normal."""
    make = jax.nn.initializers.he_normal() if make is None else make
    sizes = [FEATURES, *[width] * depth, CLASSES]
    keys = jax.random.split(jax.random.key(seed), depth + 1)
    return {
        f"Dense_{i}": {"kernel": make(key, shape), "bias": jnp.full(shape[1], bias)}
        for i, (key, shape) in enumerate(zip(keys, itertools.pairwise(sizes), strict=True))
    }


def loss_of(
    params: Any, x: jax.Array, labels: jax.Array, chosen: jax.Array, sigmoid: Any, squared: Any
) -> Any:
    for i in range(len(params)):
        layer = params[f"Dense_{i}"]
        x = x @ layer["kernel"] + layer["bias"][None]
        if i + 1 < len(params):
            x = jnp.where(sigmoid, jax.nn.sigmoid(x), jax.nn.relu(x))
    losses = optax.softmax_cross_entropy_with_integer_labels(x, labels)
    errors = jnp.mean((jax.nn.sigmoid(x) - jax.nn.one_hot(labels, CLASSES)) ** 2, axis=1)
    losses = jnp.where(squared, errors, losses)
    return jnp.sum(losses * chosen) / jnp.sum(chosen)


def adam(learning_rate: float = 3e-3, max_norm: float = 1e6) -> Any:
    return core.chain(transforms.clip_by_global_norm(max_norm), optimizers.adam(learning_rate))


def train(
    tx: Any = None,
    seed: int = 0,
    *,
    batch: int = 64,
    sigmoid: bool = False,
    squared: bool = False,
    label_noise: float = 0.0,
    params: Any = None,
) -> tuple[Any, np.ndarray]:
    """The state of a probe around an optimizer after a training, and the loss of every step.

    squared: the error of sigmoids of the outputs, in place of the cross-entropy.
    Kinds of optimizers and depths are compiled once each; all else is an argument.
    """
    tx = transforms.probe(adam() if tx is None else tx, every=EVERY)
    params = network(seed) if params is None else params
    state, losses = _run(tx, params, *data(label_noise), seed, batch, sigmoid, squared)
    return state, np.asarray(losses)


@jax.jit
def _run(tx, params, x, labels, seed, batch, sigmoid, squared):
    def step(carry, key):
        params, state = carry
        chosen = (jax.random.permutation(key, EXAMPLES) < batch).astype(jnp.float32)
        value, gradient = jax.value_and_grad(loss_of)(params, x, labels, chosen, sigmoid, squared)
        updates, state = tx.update(gradient, state, params, value=value)
        return (optax.apply_updates(params, updates), state), value

    keys = jax.random.split(jax.random.key(seed), STEPS)
    (_, state), losses = jax.lax.scan(step, (params, tx.init(params)), keys)
    return state, losses
