"""The picture of a report: layers by updates, update ratios, the loss and what happened when."""

from __future__ import annotations

from typing import Any

import numpy as np

from optlab.lab import plots
from optlab.lab.health._thresholds import LARGE_RATIO, SMALL_RATIO
from optlab.lab.plots._style import pyplot

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")
TITLE = {"loc": "left", "fontsize": 11}
LEAST, MOST = 1e-8, 1e2  # ratios beyond are drawn at the end
MOST_LAYERS = 40
MOST_LINES = 4  # layers whose ratios are told apart


def draw(report: Any, figure: Any = None) -> Any:
    """See `GradientReport.plot`."""
    samples = report.samples
    layers = min(len(samples.groups), MOST_LAYERS)
    heights = [1.2 + 0.22 * layers, 2.4, 2.6]
    if figure is None:
        figure = pyplot().figure(figsize=(8, sum(heights) + 0.8), dpi=100, layout="constrained")
    top, middle, bottom = figure.subplots(3, height_ratios=heights)
    _gradients(top, samples)
    _ratios(middle, samples)
    _losses(bottom, report)
    return figure


def _gradients(ax: Any, samples: Any) -> None:
    groups = samples.groups[:MOST_LAYERS]
    norms = samples.columns["gradient_norm"]
    sound = norms[np.isfinite(norms) & (norms > 0)]
    ends = (sound.min(), sound.max()) if sound.size else (1e-3, 1e3)
    low, high = max(ends[0] / 2, 1e-30), min(ends[1] * 2, 1e30)
    values = {_short(group): norms[:, j] for j, group in enumerate(groups)}
    plots.layers(values, samples.steps, label="gradient norm", low=low, high=high, ax=ax)
    if ax.get_legend() is not None:
        ax.get_legend().remove()  # of triangles: here they mean one thing
    zero = (norms[np.isfinite(norms)] == 0).any()
    title = "Gradient norm of each layer" + (" (triangles: zero)" if zero else "")
    ax.set_title(title + ("" if np.isfinite(norms).all() else " (crosses: not finite)"), **TITLE)


def _ratios(ax: Any, samples: Any) -> None:
    ratios = samples.columns["update_ratio"]
    sound = ratios[np.isfinite(ratios) & (ratios > 0)]
    low, high = SMALL_RATIO / 3, LARGE_RATIO * 3
    if sound.size:
        low, high = min(low, max(sound.min(), LEAST)), max(high, min(sound.max(), MOST))
    bins = np.logspace(np.floor(np.log10(low)), np.ceil(np.log10(high)), 61)
    ratios = np.clip(np.nan_to_num(ratios, nan=bins[-1]), bins[0], bins[-1])
    shown = np.linspace(0, len(samples.groups) - 1, min(len(samples.groups), MOST_LINES))
    for number, j in enumerate(sorted({round(x) for x in shown})):
        ax.hist(
            ratios[:, j],
            bins=bins,
            histtype="step",
            linewidth=2,
            color=COLORS[number],
            linestyle=DASHES[number % len(DASHES)],
            label=_short(samples.groups[j]),
        )
    ax.hist(ratios.ravel(), bins=bins, color="#BBBBBB", label="all layers", zorder=0)
    ax.set_xscale("log")
    for at, text in ((SMALL_RATIO, "small"), (1e-3, "usual"), (LARGE_RATIO, "large")):
        ax.axvline(at, color="black", linewidth=1, linestyle=(0, (2, 3)))
        ax.annotate(
            text, (at, 1), xycoords=("data", "axes fraction"), xytext=(3, -3), ha="left", va="top",
            textcoords="offset points", fontsize=9,
        )  # fmt: skip
    ax.set_xlabel("update norm / weight norm (log scale)")
    ax.set_ylabel("samples")
    ax.set_title("Update ratios", **TITLE)
    _legend(ax, "below")
    _plain(ax)


def _losses(ax: Any, report: Any) -> None:
    steps, losses = report.loss_steps, report.losses
    ax.set_title("Loss, and the findings", **TITLE)
    ax.set_xlabel("updates done")
    ax.set_ylabel("loss")
    finite = np.isfinite(losses)
    if finite.any():
        ax.plot(steps[finite], losses[finite], color=COLORS[0], linewidth=1.2, alpha=0.9)
        if (losses[finite] > 0).all() and losses[finite].max() > 30 * losses[finite].min():
            ax.set_yscale("log")
            ax.set_ylabel("loss (log scale)")
    else:
        ax.text(0.5, 0.5, "no losses known", transform=ax.transAxes, ha="center", color="#555555")
    ends = [*report.samples.steps[[0, -1]], *steps]
    ax.set_xlim(min(ends) - 0.5, max(ends) + 0.5)
    if (~finite).any():
        ax.plot(
            steps[~finite], np.full((~finite).sum(), 0.03), "x", color="black", clip_on=False,
            transform=ax.get_xaxis_transform(), label="not finite",
        )  # fmt: skip
    least = (max(ends) - min(ends)) / 80
    for number, finding in enumerate(report.findings):
        ax.axvspan(
            finding.first_step, max(finding.last_step, finding.first_step + least),
            *_strip(number), color=COLORS[(number + 1) % len(COLORS)], alpha=0.45, linewidth=0,
            label=f"{number + 1}. {finding.rule}",
        )  # fmt: skip
        ax.axvline(
            finding.first_step, color=COLORS[(number + 1) % len(COLORS)], linewidth=1.2,
            linestyle="--",
        )  # fmt: skip
    if report.findings or (~finite).any():
        _legend(ax)
    _plain(ax)


def _legend(ax: Any, wide: str = "best") -> None:
    """Over the picture, beside its title; where it is too wide, in a corner, or below it."""
    handles, labels = ax.get_legend_handles_labels()
    if sum(len(label) + 6 for label in labels) < 58:
        ax.legend(
            handles, labels, frameon=False, fontsize=9, ncols=len(labels), loc="lower right",
            bbox_to_anchor=(1.0, 0.99), borderaxespad=0, columnspacing=1.2, handlelength=1.8,
        )  # fmt: skip
    elif wide == "below":
        ax.legend(
            handles, labels, frameon=False, fontsize=9, ncols=3, loc="upper center",
            bbox_to_anchor=(0.5, -0.3), borderaxespad=0,
        )  # fmt: skip
    else:
        ax.legend(handles, labels, fontsize=9, loc="best", framealpha=0.85, edgecolor="none")


def _strip(number: int) -> tuple[float, float]:
    """Where the strip of a finding lies, one over the other, as shares of the height."""
    top = 0.98 - 0.07 * (number % 12)
    return top - 0.05, top


def _plain(ax: Any) -> None:
    ax.grid(True, alpha=0.3)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def _short(group: str, most: int = 28) -> str:
    return group if len(group) <= most else f"...{group[3 - most :]}"
