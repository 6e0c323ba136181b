"""The next byte of English text, by a small transformer."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optlab.core import checks
from optlab.initializers import lecun_normal, normal
from optlab.lab._task import Task
from optlab.optimizers import adam

_VOCABULARY = 128
_HELD_OUT = 128


def byte_lm(
    *, width: int = 32, heads: int = 2, context: int = 32, batch_size: int = 8, steps: int = 500
) -> Task:
    """Python's own help texts, byte by byte, by one block of a causal transformer.

    The block: attention and a ReLU network four times as wide, each after a normalisation and
    added to its input; learned positions; the embedding is also the output matrix.

    Args:
      width: of the embedding, a multiple of heads.
      heads: of attention.
      context: bytes that a prediction can look back on.
      batch_size: windows of context + 1 bytes a step.
      steps: budget.

    Returns:
      A task; metric "loss", the cross-entropy in nats a byte of 128 windows, evenly spread over
      the text, which training does not see.

    Target:
      What counting pairs of bytes reaches on the same windows (one added to every count), computed
      here because the text differs between versions of Python; about 2.48.

    Example:
      >>> import optlab as ol
      >>> task = ol.lab.tasks.byte_lm()
      >>> task.metric, task.mode
      ('loss', 'min')

    Source:
      A. Vaswani et al., Attention Is All You Need, 2017, arXiv:1706.03762; text: the standard
      library's `pydoc_data.topics`.
    """
    for name, value in (("width", width), ("heads", heads), ("context", context)):
        checks.positive_count("byte_lm", name, value)
    if width % heads:
        raise ValueError(f"byte_lm: width must be a multiple of heads, got {width} and {heads}.")
    text = _text()
    windows = text[: len(text) // (context + 1) * (context + 1)].reshape(-1, context + 1)
    held_out = np.linspace(0, len(windows) - 1, _HELD_OUT).astype(int)
    train, validation = np.delete(windows, held_out, axis=0), windows[held_out]

    def init(key):
        keys = iter(jax.random.split(key, 6))
        draw = functools.partial(lecun_normal(), dtype=jnp.float32)
        small = normal(0.1)
        return {
            "embedding": small(next(keys), (_VOCABULARY, width), jnp.float32),
            "positions": small(next(keys), (context, width), jnp.float32),
            "attention": {
                "norm": {"scale": jnp.ones((width,), jnp.float32)},
                "qkv": {"kernel": draw(next(keys), (width, 3 * width))},
                "out": {"kernel": draw(next(keys), (width, width))},
            },
            "network": {
                "norm": {"scale": jnp.ones((width,), jnp.float32)},
                "up": {"kernel": draw(next(keys), (width, 4 * width))},
                "down": {"kernel": draw(next(keys), (4 * width, width))},
            },
            "norm": {"scale": jnp.ones((width,), jnp.float32)},
        }

    def cross_entropy(params, windows):
        windows = windows.astype(jnp.int32)
        inputs, following = windows[:, :-1], windows[:, 1:]
        x = params["embedding"][inputs] + params["positions"][None]
        x = x + _attend(params["attention"], x, heads)
        x = x + _network(params["network"], x)
        logits = _normalise(params["norm"], x) @ params["embedding"].T
        losses = optax.losses.softmax_cross_entropy_with_integer_labels(logits, following)
        return losses.mean()

    return Task(
        name="byte_lm",
        init=init,
        loss=lambda params, batch, key: cross_entropy(params, batch),
        batch=jnp.asarray(train),
        batch_size=batch_size,
        evaluate=lambda params, batch: {"loss": cross_entropy(params, batch)},
        validation=jnp.asarray(validation),
        metric="loss",
        target=_pairs_counted(train, validation),
        steps=steps,
        baseline=adam(5e-3),
    )


def _normalise(layer, x):
    """RMS normalisation."""
    size = jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-6)
    return x * size * layer["scale"][None, None, :]


def _attend(layer, x, heads):
    rows, length, width = x.shape
    mixed = _normalise(layer["norm"], x) @ layer["qkv"]["kernel"]
    query, key, value = mixed.reshape(rows, length, 3, heads, width // heads).transpose(
        2, 0, 3, 1, 4
    )
    scores = query @ key.swapaxes(-1, -2) * (width // heads) ** -0.5
    past = jnp.tril(jnp.ones((length, length), bool))[None, None]
    weights = jax.nn.softmax(jnp.where(past, scores, -1e9), axis=-1)
    joined = (weights @ value).transpose(0, 2, 1, 3).reshape(rows, length, width)
    return joined @ layer["out"]["kernel"]


def _network(layer, x):
    inside = jax.nn.relu(_normalise(layer["norm"], x) @ layer["up"]["kernel"])
    return inside @ layer["down"]["kernel"]


@functools.cache
def _text() -> np.ndarray:
    """uint8; what is not ASCII is left out."""
    from pydoc_data import topics

    joined = "\n\n".join(topics.topics[name] for name in sorted(topics.topics))
    return np.frombuffer(joined.encode("ascii", "ignore"), np.uint8)


def _pairs_counted(train: np.ndarray, validation: np.ndarray) -> float:
    """Cross-entropy of a first-order Markov chain, in nats a byte."""
    counts = np.ones((_VOCABULARY, _VOCABULARY))
    np.add.at(counts, (train[:, :-1], train[:, 1:]), 1)
    probability = counts / counts.sum(1, keepdims=True)
    return float(-np.log(probability[validation[:, :-1], validation[:, 1:]]).mean())
