"""Labels as distributions over classes: of integers, mixed, smoothed."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from optlab.core import checks, data, numerics, static
from optlab.training.augment._base import Augmentation, Batch

classes_check = checks.optional(checks.positive_count)


def check_labels(owner: str, batch: Batch, classes: int | None) -> None:
    """Raises unless the labels are (N,) integers of known classes or (N, classes) floating."""
    count = len(batch["image"])
    if "label" not in batch:
        raise ValueError(f"{owner}: the batch must have an entry 'label'; it has only 'image'.")
    label = batch["label"]
    if jnp.issubdtype(label.dtype, jnp.integer) and label.shape == (count,):
        if classes is None:
            raise ValueError(
                f"{owner}: integer labels become distributions; say over how many classes: "
                f"{owner}(..., classes=10)."
            )
        return
    if not jnp.issubdtype(label.dtype, jnp.floating) or label.ndim != 2 or len(label) != count:
        raise ValueError(
            f"{owner}: label must be ({count},) integers or ({count}, classes) floating, got shape "
            f"{label.shape} of {label.dtype}."
        )
    if classes not in (None, label.shape[1]):
        raise ValueError(
            f"{owner}: classes={classes} but label is over {label.shape[1]} classes. Leave classes "
            "out for labels that are distributions."
        )


def distributions(label: jax.Array, classes: Any) -> jax.Array:
    """(N, classes); integers outside [0, classes) become NaN, which the loss will show."""
    if jnp.issubdtype(label.dtype, jnp.floating):
        return label.astype(numerics.compute_dtype(label.dtype))
    known = (label >= 0) & (label < classes)
    return jnp.where(known[:, None], jax.nn.one_hot(label, classes, dtype=jnp.float32), jnp.nan)


def like_given(result: jax.Array, label: jax.Array) -> jax.Array:
    """Distributions keep their dtype; those made from integers stay float32."""
    return result.astype(label.dtype) if jnp.issubdtype(label.dtype, jnp.floating) else result


class label_smoothing(Augmentation):
    """Spreads a part of each label over all classes: `(1 - epsilon) · y + epsilon / classes`.

    Args:
      epsilon: the part, in [0, 1].
      classes: how many there are, >= 1; None where labels are distributions already.

    Raises:
      ValueError: for an epsilon outside [0, 1], integer labels without `classes`, labels of another
        shape. TypeError: for no number.

    Special cases:
      0 gives the labels as distributions, 1 the uniform one. An integer label outside [0, classes)
      becomes NaN. Uses no key: `None` will do.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> smooth = ol.training.augment.label_smoothing(0.2, classes=4)
      >>> smooth(None, {"image": jnp.ones((1, 2, 2, 1)), "label": jnp.array([1])})["label"]
      Array([[0.05, 0.85, 0.05, 0.05]], dtype=float32)

    Source:
      Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, "Rethinking the Inception Architecture for Computer
      Vision", 2015, arXiv:1512.00567, section 7.
    """

    epsilon: Any = data(checks.probability)
    classes: int | None = static(classes_check, default=None)

    @property
    def random(self) -> bool:
        return False

    def check_batch(self, batch: Batch) -> None:
        super().check_batch(batch)
        check_labels(self.record_name, batch, self.classes)

    def apply(self, key: Any, batch: Batch) -> Batch:
        del key
        label = distributions(batch["label"], self.classes)
        epsilon = numerics.scalar(self.epsilon, label.dtype)
        smooth = (1 - epsilon) * label + epsilon / label.shape[1]
        return {**batch, "label": like_given(smooth, batch["label"])}
