"""A quantity of every layer at every step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from optlab.lab.plots import _style

_MOST_MARKS = 600


def layers(
    values: Mapping[str, Any],
    steps: Sequence[int],
    *,
    label: str,
    low: float = 1e-3,
    high: float = 1e3,
    ax: Any = None,
) -> Any:
    """Draws a positive quantity, such as a gradient norm, as a map of layers and steps.

    Args:
      values: by the layer's name, from the input to the output, an array over the steps.
      steps: the updates done at each of its places, ascending.
      label: what the quantity is, with its unit if it has one.
      low, high: what is too small or too large; such cells are marked with a triangle that points
        down or up, and cells that are not finite with a cross. The colours end there as well.
      ax: matplotlib Axes to draw into; None makes a new figure, 800 pixels wide.

    Returns:
      The Axes; the first layer is at the top.

    Raises:
      ValueError: for no layers, or lengths that do not fit.

    Example:
      >>> import optlab as ol
      >>> norms = {"first": [1e-5, 1e-4], "second": [0.1, 0.2]}
      >>> ax = ol.lab.plots.layers(norms, [0, 100], label="gradient norm")  # doctest: +SKIP
    """
    if not values:
        raise ValueError("plot: values must hold at least one layer, got none.")
    for name, row in values.items():
        if np.shape(row) != (len(steps),):
            raise ValueError(
                f"plot: the values of {name!r} have the shape {np.shape(row)}, there are "
                f"{len(steps)} steps."
            )
    if not 0 < low < high:
        raise ValueError(f"plot: low and high must be positive, low below high, got {low}, {high}.")
    table = np.asarray([np.asarray(row, np.float64) for row in values.values()])
    pyplot = _style.pyplot()
    from matplotlib import colors

    ax = _style.axes(ax, height=min(max(2.5, 1.4 + 0.25 * len(values)), 9.0))
    sound = table[np.isfinite(table) & (table > 0)]
    ends = (max(sound.min(), low), min(sound.max(), high)) if sound.size else (low, high)
    if ends[0] >= ends[1]:
        ends = (low, high)
    norm = colors.LogNorm(*ends)
    colormap = pyplot.get_cmap(_style.MAP).with_extremes(bad="white")
    shown = np.where(np.isfinite(table), np.maximum(table, np.finfo(np.float64).tiny), np.nan)
    picture = ax.pcolormesh(
        _edges(steps), np.arange(len(values) + 1), shown, cmap=colormap, norm=norm
    )
    ax.invert_yaxis()
    _marks(ax, table, steps, low, high)
    ax.set_yticks(np.arange(len(values)) + 0.5, list(values), fontsize=9 if len(values) < 25 else 6)
    ax.set_xlabel("updates done")
    small, large = bool((table < ends[0]).any()), bool((table > ends[1]).any())
    extend = {(1, 0): "min", (0, 1): "max", (1, 1): "both"}.get((small, large), "neither")
    ax.figure.colorbar(picture, ax=ax, extend=extend).set_label(f"{label} (log scale)")
    return _style.finish(ax, grid=False)


def _edges(steps: Sequence[int]) -> np.ndarray:
    """Cells begin and end half way between the steps."""
    at = np.asarray(steps, np.float64)
    if len(at) == 1:
        return np.array([at[0] - 0.5, at[0] + 0.5])
    middle = (at[1:] + at[:-1]) / 2
    return np.concatenate([[2 * at[0] - middle[0]], middle, [2 * at[-1] - middle[-1]]])


def _marks(ax: Any, table: np.ndarray, steps: Sequence[int], low: float, high: float) -> None:
    kinds = (
        (table < low, "v", f"under {low:g}"),
        (table > high, "^", f"over {high:g}"),
        (~np.isfinite(table), "x", "not finite"),
    )
    for where, marker, text in kinds:
        where = where & np.isfinite(table) if marker != "x" else where
        rows, columns = np.nonzero(where)
        if len(rows):
            thin = max(len(rows) // _MOST_MARKS, 1)
            color = "black" if marker == "x" else "white"
            ax.plot(
                np.asarray(steps)[columns][::thin], rows[::thin] + 0.5, marker, linestyle="none",
                color=color, markeredgecolor="black", markeredgewidth=0.8, markersize=6, label=text,
            )  # fmt: skip
    _style.legend_above(ax)
