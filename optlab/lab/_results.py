"""`Results`: what a sweep found, as tables; which trial was best, and what became of the others."""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from optlab.lab import _results_text
from optlab.lab._outcome import Outcome, Trial
from optlab.lab._ranking import Ranked, ranking, value_at, why_none_is_good
from optlab.lab._space import Space

Table = Literal["rows", "history"]
Kind = Literal["curves", "sensitivity", "heat_map", "parallel"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """What a sweep found; prints its best trials.

    Attributes:
      task_name: of the task.
      metric: what judges a run.
      mode: "min" if less of it is better, "max" if more is.
      target: what a good run reaches, or None.
      trials: what was tried, by number.
      outcomes: the runs, by trial and seed; fewer than trials x seeds if the sweep was cut short.
      space: what was searched, or None; tells plots which axes are logarithmic.
      plan: how the runs were made, in words.
      seconds: that all of it took, compilation included.

    Example:
      >>> import numpy as np, optlab as ol
      >>> def run(trial, losses):
      ...     return ol.lab.Outcome(
      ...         trial=trial, seed=0, status="done", steps=2, diverged_at=None,
      ...         losses=np.float32(losses), evaluated=np.array([1, 2]),
      ...         metrics={"train_loss": np.float32(losses)}, seconds=0.1,
      ...     )
      >>> results = ol.lab.Results(
      ...     task_name="valley", metric="train_loss", mode="min",
      ...     trials=[ol.lab.Trial(i, {"learning_rate": 10.0**i}) for i in range(2)],
      ...     outcomes=[run(0, [4, 2]), run(1, [4, 1])],
      ... )
      >>> results.best().hyperparameters
      {'learning_rate': 10.0}
      >>> results
      valley: 2 trials, 1 seed each, 2 steps
      train_loss at the end, less is better:
        trial  train_loss  learning_rate
            1           1             10
            0           2              1
    """

    task_name: str
    metric: str
    mode: Literal["min", "max"]
    trials: Sequence[Trial]
    outcomes: Sequence[Outcome]
    target: float | None = None
    space: Space | None = None
    plan: str = ""
    seconds: float = math.nan

    def __post_init__(self):
        trials = sorted(self.trials, key=lambda t: t.number)
        outcomes = sorted(self.outcomes, key=lambda o: (o.trial, o.seed))
        object.__setattr__(self, "trials", tuple(trials))
        object.__setattr__(self, "outcomes", tuple(outcomes))
        unknown = {outcome.trial for outcome in outcomes} - {trial.number for trial in trials}
        if unknown:
            raise ValueError(f"Results: there are runs of trial {min(unknown)}, but no such trial.")

    # --- tables

    @functools.cached_property
    def rows(self) -> list[dict[str, Any]]:
        """A dict for each run, all with the same keys; `pandas` and `polars` read it as it is.

        trial, seed; the hyperparameters; status, steps, diverged_at; each metric at the end;
        best_<metric> and best_step; steps_to_target (None if it was not reached) where there is a
        target; seconds. A hyperparameter whose name is one of the other columns is called
        `hyperparameters.<name>`.
        """
        return [self._row(outcome) for outcome in self.outcomes]

    @functools.cached_property
    def history(self) -> list[dict[str, Any]]:
        """A dict for each evaluation of each run: trial, seed, step, each metric."""
        return [
            {"trial": outcome.trial, "seed": outcome.seed, "step": int(step)}
            | {name: value_at(outcome, name, i) for name in self.metrics}
            for outcome in self.outcomes
            for i, step in enumerate(outcome.evaluated)
        ]

    @functools.cached_property
    def metrics(self) -> list[str]:
        """Names of the metrics, that which judges first."""
        names = dict.fromkeys(name for outcome in self.outcomes for name in outcome.metrics)
        return [self.metric, *(name for name in names if name != self.metric)]

    @functools.cached_property
    def hyperparameters(self) -> list[str]:
        """Names of the hyperparameters, in the order of the space."""
        return list(dict.fromkeys(name for trial in self.trials for name in trial.hyperparameters))

    def to_pandas(self, table: Table = "rows") -> Any:
        """`rows` or `history` as a `pandas.DataFrame`.

        Raises:
          ImportError: without pandas; `polars.DataFrame(results.rows)` does as well.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError(
                "to_pandas needs pandas, which is not installed: pip install pandas; or use "
                "results.rows, a list of dicts, or results.to_csv(path)."
            ) from error
        return pandas.DataFrame(self._table(table))

    def to_csv(self, path: str | os.PathLike[str], table: Table = "rows") -> None:
        """Writes `rows` or `history`; None is an empty field, a number that is not finite is `nan`
        or `inf`."""
        rows = self._table(table)
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["trial", "seed"])
            writer.writeheader()
            writer.writerows(rows)

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """Everything but the losses of every step, as JSON; what is not finite is null.

        Args:
          path: a file to write it to, too.
        """
        content = {
            name: getattr(self, name)
            for name in ("task_name", "metric", "mode", "target", "plan", "seconds")
        }
        content |= {"rows": self.rows, "history": self.history}
        text = json.dumps(_finite(content), allow_nan=False)
        if path is not None:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        return text

    # --- pictures

    def plot(self, kind: Kind | None = None, **options: Any) -> Any:
        """Draws the results.

        Args:
          kind: "curves", the metric over the updates; "sensitivity", one hyperparameter against the
            final metric; "heat_map", two of them; "parallel", all. None for what fits: with the
            number of hyperparameters that vary, 0, 1, 2 or more.
          **options: of `ol.lab.plots.curves` and so on: `ax`, names, numbers of trials.

        Returns:
          matplotlib's Axes; `.figure.savefig(path)` keeps the picture.

        Raises:
          ImportError: without matplotlib.
          ValueError: for another kind, and if there is nothing to draw.
        """
        from optlab.lab import plots

        if kind is None:
            varied = [
                n for n in self.hyperparameters if len({t[1].get(n) for t in self.trials}) > 1
            ]
            chosen: str = get_args(Kind)[min(len(varied), 3)]
        elif kind in get_args(Kind):
            chosen = kind
        else:
            known = ", ".join(map(repr, get_args(Kind)))
            raise ValueError(f"plot: kind must be one of {known}, got {kind!r}.")
        return getattr(plots, chosen)(self, **options)

    # --- who was best

    def best(self) -> Ranked:
        """The best trial: by the mean over its seeds of the metric at the end.

        Raises:
          ValueError: if there are no runs, or every trial has a run that diverged, or whose metric
            is not finite.
        """
        ranking = self.ranking()
        if not ranking:
            raise ValueError("best: there are no runs yet.")
        if ranking[0].status == "diverged":
            why = why_none_is_good(self.outcomes, self.metric)
            raise ValueError(f"best: {why}; `rows` and `history` hold what there is.")
        return ranking[0]

    def ranking(self) -> list[Ranked]:
        """All trials that were run, the best first.

        A trial is worth the mean over its seeds of the metric at the end. Those that were stopped
        early or lack runs come after those that were not, whatever their values, since they cannot
        be compared; then those of which a run diverged, or ended with no finite metric. Equal
        trials stand in the order of their numbers.
        """
        return list(self._ranking)

    @functools.cached_property
    def _ranking(self) -> list[Ranked]:
        return ranking(self.trials, self.outcomes, self.metric, self.mode)

    # --- inside

    def _row(self, outcome: Outcome) -> dict[str, Any]:
        measured = {name: value_at(outcome, name, -1) for name in self.metrics}
        values, evaluated = outcome.metrics.get(self.metric, ()), outcome.evaluated
        known = [(float(v), int(step)) for v, step in zip(values, evaluated, strict=True)]
        known = [pair for pair in known if not math.isnan(pair[0])]
        pick = min if self.mode == "min" else max
        best = pick(known, key=lambda pair: pair[0], default=(None, None))
        after = {
            "status": outcome.status,
            "steps": outcome.steps,
            "diverged_at": outcome.diverged_at,
            **measured,
            f"best_{self.metric}": best[0],
            "best_step": best[1],
        }
        if self.target is not None:
            after["steps_to_target"] = next((s for v, s in known if self._reached(v)), None)
        after["seconds"] = outcome.seconds
        given = self._given[outcome.trial]
        taken = {"trial", "seed", *after}
        named = {
            f"hyperparameters.{name}" if name in taken else name: given.get(name)
            for name in self.hyperparameters
        }
        return {"trial": outcome.trial, "seed": outcome.seed, **named, **after}

    @functools.cached_property
    def _given(self) -> dict[int, Mapping[str, Any]]:
        return {trial.number: trial.hyperparameters for trial in self.trials}

    def _reached(self, value: float) -> bool:
        assert self.target is not None
        return value <= self.target if self.mode == "min" else value >= self.target

    def _table(self, table: Table) -> list[dict[str, Any]]:
        if table not in ("rows", "history"):
            raise ValueError(f'Results: table must be "rows" or "history", got {table!r}.')
        return self.rows if table == "rows" else self.history

    def __repr__(self) -> str:
        return _results_text.text(self)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
