"""Augmentations in order."""

from __future__ import annotations

from typing import Any

import jax

from optlab.core import data
from optlab.training.augment._base import Augmentation, Batch


class Compose(Augmentation, name="compose"):
    """Attributes: parts: augmentations, applied first to last."""

    parts: tuple[Augmentation, ...] = data()

    def check(self) -> None:
        for part in self.parts:
            if not isinstance(part, Augmentation):
                hint = " Did you forget to call it?" if isinstance(part, type) else ""
                raise TypeError(f"compose: parts must be augmentations, got {part!r}.{hint}")

    @property
    def random(self) -> bool:
        return any(part.random for part in self.parts)

    def apply(self, key: Any, batch: Batch) -> Batch:
        keys = jax.random.split(key, len(self.parts)) if self.random else [None] * len(self.parts)
        for part, own in zip(self.parts, keys, strict=True):
            batch = part.run(own, batch)
        return batch

    def __repr__(self) -> str:
        return f"compose({', '.join(map(repr, self.parts))})"


def compose(*augmentations: Augmentation) -> Augmentation:
    """Several augmentations as one, applied first to last, each with a key of its own.

    Args:
      *augmentations: any, `compose` among them; the key is split once, into one for each.

    Returns:
      An `Augmentation`.

    Raises:
      TypeError: if an argument is no augmentation.

    Special cases:
      No argument gives the identity. Without random parts the key may be `None`.

    Example:
      >>> import jax, jax.numpy as jnp, optlab as ol
      >>> from optlab.training import augment
      >>> train = augment.compose(augment.random_flip(), augment.normalize(0.5, 0.25))
      >>> train
      compose(random_flip(p=0.5), normalize(mean=0.5, std=0.25))
      >>> train(jax.random.key(0), {"image": jnp.ones((2, 4, 4, 1))})["image"].max()
      Array(2., dtype=float32)
    """
    return Compose(parts=tuple(augmentations))
