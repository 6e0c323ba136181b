"""Errors of numbers predicted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from optlab.training.metrics._inputs import floats, scikit_learn, weighted


def regression(targets: Any, predictions: Any, *, weights: Any = None) -> dict[str, float]:
    """Squared and absolute errors, and the part of the variance explained (scikit-learn's).

    Args:
      targets, predictions: (N,) or (N, outputs) real numbers, of one shape.
      weights: (N,) numbers >= 0 or booleans; rows of weight 0 (padding) are left out.

    Returns:
      `mse`, `rmse`, `mae`, in (squared) units of the targets, and `r2`, 1 at best; of several
      outputs, means over them (`rmse` is the root of `mse`).

    Raises:
      ValueError: for shapes that differ, no example, NaN or infinite numbers (saying how many).
      ModuleNotFoundError: without scikit-learn.

    Special cases:
      R2 of a single example is NaN. With targets that are all the same it is 1 if every prediction
      is right, else 0.

    Example:
      >>> import optlab as ol
      >>> ol.training.metrics.regression([1.0, 2.0, 3.0], [1.0, 2.0, 5.0])["r2"]
      -1.0
    """
    given, guess = np.asarray(targets), np.asarray(predictions)
    if given.shape != guess.shape or given.ndim not in (1, 2):
        raise ValueError(
            "regression: targets and predictions must have one shape, (N,) or (N, outputs), got "
            f"{given.shape} and {guess.shape}. Squeeze the output axis of a single number."
        )
    keep, weights = weighted("regression", len(given), weights)
    given = floats("regression", "targets", given[keep])
    guess = floats("regression", "predictions", guess[keep])
    sk = scikit_learn("metrics")
    mse = float(sk.mean_squared_error(given, guess, sample_weight=weights))
    r2 = sk.r2_score(given, guess, sample_weight=weights) if len(given) > 1 else math.nan
    return {
        "mse": mse,
        "rmse": math.sqrt(mse),
        "mae": float(sk.mean_absolute_error(given, guess, sample_weight=weights)),
        "r2": float(r2),
    }
