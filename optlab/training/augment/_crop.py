"""Random crops: the image, padded, seen through a window of its own size at a random place."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from optlab.core import checks, static
from optlab.training.augment._base import Batch, ImageAugmentation
from optlab.training.augment._spans import below, uniform


class random_crop(ImageAugmentation):
    """Shifts by whole pixels: pads every side, then cuts a window of the old size at random.

    Args:
      padding: pixels added on each side, >= 0; shifts are uniform in -padding ... padding, along
        both axes independently.
      mode: what is outside: `"reflect"`, the image mirrored without repeating its edge, or
        `"zeros"`.

    Raises:
      ValueError: for a padding that is no whole number >= 0, an unknown mode, or images too small
        to be mirrored that far (padding must be below height and width).

    Special cases:
      Padding 0 is the identity. Pixels are moved, never mixed.

    Example:
      >>> import jax, jax.numpy as jnp, optlab as ol
      >>> crop = ol.training.augment.random_crop(4)
      >>> crop, crop(jax.random.key(0), {"image": jnp.ones((8, 32, 32, 3))})["image"].shape
      (random_crop(padding=4), (8, 32, 32, 3))

    Source:
      Lee, Xie, Gallagher, Zhang, Tu, "Deeply-Supervised Nets", 2014, arXiv:1409.5185, section 4.
    """

    padding: int = static(checks.count)
    mode: str = static(checks.one_of("reflect", "zeros"), default="reflect")

    def check_batch(self, batch: Batch) -> None:
        super().check_batch(batch)
        smallest = min(batch["image"].shape[1:3])
        if self.mode == "reflect" and self.padding >= max(smallest, 1):
            raise ValueError(
                f"random_crop: padding must be below height and width to mirror the image, got "
                f'{self.padding} for images of {batch["image"].shape[1:3]}. Use mode="zeros".'
            )

    def transform(self, key: Any, image: jax.Array) -> jax.Array:
        sides = (self.padding, self.padding)
        mode = {"reflect": "reflect", "zeros": "constant"}[self.mode]
        padded = jnp.pad(image, (sides, sides, (0, 0)), mode)
        start = below(uniform(key, 2), 2 * self.padding + 1)
        window = (start[0], start[1], jnp.zeros((), jnp.int32))
        return jax.lax.dynamic_slice(padded, window, image.shape)
