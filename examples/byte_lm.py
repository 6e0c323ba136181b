"""Trains a small transformer on bytes through an optlab chain. A script to fork.

    python examples/byte_lm.py                            # the standard library's own source
    python examples/byte_lm.py --text ~/books             # .txt, .md and .rst files of a folder
    python examples/byte_lm.py --steps 4000 --width 256   # longer, wider
    python examples/byte_lm.py --mesh data=8              # on eight devices

Run it again, and it goes on from the last checkpoint in --output. The last line printed is the
validation loss in bits a byte, of the average of the parameters.

With the defaults and seeds 0, 1 and 2, on Python 3.11's library: 2.1731, 2.1403, 2.1546 bits a byte
(mean 2.1560), in 425, 393 and 401 s of processor time. On two cores shared with one other program
seed 1 took 353 s.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import _results
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import optlab as ol
from optlab.training import data, metrics


@dataclasses.dataclass(frozen=True)
class Config(ol.training.RunOptions):
    """Trains a decoder-only transformer on bytes."""

    steps: int = 1500
    batch_size: int = 16
    output: Path = Path("runs/byte_lm")
    save_every: int = 250
    eval_every: int = 250
    log_every: int = 25
    learning_rate: float = 3e-3
    """Peak of the schedule: a twentieth of the steps warms up, the rest follows a cosine."""
    width: int = 128
    """Of the residual stream; a multiple of 32, the width of an attention head."""
    layers: int = 3
    context: int = 128
    """Bytes that the model sees at once."""
    text: Path | None = None
    """A file, or a folder of .txt, .md and .rst files; None: Python's standard library."""
    sample: int = 300
    """Bytes to write at the end; 0 for none."""

    def check(self) -> None:
        super().check()
        ol.training.check_number("--learning-rate", self.learning_rate, ol.core.checks.positive)
        for option in ("width", "layers", "context"):
            ol.training.check_whole(f"--{option}", getattr(self, option))
        ol.training.check_whole("--sample", self.sample, 0)
        if self.width % HEAD:
            raise ol.training.UserError(f"--width: a multiple of {HEAD} expected, got {self.width}")


HEAD = 32


def optimizer(config: Config) -> ol.Transformation:
    """AdamW with a shorter memory, and the average of the last part of the run."""
    rate = ol.schedules.warmup_cosine(config.learning_rate, config.steps, config.steps // 20)
    return ol.average_params(
        ol.chain(
            ol.clip_by_global_norm(1.0),  # text has odd passages: none may throw the weights away
            ol.accumulate_moments(b1=0.9, b2=0.95),  # squares of the last twenty steps: they shrink
            ol.correct_bias(),
            ol.divide_by_rms(eps=1e-8),
            ol.add_decayed_weights(0.1, where=ol.kernels),  # not embeddings, norms, biases
            ol.scale_by_learning_rate(rate),
        ),
        ema=0.99,  # evaluated in place of the last parameters, which still jump about
    )


class Block(nn.Module):
    """Attention, then a network of two layers, each added to the stream."""

    layers: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        # What ends a branch starts small, so that the stream's variance does not grow with depth.
        last = ol.initializers.variance_scaling(0.5 / self.layers, "fan_in", "truncated_normal")
        mask = nn.make_causal_mask(x[..., 0])
        attention = nn.MultiHeadDotProductAttention(
            width // HEAD, use_bias=False, out_kernel_init=last
        )
        x = x + attention(nn.LayerNorm()(x), mask=mask)
        hidden = nn.gelu(
            nn.Dense(4 * width, kernel_init=ol.initializers.he_normal())(nn.LayerNorm()(x))
        )
        return x + nn.Dense(width, kernel_init=last)(hidden)


class Model(nn.Module):
    """Bytes (n, length) to logits (n, length, 256): of the byte behind each."""

    width: int
    layers: int
    context: int

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        small = ol.initializers.normal(0.02)
        places = self.param("position_embedding", small, (self.context, self.width))
        x = nn.Embed(256, self.width, embedding_init=small)(tokens)
        x = x + places[None, : tokens.shape[1]]
        for _ in range(self.layers):
            x = Block(self.layers)(x)
        return nn.Dense(256, use_bias=False, name="head")(nn.LayerNorm()(x))


def program(args: list[str] | None) -> None:
    config = ol.training.parse(Config, args)
    config.check()
    if config.text is None:
        parts = data.standard_library(config.context)
    else:
        own = _results.left_out(config.output, config.text)
        parts = data.text_bytes(config.text, config.context, without=own)
    model = Model(config.width, config.layers, config.context)

    def losses(params: Any, batch: dict[str, jax.Array]) -> jax.Array:
        """Nats, of each byte."""
        tokens = batch["bytes"].astype(jnp.int32)
        logits = model.apply({"params": params}, tokens[:, :-1])
        logits = logits.astype(jnp.float32)  # of a run in bfloat16, too
        return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:])

    def judged(outputs: dict[str, np.ndarray]) -> dict[str, float]:
        return metrics.language(outputs["nats"].sum(), outputs["nats"].size)

    start = jnp.zeros((1, config.context), jnp.int32)
    params = model.init(jax.random.key(config.seed), start)["params"]
    tx = optimizer(config)
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    print(f"{parts['train']!r}\n{count:,} parameters\n{tx!r}\n", flush=True)
    held_out = parts["validation"].subset(np.arange(min(512, len(parts["validation"]))))
    run = ol.training.fit(
        lambda params, batch, key: losses(params, batch).mean(),
        params,
        tx,
        config.batches(parts["train"]),
        config,
        evaluate=ol.training.evaluator(
            lambda params, batch: {"nats": losses(params, batch)}, held_out, 64, judged
        ),
        monitor="bits_per_byte",
        title="byte_lm",
    )
    if config.sample:
        text = sampled(model, run.params, config.sample, jax.random.key(config.seed))
        print(f"\n{text}\n")
    name = "validation_bits_per_byte"
    best = min((row[name] for row in run.rows if name in row), default=float("nan"))
    print(f"validation: {best:.4f} bits a byte")


def sampled(model: Model, params: Any, count: int, key: jax.Array, start: str = "def ") -> str:
    """Text that the model writes, byte by byte, at temperature 0.8."""

    @jax.jit
    def next_byte(window: jax.Array, length: jax.Array, key: jax.Array) -> jax.Array:
        logits = model.apply({"params": params}, window[None])[0, length - 1]
        return jax.random.categorical(key, logits / 0.8)

    text = bytearray(start.encode())
    for i in range(count):
        tail = np.frombuffer(bytes(text[-model.context :]), np.uint8)
        window = np.zeros(model.context, np.int32)
        window[: len(tail)] = tail
        text.append(int(next_byte(window, len(tail), jax.random.fold_in(key, i))))
    return text.decode(errors="replace")


def main(args: list[str] | None = None) -> int:
    return ol.training.main("byte_lm.py", lambda: program(args))


if __name__ == "__main__":
    sys.exit(main())
