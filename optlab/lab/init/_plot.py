"""Pictures of reports. matplotlib is imported when one is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np

from optlab.lab.init._summary import LIMIT
from optlab.lab.plots._style import pyplot

# Told apart by eyes of any kind (Okabe and Ito), and without colour by dashes and markers.
_COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 2)))
_MARKERS = "osD^v<>P"
_FLOOR = 1e-12


def plot_report(report: Any, figure: Any = None) -> Any:
    """Signal forward above, gradient backward below."""
    if figure is None:
        figure = pyplot().figure(figsize=(8, 7), dpi=100, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
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
    _decorate(upper, "signal: spread between examples", first[0]["signal"], "first")
    _decorate(lower, "gradient by the layer's output", first[-1]["gradient"], "last")
    lower.set_xlabel("layer")
    lower.xaxis.get_major_locator().set_params(integer=True)
    handles, labels = upper.get_legend_handles_labels()
    # Outside needs a layout that makes room for it, which a given figure may not have.
    roomy = figure.get_layout_engine() is not None
    place = "outside upper center" if roomy else "upper center"
    figure.legend(handles, labels, loc=place, ncols=4, frameon=False, fontsize=9)
    return figure


def plot_coordinates(check: Any, ax: Any = None) -> Any:
    """How far the last step has moved every layer's output, over the width."""
    if ax is None:
        ax = pyplot().subplots(figsize=(8, 5), dpi=100, layout="constrained")[1]
    for i, verdict in enumerate(check.layers):
        rows = [
            r for r in check.rows if r["layer"] == verdict["layer"] and r["step"] == check.steps
        ]
        widths = sorted({r["width"] for r in rows})
        changes = [np.mean([r["change"] for r in rows if r["width"] == w]) for w in widths]
        ax.plot(
            widths,
            changes,
            color=_COLORS[i % len(_COLORS)],
            linestyle=_DASHES[i % len(_DASHES)],
            marker=_MARKERS[i % len(_MARKERS)],
            linewidth=1.8,
            label=f"{verdict['layer']}: slope {verdict['slope']:+.2f}, {verdict['verdict']}",
        )
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(widths, [str(w) for w in widths])
    ax.minorticks_off()
    ax.set_xlabel("width")
    ax.set_ylabel(f"mean change of the layer's output, {check.steps} steps")
    ax.grid(True, which="major", alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8)
    return ax


def _decorate(axis: Any, label: str, reference: float, layer: str) -> None:
    """Scales, and the levels at which a signal counts as lost; named beside the picture, where
    no line can strike the words through."""
    axis.set_yscale("log")
    if np.isfinite(reference) and reference > 0:
        low, high = axis.get_ylim()
        for factor in (1 / LIMIT, LIMIT):
            level = reference * factor
            if low / 10 < level < high * 10:
                axis.axhline(level, color="#666666", linewidth=1, linestyle=(0, (2, 3)))
                axis.annotate(
                    f"lost: {factor:g}\nof the {layer}\nlayer",
                    (1.01, level),
                    xycoords=("axes fraction", "data"),
                    fontsize=9,
                    color="#444444",
                    ha="left",
                    va="center",
                    annotation_clip=False,
                )
    axis.set_ylabel(label)
    axis.grid(True, which="major", alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
