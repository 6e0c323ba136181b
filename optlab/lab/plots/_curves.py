"""A metric over the updates."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from optlab.lab.plots import _style


def curves(
    results: Any, metric: str | None = None, trials: int | Sequence[int] = 5, ax: Any = None
) -> Any:
    """Draws a metric over the updates: of each trial the mean over its seeds, and their range.

    Args:
      results: of a sweep.
      metric: which one; None for the one that judges.
      trials: the numbers of the trials to draw, or how many of the best; the others are thin grey
        lines.
      ax: matplotlib Axes to draw into; None makes a new figure of 800 x 450 pixels.

    Returns:
      The Axes.

    Raises:
      ValueError: for an unknown metric or trial, and if there is nothing to draw.

    Example:
      >>> import optlab as ol
      >>> results = ol.lab.sweep(  # doctest: +SKIP
      ...     ol.lab.tasks.digits_mlp(), ol.sgd,
      ...     {"learning_rate": ol.lab.log_uniform(1e-3, 10.0)}, budget=16, seeds=3,
      ... )
      >>> ax = ol.lab.plots.curves(results, trials=3)  # doctest: +SKIP
      >>> ax.figure.savefig("picture.png")  # doctest: +SKIP
    """
    metric = metric or str(results.metric)
    if metric not in results.metrics:
        raise ValueError(f"plot: metric {metric!r} is none of {', '.join(results.metrics)}.")
    chosen = _chosen(results, trials)
    ax = _style.axes(ax)
    runs = _runs(results, metric)
    good = {ranked.trial for ranked in results.ranking() if ranked.status != "diverged"}
    for number in sorted(good - set(chosen)):
        for steps, values in runs[number]:
            ax.plot(steps, values, color=_style.GREY, linewidth=0.7, alpha=0.35, zorder=1)
    names = _style.varied(results)
    given = {trial.number: trial.hyperparameters for trial in results.trials}
    styles = zip(
        itertools.cycle(_style.COLORS), itertools.cycle(_style.DASHES), _style.MARKERS * 99
    )
    seen: list[float] = []
    for number, (color, dashes, marker) in zip(chosen, styles, strict=False):
        steps, mean, least, most = _band(runs[number])
        choice = (f"{name} {_style.shown(given[number].get(name))}" for name in names)
        label = f"trial {number}: {', '.join(choice)}" if names else f"trial {number}"
        ax.plot(
            steps, mean, linestyle=dashes, color=color, marker=marker, markevery=_every(len(steps)),
            markersize=6, linewidth=2, label=label, zorder=3,
        )  # fmt: skip
        if len(runs[number]) > 1:
            ax.fill_between(steps, least, most, color=color, alpha=0.18, linewidth=0, zorder=2)
        seen += [*least, *most]
    finite = [value for value in seen if np.isfinite(value)]
    if not finite:
        raise ValueError(f"plot: no {metric} of these trials is finite.")
    wide = _style.is_wide(finite)
    target = results.target if metric == results.metric else None
    if target is not None and (target > 0 or not wide):
        _target(ax, target)
        finite.append(target)
    if wide:
        ax.set_yscale("log")
    _limit(ax, finite)
    if wide:
        _style.log_scale(ax, "y")
    ax.set_xlim(left=0)
    ax.set_xlabel("updates done")
    ax.set_ylabel(f"{metric} (log scale)" if wide else metric)
    several = any(len(runs[number]) > 1 for number in chosen)
    spread = f", mean and range of {_style.seeds_of(results)}" if several else ""
    grey = "; others grey" if good - set(chosen) else ""
    drawn = f"{len(chosen)} trial{'s' * (len(chosen) != 1)}"
    ax.set_title(
        _style.title(results, f"{metric} of {drawn}{spread}{grey}"),
        loc="left", fontsize=10,
    )  # fmt: skip
    ax.legend(frameon=False, fontsize=9)
    return _style.finish(ax)


def _chosen(results: Any, trials: int | Sequence[int]) -> list[int]:
    if isinstance(trials, int):
        return [ranked.trial for ranked in _style.fates(results).full[: max(trials, 1)]]
    unknown = set(trials) - {ranked.trial for ranked in results.ranking()}
    if unknown or not trials:
        what = f"trial {min(unknown)}" if unknown else "no trial"
        raise ValueError(f"plot: there are no runs of {what}.")
    return list(trials)


def _runs(results: Any, metric: str) -> dict[int, list[tuple[np.ndarray, np.ndarray]]]:
    found: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
    for run in results.outcomes:
        values = np.asarray(run.metrics.get(metric, ()), np.float64)
        found.setdefault(run.trial, []).append((run.evaluated[: len(values)], values))
    return found


def _band(runs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, ...]:
    """Steps, mean, least and largest, for as long as all the runs are."""
    length = min(len(steps) for steps, _ in runs)
    values = np.stack([values[:length] for _, values in runs])
    return runs[0][0][:length], values.mean(axis=0), values.min(axis=0), values.max(axis=0)


def _every(points: int) -> int:
    return max(points // 8, 1)


def _target(ax: Any, target: float) -> None:
    ax.axhline(target, color="black", linewidth=1, linestyle=(0, (2, 3)))
    ax.annotate(
        f"target {target:.4g}", (0.01, target), xycoords=("axes fraction", "data"), va="bottom",
        fontsize=9,
    )  # fmt: skip


def _limit(ax: Any, values: list[float]) -> None:
    """The trials drawn decide what is seen, not the worst of the others."""
    low, high = min(values), max(values)
    if ax.get_yscale() == "log":
        room = (high / low) ** 0.06
        ax.set_ylim(low / room, high * room)
    else:
        room = 0.06 * (high - low) or 0.06 * abs(high) or 1.0
        ax.set_ylim(low - room, high + room)
