"""Classification into many classes, by scikit-learn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from optlab.training.metrics._inputs import (
    check_rows,
    class_labels,
    floats,
    scikit_learn,
    weighted,
)

NAMES = ("precision", "recall", "f1")


def classification(
    labels: Any,
    scores: Any,
    *,
    classes: Sequence[str] | None = None,
    weights: Any = None,
    top_k: Sequence[int] = (1, 5),
    probabilities: bool = False,
    per_class: bool = True,
) -> dict[str, Any]:
    """Everything about a classifier's answers, at the end of an evaluation.

    Args:
      labels: (N,) whole numbers in [0, C).
      scores: (N, C) logits, or log-probabilities; the largest is the prediction, of equal ones the
        first.
      classes: C names for the entries per class; their numbers by default.
      weights: (N,) numbers >= 0 or booleans; rows of weight 0 (padding) are left out, whatever they
        hold.
      top_k: which `top_<k>` to give, each >= 1.
      probabilities: whether the scores are probabilities, whose rows sum to 1. Only `roc_auc`
        depends on it: it compares the softmax of logits, and probabilities as they are.
      per_class: whether to give the entries per class.

    Returns:
      `accuracy`, `top_<k>`, `precision_macro`, `recall_macro`, `f1_macro` (means over classes),
      `precision_micro`, `recall_micro`, `f1_micro` (over examples; all equal to the accuracy),
      `roc_auc` (one against the rest, mean over classes; of two classes both are the same);
      per class `precision/<class>`, `recall/<class>`, `f1/<class>` and `roc_auc/<class>`; and
      `confusion`, a list of rows (labels) of columns (predictions).

    Raises:
      ValueError: for NaN or +inf scores (saying how many), labels outside [0, C), shapes that do
        not fit, no example, probabilities that do not sum to 1.
      ModuleNotFoundError: without scikit-learn.

    Special cases:
      A ratio 0/0 is 0: the precision of a class that occurs and is never predicted, the recall and
      F1 of one that is predicted and never occurs. A class that does neither has NaN, and no part
      in the means. `roc_auc` of a class that is absent, or the only one, is NaN and has no part in
      the mean. From k = C on, `top_<k>` is 1. Of equal scores lower classes come first.

    Cost:
      The AUC sorts the examples once per class.

    Example:
      >>> import optlab as ol
      >>> row = ol.training.metrics.classification(
      ...     [0, 1, 1], [[2.0, 1.0], [0.0, 3.0], [1.0, 0.5]], classes=["cat", "dog"])
      >>> row["accuracy"] == row["f1_micro"], row["recall/dog"], row["roc_auc"], row["confusion"]
      (True, 0.5, 1.0, [[1, 0], [1, 1]])
    """
    owner = "classification"
    scores = np.asarray(scores)
    if scores.ndim != 2 or scores.shape[1] < 2:
        hint = "For one logit per example use metrics.binary."
        if scores.ndim == 1 and np.ndim(labels) == 2:
            hint = "Labels come first: classification(labels, scores)."
        raise ValueError(
            f"{owner}: scores must have shape (N, C) with C >= 2 classes, got {scores.shape}. "
            f"{hint}"
        )
    count, size = scores.shape
    keep, weights = weighted(owner, count, weights)
    labels = np.asarray(labels)
    check_rows(owner, "labels", labels, count)
    labels = class_labels(owner, labels[keep], size)
    scores = _finite_enough(floats(owner, "scores", scores[keep], infinite=True))
    predictions = scores.argmax(1)
    for_class = _names(classes, size)
    sk = scikit_learn("metrics")
    matrix = sk.confusion_matrix(labels, predictions, labels=np.arange(size), sample_weight=weights)
    answers = from_confusion(matrix, classes=classes, per_class=per_class)
    areas = _areas(labels, _probabilities(scores, probabilities), weights)
    return {
        "accuracy": answers.pop("accuracy"),
        **_top_k(labels, scores, weights, top_k),
        "roc_auc": _mean(areas),
        **answers,
        **(
            {f"roc_auc/{n}": float(a) for n, a in zip(for_class, areas, strict=True)}
            if per_class
            else {}
        ),
        "confusion": matrix.tolist(),
    }


def from_confusion(
    matrix: Any, *, classes: Sequence[str] | None = None, per_class: bool = True
) -> dict[str, float]:
    """The part of `classification` that follows from counts of (label, prediction).

    Args:
      matrix: (C, C) numbers >= 0: row = label, column = prediction; what `confusion` adds up to
        when an evaluation is too long to keep its scores.
      classes, per_class: as for `classification`.

    Returns:
      `accuracy`, and precision, recall and F1: `_macro`, `_micro`, per class.

    Raises:
      ValueError: for a matrix that is not square, has negative or no counts.
      ModuleNotFoundError: without scikit-learn.

    Special cases:
      As for `classification`.

    Example:
      >>> import optlab as ol
      >>> row = ol.training.metrics.from_confusion([[3, 1], [0, 4]], per_class=False)
      >>> row["accuracy"], row["recall_macro"]
      (0.875, 0.875)
    """
    counts = floats("from_confusion", "counts", matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(f"from_confusion: matrix must be square, got shape {counts.shape}.")
    if (counts < 0).any() or not counts.any():
        raise ValueError(
            f"from_confusion: counts must be >= 0 and not all 0, got a least of {counts.min()} and "
            f"a sum of {counts.sum()}."
        )
    size = len(counts)
    names = _names(classes, size)
    rows, columns = np.nonzero(counts)
    score = scikit_learn("metrics").precision_recall_fscore_support
    given = {"sample_weight": counts[rows, columns], "zero_division": 0}
    each = np.array(score(rows, columns, labels=np.arange(size), **given)[:3])
    micro = score(rows, columns, average="micro", **given)[:3]
    occurs = (counts.sum(0) + counts.sum(1)) > 0
    each[:, ~occurs] = math.nan
    result = {"accuracy": float(counts.trace() / counts.sum())}
    for name, values, whole in zip(NAMES, each, micro, strict=True):
        result |= {f"{name}_macro": _mean(values), f"{name}_micro": float(whole)}
    if per_class:
        for name, values in zip(NAMES, each, strict=True):
            result |= {f"{name}/{n}": float(v) for n, v in zip(names, values, strict=True)}
    return result


def _names(classes: Sequence[str] | None, size: int) -> list[str]:
    if classes is None:
        return [str(i) for i in range(size)]
    names = [str(name) for name in classes]
    if len(names) != size or len(set(names)) != size:
        raise ValueError(f"classes must be {size} different names, one per class, got {names}.")
    return names


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan


def _finite_enough(scores: np.ndarray) -> np.ndarray:
    """-inf is the logit of a class ruled out; +inf, or nothing but -inf, is none at all."""
    wrong = np.isposinf(scores).any(1) | np.isneginf(scores).all(1)
    if wrong.any():
        raise ValueError(
            f"classification: {int(wrong.sum())} of {len(scores)} rows of scores have an entry of "
            "+inf or none above -inf. The model has diverged."
        )
    return scores


def _probabilities(scores: np.ndarray, given: bool) -> np.ndarray:
    if given:
        off = np.abs(scores.sum(1) - 1) > 1e-2
        if off.any() or (scores < 0).any():
            raise ValueError(
                f"classification: {int(off.sum())} of {len(scores)} rows of scores do not sum to "
                f"1, the least entry is {scores.min()}: these are no probabilities. Leave "
                "probabilities=True out for logits."
            )
        return scores
    if scores.shape[1] == 2:  # ordered like the softmax, and far from 0 no two become equal
        difference = scores[:, 1] - scores[:, 0]
        return np.stack([-difference, difference], 1)
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def _areas(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """The AUC of each class against the rest; NaN where one of the two is empty."""
    area = scikit_learn("metrics").roc_auc_score
    limit = np.finfo(np.float64).max
    areas = np.full(scores.shape[1], math.nan)
    for i in range(len(areas)):
        positive = labels == i
        if positive.any() and not positive.all():
            column = np.clip(scores[:, i], -limit, limit)
            areas[i] = area(positive, column, sample_weight=weights)
    return areas


def _top_k(
    labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None, top_k: Sequence[int]
) -> dict[str, float]:
    own = scores[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(scores.shape[1])[None, :] < labels[:, None]
    place = ((scores > own) | ((scores == own) & earlier)).sum(1)
    result = {}
    for k in top_k:
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise ValueError(f"classification: top_k must be whole numbers >= 1, got {k!r}.")
        result[f"top_{k}"] = float(np.average(place < k, weights=weights))
    return result
