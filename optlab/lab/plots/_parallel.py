"""All hyperparameters of all trials, each trial a line across parallel axes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from optlab.lab.plots import _heat_map, _style


def parallel(results: Any, best: int = 3, ax: Any = None) -> Any:
    """Draws every trial as a line across one axis a hyperparameter, and one for the metric.

    Args:
      results: of a sweep.
      best: how many of the best trials to draw thick.
      ax: matplotlib Axes to draw into; None makes a new figure of 800 x 450 pixels.

    Returns:
      The Axes. Light lines are good trials; dashed ones were stopped early and dotted ones
      diverged: they end before the metric.

    Raises:
      ValueError: if no hyperparameter varies, and if all trials diverged.

    Example:
      >>> import optlab as ol
      >>> results = ol.lab.sweep(  # doctest: +SKIP
      ...     ol.lab.tasks.digits_mlp(), ol.sgd,
      ...     {
      ...         "learning_rate": ol.lab.log_uniform(1e-3, 10.0),
      ...         "momentum": ol.lab.uniform(0.0, 0.99),
      ...         "nesterov": ol.lab.choice([True, False]),
      ...     },
      ...     budget=32,
      ... )
      >>> ax = ol.lab.plots.parallel(results)  # doctest: +SKIP
      >>> ax.figure.savefig("picture.png")  # doctest: +SKIP
    """
    names = _style.varied(results)
    if not names:
        raise ValueError("plot: no hyperparameter varies, so there is nothing to compare.")
    fates = _style.fates(results)
    good, ranking = fates.full, [*fates.full, *fates.stopped, *fates.diverged]
    ax = _style.axes(ax)
    axes = [_style.axis(results, name) for name in names]
    norm, extend = _heat_map.norm_of([r.value for r in good], results.mode)
    colors = _style.pyplot().get_cmap(_heat_map.colors_of(results))
    columns = [_Column(axis, [r.hyperparameters[axis.name] for r in ranking]) for axis in axes]
    values = [r.value for r in good]
    last = _Column(_style.Axis(results.metric, _style.is_wide(values), None), values)
    places = np.stack([column.heights for column in columns], axis=1)
    from matplotlib import cm, patheffects

    outline = [patheffects.withStroke(linewidth=5.5, foreground="black")]
    where = np.arange(len(columns))
    for row in range(len(good) - 1, -1, -1):
        line = [*places[row], last.heights[row]]
        thick = row < best
        ax.plot(
            [*where, len(columns)], line, color=colors(norm(values[row])),
            linewidth=3.5 if thick else 1.3, alpha=1 if thick else 0.75,
            marker=_style.MARKERS[row % 7] if thick else None, markersize=8,
            markeredgecolor="black", label=_PLACES[row] if row < min(best, len(_PLACES)) else None,
            zorder=4 if thick else 2, path_effects=outline if thick else None,
        )  # fmt: skip
    ends = [(len(fates.stopped), "--", _style.GREY, "stopped early")]
    ends += [(len(fates.diverged), ":", "black", "diverged")]
    rest = iter(places[len(good) :])
    for count, dashes, color, text in ends:
        for i, line in enumerate(itertools.islice(rest, count)):
            label = f"{text} ({count})" if i == 0 else None
            ax.plot(where, line, dashes, color=color, linewidth=1, alpha=0.6, label=label)
    for position, column in enumerate([*columns, last]):
        column.draw(ax, position)
    ax.set_xticks([*where, len(columns)], [column.label for column in [*columns, last]])
    ax.set_yticks([])
    ax.set_xlim(-0.35, len(columns) + 0.25)
    ax.set_ylim(-0.06, 1.06)
    _style.finish(ax, grid=False)
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(axis="x", length=0)
    bar = ax.figure.colorbar(cm.ScalarMappable(norm, colors), ax=ax, extend=extend)
    bar.set_label(f"{results.metric} after {_style.steps(results)} updates")
    better = "less" if results.mode == "min" else "more"
    handles, labels = ax.get_legend_handles_labels()
    known = len([label for label in labels if label in _PLACES])
    order = [*reversed(range(known)), *range(known, len(labels))]  # they were drawn last to first
    text = _style.title(results, f"{better} is better, {_style.seeds_of(results)} a trial")
    _style.legend_above(ax, [handles[i] for i in order], [labels[i] for i in order], text)
    return ax


_PLACES = ("best", "2nd", "3rd")


class _Column:
    """One of the parallel axes."""

    def __init__(self, axis: _style.Axis, values: list[Any]):
        self._axis = axis
        self._places = [axis.place(value) for value in values]
        self.heights = axis.spread(self._places, self._places)
        self.label = f"{axis.name}\n(log scale)" if axis.log else axis.name

    def draw(self, ax: Any, position: int) -> None:
        ax.axvline(position, color="black", linewidth=1, zorder=3)
        for place, text in self._ticks():
            height = float(self._axis.spread([place], self._places)[0])
            ax.annotate(
                text, (position, height), xytext=(-5, 0), textcoords="offset points",
                ha="right", va="center", fontsize=9, zorder=6,
                bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1},
            )  # fmt: skip

    def _ticks(self) -> list[tuple[float, str]]:
        from matplotlib import ticker

        if self._axis.listed is not None:
            present = sorted(set(self._places))
            return [(place, _style.shown(self._axis.listed[int(place)])) for place in present]
        low, high = min(self._places), max(self._places)
        locator = ticker.LogLocator(numticks=7) if self._axis.log else ticker.MaxNLocator(5)
        inner = [float(tick) for tick in locator.tick_values(low, high) if low <= tick <= high]
        ends = [low, high] if len(inner) < 2 else []
        return [(place, f"{place:.3g}") for place in [*inner, *ends]]
