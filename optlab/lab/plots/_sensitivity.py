"""A hyperparameter against the final metric."""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from optlab.lab.plots import _style

_TENTHS = 10


class Width(NamedTuple):
    """The range around the best value in which the metric is nearly as good.

    Fields:
      best: the hyperparameter of the best trial.
      low, high: the smallest and the largest value tried of this range.
      decades: log10(high / low); NaN where they are not positive.

    Example:
      >>> import optlab as ol
      >>> ol.lab.plots.Width(best=0.1, low=0.01, high=1.0, decades=2.0).decades
      2.0
    """

    best: float
    low: float
    high: float
    decades: float


def width(results: Any, name: str = "learning_rate", within: float = 0.05) -> Width:
    """How sensitive the metric is to a hyperparameter: the range in which it is nearly the best.

    Around the best trial, as far as all values tried have a metric m with

        |m - best| <= within |best|

    Where other hyperparameters vary too, the best trial in each tenth of the axis counts.

    Args:
      results: of a sweep.
      name: of the hyperparameter, a number.
      within: what is nearly as good, relative, > 0.

    Raises:
      ValueError: for an unknown hyperparameter, one that is no number, and if all trials diverged.

    Example:
      >>> import optlab as ol
      >>> results = ol.lab.sweep(
      ...     ol.lab.tasks.quadratic(), ol.sgd, {"learning_rate": ol.lab.grid([1e-3, 1e-2, 1e-1])},
      ...     steps=20, progress=False,
      ... )
      >>> 0 <= ol.lab.plots.width(results, within=0.5).decades <= 2
      True
    """
    axis = _style.axis(results, name)
    if axis.listed is not None:
        raise ValueError(f"width: {name} is not a number in all trials; it has no width.")
    best = _style.fates(results).full[0]
    tenths = _tenths(results, axis)
    pick = min if results.mode == "min" else max
    tops = [pick(value for _, value in trials) for trials in tenths]
    limit = within * abs(best.value)
    center = axis.place(best.hyperparameters[name])
    first = last = next(i for i, trials in enumerate(tenths) if (center, best.value) in trials)
    while first > 0 and abs(tops[first - 1] - best.value) <= limit:
        first -= 1
    while last < len(tops) - 1 and abs(tops[last + 1] - best.value) <= limit:
        last += 1
    near = [x for t in tenths[first : last + 1] for x, v in t if abs(v - best.value) <= limit]
    low, high = min(near), max(near)
    return Width(center, low, high, math.log10(high / low) if low > 0 else math.nan)


def sensitivity(results: Any, name: str | None = None, within: float = 0.05, ax: Any = None) -> Any:
    """Draws every trial's final metric over one of its hyperparameters, the optimum and its width.

    Args:
      results: of a sweep.
      name: of the hyperparameter; None for "learning_rate", or else the first that varies.
      within: trials are nearly as good as the best if their metric differs by no more than this
        share of it; the range of those around the best is shaded (see `width`).
      ax: matplotlib Axes to draw into; None makes a new figure of 800 x 450 pixels.

    Returns:
      The Axes. Vertical lines are the range over the seeds; crosses are trials that diverged.

    Raises:
      ValueError: for an unknown hyperparameter, and if all trials diverged.

    Example:
      >>> import optlab as ol
      >>> results = ol.lab.sweep(  # doctest: +SKIP
      ...     ol.lab.tasks.digits_mlp(), ol.sgd,
      ...     {"learning_rate": ol.lab.log_uniform(1e-3, 10.0)}, budget=16, seeds=3,
      ... )
      >>> ax = ol.lab.plots.sensitivity(results)  # doctest: +SKIP
      >>> ax.figure.savefig("picture.png")  # doctest: +SKIP
    """
    names = _style.varied(results)
    if name is None:
        name = "learning_rate" if "learning_rate" in names or not names else names[0]
    axis = _style.axis(results, name)
    fates = _style.fates(results)
    finals, best = _style.finals(results, fates.full), fates.full[0]
    ax = _style.axes(ax)
    given = {t.number: axis.place(t.hyperparameters[name]) for t in results.trials}
    if len(names) <= 1 and axis.listed is None:
        line = sorted((given[number], float(np.mean(v))) for number, v in finals.items())
        ax.plot(*zip(*line, strict=True), "-", color=_style.COLORS[0], linewidth=1.5, alpha=0.7)
    for number, values in finals.items():
        if len(values) > 1:
            ax.plot(
                [given[number]] * 2, [min(values), max(values)], color=_style.COLORS[0], linewidth=1
            )
    places = [given[number] for number in finals]
    means = [float(np.mean(values)) for values in finals.values()]
    ax.plot(places, means, "o", color=_style.COLORS[0], markersize=6, label="trial")
    ax.plot(
        given[best.trial], best.value, "*", color=_style.COLORS[1], markersize=18,
        markeredgecolor="black", zorder=5,
        label=f"best: {name} {_style.shown(best.hyperparameters[name])}, "
        f"{results.metric} {_style.shown(best.value)}",
    )  # fmt: skip
    _shade(ax, results, axis, within)
    wide = _style.is_wide(means)
    if wide:
        _style.log_scale(ax, "y")
    _others(ax, results, fates, given)
    axis.decorate(ax, "x")
    scale = " (log scale)" if wide else ""
    ax.set_ylabel(f"{results.metric} after {_style.steps(results)} updates{scale}")
    also = _style.vary_too([other for other in names if other != name])
    better = "less" if results.mode == "min" else "more"
    text = f"{better} is better, {_style.seeds_of(results)} a trial{also}"
    ax.set_title(_style.title(results, text), loc="left", fontsize=10)
    ax.legend(frameon=False, fontsize=9)
    return _style.finish(ax)


