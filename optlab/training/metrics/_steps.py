"""Pieces for an evaluation step, to be used under `jit`."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp


def correct(labels: Any, logits: Any) -> jax.Array:
    """Whether the largest logit is that of the label.

    Args:
      labels: (...,) integers, or (..., classes) floating distributions, whose largest entry counts.
      logits: (..., classes).

    Returns:
      (...,) booleans.

    Raises:
      ValueError: for shapes that do not fit, at trace time.

    Special cases:
      Of equal logits the first counts, as in `jnp.argmax`. A row with a NaN is wrong, and so is a
      label outside [0, classes).

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> ol.training.metrics.correct(jnp.array([0, 1]), jnp.array([[2.0, 1.0], [2.0, 1.0]]))
      Array([ True, False], dtype=bool)
    """
    return in_top_k(labels, logits, 1)


def in_top_k(labels: Any, logits: Any, k: int) -> jax.Array:
    """Whether the label is among the k classes with the largest logits.

    Args:
      labels, logits: as for `correct`.
      k: >= 1; from the number of classes on, every known label is in.

    Returns:
      (...,) booleans.

    Raises:
      ValueError: for k < 1 or shapes that do not fit, at trace time.

    Special cases:
      Of equal logits the lower class comes first, as in `jax.lax.top_k`, so that a model which
      gives all classes the same logit gains nothing. NaN and unknown labels as in `correct`.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> logits = jnp.array([[3.0, 2.0, 1.0], [1.0, 1.0, 1.0]])
      >>> ol.training.metrics.in_top_k(jnp.array([1, 2]), logits, 2)
      Array([ True, False], dtype=bool)
    """
    if not isinstance(k, int) or k < 1:
        raise ValueError(f"in_top_k: k must be a whole number >= 1, got {k!r}.")
    return _in_top_k(labels, logits, k)


@partial(jax.jit, static_argnums=2)
def _in_top_k(labels: Any, logits: Any, k: int) -> jax.Array:
    logits = jnp.asarray(logits)
    labels = _label_indices("in_top_k", jnp.asarray(labels), logits.shape)
    classes = logits.shape[-1]
    known = (labels >= 0) & (labels < classes)
    index = jnp.where(known, labels, 0)[..., None]
    own = jnp.take_along_axis(logits, index, axis=-1)
    order = jnp.arange(classes, dtype=index.dtype).reshape((1,) * (logits.ndim - 1) + (classes,))
    before = (logits > own) | ((logits == own) & (order < index))
    finite = ~jnp.any(jnp.isnan(logits), axis=-1)
    return known & finite & (jnp.sum(before, axis=-1, dtype=jnp.int32) < k)


def confusion(labels: Any, predictions: Any, classes: int, valid: Any = None) -> jax.Array:
    """Counts of (label, prediction); the matrices of batches are added.

    Args:
      labels, predictions: integers of one shape, in [0, classes).
      classes: how many there are, >= 1.
      valid: booleans of that shape, or None: which of them count.

    Returns:
      (classes, classes) int32: row = label, column = prediction.

    Raises:
      ValueError: for classes < 1 or shapes that differ, at trace time.

    Special cases:
      A pair with a member outside [0, classes), such as a padding label of -1, is not counted.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> ol.training.metrics.confusion(jnp.array([0, 1, 1, -1]), jnp.array([0, 0, 1, 1]), 2)
      Array([[1, 0],
             [1, 1]], dtype=int32)
    """
    if not isinstance(classes, int) or classes < 1:
        raise ValueError(f"confusion: classes must be a whole number >= 1, got {classes!r}.")
    return _confusion(labels, predictions, classes, valid)


@partial(jax.jit, static_argnums=2)
def _confusion(labels: Any, predictions: Any, classes: int, valid: Any) -> jax.Array:
    labels, predictions = jnp.asarray(labels), jnp.asarray(predictions)
    valid = jnp.ones(labels.shape, bool) if valid is None else jnp.asarray(valid).astype(bool)
    if not labels.shape == predictions.shape == valid.shape:
        raise ValueError(
            f"confusion: labels, predictions and valid must have one shape, got {labels.shape}, "
            f"{predictions.shape} and {valid.shape}. Take the argmax of logits first."
        )
    labels, predictions = labels.astype(jnp.int32), predictions.astype(jnp.int32)
    # Negative indices would count from the end, and others are dropped: send both out of range.
    counted = valid & (labels >= 0) & (predictions >= 0)
    labels = jnp.where(counted, labels, classes)
    counts = jnp.zeros((classes, classes), jnp.int32)
    return counts.at[labels, predictions].add(1, mode="drop")


def _label_indices(owner: str, labels: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    if jnp.issubdtype(labels.dtype, jnp.integer) and labels.shape == shape[:-1]:
        return labels
    if jnp.issubdtype(labels.dtype, jnp.floating) and labels.shape == shape and shape:
        return jnp.argmax(labels, axis=-1)
    raise ValueError(
        f"{owner}: labels must be integers of shape {shape[:-1]} or floating of shape {shape}, as "
        f"logits are; got shape {labels.shape} of {labels.dtype}."
    )
