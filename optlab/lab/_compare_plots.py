"""A comparison as pictures: scores, steps to the target, learning rates, curves, profiles."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from optlab.lab import _compare_table
from optlab.lab._compare_findings import Findings
from optlab.lab._compare_runs import Judge, tuning_scores
from optlab.lab.plots._style import pyplot

# Okabe and Ito's colours, told apart by all; with markers and dashes, told apart in grey too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
DASHES = ("-", "--", "-.", ":")
WIDE_RANGE = 50.0  # beyond it, axes are logarithmic
LONGEST = 18  # letters of a name


def overview(comparison: Findings, task: str) -> Any:
    """The four pictures of a task in one figure."""
    has_target = comparison.judge(task).target is not None
    with _style() as plt:
        figure, axes = plt.subplots(2, 2, figsize=(10.5, 8), layout="constrained")
        drawn = [scores, steps if has_target else None, rates, curves]
        for axis, draw in zip(axes.flat, drawn, strict=True):
            if draw is None:
                axis.set_axis_off()
            else:
                draw(axis, comparison, task)
        figure.suptitle(_compare_table.headline(comparison, task), fontsize=11)
        _legend(figure, axes[1, 0])
    return figure


def pictures(comparison: Findings, task: str | None) -> Iterator[tuple[str, Any]]:
    """One figure each, with what it shows in words; of a task, or over all."""
    if task is None:
        drawn: list[Callable] = [profiles] if profiled(comparison) else []
    else:
        has_target = comparison.judge(task).target is not None
        drawn = [scores, *([steps] if has_target else []), rates, curves]
    for draw in drawn:
        with _style() as plt:
            figure, axis = plt.subplots(figsize=(5.4, 3.8), layout="constrained")
            draw(axis, comparison, task)
            _legend(figure, axis)
            yield axis.get_title(), figure
            plt.close(figure)


def scores(axis: Any, comparison: Findings, task: str) -> None:
    """Scores, their intervals, and the runs behind them."""
    judge, names = comparison.judge(task), comparison.order(task)[::-1]
    drawn: list[float] = []
    for place, name in enumerate(names):
        score, look = comparison.score(task, name), _look(comparison, name)
        runs = [judge.value(run, "metric") for run in comparison.entries[task, name].final_runs]
        finite = [judge.shown(value) for value in runs if math.isfinite(value)]
        drawn += finite
        spread = np.linspace(-0.2, 0.2, len(finite)) if len(finite) > 1 else [0.0] * len(finite)
        axis.plot(finite, place + np.array(spread), ".", color=look["color"], alpha=0.45)
        if math.isfinite(score.value):
            drawn.append(score.value)
            low, high = sorted((score.low, score.high))
            ends = [end for end in (low, high) if math.isfinite(end)] or [score.value]
            drawn += ends
            failing = len(ends) < 2 or not math.isfinite(low) or not math.isfinite(high)
            axis.plot([min(ends), max(ends)], [place] * 2, lw=2, color=look["color"])
            if failing:
                _note(axis, place - 0.33, "interval reaches into failure")
            axis.plot(score.value, place, look["marker"], ms=9, color=look["color"], mec="white")
        else:
            _note(axis, place, "failed")
    _named(axis, names)
    _scaled(axis.set_xscale, judge, drawn)
    _target(axis.axvline, judge)
    axis.set(title="Score, runs on test seeds", xlabel=f"{judge.metric} at the end")


def steps(axis: Any, comparison: Findings, task: str) -> None:
    """Steps to the target; an interval that reaches into "never" has an arrow."""
    judge, names = comparison.judge(task), comparison.order(task)[::-1]
    for place, name in enumerate(names):
        score, look = comparison.score(task, name, "steps"), _look(comparison, name)
        if not math.isfinite(score.low):
            _note(axis, place, "never")
            continue
        high = min(score.high, judge.steps * 1.08)
        axis.plot([score.low, high], [place] * 2, lw=2, color=look["color"])
        if math.isinf(score.high):
            axis.plot(high, place, ">", ms=7, color=look["color"])
        if math.isfinite(score.value):
            axis.plot(score.value, place, look["marker"], ms=9, color=look["color"], mec="white")
    _named(axis, names)
    axis.set_xlim(0, judge.steps * 1.12)
    axis.axvline(judge.steps, color="0.6", lw=1)
    target = _compare_table.number(judge.target)
    axis.set(title="Steps to the target (never: not reached)", xlabel=f"steps to {target}")


def rates(axis: Any, comparison: Findings, task: str) -> None:
    """Every trial of tuning by its learning rate, with running medians; crosses at the edge
    diverged."""
    judge, drawn, lost = comparison.judge(task), [], []
    for name in comparison.optimizers:
        entry, look = comparison.entries[task, name], _look(comparison, name)
        if entry.learning_rate is None:
            continue
        x, y = [], []
        for tuning in entry.tunings:
            values, _ = tuning_scores(judge, tuning.tuned, "metric")
            for trial, value in zip(tuning.trials, values, strict=True):
                rate = float(trial[entry.learning_rate])
                if math.isfinite(value):
                    x.append(rate)
                    y.append(judge.shown(value))
                else:
                    lost.append((rate, look["color"]))
        order = np.argsort(x)
        points = {"marker": look["marker"], "ms": 4, "lw": 0, "color": look["color"]}
        axis.plot(np.array(x)[order], np.array(y)[order], label=_plain(name), alpha=0.8, **points)
        if entry.learning_rate and len(x) > 4:
            middle = _smoothed(np.array(y)[order], judge)
            axis.plot(np.array(x)[order], middle, look["dash"], lw=1.4, color=look["color"])
        drawn += y
    start = judge.start if math.isfinite(judge.start) else None
    _vertical(axis, judge, drawn, start)
    bottom = 0.02 if judge.mode == "max" else 0.98
    for rate, colour in lost:
        axis.plot(rate, bottom, "x", ms=5, color=colour, transform=axis.get_xaxis_transform())
    axis.set_xscale("log")
    _target(axis.axhline, judge)
    axis.set(
        title="Trials by learning rate (x: diverged; line: running median)",
        xlabel="learning rate",
        ylabel=f"{judge.metric}, tuning seeds",
    )


def curves(axis: Any, comparison: Findings, task: str) -> None:
    """Winners on test seeds: medians, and bands that hold the middle half of the runs."""
    judge, drawn = comparison.judge(task), []
    for name in comparison.optimizers:
        runs = comparison.entries[task, name].final_runs
        longest = max((run.evaluated for run in runs), key=len, default=np.zeros(0))
        if not len(longest):
            continue
        table = np.full((len(runs), len(longest)), math.inf)
        for row, run in zip(table, runs, strict=True):
            values = run.metrics.get(judge.metric, np.zeros(0))
            row[: len(values)] = judge.sign * np.nan_to_num(values, nan=math.inf)
        ordered = np.sort(table, axis=0)
        quarter = len(runs) // 4
        bands = (ordered[quarter], ordered[len(runs) // 2], ordered[len(runs) - 1 - quarter])
        low, middle, high = (judge.sign * np.where(np.isinf(v), np.nan, v) for v in bands)
        look = _look(comparison, name)
        axis.plot(longest, middle, look["dash"], color=look["color"], label=_plain(name), lw=1.6)
        axis.fill_between(longest, low, high, color=look["color"], alpha=0.15, lw=0)
        drawn += [float(v) for v in middle if math.isfinite(v)]
    _vertical(axis, judge, drawn, None)
    _target(axis.axhline, judge)
    axis.set(title="Winners on test seeds", xlabel="steps", ylabel=judge.metric)


def profiled(comparison: Findings) -> bool:
    """Whether there are several tasks with targets to draw profiles of."""
    return sum(comparison.judge(task).target is not None for task in comparison.tasks) > 1


def profiles(axis: Any, comparison: Findings, task: None = None) -> None:
    """The share of tasks on which an optimizer needs at most so many times the fewest steps.

    Source: E. Dolan, J. Moré, Benchmarking Optimization Software with Performance Profiles, 2002.
    """
    tasks = [task for task in comparison.tasks if comparison.judge(task).target is not None]
    needed = np.array(
        [[comparison.score(t, n, "steps").value for t in tasks] for n in comparison.optimizers]
    )
    fewest = needed.min(axis=0)
    with np.errstate(invalid="ignore"):
        ratio = np.where(np.isfinite(needed), needed / fewest, math.inf)
    top = max(4.0, float(ratio[np.isfinite(ratio)].max(initial=1.0)) * 1.1)
    for name, row in zip(comparison.optimizers, ratio, strict=True):
        x = np.sort(row[np.isfinite(row)])
        share = np.arange(1, len(x) + 1) / len(tasks)
        look = _look(comparison, name)
        heights = [np.mean(row <= 1.0), *share, share[-1] if len(x) else 0.0]
        line = {"ls": look["dash"], "color": look["color"], "lw": 1.8}
        axis.step([1.0, *x, top], heights, where="post", label=_plain(name), **line)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set(xlim=(1, top), ylim=(-0.02, 1.02))
    axis.set(
        title="Share of tasks within so many times the fewest steps",
        xlabel="steps to the target, relative to the best optimizer of the task",
        ylabel="share of tasks",
    )


def _smoothed(values: np.ndarray, judge: Judge) -> np.ndarray:
    """Running medians of three."""
    padded = np.concatenate([values[:1], values, values[-1:]])
    return np.median(np.stack([padded[:-2], padded[1:-1], padded[2:]]), axis=0)


def _vertical(axis: Any, judge: Judge, values: Sequence[float], start: float | None) -> None:
    """Scale and limits, which leave out what is far worse than the start, so that the rest can be
    seen."""
    if not values:
        return
    log = _scaled(axis.set_yscale, judge, values)
    signed = judge.sign * np.array(values)
    best = signed.min()
    worst = judge.sign * start if start is not None else float(np.quantile(signed, 0.95))
    worst = max(min(worst, signed.max()), float(np.quantile(signed, 0.5)))
    if judge.target is not None:
        best, worst = min(best, judge.sign * judge.target), max(worst, judge.sign * judge.target)
    if log:
        low, high = sorted((judge.sign * best, judge.sign * worst))
        pad = max((high / low) ** 0.06, 1.1)
        axis.set_ylim(low / pad, high * pad)
    else:
        pad = 0.06 * (worst - best) or 0.1
        axis.set_ylim(*sorted((judge.sign * (best - pad), judge.sign * (worst + pad))))


def _scaled(set_scale: Callable, judge: Judge, values: Sequence[float]) -> bool:
    """Makes an axis logarithmic where that is better; whether it did."""
    known = [*values, *([] if judge.target is None else [judge.target])]
    log = bool(known) and min(known) > 0 and max(known) / min(known) > WIDE_RANGE
    if log:
        set_scale("log")
    return log


def _target(line: Callable, judge: Judge) -> None:
    if judge.target is not None:
        line(judge.target, color="0.35", lw=1, ls=(0, (1, 2)))


def _look(comparison: Findings, name: str) -> dict[str, str]:
    place = list(comparison.optimizers).index(name)
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": MARKERS[place % len(MARKERS)],
        "dash": DASHES[place % len(DASHES)],
    }


def _legend(figure: Any, axis: Any) -> None:
    """Below the axes, so that it hides nothing."""
    handles, labels = axis.get_legend_handles_labels()
    if handles:
        columns = 3 if len(figure.axes) == 1 else 6
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=9)


def _named(axis: Any, names: Sequence[str]) -> None:
    axis.set_yticks(range(len(names)), [_plain(name) for name in names])
    axis.set_ylim(-0.6, len(names) - 0.4)


def _plain(text: str) -> str:
    """A name for a plot: not too long, and without TeX, so that dollar signs are letters."""
    short = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return short.replace("$", r"\$")


def _note(axis: Any, place: float, text: str) -> None:
    where = {"ha": "center", "va": "center", "transform": axis.get_yaxis_transform()}
    axis.text(0.5, place, text, color="0.35", **where)


@contextlib.contextmanager
def _style() -> Iterator[Any]:
    plt = pyplot()
    settings: Any = {
        "font.size": 10,
        "axes.titlesize": 10.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.25,
        "legend.frameon": False,
    }
    with plt.rc_context(settings):
        yield plt
