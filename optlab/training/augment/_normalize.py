"""Normalisation of channels, and numbers given one per channel."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from optlab.core import checks, data, numerics
from optlab.training.augment._base import Augmentation, Batch


@dataclasses.dataclass(frozen=True)
class channels:
    """The check of a number, or of a tuple (list, vector) of them, one per channel."""

    inner: checks.Interval

    def __call__(self, owner: str, name: str, value: Any) -> Any:
        if np.ndim(value) == 1 and not isinstance(value, jnp.ndarray):
            value = tuple(value)
        if not isinstance(value, tuple):
            return self.inner(owner, name, value)
        return tuple(self.inner(owner, f"{name}[{i}]", v) for i, v in enumerate(value))

    @staticmethod
    def check_fits(owner: str, name: str, value: Any, count: int) -> None:
        shape = jnp.shape(jnp.asarray(value))
        if shape not in ((), (count,)):
            raise ValueError(
                f"{owner}: {name} must be a number or one per channel, got shape {shape} for "
                f"images of {count} channels."
            )


class normalize(Augmentation):
    """Subtracts a mean and divides by a spread: `(x - mean) / std`, channel by channel.

    Args:
      mean: a number, or one per channel; in units of the image.
      std: > 0, a number, or one per channel.

    Raises:
      ValueError: for a std that is not positive, values that are not finite, another number of
        channels than the images have. TypeError: for no number.

    Special cases:
      Uses no key: `None` will do. The same at evaluation; put it last in training.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> norm = ol.training.augment.normalize((0.5, 0.5, 0.5), 0.25)
      >>> norm(None, {"image": jnp.ones((1, 1, 1, 3))})["image"].ravel()
      Array([2., 2., 2.], dtype=float32)
    """

    mean: Any = data(channels(checks.finite))
    std: Any = data(channels(checks.positive))

    @property
    def random(self) -> bool:
        return False

    def check_batch(self, batch: Batch) -> None:
        super().check_batch(batch)
        for name in ("mean", "std"):
            channels.check_fits("normalize", name, getattr(self, name), batch["image"].shape[3])

    def apply(self, key: Any, batch: Batch) -> Batch:
        del key
        image = batch["image"]
        wide = image.astype(numerics.compute_dtype(image.dtype))
        mean, std = (
            jnp.broadcast_to(jnp.asarray(v, wide.dtype), wide.shape) for v in (self.mean, self.std)
        )
        return {**batch, "image": ((wide - mean) / std).astype(image.dtype)}
