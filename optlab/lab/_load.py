"""Results from a store, without running anything."""

from __future__ import annotations

import os

from optlab.lab._dimensions import dimension_from_dict
from optlab.lab._fingerprint import fingerprint
from optlab.lab._results import Results
from optlab.lab._space import Space
from optlab.lab._store import Store
from optlab.lab._store_refusal import is_comparison
from optlab.lab._task import Task


def load(path: str | os.PathLike[str], task: Task) -> Results:
    """What a store holds, be its sweep finished or cut short; runs nothing.

    Args:
      path: of the store.
      task: the task of the sweep; it says how runs are judged.

    Returns:
      The results; trials whose runs are missing count as "not run".

    Raises:
      ValueError: if the store is of another task, or of a comparison.
      FileNotFoundError: if there is no such file.
      StoreError: if it is damaged, in use by another process, or no store.

    Example:
      >>> import optlab as ol
      >>> task, space = ol.lab.tasks.quadratic(), {"learning_rate": ol.lab.grid([0.01, 0.1])}
      >>> swept = ol.lab.sweep(task, ol.sgd, space, steps=20, store="runs.db", progress=False)
      >>> ol.lab.load("runs.db", task).best() == swept.best()
      True
    """
    with Store(path) as store:
        study, trials, outcomes = store.study, store.trials(), store.outcomes()
    if is_comparison(study):
        raise ValueError(
            f"load: {os.fspath(path)} is the store of a comparison; load reads those of sweeps. "
            "The call of compare that made it, with the same store, gives its results."
        )
    if study.get("fingerprint") != fingerprint(task):
        raise ValueError(
            f"load: {os.fspath(path)} is of the task {study.get('task')!r}, which is not the task "
            f"given, {task.name!r}, or was changed since."
        )
    space = study["space"]
    kinds = {name: value for name, value in space.items() if isinstance(value, dict)}
    return Results(
        task_name=task.name,
        metric=str(task.metric),
        mode=task.mode,
        target=task.target,
        trials=trials,
        outcomes=outcomes,
        space=Space(
            {name: dimension_from_dict(value) for name, value in kinds.items()},
            {name: value for name, value in space.items() if name not in kinds},
        ),
    )
