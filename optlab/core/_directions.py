"""Whether less or more of a metric is better, by its name."""

from __future__ import annotations

import re
from typing import Literal

Better = Literal["min", "max"]

_LESS = (
    "loss", "error", "mse", "rmse", "mae", "perplexity", "entropy", "bits", "nll", "brier", "crps",
    "fid", "distance", "wer", "cer",
)  # fmt: skip
_MORE = (
    "accuracy", "acc", "precision", "recall", "f1", "auc", "auroc", "r2", "top", "hit", "hits",
    "ndcg", "mrr", "iou", "bleu", "reward", "score",
)  # fmt: skip


def better(name: str) -> Better | None:
    """`"min"` or `"max"`, by the words of a metric's name; None if they do not tell.

    Words of which less is better count before others: less of a `brier_score` is.

    Example:
      >>> from optlab import core
      >>> core.better("validation_loss"), core.better("top_5"), core.better("size")
      ('min', 'max', None)
    """
    words = [re.sub(r"^(top|hits?)\d+$", r"\1", word) for word in re.split(r"[\W_]+", name.lower())]
    if any(word in _LESS for word in words):
        return "min"
    return "max" if any(word in _MORE for word in words) else None
