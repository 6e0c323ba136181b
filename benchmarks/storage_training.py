"""A byte-level language model trained with its moments in every storage, beside float32.

Claim: the final loss cannot be told from float32's. Pairs of runs share the initial parameters and
the batches and differ in the storage only; printed is the mean relative difference of the final
training loss (of the last tenth of the steps) with its 90 % interval by Student's t. Two one-sided
tests at 5 % find the two equivalent within a margin if the interval lies inside it.

The corpus is the source of Python's standard library on this machine.

    python benchmarks/storage_training.py                            # 8 pairs, a quarter of an hour
    python benchmarks/storage_training.py --pairs 2 --steps 100 --only int8
"""

from __future__ import annotations

import argparse
import sysconfig
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import stats

import optlab as ol

WIDTH, HEADS, LAYERS, CONTEXT, BATCH = 96, 4, 2, 64, 8
STORAGES = {
    "bf16": {"first": ol.storage.bf16(), "second": ol.storage.bf16()},
    "int8": {"first": ol.storage.int8(), "second": ol.storage.int8()},
    "int8, nearest": dict.fromkeys(("first", "second"), ol.storage.int8(rounding="nearest")),
    "fp8": {"first": ol.storage.fp8(), "second": ol.storage.fp8()},
    "factored": {"second": ol.storage.factored()},
}


class Block(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        mask = nn.make_causal_mask(x[..., 0])
        attention = nn.MultiHeadDotProductAttention(HEADS, use_bias=False)
        x = x + attention(nn.LayerNorm()(x), mask=mask)
        hidden = nn.gelu(nn.Dense(4 * WIDTH)(nn.LayerNorm()(x)))
        return x + nn.Dense(WIDTH)(hidden)


class Model(nn.Module):
    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        places = self.param("places", nn.initializers.normal(0.02), (CONTEXT, WIDTH))
        x = nn.Embed(256, WIDTH)(tokens) + places
        for _ in range(LAYERS):
            x = Block()(x)
        return nn.Dense(256, use_bias=False)(nn.LayerNorm()(x))


def corpus() -> np.ndarray:
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    return np.frombuffer(b"".join(file.read_bytes() for file in files), np.uint8)


def runner(tx: ol.Transformation, text: jax.Array, steps: int) -> Any:
    """A compiled function: seed -> the loss of every step."""

    def loss_of(params, tokens):
        logits = Model().apply(params, tokens[:, :-1])
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:])
        return losses.mean()

    @jax.jit
    def run(seed):
        init, batches = jax.random.split(jax.random.key(seed))
        params = Model().init(init, jnp.zeros((1, CONTEXT), jnp.int32))

        def step(carry, key):
            params, state = carry
            starts = jax.random.randint(key, (BATCH, 1), 0, len(text) - CONTEXT - 1)
            tokens = text[starts + jnp.arange(CONTEXT + 1)].astype(jnp.int32)
            loss, gradient = jax.value_and_grad(loss_of)(params, tokens)
            updates, state = tx.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), loss

        carry = (params, tx.init(params))
        return jax.lax.scan(step, carry, jax.random.split(batches, steps))[1]

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--only", default="", help="part of a storage's name")
    arguments = parser.parse_args()
    text = jnp.asarray(corpus())
    shapes = jax.eval_shape(Model().init, jax.random.key(0), jnp.zeros((1, CONTEXT), jnp.int32))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    print(f"{len(text):,} bytes of text, {count:,} parameters, {arguments.steps} steps", flush=True)
    adamw = ol.adamw(ol.schedules.warmup_cosine(3e-3, arguments.steps, arguments.steps // 10))
    last = -(-arguments.steps // 10)

    def final(tx):
        run = runner(tx, text, arguments.steps)
        losses = [np.mean(np.asarray(run(s), np.float64)[-last:]) for s in range(arguments.pairs)]
        return np.array(losses)

    exact = final(adamw)
    print(f"float32: loss {exact.mean():.4f} nats, deviation {exact.std(ddof=1):.4f}", flush=True)
    for name, storages in STORAGES.items():
        if arguments.only in name:
            difference = final(ol.store(adamw, storages, where=ol.matrices)) / exact - 1
            error = difference.std(ddof=1) / np.sqrt(len(difference))
            half = stats.t.ppf(0.95, len(difference) - 1) * error
            mean = difference.mean()
            print(f"{name:14} {mean:+.2%}, from {mean - half:+.2%} to {mean + half:+.2%}")


if __name__ == "__main__":
    main()
