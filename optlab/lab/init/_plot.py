"""Pictures of reports. matplotlib is imported when one is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np

from optlab.lab.init._summary import LIMIT

# Told apart by eyes of any kind (Okabe and Ito), and without colour by dashes and markers.
_COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 2)))
_MARKERS = "osD^v<>P"
_FLOOR = 1e-12


def plot_report(report: Any, axes: Any = None) -> Any:
    """Signal forward above, gradient backward below."""
    if axes is None:
        figure, axes = pyplot().subplots(
            2, 1, figsize=(8, 7), dpi=100, sharex=True, layout="constrained"
        )
        figure.suptitle("Signal and gradient through the layers", fontsize=12)
    upper, lower = axes
    names = [row["candidate"] for row in report.candidates]
    for i, name in enumerate(names):
        rows = report.layers(name)
        style = {
            "color": _COLORS[i % len(_COLORS)],
            "linestyle": _DASHES[i % len(_DASHES)],
            "marker": _MARKERS[i % len(_MARKERS)],
            "markersize": 4,
            "markevery": max(len(rows) // 10, 1),
            "linewidth": 2.4 if name in (names[0], report.recommendation.name) else 1.4,
        }
        label = f"{name} (recommended)" if name == report.recommendation.name else name
        places = np.arange(1, len(rows) + 1)
        for axis, column in ((upper, "signal"), (lower, "gradient")):
            values = np.array([row[column] for row in rows], float)
            values = np.where(np.isfinite(values) & (values > 0), values, np.nan)
            axis.plot(places, np.maximum(values, _FLOOR), label=label, **style)
    first = report.layers(names[0])
    _decorate(upper, "signal: spread between examples", first[0]["signal"])
    _decorate(lower, "norm of the gradient", first[-1]["gradient"])
    lower.set_xlabel("layer")
    upper.legend(frameon=False, fontsize=8, ncols=2, loc="best")
    return axes


def plot_coordinates(check: Any, ax: Any = None) -> Any:
    """The size of every layer's output over the width, after the last step."""
    if ax is None:
        ax = pyplot().subplots(figsize=(8, 5), dpi=100, layout="constrained")[1]
    for i, verdict in enumerate(check.layers):
        rows = [r for r in check.rows if r["layer"] == verdict["layer"] and r["step"] == check.steps]
        widths = sorted({r["width"] for r in rows})
        scales = [np.median([r["scale"] for r in rows if r["width"] == w]) for w in widths]
        ax.plot(
            widths,
            scales,
            color=_COLORS[i % len(_COLORS)],
            linestyle=_DASHES[i % len(_DASHES)],
            marker=_MARKERS[i % len(_MARKERS)],
            linewidth=1.8,
            label=f"{verdict['layer']}: width^{verdict['slope']:.2f}, {verdict['verdict']}",
        )
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(widths, [str(w) for w in widths])
    ax.minorticks_off()
    ax.set_xlabel("width")
    ax.set_ylabel(f"mean |output of the layer| after {check.steps} steps")
    ax.grid(True, which="major", alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8)
    return ax


def _decorate(axis: Any, label: str, reference: float) -> None:
    axis.set_yscale("log")
    if np.isfinite(reference) and reference > 0:
        low, high = axis.get_ylim()
        for factor in (1 / LIMIT, LIMIT):
            level = reference * factor
            if low / 10 < level < high * 10:
                axis.axhline(level, color="#666666", linewidth=1, linestyle=(0, (2, 3)))
                axis.annotate(
                    f"{factor:g} of the {'first' if 'signal' in label else 'last'} layer",
                    (0.995, level),
                    xycoords=("axes fraction", "data"),
                    fontsize=8,
                    color="#444444",
                    ha="right",
                    va="bottom",
                )
    axis.set_ylabel(label)
    axis.grid(True, which="major", alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)


def pyplot() -> Any:
    try:
        import matplotlib.pyplot as pyplot
    except ImportError as error:
        raise ImportError(
            'plotting needs matplotlib, which is not installed: pip install "optlab[plot]"'
        ) from error
    return pyplot
