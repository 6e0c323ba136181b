"""Cutout: a square of each image is blanked out."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from optlab.core import checks, data, static
from optlab.training.augment._base import Batch, ImageAugmentation
from optlab.training.augment._normalize import channels
from optlab.training.augment._spans import below, uniform


class cutout(ImageAugmentation):
    """Fills a square at a random place.

    Args:
      size: side of the square in pixels, >= 1, at most height and width.
      fill: what it is filled with: a number, or one per channel.

    Raises:
      ValueError: for a size that is no whole number >= 1 or larger than the images, a fill that is
        not finite or has another number of channels. TypeError: for no number.

    Special cases:
      The middle of the square is uniform over the pixels, so near the edge part of it lies outside,
      as in the paper: between a quarter of size² and all of it is blanked out. After `normalize`, a
      fill of 0 is the mean colour.

    Example:
      >>> import jax, jax.numpy as jnp, optlab as ol
      >>> cut = ol.training.augment.cutout(8, fill=0.5)
      >>> cut(jax.random.key(0), {"image": jnp.ones((1, 32, 32, 1))})["image"].min()
      Array(0.5, dtype=float32)

    Source:
      DeVries, Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017,
      arXiv:1708.04552.
    """

    size: int = static(checks.positive_count)
    fill: Any = data(channels(checks.finite), default=0.0)

    def check_batch(self, batch: Batch) -> None:
        super().check_batch(batch)
        shape = batch["image"].shape
        if self.size > min(shape[1:3]):
            raise ValueError(
                f"cutout: size must be at most height and width, got {self.size} for images of "
                f"{shape[1:3]}."
            )
        channels.check_fits("cutout", "fill", self.fill, shape[3])

    def transform(self, key: Any, image: jax.Array) -> jax.Array:
        height, width, _ = image.shape
        inside = box(uniform(key, 2), (self.size, self.size), (height, width))
        fill = jnp.broadcast_to(jnp.asarray(self.fill, image.dtype), image.shape)
        return jnp.where(inside[..., None], fill, image)


def box(chances: jax.Array, sides: tuple[Any, Any], shape: tuple[int, int]) -> jax.Array:
    """Which pixels are in a box whose middle is any pixel; the rest of it is outside the image."""
    down = _interval(chances[0], sides[0], shape[0])[:, None]
    return down & _interval(chances[1], sides[1], shape[1])[None, :]


def _interval(chance: jax.Array, length: Any, size: int) -> jax.Array:
    length = jnp.asarray(length).astype(jnp.int32)
    start = below(chance, size) - length // 2
    position = jnp.arange(size, dtype=jnp.int32)
    return (position >= start) & (position < start + length)
