"""Which trial was best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from optlab.lab._outcome import Outcome, Trial


class Ranked(NamedTuple):
    """A trial in its place.

    Fields:
      trial: its number.
      hyperparameters: by name.
      value: mean over the seeds of the metric at the end; `Task.worst` if a run diverged.
      std: sample standard deviation over the seeds; NaN for one seed or a diverged run.
      seeds: runs it is the mean of.
      steps: updates each made, the fewest of them.
      status: "done", "stopped" (by successive halving) or "diverged" (one run at least, or its
        metric is not finite).

    Example:
      >>> import optlab as ol
      >>> best = ol.lab.Ranked(3, {"learning_rate": 0.1}, 0.98, 0.01, 5, 300, "done")
      >>> best.hyperparameters["learning_rate"]
      0.1
    """

    trial: int
    hyperparameters: Mapping[str, Any]
    value: float
    std: float
    seeds: int
    steps: int
    status: str


def ranking(
    trials: Sequence[Trial], outcomes: Sequence[Outcome], metric: str, mode: str
) -> list[Ranked]:
    """All trials that were run, the best first; see `Results.ranking`."""
    runs: dict[int, list[Outcome]] = {}
    for outcome in outcomes:
        runs.setdefault(outcome.trial, []).append(outcome)
    ranked = [_ranked(t, runs[t.number], metric, mode) for t in trials if t.number in runs]
    sign = 1 if mode == "min" else -1
    return sorted(
        ranked,
        key=lambda r: (r.status == "diverged", -r.seeds, -r.steps, sign * r.value, r.trial),
    )


def value_at(outcome: Outcome, name: str, place: int) -> float | None:
    """The metric at an evaluation, -1 for the last; None where it was not taken."""
    values = outcome.metrics.get(name, ())
    return float(values[place]) if len(values) else None


def why_none_is_good(outcomes: Sequence[Outcome], metric: str) -> str:
    """Where every trial diverged, or ended without a finite metric: since when, and what to do."""
    trials = {o.trial for o in outcomes}
    diverged = [o for o in outcomes if o.status == "diverged"]
    lost = {o.trial for o in diverged}
    evaluate = "the validation data, and logarithms, divisions and roots in evaluate"
    if not lost:
        return (
            f"every trial ends with a value of {metric} that is not finite, though the training "
            f"loss is. Look at {evaluate}"
        )
    remedy = "search smaller learning rates, clip the gradients"
    if lost != trials:
        return (
            f"{len(lost)} of {len(trials)} trials have a run that diverged, the others end with a "
            f"value of {metric} that is not finite. Look at the loss and at {evaluate}; {remedy}"
        )
    said = "every trial has a run that diverged"
    first = [o.diverged_at for o in diverged if o.diverged_at is not None]
    if len(first) < len(outcomes):
        since = f", the first at step {min(first)}" if first else ""
        return f"{said}{since}. Look at the loss, {remedy}"
    if max(first) == 0:
        return (
            f"{said}, at the first step already: the loss itself is not finite. Look at the data "
            "and the loss"
        )
    if max(first) == 1:
        return (
            f"{said}, after one update at most: the gradient may not be finite, whatever the rate. "
            f"Look at the data and the loss, or {remedy}"
        )
    by_seed: dict[int, set[int]] = {}
    for outcome, step in zip(diverged, first, strict=True):
        by_seed.setdefault(outcome.seed, set()).add(step)
    together = len(first) > len(by_seed) and all(len(steps) == 1 for steps in by_seed.values())
    if together and all(map(_broke_off, diverged)):
        return (
            f"{said}, from losses that had not risen, with a seed always at the same step (the "
            f"first is {min(first)}). Look at the examples of that batch, or {remedy}"
        )
    return f"{said}, the first at step {min(first)}. Look at the loss, {remedy}"


def _broke_off(run: Outcome) -> bool:
    """Whether its losses were none too large before one was not finite."""
    losses = run.losses
    return run.steps not in run.evaluated and len(losses) > 0 and bool(losses[-1] <= losses[0])


def _ranked(trial: Trial, runs: list[Outcome], metric: str, mode: str) -> Ranked:
    values = [value_at(run, metric, -1) for run in runs]
    statuses = {run.status for run in runs}
    known = [value for value in values if value is not None]
    value, std = (math.inf if mode == "min" else -math.inf), math.nan
    # Losses may be finite and a metric not.
    if "diverged" in statuses or not np.all(np.isfinite(known)):
        status = "diverged"
    else:
        status = "stopped" if "stopped" in statuses else "done"
        if len(known) == len(values):
            value = float(np.mean(known))
            std = float(np.std(known, ddof=1)) if len(known) > 1 else math.nan
    steps = min(run.steps for run in runs)
    return Ranked(trial.number, dict(trial.hyperparameters), value, std, len(runs), steps, status)
