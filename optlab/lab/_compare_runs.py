"""What a comparison is made of: tunings of an optimizer on a task, and what its runs say."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from optlab.lab import _statistics
from optlab.lab._outcome import Outcome
from optlab.lab._space import Space

Measure = Literal["metric", "steps"]
MEASURES: tuple[Measure, Measure] = ("metric", "steps")


class Judge(NamedTuple):
    """How runs on a task are judged.

    Fields:
      task: its name.
      metric: which judges.
      mode: "min" or "max".
      target: of the metric, or None.
      steps: updates a run makes.
      every: steps between evaluations, about: what steps to the target are rounded up to.
      start: the metric before training.
    """

    task: str
    metric: str
    mode: str
    target: float | None
    steps: int
    every: float
    start: float

    @property
    def sign(self) -> int:
        return 1 if self.mode == "min" else -1

    def value(self, outcome: Outcome, measure: Measure) -> float:
        """Less is better; inf for a run that failed, or missed the target."""
        metric = outcome.metrics.get(self.metric, np.zeros(0))
        if measure == "steps":
            if self.target is None:
                return math.inf
            reached = np.flatnonzero(self.sign * metric <= self.sign * self.target)
            return float(outcome.evaluated[reached[0]]) if reached.size else math.inf
        if outcome.status != "done" or not metric.size or not np.isfinite(metric[-1]):
            return math.inf
        return self.sign * float(metric[-1])

    def shown(self, value: float) -> float:
        """A value of the metric, as the task counts it."""
        return self.sign * value


class Tuning(NamedTuple):
    """One study of one optimizer.

    Fields:
      trials: hyperparameters, in the order of their draw.
      tuned: outcomes on the tuning seeds, a list a trial.
      tested: outcomes on the test seeds, of the finalists, by place in `trials`.
    """

    trials: Sequence[Mapping[str, Any]]
    tuned: Sequence[Sequence[Outcome]]
    tested: Mapping[int, Sequence[Outcome]]


class Entry(NamedTuple):
    """One optimizer on one task.

    Fields:
      judge: of the task.
      optimizer: its name.
      space: what was searched.
      tunings: one a study.
      tuned_for: what made a trial win.
      test_seeds: how many.
      compile_seconds: of its program.
      state_bytes: of the optimizer's state, a parameter.
      plan: how the runs were made.
    """

    judge: Judge
    optimizer: str
    space: Space
    tunings: Sequence[Tuning]
    tuned_for: Measure
    test_seeds: int
    compile_seconds: float
    state_bytes: float
    plan: str

    def studies(self, measure: Measure) -> list[_statistics.Study]:
        """For the statistics: tuned for one measure, tested by any."""
        found = []
        for tuning in self.tunings:
            scores, ties = tuning_scores(self.judge, tuning.tuned, self.tuned_for)
            tests = np.full((len(scores), self.test_seeds), np.nan)
            for place, outcomes in tuning.tested.items():
                tests[place] = [self.judge.value(outcome, measure) for outcome in outcomes]
            found.append(_statistics.study(scores, tests, ties))
        return found

    @property
    def winners(self) -> list[int]:
        """The place of the winning trial of each study."""
        return [int(one.order[0]) for one in self.studies("metric")]

    @property
    def final_runs(self) -> list[Outcome]:
        """Those of the winners on the test seeds."""
        pairs = zip(self.winners, self.tunings, strict=True)
        return [outcome for place, tuning in pairs for outcome in tuning.tested.get(place, ())]

    @property
    def step_seconds(self) -> float:
        """The median over runs, their evaluations included."""
        runs = [o for t in self.tunings for outcomes in t.tuned for o in outcomes]
        times = [run.seconds / run.steps for run in runs if run.status == "done" and run.steps]
        return statistics.median(times) if times else math.nan

    @property
    def diverged(self) -> tuple[int, int]:
        """Trials that diverged in tuning, and all."""
        outcomes = [outcomes for t in self.tunings for outcomes in t.tuned]
        return sum(any(o.status == "diverged" for o in few) for few in outcomes), len(outcomes)

    @property
    def learning_rate(self) -> str | None:
        """The hyperparameter that `width` is about: the rate, else the first on a log scale."""
        logs = [name for name, d in self.space.dimensions.items() if d.log]
        return next((n for n in ("learning_rate", "lr") if n in logs), logs[0] if logs else None)

    def width(self, tolerance: float) -> float | None:
        """Decades of the learning rate at which, other hyperparameters drawn, a run keeps all but
        `tolerance` of the best run's improvement: the share of such trials times the range.

        None where there is no such hyperparameter, or nothing improved.
        """
        if self.learning_rate is None:
            return None
        dimension: Any = self.space.dimensions[self.learning_rate]
        values = np.concatenate(
            [tuning_scores(self.judge, t.tuned, "metric")[0] for t in self.tunings]
        )
        start, best = self.judge.sign * self.judge.start, values.min()
        if not best < start:
            return None
        kept = np.mean(values <= best + tolerance * (start - best))
        return float(kept) * math.log10(dimension.high / dimension.low)


def tuning_scores(
    judge: Judge, tuned: Sequence[Sequence[Outcome]], measure: Measure
) -> tuple[np.ndarray, np.ndarray]:
    """What trials are chosen by: means over tuning seeds, and what decides between equals.

    By steps, a miss is worse than all that reach the target, and the final metric decides between
    misses; a failed run is worse still.
    """
    metric = np.array([np.mean([judge.value(o, "metric") for o in few]) for few in tuned])
    if measure == "metric":
        return metric, np.arange(len(metric), dtype=float)
    steps = np.array([[judge.value(o, "steps") for o in few] for few in tuned])
    steps = np.where(np.isinf(steps), 2.0 * judge.steps, steps).mean(axis=1)
    return np.where(np.isinf(metric), np.inf, steps), metric
