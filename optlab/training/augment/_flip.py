"""Random mirror images."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from optlab.core import checks, data, static
from optlab.training.augment._base import ImageAugmentation
from optlab.training.augment._spans import uniform


class random_flip(ImageAugmentation):
    """Mirrors each image with a probability.

    Args:
      p: the probability, in [0, 1].
      axis: `"horizontal"` swaps left and right, `"vertical"` top and bottom.

    Raises:
      ValueError: for a probability outside [0, 1] or an unknown axis. TypeError: for no number.

    Special cases:
      0 is the identity, 1 mirrors every image. Not for digits and letters.

    Example:
      >>> import jax, jax.numpy as jnp, optlab as ol
      >>> flip = ol.training.augment.random_flip(1.0)
      >>> image = jnp.array([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)
      >>> flip(jax.random.key(0), {"image": image})["image"].ravel()
      Array([3., 2., 1.], dtype=float32)
    """

    p: Any = data(checks.probability, default=0.5)
    axis: str = static(checks.one_of("horizontal", "vertical"), default="horizontal")

    def transform(self, key: Any, image: jax.Array) -> jax.Array:
        mirrored = jnp.flip(image, {"vertical": 0, "horizontal": 1}[self.axis])
        return jnp.where(uniform(key, 1)[0] < jnp.asarray(self.p, jnp.float32), mirrored, image)
