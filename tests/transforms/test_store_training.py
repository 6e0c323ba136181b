"""Training with stored moments ends where float32 does: a test of equivalence, not of difference.

Digits MLP (64-256-256-10), Adam, 600 steps, 8 pairs of runs that differ in the storage only. Two
one-sided t tests at 5 %: the mean paired difference of the final loss lies within the margin if its
90 % interval does. Minutes.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optlab as ol
from optlab import storage

SEEDS, STEPS, BATCH = 8, 600, 128
MARGINS = {storage.bf16(): 0.02, storage.int8(): 0.02, storage.fp8(): 0.05}
# They are shares of float32's mean loss, which itself varies by 10 % (deviation) between seeds.
T = 1.895  # 95th percentile of Student's t with 7 degrees of freedom


@functools.cache
def digits():
    datasets = pytest.importorskip("sklearn.datasets")
    images, labels = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    images, labels = images[order].astype(np.float32) / 16, labels[order].astype(np.int32)
    return (images[:1437], labels[:1437]), (images[1437:], labels[1437:])


def initial(key):
    widths = (64, 256, 256, 10)
    keys = jax.random.split(key, 3)
    return {
        f"Dense_{i}": {
            "kernel": ol.initializers.he_normal()(keys[i], widths[i : i + 2], jnp.float32),
            "bias": jnp.zeros(widths[i + 1]),
        }
        for i in range(3)
    }


def loss(params, images, labels):
    x = images
    for i in range(3):
        layer = params[f"Dense_{i}"]
        x = x @ layer["kernel"] + layer["bias"][None]
        x = jax.nn.relu(x) if i < 2 else x
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(x, labels))


def final_losses(tx) -> np.ndarray:
    """Loss on all training images and on the others, for each seed."""
    (images, labels), others = digits()

    def run(seed):
        params = initial(jax.random.key(seed))

        def step(carry, key):
            params, state = carry
            batch = jax.random.randint(key, (BATCH,), 0, len(labels))
            gradient = jax.grad(loss)(
                params, jnp.asarray(images)[batch], jnp.asarray(labels)[batch]
            )
            updates, state = tx.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), None

        keys = jax.random.split(jax.random.key(1000 + seed), STEPS)
        (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), keys)
        return jnp.stack([loss(params, images, labels), loss(params, *others)])

    return np.asarray(jax.jit(lambda seeds: jax.lax.map(run, seeds))(jnp.arange(SEEDS)), np.float64)


def adam():
    return ol.adam(ol.schedules.cosine(1e-3, STEPS))


@functools.cache
def exact_losses():
    return final_losses(adam())


def interval(kept) -> np.ndarray:
    """90 % interval of the relative difference, for both losses: (2, 2)."""
    tx = ol.store(adam(), {"first": kept, "second": kept})
    difference = (final_losses(tx) - exact_losses()) / exact_losses().mean(0)
    half = T * difference.std(0, ddof=1) / np.sqrt(SEEDS)
    return np.stack([difference.mean(0) - half, difference.mean(0) + half])


@pytest.mark.slow
@pytest.mark.parametrize("kept", MARGINS, ids=repr)
def test_stored_moments_train_as_float32_does(kept):
    low, high = interval(kept)
    assert np.all(high < MARGINS[kept]), (low, high)
    assert np.all(low > -MARGINS[kept]), (low, high)


@pytest.mark.slow
@pytest.mark.parametrize("kept", [storage.bf16("nearest"), storage.int8(rounding="nearest")])
def test_rounding_to_nearest_can_be_told_from_float32(kept):
    """The margins are not too wide to see the difference that stochastic rounding makes."""
    low, high = interval(kept)
    assert low[0] > 0.02 or high[0] < -0.02, (low, high)


@pytest.mark.slow
def test_linear_codes_of_the_second_moment_train_worse():
    """This is what fourth roots are for."""
    tx = ol.store(adam(), {"second": storage.int8(values="nonnegative", power=1)})
    worse = final_losses(tx)[:, 0] / exact_losses()[:, 0]
    assert np.all(worse > 1)
    assert np.mean(worse) > 1.03
