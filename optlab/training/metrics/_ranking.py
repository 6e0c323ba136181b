"""Recommendations: where the relevant items stand among all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from optlab.training.metrics._inputs import floats


def ranking(
    scores: Any, relevant: Any, k: int | Sequence[int] = 10, exclude: Any = None
) -> dict[str, float]:
    """Hit rate, NDCG and mean reciprocal rank of ranked items, averaged over users.

    Args:
      scores: (users, items); items are ranked by falling score.
      relevant: (users, items) booleans, or (users,) whole numbers: the one item held out.
      k: how many of the first items count, >= 1; or several such numbers.
      exclude: (users, items) booleans: items left out of the ranking, such as those a user is known
        to have; or None.

    Returns:
      For each k `hit_rate@k`, the part of users with a relevant item among their first k, and
      `ndcg@k`, whose gain is 1 / log2(rank + 1) for each relevant item; `mrr`, the mean of 1 / rank
      of the first relevant item; `users`, how many were counted.

    Raises:
      ValueError: for NaN scores (saying how many), shapes that do not fit, items both relevant and
        excluded, no user with a relevant item, k < 1.

    Special cases:
      Of equal scores the irrelevant items come first: a model that gives all items one score has
      the worst ranks, not lucky ones. Users without a relevant item are left out. Scores of
      excluded items may be anything.

    Differs from:
      `sklearn.metrics.ndcg_score` averages over the orders of equal scores, and counts users
      without a relevant item as 0.

    Example:
      >>> import optlab as ol
      >>> scores = [[0.9, 0.5, 0.1], [0.2, 0.2, 0.2]]
      >>> row = ol.training.metrics.ranking(scores, [1, 0], k=2)
      >>> {name: round(value, 3) for name, value in row.items()}
      {'hit_rate@2': 0.5, 'ndcg@2': 0.315, 'mrr': 0.417, 'users': 2}
    """
    scores = np.asarray(scores)
    if scores.ndim != 2 or not scores.shape[1]:
        raise ValueError(f"ranking: scores must have shape (users, items), got {scores.shape}.")
    cutoffs = _cutoffs(k)
    wanted = _relevant(relevant, scores.shape)
    left_out = (
        np.zeros(scores.shape, bool)
        if exclude is None
        else _flags("exclude", exclude, scores.shape)
    )
    both = int((wanted & left_out).sum())
    if both:
        raise ValueError(
            f"ranking: {both} items are both relevant and excluded; nothing could find them. "
            "Remove them from one of the two."
        )
    counted = wanted.any(1)
    if not counted.any():
        raise ValueError(f"ranking: none of {len(scores)} users has a relevant item.")
    wanted, left_out = wanted[counted], left_out[counted]
    scores = floats("ranking", "scores", np.where(left_out, 0, scores[counted]), infinite=True)
    # Excluded items last, then by falling score, of equal ones the irrelevant first.
    order = np.lexsort((wanted, -scores, left_out))
    found = np.take_along_axis(wanted, order, 1)
    gains = 1 / np.log2(np.arange(found.shape[1]) + 2)
    best, reached = np.cumsum(gains), np.cumsum(found * gains[None, :], axis=1)
    totals = wanted.sum(1)
    first = found.argmax(1) + 1
    result: dict[str, float] = {}
    for cutoff in cutoffs:
        last = min(cutoff, found.shape[1])
        ideal = best[np.minimum(totals, last) - 1]
        result[f"hit_rate@{cutoff}"] = float((first <= cutoff).mean())
        result[f"ndcg@{cutoff}"] = float((reached[:, last - 1] / ideal).mean())
    return result | {"mrr": float((1 / first).mean()), "users": int(counted.sum())}


def _cutoffs(k: int | Sequence[int]) -> tuple[int, ...]:
    values: Any = k if isinstance(k, list | tuple) else (k,)
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"ranking: k must be a whole number >= 1, or several, got {k!r}.")
    return tuple(int(value) for value in values)


def _relevant(relevant: Any, shape: tuple[int, int]) -> np.ndarray:
    array = np.asarray(relevant)
    if array.dtype.kind not in "iu" or array.ndim != 1:
        return _flags("relevant", array, shape)
    users, items = shape
    outside = (array < 0) | (array >= items)
    if array.shape != (users,) or outside.any():
        raise ValueError(
            f"ranking: relevant must be {users} items in 0 ... {items - 1}, one per user, got "
            f"shape {array.shape}, {int(outside.sum())} of them outside."
        )
    return np.arange(items)[None, :] == array[:, None]


def _flags(name: str, values: Any, shape: tuple[int, int]) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype != bool or array.shape != shape:
        raise ValueError(
            f"ranking: {name} must be booleans of shape {shape}, as scores are; got shape "
            f"{array.shape} of {array.dtype}."
        )
    return array
