"""What metrics are given: arrays on the host, weights, no NaN; scikit-learn, imported late."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np


def scikit_learn(module: str) -> Any:
    """`sklearn.<module>`, imported when it is needed."""
    try:
        return importlib.import_module(f"sklearn.{module}")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'This needs scikit-learn, which is not installed: pip install "optlab[examples]" '
            f"({error})."
        ) from error


def floats(owner: str, name: str, values: Any, *, infinite: bool = False) -> np.ndarray:
    """A float64 array without NaN, and without infinities unless they are allowed."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf" and array.dtype.name not in ("bfloat16", "float16"):
        raise TypeError(f"{owner}: {name} must be real numbers, got an array of {array.dtype}.")
    array = array.astype(np.float64)
    wrong = np.isnan(array) if infinite else ~np.isfinite(array)
    if wrong.any():
        kind = "NaN" if infinite else "NaN or infinite"
        raise ValueError(
            f"{owner}: {int(wrong.sum())} of {array.size} {name} are {kind}. The model has "
            "diverged, or its input was not finite."
        )
    return array


def class_labels(owner: str, labels: Any, classes: int) -> np.ndarray:
    """`(N,)` whole numbers in [0, classes)."""
    array = np.asarray(labels)
    if array.dtype.kind not in "biu" or array.ndim != 1:
        raise ValueError(
            f"{owner}: labels must be whole numbers of shape (N,), got shape {array.shape} of "
            f"{array.dtype}. Take the argmax of distributions."
        )
    array = array.astype(np.int64)
    outside = (array < 0) | (array >= classes)
    if outside.any():
        raise ValueError(
            f"{owner}: {int(outside.sum())} of {array.size} labels are outside 0 ... "
            f"{classes - 1}, the columns of the scores, such as {array[outside][0]}. Give padded "
            "rows the weight 0."
        )
    return array


def check_rows(owner: str, name: str, array: np.ndarray, count: int) -> None:
    if array.shape[:1] != (count,):
        raise ValueError(
            f"{owner}: {name} must have one row per example, {count}, got shape {array.shape}."
        )


def weighted(owner: str, count: int, weights: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Which rows count, and their weights; no weights where all of them are alike (True, 1)."""
    if weights is None:
        keep, values = np.ones(count, bool), None
    else:
        values = floats(owner, "weights", weights)
        if values.shape != (count,) or (values < 0).any():
            raise ValueError(
                f"{owner}: weights must be {count} numbers >= 0 or booleans, one per row, got "
                f"shape {values.shape}, least {values.min() if values.size else 'none'}."
            )
        keep = values > 0
        values = None if (values[keep] == 1).all() else values[keep]
    if not keep.any():
        raise ValueError(
            f"{owner}: no example to judge, of {count} given. Is the evaluation set empty?"
        )
    return keep, values
