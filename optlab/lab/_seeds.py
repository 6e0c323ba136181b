"""The seeds of runs, given as a number of them or one by one."""

from __future__ import annotations

from collections.abc import Sequence

from optlab.core import checks


def listed_seeds(owner: str, seeds: int | Sequence[int]) -> list[int]:
    """`[0, ..., n - 1]` for a number n, else the seeds given, checked.

    Args:
      owner: the function the errors speak for.
      seeds: a number >= 1, or different whole numbers >= 0.

    Raises:
      ValueError: for anything else.
    """
    if isinstance(seeds, Sequence):
        found = [int(checks.count(owner, "seeds", seed)) for seed in seeds]
    else:
        found = list(range(int(checks.positive_count(owner, "seeds", seeds))))
    if not found or len(set(found)) < len(found):
        raise ValueError(f"{owner}: seeds must be different whole numbers >= 0, got {seeds!r}.")
    return found
