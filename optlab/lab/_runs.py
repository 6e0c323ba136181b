"""What experiments are asked for: the steps and the seeds of runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optlab.core import checks
from optlab.lab._task import Task


def require_task(owner: str, task: Any) -> None:
    """Refuses what is no task: its name, or the function that makes it.

    Raises:
      TypeError: with the remedy.
    """
    if isinstance(task, Task):
        return
    if callable(task):
        name = getattr(task, "__name__", "task")
        raise TypeError(f"{owner}: expected a Task, got the function {name}; call it: {name}().")
    remedy = f": optlab.lab.tasks.{task}()" if isinstance(task, str) and task.isidentifier() else ""
    raise TypeError(f"{owner}: expected a Task, got {task!r}; make one{remedy}.")


def steps_of(owner: str, task: Task, steps: int | None) -> int:
    """The steps asked for, or else the task's own.

    Args:
      owner: the function the errors speak for.
      task: to train on.
      steps: a number >= 1, or None.

    Raises:
      ValueError: for another number, and where neither says. TypeError: for what is no task.
    """
    require_task(owner, task)
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
