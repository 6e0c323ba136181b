"""`lr_range`: which learning rates train at all, and which to begin with."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optlab.core import checks
from optlab.lab import _planner, _population
from optlab.lab._engine import PATIENCE, Engine, Member
from optlab.lab._outcome import Outcome
from optlab.lab._plan import Plan
from optlab.lab._progress import steps_bar
from optlab.lab._ramped import Ramped, of_rate, require_use_of_rate
from optlab.lab._runs import listed_seeds, require_task, steps_of
from optlab.lab._task import Task

SMOOTHED = 0.1  # decades, the deviation of the bell that smooths a ramp
# The least loss is at a rate too large to stay at: of a ramp, which is there for a moment only, and
# less so of a short trial. Both factors fit the built-in tasks, see benchmarks/lr_range.py.
BELOW_RAMP, BELOW_SHORT = 2.25, 4 / 3
SHORT = 4  # a short trial takes one in so many steps of the task's
PER_DECADE = 4  # short trials
BLOWN = 10  # times the first loss is more than noise
LAST = 0.3  # part of a short trial whose losses count
# How often to look whether a run has diverged: it has if it was above its start three times on end.
_LOOKS_A_RAMP, _LOOKS_A_TRIAL = 30, 10


@dataclasses.dataclass(frozen=True, eq=False)
class LRRange:
    """What `lr_range` found.

    Attributes:
      task_name: of the task.
      rates: float[n], ascending.
      losses: float[seeds, n], the training loss at each: of a ramp, of that step, smoothed over
        neighbours; of short trials, the mean over the last 30 % of one. NaN where a run had
        diverged.
      start: the loss before training, mean over seeds.
      suggestion: the learning rate to begin with; None if at none the loss fell.
      rule: how it was found, in words.
      diverges_at: the least rate above the best at which a seed diverged or the mean loss is above
        the start; None if there is none up to the last.
      note: what to be careful about; empty if nothing.
      ramp: whether it was a ramp.
      steps: of each run.
      plan: how the runs were computed.
      seconds: that it took.

    Example:
      >>> import optlab as ol
      >>> found = ol.lab.lr_range(
      ...     ol.lab.tasks.rosenbrock(steps=100), ol.adam, low=1e-3, seeds=2, progress=False
      ... )
      >>> isinstance(found, ol.lab.LRRange), found.losses.shape == (2, len(found.rates))
      (True, True)
    """

    task_name: str
    rates: np.ndarray
    losses: np.ndarray
    start: float
    suggestion: float | None
    rule: str
    diverges_at: float | None
    note: str
    ramp: bool
    steps: int
    plan: str
    seconds: float

    @property
    def mean(self) -> np.ndarray:
        """float[n], over seeds; NaN where one had diverged."""
        return self.losses.mean(0)

    def plot(self, ax: Any = None) -> Any:
        """Loss against learning rate, with a band over seeds, the suggestion and the divergence.

        Args:
          ax: matplotlib's Axes; None for those of a new figure.

        Returns:
          The Axes; `.figure.savefig(path)` keeps the picture.

        Raises:
          ImportError: without matplotlib.
        """
        from optlab.lab import plots

        return plots.rates(self, ax=ax)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, for JSON; NaN becomes None."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        lists = {
            name: [[_plain(x) for x in row] for row in np.atleast_2d(fields[name])]
            for name in ("rates", "losses")
        }
        plain = {"rates": lists["rates"][0], "losses": lists["losses"]}
        return fields | plain | {"start": _plain(self.start)}

    def __str__(self) -> str:
        what = f"a ramp of {self.steps} steps" if self.ramp else f"trials of {self.steps} steps"
        found = "no learning rate" if self.suggestion is None else f"{self.suggestion:.2g}"
        how = "" if self.suggestion is None else f" ({self.rule})"
        lines = [f"{self.task_name}: {found}{how}; {what}, {len(self.losses)} seeds"]
        if self.diverges_at is not None:
            lines.append(f"diverges from {self.diverges_at:.2g} on")
        return "\n".join([*lines, *filter(None, [self.note])])


def lr_range(
    task: Task,
    make_tx: Callable[..., Any],
    *,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int | None = None,
    seeds: int | Sequence[int] = 5,
    ramp: bool = True,
    plan: str | Plan = "auto",
    progress: bool = True,
) -> LRRange:
    """Finds a learning rate to begin with, in a few short runs.

    With a ramp, one run a seed: the rate grows by the same factor each step, from `low` to `high`,
    the optimizer's state goes on. Suggested is the rate at which the mean loss, smoothed over a
    tenth of a decade, is least, divided by 2.25. Without, a short trial for each of four rates a
    decade and each seed; suggested is that of the least mean loss over its last 30 %, by 4/3.

    Args:
      task: what to train on.
      make_tx: `learning_rate -> transformation`, any; called with `learning_rate=` if it has such
        an argument, else with the rate as its first.
      low, high: 0 < low < high, the rates to try.
      steps: of a ramp, at least 10 a decade; of a short trial. None for the task's own, or a
        quarter of them for short trials.
      seeds: a number n for 0 to n - 1, or the seeds themselves.
      ramp: whether the rate grows within a run. Short trials cost about 7 times as much by
        default, and know nothing of what lower rates left behind.
      plan, progress: as in `sweep`.

    Returns:
      `LRRange`: `.suggestion`, `.rule`, `.diverges_at`, `.plot()`; print it.

    Raises:
      ValueError: for rates, steps or seeds out of range, a task without steps, and a make_tx that
        gives the same transformation whatever the rate, or keeps it in its state where a ramp is
        asked for.
      TypeError: for what is no task, a make_tx that cannot be called with a rate alone (such as a
        transformation), and a ramp of one that cannot be traced.

    Special cases:
      Where the loss falls at no rate, or is least at the first or the last, `note` says so.
      A rate that is best for a while is larger than the best for a long run that ends without
      decay, above all where updates do not shrink with the gradient (Lion, RMSProp): by up to a
      decade on the built-in tasks. Let the rate decay, or sweep around the suggestion.

    Differs from:
      Smith reads the bounds of a cycle from the accuracy; fast.ai takes a tenth of the minimum's
      rate, or the steepest descent. The factors here are fitted to what sweeps of Adam and of
      gradient descent with momentum find on the built-in tasks, where steepest descent is up to
      two decades below.

    Example:
      >>> import optlab as ol
      >>> found = ol.lab.lr_range(
      ...     ol.lab.tasks.rosenbrock(steps=300), ol.adam, low=1e-4, seeds=2, progress=False
      ... )
      >>> 0.01 < found.suggestion < found.diverges_at
      True

    Source: L. N. Smith, Cyclical Learning Rates for Training Neural Networks, 2015,
      arXiv:1506.01186, section 3.3.
    """
    begun = time.perf_counter()
    require_task("lr_range", task)
    made = of_rate(make_tx)
    low, high = (checks.positive("lr_range", *item) for item in (("low", low), ("high", high)))
    if low >= high:
        raise ValueError(f"lr_range: low must be less than high, got {low:g} and {high:g}.")
    seeds = listed_seeds("lr_range", seeds)
    steps = _steps(task, steps, ramp, np.log10(high / low))
    require_use_of_rate(made, task, low, high, ramp)
    if ramp:
        txs = [_traceable(Ramped(made, low, high, steps))]
        rates = np.geomspace(low, high, steps)
    else:
        rates = np.geomspace(low, high, round(np.log10(high / low) * PER_DECADE) + 1)
        txs = _population.transformations(made, [{"learning_rate": float(r)} for r in rates])
    members = [Member(i, seed, tx) for i, tx in enumerate(txs) for seed in seeds]
    engine = _planner.engine(
        _bare(task),
        txs[0],
        runs=len(members),
        steps=steps,
        evaluations=_LOOKS_A_RAMP if ramp else _LOOKS_A_TRIAL,
        plan=plan,
    )
    outcomes = _train(engine, members, task.name, steps, progress)
    by_seed = [[outcomes[i, seed] for i in range(len(txs))] for seed in seeds]
    losses = np.array([_of_ramp(runs[0], steps) if ramp else _of_trials(runs) for runs in by_seed])
    at_low = int((rates <= 2 * low).sum()) if ramp else steps
    blown = any(_has_blown_up(runs[0], at_low) for runs in by_seed)
    if ramp:
        start, losses = _smooth(losses, np.log10(high / low))
    else:  # the first batches may have been easy ones
        start = float(np.mean([next(iter(runs[0].losses), np.nan) for runs in by_seed]))
        start = float(np.fmax(start, losses[:, 0].mean()))
    return LRRange(
        task_name=task.name,
        rates=rates,
        losses=losses,
        start=start,
        **_read(rates, losses, start, ramp, blown),
        ramp=ramp,
        steps=steps,
        plan=str(engine.plan),
        seconds=time.perf_counter() - begun,
    )


def _read(
    rates: np.ndarray, losses: np.ndarray, start: float, ramp: bool, blown: bool
) -> dict[str, Any]:
    """What the curve says; blown: whether the loss blew up at the lowest rate."""
    sound = np.isfinite(losses).all(0)
    mean = np.where(sound, np.where(sound, losses, 0.0).mean(0), np.inf)
    best = int(np.argmin(mean))
    above = np.flatnonzero(mean[best:] > start)
    diverges = float(rates[best + above[0]]) if above.size else None
    before = start if best == 0 else min(start, mean[0])  # of the same batches
    fell = mean[best] < before - 0.01 * abs(before)
    note, found = "", rates[best] / (BELOW_RAMP if ramp else BELOW_SHORT)
    rule = f"the rate of the least smoothed loss, divided by {BELOW_RAMP:.3g}"
    if not ramp:
        rule = f"the rate of the least loss after short trials, divided by {BELOW_SHORT:.3g}"
    if not sound.any() and not np.isfinite(start):
        note = (
            "The loss is not finite at any of these rates, from the first step on, so it is not "
            "the rate: look at the data, the initialisation, and what the loss divides by."
        )
        found = None
    elif not fell and blown:
        diverges = float(rates[0])
        note = "Training diverges at the first of these rates already: lower `low`."
        found = None
    elif not fell:
        note = (
            "The loss fell at none of these rates: the first may still be too high (lower `low`), "
            "the steps too few, or the initialisation at fault (`init_report`)."
        )
        found = None
    elif best == len(rates) - 1:
        note = "The loss is least at the last rate: raise `high`."
    elif best == 0 or found < rates[0]:
        note = "The loss is least at the first rate: lower `low`."
    return {
        "suggestion": None if found is None else float(found),
        "rule": rule,
        "diverges_at": diverges,
        "note": note,
    }


def _has_blown_up(run: Outcome, steps: int) -> bool:
    """Whether the loss left the range of numbers in these first steps, or grew far above noise."""
    too_long_above = run.steps in run.evaluated and len(run.evaluated) >= PATIENCE
    if run.status == "diverged" and run.steps <= steps and not too_long_above:
        return True
    losses = np.asarray(run.losses[:steps], np.float64)
    return bool(losses[-max(1, len(losses) // 3) :].mean() > BLOWN * abs(losses[0]))


def _of_ramp(run: Outcome, steps: int) -> np.ndarray:
    losses = np.full(steps, np.nan)
    losses[: len(run.losses)] = run.losses
    return losses


def _of_trials(runs: Sequence[Outcome]) -> np.ndarray:
    last = [max(1, round(LAST * len(run.losses))) for run in runs]
    return np.array(
        [
            np.nan if run.status == "diverged" else np.mean(run.losses[-n:], dtype=np.float64)
            for run, n in zip(runs, last, strict=True)
        ]
    )


def _smooth(losses: np.ndarray, decades: float) -> tuple[float, np.ndarray]:
    """The start, and each seed's losses as means over a bell, neither of them lifted by a blow-up.

    Losses count no more than as far above the seed's start as the mean falls below its own. The
    start is the mean over the first quarter of a decade.
    """
    steps = losses.shape[1]
    a_decade = steps / decades
    gone = ~np.isfinite(losses)
    if gone[:, 0].any():  # before the first update, so at every rate
        return np.nan, np.full(losses.shape, np.nan)
    first = slice(None, max(1, round(a_decade / 4)))
    starts = np.nanmean(np.where(gone, np.nan, losses)[:, first], axis=1, keepdims=True)
    before = losses[:, :1]  # any update; where the first ones blow up, nothing else is the start
    blown = starts > before + np.abs(before)
    starts = np.where(blown, before, starts)
    start = float(starts.mean())
    least = losses[:, ~gone.any(0)].mean(0).min()
    room = np.where(blown, np.abs(before), max(start - least, 0.0))
    losses = np.minimum(np.where(gone, np.inf, losses), starts + room)
    width = SMOOTHED * a_decade
    reach = int(4 * width) + 1
    bell = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    weight = np.convolve(np.ones(steps), bell)[reach:-reach]
    smoothed = np.array([np.convolve(row, bell)[reach:-reach] / weight for row in losses])
    return start, np.where(gone, np.nan, smoothed)


def _train(
    engine: Engine, members: list[Member], name: str, steps: int, progress: bool
) -> dict[tuple[int, int], Outcome]:
    found = {}
    with steps_bar(name, len(members) * steps, show=progress) as advanced:
        for chunk in engine.train(members, advanced=advanced):
            found |= {(outcome.trial, outcome.seed): outcome for outcome in chunk.outcomes}
    return found


def _bare(task: Task) -> Task:
    """The task judged by its training loss alone."""
    return dataclasses.replace(
        task, evaluate=None, validation=None, metric="train_loss", mode="min", target=None
    )


def _traceable(tx: Ramped) -> Ramped:
    try:
        jax.eval_shape(tx.init, {"w": jax.ShapeDtypeStruct((2, 2), jnp.float32)})
    except jax.errors.ConcretizationTypeError as error:
        raise TypeError(
            "lr_range: a ramp calls make_tx inside the compiled step, with a traced rate, which it "
            "does not take. Do not convert or compare the rate in it, or pass ramp=False."
        ) from error
    return tx


def _steps(task: Task, steps: int | None, ramp: bool, decades: float) -> int:
    least = int(np.ceil(10 * decades)) if ramp else 1
    asked = steps_of("lr_range", task, steps)
    if steps is None:
        return max(least, asked if ramp else asked // SHORT)
    if asked < least:
        raise ValueError(
            f"lr_range: a ramp over {decades:.1f} decades needs at least {least} steps, got "
            f"{steps}. Give more, narrow low and high, or pass ramp=False."
        )
    return asked


def _plain(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
