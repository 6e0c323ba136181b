"""`Comparison`: which of several optimizers did better, where luck does not explain it."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
from typing import Any

from optlab.lab import _compare_table
from optlab.lab._compare_findings import Findings, require_known


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Comparison(Findings):
    """What `compare` found; prints as a table, and what follows from it.

    Medians, over test seeds and over studies, are of an even number the worse of the two middle
    values.

    A difference is shown only where the exchange test, after Holm's correction, stays below `level`
    and the better one is better in all but half of `level` of resampled studies. There are four
    families: by final metric and by steps to the target, each for single tasks (all pairs on all
    tasks) and over tasks (all pairs).

    Attributes:
      optimizers: names.
      tasks: names.
      entries: by (task, optimizer), all runs.
      trials, seeds, studies, tuning_seeds, finalists: the protocol, see `compare`.
      tuned_for: what winners are best at, "metric" or "steps".
      level: of a family of comparisons, and of intervals.
      tolerance: part of the improvement that a good learning rate may lose.
      notes: what a reader should know.
      seconds: that all of it took, compilation included.

    Example:
      >>> import optlab as ol
      >>> comparison = ol.lab.compare(
      ...     ol.lab.tasks.quadratic(dimension=4, steps=20),
      ...     {"one": lambda learning_rate: ol.sgd(learning_rate),
      ...      "other": lambda learning_rate: ol.sgd(learning_rate)},
      ...     space={"learning_rate": ol.lab.log_uniform(1e-3, 1)}, trials=8, progress=False,
      ... )
      >>> comparison.separated("one", "other"), len(comparison.rows)
      (False, 2)
    """

    def table(self) -> str:
        """Scores with intervals and costs, and which differences are shown."""
        return _compare_table.table(self)

    def __repr__(self) -> str:
        return self.table()

    def plot(self, task: str | None = None) -> Any:
        """Draws scores with intervals, steps to the target, learning rates and curves of a task.

        Args:
          task: which; None for the first, and only that. All of them in one file: `to_html`.

        Returns:
          A matplotlib figure.
        """
        from optlab.lab import _compare_plots

        if task is not None:
            require_known("task", task, self.tasks)
        return _compare_plots.overview(self, task or self.tasks[0])

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Writes a report: one file, with all tables and plots in it."""
        from optlab.lab import _html

        with open(path, "w", encoding="utf-8") as file:
            file.write(_html.report(self))

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Writes `rows`."""
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(self.rows[0]))
            writer.writeheader()
            for row in self.rows:
                named = {k: v for k, v in row.items() if not isinstance(v, list)}
                lists = {k: json.dumps(v) for k, v in row.items() if isinstance(v, list)}
                writer.writerow(named | lists)

    def to_dict(self) -> dict[str, Any]:
        """Rows, verdicts and the protocol, JSON-able: what is not finite becomes None or "inf"."""
        names = ("trials", "seeds", "studies", "tuning_seeds", "tuned_for", "finalists", "level")
        verdicts = [
            {"task": task, "a": a, "b": b, "measure": measure, **verdict._asdict()}
            for (measure, _), family in self._verdicts.items()
            for (task, a, b), verdict in family.items()
        ]
        return {
            "protocol": {name: getattr(self, name) for name in names},
            "rows": [{k: _jsonable(v) for k, v in row.items()} for row in self.rows],
            "verdicts": verdicts,
            "notes": list(self.notes),
            "seconds": self.seconds,
        }


def _jsonable(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value
