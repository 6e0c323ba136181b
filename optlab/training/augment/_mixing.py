"""Mixing pairs of examples, their labels too: `mixup`, `cutmix`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from optlab.core import checks, data, numerics, static
from optlab.training.augment._base import Augmentation, Batch, example_keys
from optlab.training.augment._cutout import box
from optlab.training.augment._labels import (
    check_labels,
    classes_check,
    distributions,
    like_given,
)
from optlab.training.augment._spans import below, uniform


class _Mixing(Augmentation):
    alpha: Any = data(checks.positive)
    classes: int | None = static(classes_check, default=None)

    def check_batch(self, batch: Batch) -> None:
        super().check_batch(batch)
        check_labels(self.record_name, batch, self.classes)

    def pair(
        self, chances: jax.Array, image: jax.Array, other: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """The mixed image, and the weight of the first in it; `chances` are 4 uniform numbers."""
        raise NotImplementedError

    def apply(self, key: Any, batch: Batch) -> Batch:
        image = batch["image"]
        count = len(image)
        chances = jax.vmap(lambda key: uniform(key, 5))(example_keys(key, count))
        others = 1 + below(chances[:, 0], count - 1) if count > 1 else 0
        partner = (jnp.arange(count, dtype=jnp.int32) + others) % max(count, 1)
        wide = image.astype(numerics.compute_dtype(image.dtype))
        mixed, weight = jax.vmap(self.pair)(chances[:, 1:], wide, wide[partner])
        label = distributions(batch["label"], self.classes)
        weight = weight.astype(label.dtype)[:, None]
        label = blend(weight, label, label[partner])
        return {
            **batch,
            "image": mixed.astype(image.dtype),
            "label": like_given(label, batch["label"]),
        }


def beta(radius: jax.Array, angle: jax.Array, alpha: Any) -> jax.Array:
    """Beta(alpha, alpha) of two uniform numbers; `jax.random.beta` takes long to compile.

    Bailey, "Polar generation of random variates with the t-distribution", 1994: t = cos(2πV) ·
    sqrt(n (U^(-2/n) - 1)) has Student's distribution with n degrees of freedom, and then
    (1 + t / sqrt(n + t²)) / 2 is Beta(n/2, n/2).
    """
    inverse = 1 / jnp.asarray(alpha, jnp.float32)
    log = jnp.log(radius) * inverse
    power, rest = jnp.exp(log), -jnp.expm1(log)  # q = U^(1/alpha) and 1 - q
    cos = jnp.cos(2 * jnp.pi * angle)
    ratio = cos * jnp.sqrt(rest / (power + rest * cos * cos))  # t / sqrt(n + t²)
    return jnp.clip((1 + ratio) / 2, 0, 1)


def blend(weight: jax.Array, first: jax.Array, second: jax.Array) -> jax.Array:
    """`weight · first + (1 - weight) · second`, rounded after each operation.

    A product is never below the least finite number, but compilers do not know and cannot merge it
    with the sum, which they would do here and not there: that moves a last bit.
    """
    least = jnp.finfo(first.dtype).min
    return jnp.maximum(weight * first, least) + jnp.maximum((1 - weight) * second, least)


class mixup(_Mixing):
    """Adds to each example another: `w x + (1 - w) x'`, labels alike, w ~ Beta(alpha, alpha).

    Args:
      alpha: > 0; small values leave most examples nearly as they are, 1 makes w uniform. 0.2 and
        0.4 are usual.
      classes: how many there are, for integer labels; None where labels are distributions already.

    Raises:
      ValueError: for an alpha that is not positive and finite, integer labels without `classes`,
        labels of another shape. TypeError: for no number.

    Special cases:
      w and the partner, another example of the batch drawn uniformly, are chosen for each example.
      A batch of one is its own partner. An integer label outside [0, classes) becomes NaN. Across
      devices every one reads the images of all.

    Differs from:
      The paper's code draws one w and one permutation for a whole batch.

    Example:
      >>> import jax, jax.numpy as jnp, optlab as ol
      >>> mix = ol.training.augment.mixup(0.2, classes=2)
      >>> batch = {"image": jnp.ones((8, 4, 4, 1)), "label": jnp.arange(8) % 2}
      >>> mix(jax.random.key(0), batch)["label"].sum()
      Array(8., dtype=float32)

    Source:
      Zhang, Cisse, Dauphin, Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", 2017,
      arXiv:1710.09412.
    """

    def pair(
        self, chances: jax.Array, image: jax.Array, other: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        weight = beta(chances[0], chances[1], self.alpha)
        own = weight.astype(image.dtype)
        return blend(own, image, other), weight


class cutmix(_Mixing):
    """Pastes a box of another example into each, and weighs the labels by their areas.

    Args:
      alpha: > 0; the box is (1 - w) of the image with w ~ Beta(alpha, alpha), sides in proportion
        to the image's, its middle uniform over the pixels; what lies outside is left out. 1 is
        usual.
      classes: how many there are, for integer labels; None where labels are distributions already.

    Raises:
      ValueError: as `mixup`. TypeError: for no number.

    Special cases:
      The partner's weight is the pasted part of the image, counted in pixels, not the w drawn.
      Partners are chosen as in `mixup`.

    Differs from:
      The paper's code pastes one box at one place for a whole batch.

    Example:
      >>> import jax, jax.numpy as jnp, optlab as ol
      >>> mix = ol.training.augment.cutmix(1.0, classes=2)
      >>> batch = {"image": jnp.ones((8, 4, 4, 1)), "label": jnp.arange(8) % 2}
      >>> mix(jax.random.key(0), batch)["label"].sum()
      Array(8., dtype=float32)

    Source:
      Yun, Han, Oh, Chun, Choe, Yoo, "CutMix: Regularization Strategy to Train Strong Classifiers
      with Localizable Features", 2019, arXiv:1905.04899.
    """

    def pair(
        self, chances: jax.Array, image: jax.Array, other: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        side = jnp.sqrt(1 - beta(chances[0], chances[1], self.alpha))
        height, width = image.shape[:2]
        sides = (jnp.round(height * side), jnp.round(width * side))
        pasted = box(chances[2:], sides, (height, width))
        part = jnp.sum(pasted, dtype=jnp.int32).astype(jnp.float32) / (height * width)
        return jnp.where(pasted[..., None], other, image), 1 - part
