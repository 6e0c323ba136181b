"""What follows from the runs of a comparison: scores, intervals, verdicts, rows."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from optlab.core import checks
from optlab.lab import _statistics
from optlab.lab._compare_runs import MEASURES, Entry, Judge, Measure

RESAMPLES = 4000


class Verdict(NamedTuple):
    """Whether two optimizers differ.

    Fields:
      better: the name of the better one, or None: no difference shown.
      p: p-value of the exchange test.
      adjusted: the same, by Holm's method for all comparisons of its family.
      share: of resampled studies in which the better one is better, or the one that mostly is.

    Example:
      >>> import optlab as ol
      >>> ol.lab.Verdict(better=None, p=0.2, adjusted=0.6, share=0.8).better is None
      True
    """

    better: str | None
    p: float
    adjusted: float
    share: float


class Scored(NamedTuple):
    """A score and what it might have been, as the task counts it; NaN stands for no target.

    Fields:
      value: the median over studies of the median over test seeds of the winner; of an even number
        the worse of the two middle values.
      low, high: an interval of it, by drawing trials and test seeds again.

    Example:
      >>> import optlab as ol
      >>> ol.lab.Scored(value=0.97, low=0.96, high=0.98).value
      0.97
    """

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Findings:
    """The data of a `Comparison`, and what follows from them."""

    optimizers: Sequence[str]
    tasks: Sequence[str]
    entries: Mapping[tuple[str, str], Entry]
    trials: int
    seeds: int
    studies: int
    tuning_seeds: int
    tuned_for: Measure
    finalists: int
    level: float
    tolerance: float
    notes: Sequence[str]
    seconds: float

    def separated(
        self, a: str, b: str, *, task: str | None = None, measure: Measure | None = None
    ) -> bool:
        """Whether a difference between two optimizers is shown, in either direction.

        Args:
          a, b: their names.
          task: on which; None for all taken together.
          measure: the final "metric", or "steps" to the target; None for what was tuned for.
        """
        return self.verdict(a, b, task=task, measure=measure).better is not None

    def verdict(
        self, a: str, b: str, *, task: str | None = None, measure: Measure | None = None
    ) -> Verdict:
        """Which of two optimizers is better, if any, and how sure that is; see `separated`."""
        for name in (a, b):
            require_known("optimizer", name, self.optimizers)
        measure = self.tuned_for if measure is None else measure
        checks.one_of(*MEASURES)("Comparison", "measure", measure)
        if task is not None:
            require_known("task", task, self.tasks)
        elif len(self.tasks) == 1:
            (task,) = self.tasks
        if a == b:
            return Verdict(None, 1.0, 1.0, 0.0)
        family = self._verdicts[measure, task is not None]
        return family.get((task, a, b)) or family[task, b, a]

    def better_than(
        self, name: str, *, task: str | None = None, measure: Measure | None = None
    ) -> list[str]:
        """Those that this one is shown to be better than."""
        require_known("optimizer", name, self.optimizers)
        verdicts = {o: self.verdict(name, o, task=task, measure=measure) for o in self.optimizers}
        return [other for other, verdict in verdicts.items() if verdict.better == name]

    def score(self, task: str, optimizer: str, measure: Measure = "metric") -> Scored:
        """The score of an optimizer on a task, and its interval."""
        require_known("optimizer", optimizer, self.optimizers)
        require_known("task", task, self.tasks)
        checks.one_of(*MEASURES)("Comparison", "measure", measure)
        entry = self.entries[task, optimizer]
        if measure == "steps" and entry.judge.target is None:
            return Scored(math.nan, math.nan, math.nan)
        value = _statistics.score(entry.studies(measure))
        low, high = _statistics.interval(self._replicates[measure][task, optimizer], self.level)
        if measure == "steps":
            return Scored(value, low, high)
        low, value, high = sorted(entry.judge.shown(v) for v in (low, value, high))
        return Scored(value, low, high)

    def judge(self, task: str) -> Judge:
        """How runs on a task were judged."""
        return self.entries[task, self.optimizers[0]].judge

    @functools.cached_property
    def rows(self) -> list[dict[str, Any]]:
        """A row for each optimizer on each task; numbers that do not exist are None, misses inf."""
        return [_row(self, task, name) for task in self.tasks for name in self.order(task)]

    def order(self, task: str) -> list[str]:
        """Optimizers by score on a task, best first; an order for reading, not a ranking."""
        sign = self.judge(task).sign

        def key(name: str) -> tuple[float, ...]:
            scores = sign * self.score(task, name).value, self.score(task, name, "steps").value
            first = scores if self.tuned_for == "metric" else scores[::-1]
            return tuple(math.inf if math.isnan(value) else value for value in first)

        return sorted(self.optimizers, key=key)

    # --- inside

    @functools.cached_property
    def _replicates(self) -> dict[Measure, dict[tuple[str, str], np.ndarray]]:
        """Scores of resampled studies; what is drawn depends on the data, not on names."""
        found: dict[Measure, dict[tuple[str, str], np.ndarray]] = {}
        for measure in MEASURES:
            found[measure] = {}
            for key, entry in self.entries.items():
                studies = entry.studies(measure)
                content = zlib.crc32(b"".join(one.scores.tobytes() for one in studies))
                found[measure][key] = _statistics.replicates(
                    studies, key=[0, content], resamples=RESAMPLES
                )
        return found

    @functools.cached_property
    def _verdicts(self) -> dict[tuple[Measure, bool], dict[tuple[str | None, str, str], Verdict]]:
        """By (measure, whether of single tasks): by (task, a, b)."""
        pairs = list(itertools.combinations(self.optimizers, 2))
        families = {}
        for measure in MEASURES:
            tasks = [
                t for t in self.tasks if measure == "metric" or self.judge(t).target is not None
            ]
            studies = {
                (task, name): self.entries[task, name].studies(measure)
                for task in tasks
                for name in self.optimizers
            }
            for single in (True, False):
                groups = [[task] for task in tasks] if single else [tasks] if tasks else []
                found = {}
                for group, (a, b) in itertools.product(groups, pairs):
                    sides = [[one for t in group for one in studies[t, n]] for n in (a, b)]
                    p = _statistics.exchange_test(sides[0], sides[1], self.finalists)
                    found[group[0] if single else None, a, b] = (
                        p,
                        self._shares(a, b, group, measure),
                    )
                families[measure, single] = self._judged(found)
                for task in self.tasks if single else [None]:  # without a target, nothing is shown
                    for a, b in pairs:
                        families[measure, single].setdefault(
                            (task, a, b), Verdict(None, 1.0, 1.0, 0.0)
                        )
        return families

    def _shares(
        self, a: str, b: str, tasks: Sequence[str], measure: Measure
    ) -> tuple[float, float]:
        """Shares of resampled studies in which a, and b, is better; on more of the tasks."""
        x = self._replicates[measure]
        wins = sum((np.sign(_less(x[t, a], x[t, b])) for t in tasks), start=np.zeros(RESAMPLES))
        return float(np.mean(wins > 0)), float(np.mean(wins < 0))

    def _judged(self, found: Mapping[Any, tuple[float, tuple[float, float]]]) -> dict[Any, Verdict]:
        adjusted = _statistics.holm([p for p, _ in found.values()])
        verdicts = {}
        for ((task, a, b), (p, shares)), q in zip(found.items(), adjusted, strict=True):
            share = max(shares)
            name = a if shares[0] >= shares[1] else b
            shown = q <= self.level and share >= 1 - self.level / 2
            verdicts[task, a, b] = Verdict(name if shown else None, p, float(q), share)
        return verdicts


def _less(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """1 where x < y, -1 where y < x; inf equals inf."""
    return (x < y).astype(int) - (y < x).astype(int)


def _row(comparison: Findings, task: str, name: str) -> dict[str, Any]:
    entry = comparison.entries[task, name]
    metric = comparison.score(task, name)
    steps = comparison.score(task, name, "steps")
    runs = entry.final_runs
    reached = sum(math.isfinite(entry.judge.value(run, "steps")) for run in runs)
    diverged, trials = entry.diverged
    missed = math.isinf(steps.value)
    seconds = math.inf if missed else entry.compile_seconds + steps.value * entry.step_seconds
    winners = [
        dict(tuning.trials[place]) if place in tuning.tested else None  # all trials failed
        for tuning, place in zip(entry.tunings, entry.winners, strict=True)
    ]
    row = {
        "task": task,
        "optimizer": name,
        "metric": entry.judge.metric,
        "score": metric.value,
        "score_low": metric.low,
        "score_high": metric.high,
        "target": entry.judge.target,
        "steps_to_target": steps.value,
        "steps_low": steps.low,
        "steps_high": steps.high,
        "reached": reached,
        "test_runs": comparison.studies * comparison.seeds,
        "seconds_to_target": seconds,
        "compile_seconds": entry.compile_seconds,
        "step_seconds": entry.step_seconds,
        "state_bytes": entry.state_bytes,
        "learning_rate_decades": entry.width(comparison.tolerance),
        "diverged_trials": diverged,
        "trials": trials,
        "better_than": comparison.better_than(name, task=task, measure="metric"),
        "faster_than": comparison.better_than(name, task=task, measure="steps"),
        "hyperparameters": winners,
    }
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}


def require_known(what: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise ValueError(f"Comparison: no {what} {name!r}; {checks.nearest(str(name), known)}")
