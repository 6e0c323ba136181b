"""Digits by a small convolutional network."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from optlab.initializers import he_normal
from optlab.lab._task import Task
from optlab.lab.tasks import _layers
from optlab.lab.tasks._digits_task import digits_task
from optlab.optimizers import adam
from optlab.schedules import warmup_cosine

_SIDE, _WINDOW = 8, 3


def digits_cnn(
    *, channels: tuple[int, int] = (8, 16), batch_size: int = 32, steps: int = 250
) -> Task:
    """Handwritten digits, 8 x 8, by two 3 x 3 convolutions with pooling, and a linear head.

    Args:
      channels: of the two convolutions.
      batch_size: 1 to 1438, the training images.
      steps: budget; an epoch has 44 steps of 32.

    Returns:
      A task; metric "accuracy", as `digits_mlp`.

    Target:
      0.97, as `digits_mlp`.

    Example:
      >>> import jax, optlab as ol
      >>> params = ol.lab.tasks.digits_cnn().init(jax.random.key(0))
      >>> params["conv_1"]["kernel"].shape
      (3, 3, 8, 16)
    """

    def init(key):
        keys = jax.random.split(key, 3)
        inputs = (1, channels[0])
        convolutions = {
            f"conv_{i}": {
                "kernel": he_normal()(keys[i], (_WINDOW, _WINDOW, inputs[i], channels[i])),
                "bias": jnp.zeros((channels[i],), jnp.float32),
            }
            for i in range(2)
        }
        outputs = channels[1] * (_SIDE // 4) ** 2
        return {**convolutions, "head": _layers.dense(keys[2], (outputs, 10))}

    def logits(params, images):
        x = images.reshape(-1, _SIDE, _SIDE, 1)
        for name in ("conv_0", "conv_1"):
            x = _halve(jax.nn.relu(_convolve(params[name], x)))
        return _layers.apply_dense(params["head"], x.reshape(len(x), -1))

    return digits_task(
        "digits_cnn",
        init,
        logits,
        batch_size=batch_size,
        target=0.97,
        steps=steps,
        baseline=adam(warmup_cosine(2e-2, steps, steps // 10)),
    )


def _convolve(layer: _layers.Layer, x: jax.Array) -> jax.Array:
    """A convolution that keeps the size: padding, shifted slices, and one matrix product.

    XLA runs a convolution operator inside a scan on the CPU about 15 times slower than this.
    """
    kernel = layer["kernel"]
    windows = _shifted(_shifted(x, axis=2), axis=1)  # channels: row and column of the window, input
    flat = windows @ kernel.reshape(-1, kernel.shape[-1])
    return flat + layer["bias"][None, None, None, :]


def _shifted(x: jax.Array, axis: int) -> jax.Array:
    """x and its neighbours along an axis, before and after, side by side in the last."""
    around = [(0, 0)] * x.ndim
    around[axis] = (_WINDOW // 2, _WINDOW // 2)
    padded = jnp.pad(x, around)
    size = x.shape[axis]
    places = [jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(_WINDOW)]
    return jnp.concatenate(places, axis=-1)


def _halve(x: jax.Array) -> jax.Array:
    """Means over windows of 2 x 2."""
    rows, height, width, channels = x.shape
    return x.reshape(rows, height // 2, 2, width // 2, 2, channels).mean((2, 4))