def _shade(ax: Any, results: Any, axis: _style.Axis, within: float) -> None:
    if axis.listed is not None:
        return
    found = width(results, axis.name, within)
    if found.high == found.low:
        ax.plot([], [], " ", label=f"no other trial within {100 * within:g} % of it")
    else:
        decades = "" if math.isnan(found.decades) else f", {found.decades:.2f} decades"
        ax.axvspan(
            found.low, found.high, facecolor=_style.COLORS[5], alpha=0.2, edgecolor="none",
            label=f"within {100 * within:g} % of it: {found.low:.3g} to {found.high:.3g}{decades}",
        )  # fmt: skip
        for end in (found.low, found.high):
            ax.axvline(end, color=_style.COLORS[5], linewidth=1, linestyle="--")


def _others(ax: Any, results: Any, fates: _style.Fates, given: dict[int, float]) -> None:
    """Trials that were stopped, hollow; those that diverged at the edge where bad values belong."""
    if fates.stopped:
        ax.plot(
            [given[r.trial] for r in fates.stopped], [r.value for r in fates.stopped], "o",
            color=_style.GREY, markerfacecolor="none", markersize=6, zorder=1,
            label=f"stopped early ({len(fates.stopped)})",
        )  # fmt: skip
    if fates.diverged:
        edge = 0.97 if results.mode == "min" else 0.03
        ax.plot(
            [given[r.trial] for r in fates.diverged], [edge] * len(fates.diverged), "x",
            color="black", markersize=8, markeredgewidth=2, transform=ax.get_xaxis_transform(),
            label=f"diverged ({len(fates.diverged)})",
        )  # fmt: skip


def _tenths(results: Any, axis: _style.Axis) -> list[list[tuple[float, float]]]:
    """(hyperparameter, metric) of all trials, ascending, by tenths of the axis if others vary too,
    else one by one; a trial that diverged or was stopped is infinitely bad."""
    fates = _style.fates(results)
    bad = math.inf if results.mode == "min" else -math.inf
    values = [(r, r.value) for r in fates.full]
    values += [(r, bad) for r in (*fates.stopped, *fates.diverged)]
    points = sorted((axis.place(r.hyperparameters[axis.name]), value) for r, value in values)
    places = [place for place, _ in points]
    if len(_style.varied(results)) > 1:
        keys = np.minimum(np.floor(axis.spread(places, places) * _TENTHS), _TENTHS - 1)
    else:
        keys = np.asarray(places)
    groups = itertools.groupby(zip(keys, points, strict=True), key=lambda pair: pair[0])
    return [[point for _, point in group] for _, group in groups]
