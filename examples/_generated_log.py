"""A log of ratings drawn from a known law, so that the best possible answers are known."""

from __future__ import annotations

import numpy as np

from optlab.training import data

NOISE = 0.5  # of a rating


def ratings_of(scores: np.ndarray) -> np.ndarray:
    """Expected ratings."""
    return 3 + 0.6 * scores


def generated(users: int = 2000, items: int = 400, rank: int = 6) -> data.Arrays:
    """A log whose law is known: user u takes the next of the items left with exp(score[u, i]).

    So ranking by `info["scores"]` is the best there is. They are 1.5 times an inner product of
    normal vectors of `rank` numbers, plus what all users like about an item. A rating is
    `ratings_of` a score plus noise, and not bounded: the best root mean square error is NOISE.
    """
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(users, rank)) @ rng.normal(size=(rank, items)) / np.sqrt(rank)
    scores = 1.5 * scores + rng.normal(size=items)
    # The largest of scores plus Gumbel noise, in order, are such draws without replacement.
    order = np.argsort(-(scores + rng.gumbel(size=scores.shape)), axis=1)
    counts = rng.integers(10, 61, users)
    user = np.repeat(np.arange(users), counts)
    time = np.concatenate([np.arange(count) for count in counts])
    item = order[user, time]
    ratings = ratings_of(scores[user, item]) + NOISE * rng.normal(size=len(user))
    fields = {
        "user": user.astype(np.int32),
        "item": item.astype(np.int32),
        "rating": ratings.astype(np.float32),
        "timestamp": time,
    }
    info = {"users": range(users), "items": range(items), "scores": scores}
    return data.Arrays(fields, "a generated log", info)
