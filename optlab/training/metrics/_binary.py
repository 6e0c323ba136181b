"""Classification into yes and no from one logit, by scikit-learn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from optlab.core import checks
from optlab.training.metrics._inputs import check_rows, floats, scikit_learn, weighted


def binary(
    labels: Any, logits: Any, threshold: float = 0.5, *, weights: Any = None
) -> dict[str, Any]:
    """Everything about yes-or-no answers, at the end of an evaluation.

    Args:
      labels: (N,), 0 or 1 (booleans, whole numbers or floating).
      logits: (N,) log-odds of 1: yes where the probability `1 / (1 + exp(-logit))` is at least
        `threshold`.
      threshold: a probability in [0, 1].
      weights: (N,) numbers >= 0 or booleans; rows of weight 0 (padding) are left out.

    Returns:
      `loss` (mean cross entropy, nats), `accuracy`, `precision`, `recall`, `f1`, `specificity`,
      `roc_auc`, `average_precision`, and `confusion`: [[true no, false yes], [false no, true yes]].

    Raises:
      ValueError: for NaN logits (saying how many), labels other than 0 and 1, shapes that differ,
        no example, a threshold outside [0, 1]. ModuleNotFoundError: without scikit-learn.

    Special cases:
      A ratio 0/0 is 0. `roc_auc` where all labels are alike, and `average_precision` where none is
      1, is NaN. Infinite logits are certainty: wrong, their loss is inf.

    Example:
      >>> import optlab as ol
      >>> row = ol.training.metrics.binary([0, 1, 1, 0], [-1.0, 2.0, -0.5, -3.0])
      >>> row["precision"], row["recall"], row["confusion"]
      (1.0, 0.5, [[2, 0], [1, 1]])
    """
    threshold = checks.probability("binary", "threshold", threshold)
    logits, labels = np.asarray(logits), np.asarray(labels)
    if logits.ndim != 1 or labels.shape != logits.shape:
        raise ValueError(
            f"binary: labels and logits must have one shape (N,), got {labels.shape} and "
            f"{logits.shape}. Squeeze the last axis; for a logit per class use "
            "metrics.classification."
        )
    check_rows("binary", "labels", labels, len(logits))
    keep, weights = weighted("binary", len(logits), weights)
    logits = floats("binary", "logits", logits[keep], infinite=True)
    truth = floats("binary", "labels", labels[keep])
    wrong = (truth != 0) & (truth != 1)
    if wrong.any():
        raise ValueError(
            f"binary: {int(wrong.sum())} of {truth.size} labels are neither 0 nor 1, such as "
            f"{truth[wrong][0]}."
        )
    sk = scikit_learn("metrics")
    truth = truth.astype(np.int64)
    with np.errstate(divide="ignore"):
        bound = np.log(threshold) - np.log1p(-threshold)
    answers = (logits >= bound).astype(np.int64)
    matrix = sk.confusion_matrix(truth, answers, labels=[0, 1], sample_weight=weights)
    options: dict[str, Any] = {"sample_weight": weights}
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        truth, answers, average="binary", zero_division=0, **options
    )
    limit = np.finfo(np.float64).max
    order = np.clip(logits, -limit, limit)  # scikit-learn takes no infinities; the order is kept
    some, other = truth.any(), not truth.all()
    losses = np.logaddexp(0, np.where(truth == 1, -logits, logits))
    return {
        "loss": float(np.average(losses, weights=weights)),
        "accuracy": float(matrix.trace() / matrix.sum()),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "specificity": float(matrix[0, 0] / matrix[0].sum()) if other else 0.0,
        "roc_auc": float(sk.roc_auc_score(truth, order, **options)) if some and other else math.nan,
        "average_precision": (
            float(sk.average_precision_score(truth, order, **options)) if some else math.nan
        ),
        "confusion": matrix.tolist(),
    }
