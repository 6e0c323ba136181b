"""Loss against learning rate, of a range test."""

from __future__ import annotations

from typing import Any

import numpy as np

from optlab.lab.plots import _style


def rates(found: Any, ax: Any = None) -> Any:
    """What `lr_range` found: the loss at each learning rate, the suggestion, where it diverges.

    Args:
      found: an `LRRange`.
      ax: matplotlib's Axes; None for those of a new figure.

    Returns:
      The Axes.

    Raises:
      ImportError: without matplotlib.

    Example:
      >>> import optlab as ol
      >>> found = ol.lab.lr_range(
      ...     ol.lab.tasks.rosenbrock(steps=100), ol.adam, ramp=False, seeds=2, progress=False
      ... )
      >>> ol.lab.plots.rates(found).get_xscale()
      'log'
    """
    blue, red, green = _style.COLORS[:3]
    ax = _style.axes(ax)
    mean, x = found.mean, found.rates
    marker = None if found.ramp else "o"
    known = ~np.isnan(found.losses).all(0)
    if len(found.losses) > 1 and known.any():
        low, high = np.nanmin(found.losses[:, known], 0), np.nanmax(found.losses[:, known], 0)
        label = f"{len(found.losses)} seeds, least to largest"
        ax.fill_between(x[known], low, high, color=blue, alpha=0.2, linewidth=0, label=label)
    label = "mean loss, smoothed" if found.ramp else f"mean loss at the end of {found.steps} steps"
    ax.plot(x, mean, color=blue, linewidth=2, marker=marker, markersize=4, label=label)
    ax.axhline(found.start, color=_style.GREY, linestyle=":", linewidth=1.5, label="start")
    ax.set_xscale("log")
    ax.set_xlim(x[0], x[-1])
    if np.isfinite(found.start):
        _limit(ax, np.append(mean[np.isfinite(mean)], found.start), found.start)
    if found.suggestion is not None:
        label = f"suggested: {found.suggestion:.2g}"
        ax.axvline(found.suggestion, color=green, linewidth=2, linestyle="--", label=label)
    if found.diverges_at is not None:
        label = f"diverges from {found.diverges_at:.2g}"
        ax.axvspan(found.diverges_at, x[-1], color=red, alpha=0.15, linewidth=0, label=label)
    ax.set_xlabel("learning rate (log scale)")
    ax.set_ylabel("training loss" + (" (log scale)" if ax.get_yscale() == "log" else ""))
    how = f"a ramp of {found.steps} steps" if found.ramp else f"trials of {found.steps} steps"
    ax.set_title(f"{found.task_name}: learning rate range, {how}")
    ax.legend(loc="best", fontsize=9, framealpha=0.9)
    return _style.finish(ax)


def _limit(ax: Any, shown: np.ndarray, start: float) -> None:
    """The fall, and a little above the start; what blows up leaves the picture."""
    least = float(shown.min())
    if _style.is_wide([least, start]):
        ax.set_yscale("log")
        ax.set_ylim(least / 2, start * 4)
    elif least < start:
        ax.set_ylim(least - 0.1 * (start - least), start + 0.35 * (start - least))
