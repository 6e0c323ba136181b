"""What experiments are asked for: the steps and the seeds of runs."""

from __future__ import annotations

from collections.abc import Sequence

from optlab.core import checks
from optlab.lab._task import Task


def steps_of(owner: str, task: Task, steps: int | None) -> int:
    """The steps asked for, or else the task's own.

    Args:
      owner: the function the errors speak for.
      task: to train on.
      steps: a number >= 1, or None.

    Raises:
      ValueError: for another number, and where neither says.
    """
    steps = task.steps if steps is None else steps
    if steps is None:
        raise ValueError(
            f"{owner}: {task.name} does not say how many steps to train; give them: steps=300."
        )
    return int(checks.positive_count(owner, "steps", steps))


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
