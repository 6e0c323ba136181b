"""Rotation, scale and shift about the middle of the image, by one bilinear resampling."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from optlab.core import checks, data, static
from optlab.training.augment._base import Batch, ImageAugmentation
from optlab.training.augment._spans import between, check_order, ends, span, uniform

mode_check = checks.one_of("zeros", "reflect")


def affine(image: jax.Array, degrees: Any, scale: Any, shift: Any, mode: str) -> jax.Array:
    """The image turned counter-clockwise, enlarged, then moved by `shift` (down, right) pixels.

    Pixels are points: the middle of an image of height H is row (H - 1) / 2, whatever is done to
    it. At multiples of 90 degrees, scale 1 and whole shifts, pixels are moved and not mixed.
    """
    height, width, _ = image.shape
    dtype = image.dtype
    cos, sin = (part.astype(dtype) / jnp.asarray(scale, dtype) for part in cos_sin(degrees))
    middle = jnp.asarray((height - 1) / 2, dtype), jnp.asarray((width - 1) / 2, dtype)
    down = (jnp.arange(height, dtype=dtype) - middle[0] - jnp.asarray(shift[0], dtype))[:, None]
    right = (jnp.arange(width, dtype=dtype) - middle[1] - jnp.asarray(shift[1], dtype))[None, :]
    rows = right * sin + down * cos + middle[0]  # where each pixel comes from
    columns = right * cos - down * sin + middle[1]
    outside = {"zeros": "constant", "reflect": "mirror"}[mode]

    def sample(channel: jax.Array) -> jax.Array:
        return map_coordinates(channel, [rows, columns], order=1, mode=outside)

    return jax.vmap(sample, -1, -1)(image)


def cos_sin(degrees: Any) -> tuple[jax.Array, jax.Array]:
    """Exact at multiples of 90 degrees, where float32 radians leave 4e-8 of a neighbour."""
    degrees = jnp.asarray(degrees, jnp.float32)
    quarters = jnp.round(degrees / 90)
    rest = jnp.deg2rad(degrees - 90 * quarters)
    cos, sin = jnp.cos(rest), jnp.sin(rest)
    turn = jnp.mod(quarters, 4).astype(jnp.int32)
    return jnp.stack([cos, -sin, -cos, sin])[turn], jnp.stack([sin, cos, -sin, -cos])[turn]


def check_mirror(owner: str, mode: str, batch: Batch) -> None:
    shape = batch["image"].shape[1:3]
    if mode == "reflect" and min(shape) < 2:
        raise ValueError(
            f"{owner}: images must have at least 2 rows and columns to be mirrored, got {shape}. "
            'Use mode="zeros".'
        )


class random_affine(ImageAugmentation):
    """Rotates, scales and shifts each image, with one bilinear resampling for all three.

    Args:
      degrees: angle, counter-clockwise as seen: d >= 0 for uniform in [-d, d], or (low, high).
      scale: factor, uniform in (low, high), each > 0; above 1 enlarges what is seen.
      shift: s in [0, 1]: moves by a fraction of height and of width, each uniform in [-s, s].
      mode: what is outside: `"zeros"`, or `"reflect"`, the image mirrored without repeating its
        edge.

    Raises:
      ValueError: for ranges that are empty, negative or not finite, a shift outside [0, 1], an
        unknown mode. TypeError: for no numbers.

    Special cases:
      0 degrees, scale 1 and no shift are the identity to the bit; a quarter turn of a square image
      moves pixels without mixing them. Enlarging blurs; scales well below 1 skip pixels.

    Example:
      >>> import jax, jax.numpy as jnp, optlab as ol
      >>> affine = ol.training.augment.random_affine(degrees=15, scale=(0.9, 1.1), shift=0.1)
      >>> affine
      random_affine(degrees=15.0, scale=(0.9, 1.1), shift=0.1)
      >>> affine(jax.random.key(0), {"image": jnp.ones((8, 32, 32, 3))})["image"].shape
      (8, 32, 32, 3)
    """

    degrees: Any = data(span(), default=0.0)
    scale: Any = data(span(checks.positive, symmetric=False), default=(1.0, 1.0))
    shift: Any = data(checks.probability, default=0.0)
    mode: str = static(mode_check, default="zeros")

    def check_batch(self, batch: Batch) -> None:
        super().check_batch(batch)
        check_mirror(self.record_name, self.mode, batch)

    def transform(self, key: Any, image: jax.Array) -> jax.Array:
        angle, factor, *places = uniform(key, 4)
        most = [jnp.asarray(self.shift, jnp.float32) * size for size in image.shape[:2]]
        return affine(
            image,
            between(angle, *ends(self.degrees)),
            between(factor, *self.scale),
            [between(place, -pixels, pixels) for place, pixels in zip(places, most, strict=True)],
            self.mode,
        )


class random_rotation(ImageAugmentation):
    """Rotates each image about its middle, by bilinear resampling.

    Args:
      degrees: angle, counter-clockwise as seen: d >= 0 for uniform in [-d, d], or (low, high).
      mode: what is outside: `"zeros"`, or `"reflect"`, the image mirrored.

    Raises:
      ValueError: for an empty or infinite range, an unknown mode. TypeError: for no number.

    Special cases:
      Multiples of 90 degrees move the pixels of a square image without mixing them. With scaling or
      shifting too, use `random_affine`, which resamples once.

    Example:
      >>> import jax, jax.numpy as jnp, optlab as ol
      >>> turn = ol.training.augment.random_rotation((90, 90))
      >>> image = jnp.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)
      >>> turn(jax.random.key(0), {"image": image})["image"][0, :, :, 0]
      Array([[2., 4.],
             [1., 3.]], dtype=float32)
    """

    degrees: Any = data(span())
    mode: str = static(mode_check, default="zeros")

    def check_batch(self, batch: Batch) -> None:
        super().check_batch(batch)
        check_mirror(self.record_name, self.mode, batch)

    def transform(self, key: Any, image: jax.Array) -> jax.Array:
        degrees = between(uniform(key, 1)[0], *ends(self.degrees))
        return affine(image, degrees, 1.0, (0.0, 0.0), self.mode)


class random_scale(ImageAugmentation):
    """Enlarges or shrinks each image about its middle, by bilinear resampling; its size stays.

    Args:
      low, high: the factor is uniform between them; 0 < low <= high; above 1 enlarges what is seen.
      mode: what is outside: `"zeros"`, or `"reflect"`, the image mirrored.

    Raises:
      ValueError: unless 0 < low <= high < inf; for an unknown mode. TypeError: for no number.

    Special cases:
      As `random_affine`.

    Example:
      >>> import jax, jax.numpy as jnp, optlab as ol
      >>> scale = ol.training.augment.random_scale(0.8, 1.25)
      >>> scale(jax.random.key(0), {"image": jnp.ones((8, 32, 32, 3))})["image"].shape
      (8, 32, 32, 3)
    """

    low: Any = data(checks.positive)
    high: Any = data(checks.positive)
    mode: str = static(mode_check, default="zeros")

    def check(self) -> None:
        check_order("random_scale", "scale", self.low, self.high)

    def check_batch(self, batch: Batch) -> None:
        super().check_batch(batch)
        check_mirror(self.record_name, self.mode, batch)

    def transform(self, key: Any, image: jax.Array) -> jax.Array:
        scale = between(uniform(key, 1)[0], self.low, self.high)
        return affine(image, 0.0, scale, (0.0, 0.0), self.mode)
