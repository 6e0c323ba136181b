"""Whether less or more of a metric is better, by its name."""

from __future__ import annotations

from typing import Literal

Better = Literal["min", "max"]

_LESS = ("loss", "error", "mse", "rmse", "mae", "perplexity", "entropy", "bits", "nll")
_MORE = ("accuracy", "precision", "recall", "f1", "auc", "r2", "top", "hit", "ndcg", "score")


def better(name: str) -> Better | None:
    """`"min"` or `"max"`, by the words of a metric's name; None if they do not tell.

    Example:
      >>> from optlab import core
      >>> core.better("validation_loss"), core.better("top_5"), core.better("size")
      ('min', 'max', None)
    """
    words = name.replace("/", "_").replace("@", "_").replace("-", "_").lower().split("_")
    if any(word in _LESS for word in words):
        return "min"
    return "max" if any(word in _MORE for word in words) else None
