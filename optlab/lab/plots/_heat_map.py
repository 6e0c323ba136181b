"""Two hyperparameters against the final metric."""

from __future__ import annotations

from typing import Any

import numpy as np

from optlab.lab.plots import _style

_MOST_NUMBERS = 80  # cells that can hold theirs in a legible size


def heat_map(results: Any, x: str | None = None, y: str | None = None, ax: Any = None) -> Any:
    """Draws the final metric over two hyperparameters: cells for grids, else a point a trial.

    Args:
      results: of a sweep.
      x, y: names of the hyperparameters; None for the first two that vary.
      ax: matplotlib Axes to draw into; None makes a new figure of 800 x 500 pixels.

    Returns:
      The Axes. The star is the best trial, crosses are trials that diverged, small hollow squares
      some that were stopped early. Where several trials
      share a cell, since others vary too, it shows the best of them. The colours end at the 90th
      percentile of what is bad, so that a few terrible trials do not hide the differences.

    Raises:
      ValueError: for an unknown hyperparameter, if fewer than two vary, and if all trials diverged.

    Example:
      >>> import optlab as ol
      >>> results = ol.lab.sweep(  # doctest: +SKIP
      ...     ol.lab.tasks.digits_mlp(), ol.sgd,
      ...     {
      ...         "learning_rate": ol.lab.log_uniform(1e-3, 10.0),
      ...         "momentum": ol.lab.uniform(0.0, 0.99),
      ...     },
      ...     budget=32,
      ... )
      >>> ax = ol.lab.plots.heat_map(results, "learning_rate", "momentum")  # doctest: +SKIP
      >>> ax.figure.savefig("picture.png")  # doctest: +SKIP
    """
    x, y = _names(results, x, y)
    fates = _style.fates(results)
    ax = _style.axes(ax, height=5.0)
    axes = [_style.axis(results, name, cells=True) for name in (x, y)]
    if any(axis.listed is None for axis in axes):
        axes = [_style.axis(results, name) for name in (x, y)]
    ranking = fates.full
    norm, extend = norm_of([r.value for r in ranking], results.mode)
    if all(axis.listed is not None for axis in axes):
        picture = _cells(ax, results, axes, ranking, norm)
    else:
        places = [_place(axes, r) for r in ranking]
        picture = ax.scatter(
            *zip(*places, strict=True), c=[r.value for r in ranking], s=150, marker="s",
            cmap=colors_of(results), norm=norm, edgecolor="black", linewidth=0.6,
        )  # fmt: skip
        ax.margins(0.06)
    _mark(ax, axes, fates)
    axes[0].decorate(ax, "x")
    axes[1].decorate(ax, "y")
    bar = ax.figure.colorbar(picture, ax=ax, extend=extend)
    bar.set_label(f"{results.metric} after {_style.steps(results)} updates")
    also = _style.vary_too([name for name in _style.varied(results) if name not in (x, y)])
    better = "less" if results.mode == "min" else "more"
    text = f"{better} is better, {_style.seeds_of(results)} a trial{also}"
    _style.legend_above(ax, text=_style.title(results, text))
    return _style.finish(ax, grid=False)


def _names(results: Any, x: str | None, y: str | None) -> tuple[str, str]:
    free = [name for name in _style.varied(results) if name not in (x, y)]
    chosen = [name if name is not None else (free.pop(0) if free else None) for name in (x, y)]
    if None in chosen:
        found = ", ".join(_style.varied(results)) or "none"
        raise ValueError(f"plot: a heat map needs two hyperparameters that vary; here: {found}.")
    return chosen[0], chosen[1]  # type: ignore[return-value]


def norm_of(values: list[float], mode: str) -> tuple[Any, str]:
    """Of colours, and at which end some values lie beyond them."""
    _style.pyplot()
    from matplotlib import colors

    low, high = min(values), max(values)
    if len(values) >= 10:
        bad = float(np.percentile(values, 90 if mode == "min" else 10))
        low, high = (low, bad) if mode == "min" else (bad, high)
    cut = {(True, False): "min", (False, True): "max"}.get(
        (min(values) < low, max(values) > high), "neither"
    )
    if low == high:
        low, high = low - 0.5, high + 0.5
    kind = colors.LogNorm if _style.is_wide([low, high]) else colors.Normalize
    return kind(low, high), cut


def colors_of(results: Any) -> str:
    """Light is good."""
    return f"{_style.MAP}_r" if results.mode == "min" else _style.MAP


def _place(axes: list[_style.Axis], ranked: Any) -> tuple[float, float]:
    x, y = (axis.place(ranked.hyperparameters[axis.name]) for axis in axes)
    return x, y


def _cells(ax: Any, results: Any, axes: list[_style.Axis], ranking: Any, norm: Any) -> Any:
    shape = tuple(len(axis.listed or ()) for axis in reversed(axes))
    values = np.full(shape, np.nan)
    for ranked in reversed(ranking):  # the best last
        column, row = map(int, _place(axes, ranked))
        values[row, column] = ranked.value
    picture = ax.imshow(values, cmap=colors_of(results), norm=norm, origin="lower", aspect="auto")
    if values.size <= _MOST_NUMBERS:
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                red, green, blue, _ = picture.cmap(norm(value))
                light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
                color = "black" if light else "white"
                where = (column, row - 0.12)
                ax.annotate(f"{value:.3g}", where, ha="center", va="center", color=color)
    return picture


def _mark(ax: Any, axes: list[_style.Axis], fates: _style.Fates) -> None:
    column, row = _place(axes, fates.full[0])
    lift = 0.28 if axes[1].listed is not None and axes[0].listed is not None else 0.0
    ax.plot(
        column, row + lift, "*", color=_style.COLORS[1], markeredgecolor="black", markersize=17,
        linestyle="none", label="best", clip_on=False, zorder=5,
    )  # fmt: skip
    bad = [_place(axes, r) for r in fates.diverged]
    short = [_place(axes, r) for r in fates.stopped]
    if short:
        ax.plot(
            *zip(*short, strict=True), "s", color=_style.GREY, markerfacecolor="none", markersize=6,
            linestyle="none", label=f"stopped early ({len(short)})", zorder=1,
        )  # fmt: skip
    if bad:
        ax.plot(
            *zip(*bad, strict=True), "x", color="black", markersize=9, markeredgewidth=2,
            linestyle="none", label=f"diverged ({len(bad)})",
        )  # fmt: skip
