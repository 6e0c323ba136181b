"""Curves of a run as PNG: legible in grey, and to colour-blind readers."""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from optlab.training.data._errors import extra

Rows = Sequence[Mapping[str, Any]]

VALIDATION = "validation_"
_RAW, _BAND = "#B0B0B0", "#D0D0D0"
_SMOOTH, _JUDGED, _BEST, _RATE, _NORM = "#0072B2", "#D55E00", "#000000", "#009E73", "#0072B2"
_NOT_DRAWN = ("step", "examples_per_second", "seconds", "epoch", "bad_steps", "steps")
_LAST = ("learning_rate", "gradient_norm")
_MOST_PANELS, _COLUMNS = 9, 3
_FEW, _MANY = 40, 2000  # points: fewer are not smoothed, more are drawn as a band
_WIDE = 30.0  # largest by least value from which on an axis is logarithmic
_TICKS = 5


class Panel(NamedTuple):
    """A metric: what training reported of it, and what evaluations found."""

    name: str
    training: tuple[np.ndarray, np.ndarray] | None
    judged: tuple[np.ndarray, np.ndarray] | None
    direction: str | None


def is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def series(rows: Rows, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of the rows that have a number of that name, by step."""
    found = [(row["step"], row[name]) for row in rows if is_number(row.get(name))]
    found.sort(key=lambda pair: pair[0])
    steps, values = zip(*found, strict=True) if found else ((), ())
    return np.asarray(steps, np.float64), np.asarray(values, np.float64)


def best_index(values: np.ndarray, direction: str) -> int:
    """Of the best finite value, the first of equal ones."""
    worst = math.inf if direction == "min" else -math.inf
    known = np.where(np.isfinite(values), values, worst)
    return int(known.argmin() if direction == "min" else known.argmax())


def smooth(values: np.ndarray) -> np.ndarray:
    """A straight line through each neighbourhood, weighted by a bell about 1/30 of the curve wide.

    A mean would lie above a falling curve at its beginning and below at its end. NaN stays NaN.
    """
    width = max(1.0, len(values) / 80)
    reach = math.ceil(3 * width)
    at = np.arange(-reach, reach + 1) / width
    bell = np.exp(-0.5 * at**2)
    known = np.isfinite(values)

    def near(x: np.ndarray, power: int) -> np.ndarray:
        return np.convolve(x, bell * at**power)[reach : reach + len(x)]

    ones, filled = known.astype(np.float64), np.where(known, values, 0.0)
    s0, s1, s2 = (near(ones, power) for power in range(3))
    t0, t1 = near(filled, 0), near(filled, 1)
    spread = s0 * s2 - s1**2
    line = spread > 1e-6 * s0**2  # else one point alone
    with np.errstate(divide="ignore", invalid="ignore"):
        smoothed = np.where(line, (s2 * t0 - s1 * t1) / spread, t0 / s0)
    return np.where(known, smoothed, np.nan)


def panels(rows: Rows, directions: Mapping[str, str | None]) -> list[Panel]:
    """The loss, what evaluations judged, what else was reported, learning rate, gradient norm."""
    names = [name for name in directions if name not in _NOT_DRAWN]
    bases = dict.fromkeys(name.removeprefix(VALIDATION) for name in names)
    judged = [base for base in bases if VALIDATION + base in names and base != "loss"]
    rest = [base for base in bases if base not in (*judged, *_LAST, "loss")]
    order = ["loss", *judged, *_LAST, *rest]
    return [
        Panel(
            base,
            series(rows, base) if base in names else None,
            series(rows, VALIDATION + base) if VALIDATION + base in names else None,
            directions.get(VALIDATION + base),
        )
        for base in order
        if base in bases
    ]


def draw(rows: Rows, title: str, directions: Mapping[str, str | None]) -> bytes:
    """See `curves` in `_report`."""
    library = extra("matplotlib.figure", "drawing curves", "plot", "matplotlib")
    found = panels(rows, directions)
    shown, others = found[:_MOST_PANELS], found[_MOST_PANELS:]
    columns = min(len(shown) or 1, 2 if len(shown) <= 4 else _COLUMNS)
    lines = max(1, math.ceil(len(shown) / columns))
    # Not pyplot: no window, no global state.
    figure = library.Figure(
        figsize=(max(5.2 * columns, 7.0), 3.5 * lines + 0.6), dpi=110, layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)
    wrapped = textwrap.wrap(title, 18 + 40 * columns)[:3]
    figure.suptitle("\n".join(wrapped), parse_math=False)
    if not shown:
        figure.text(0.5, 0.45, "no metrics were reported", ha="center", color="#555555")
    steps = [row["step"] for row in rows]
    for i, panel in enumerate(shown):
        axis = figure.add_subplot(lines, columns, i + 1)
        _draw_panel(axis, panel, min(steps), max(steps))
    if others:
        names = textwrap.fill("also reported: " + ", ".join(p.name for p in others), 130)
        figure.supxlabel(names, size=9, color="#555555", parse_math=False)
    return _png(figure)


def _draw_panel(axis: Any, panel: Panel, first: float, last: float) -> None:
    axis.grid(color="#E5E5E5", lw=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_title(panel.name.replace("_", " "), size=11, parse_math=False)
    drawn = [pair for pair in (panel.training, panel.judged) if pair is not None]
    values = np.concatenate([v[np.isfinite(v)] for _, v in drawn])
    log = panel.name != "learning_rate" and _is_wide(values)
    if panel.training is not None:
        _draw_training(axis, panel, log, *panel.training)
    if panel.judged is not None:
        _draw_judged(axis, panel, *panel.judged)
    _mark_not_finite(axis, drawn)
    _scale_steps(axis, first, last)
    if log:
        _scale_log(axis, values)
    else:
        _scale(axis, panel.name, values)
    if len(axis.get_legend_handles_labels()[1]) > (panel.judged is None):
        axis.legend(fontsize=9, framealpha=0.8, edgecolor="none")


def _draw_training(
    axis: Any, panel: Panel, log: bool, steps: np.ndarray, values: np.ndarray
) -> None:
    if panel.name == "learning_rate":
        axis.plot(steps, values, color=_RATE, lw=1.5, **_dots(values))
        return
    if np.isfinite(values).sum() < _FEW:
        axis.plot(steps, values, color=_SMOOTH, lw=1.5, label="training", **_dots(values))
        return
    if len(values) <= _MANY:
        axis.plot(steps, values, color=_RAW, lw=0.8, label="training, as reported")
    else:
        steps, low, values, high = _stretches(steps, values)
        axis.fill_between(steps, low, high, color=_BAND, lw=0, label="training, least to largest")
    known = np.where(np.isfinite(values), values, np.nan)
    line = np.exp(smooth(np.log(known))) if log else smooth(known)
    axis.plot(steps, line, color=_SMOOTH, lw=1.5, label="training, smoothed")


def _draw_judged(axis: Any, panel: Panel, steps: np.ndarray, values: np.ndarray) -> None:
    style = _dots(values, 40) or {"marker": ""}
    axis.plot(steps, values, color=_JUDGED, ls="--", lw=1.5, label="validation", **style)
    if panel.direction and np.isfinite(values).any():
        i = best_index(values, panel.direction)
        label = f"best: {values[i]:.4g} at step {steps[i]:,.0f}"
        axis.plot(steps[i], values[i], "D", color=_BEST, ms=5, label=label, ls="")


def _dots(values: np.ndarray, few: int = 20) -> dict[str, Any]:
    """Points are marked where they are few: a line through one is not seen, nor between NaN."""
    alone = np.isfinite(values).sum() <= few
    return {"marker": "o", "ms": 3.5} if alone else {}


def _stretches(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, ...]:
    """Middle step, least, mean and largest of 500 stretches; those without a number are left out.

    A million points look the same, and take far longer to draw.
    """
    parts = np.array_split(np.arange(len(values)), 500)
    kept = [part[np.isfinite(values[part])] for part in parts]
    kept = [part for part in kept if part.size]
    reduced = [
        (steps[part].mean(), values[part].min(), values[part].mean(), values[part].max())
        for part in kept
    ]
    return tuple(np.array(column) for column in zip(*reduced, strict=True))


def _mark_not_finite(axis: Any, drawn: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    broken = [s[~np.isfinite(v)][0] for s, v in drawn if not np.isfinite(v).all()]
    if broken:
        first = min(broken)
        label = f"not finite at step {first:,.0f}"
        axis.axvline(first, color="#555555", ls=":", lw=1.2, label=label)


def _is_wide(values: np.ndarray) -> bool:
    return bool(values.size and values.min() > 0 and values.max() / values.min() >= _WIDE)


def _scale_steps(axis: Any, first: float, last: float) -> None:
    """The same for all panels, so that they can be compared."""
    from matplotlib import ticker

    pad = 0.03 * (last - first) or 1.0
    axis.set_xlim(first - pad, last + pad)
    axis.set_xlabel("step")
    axis.xaxis.set_major_locator(ticker.MaxNLocator(_TICKS, integer=True, steps=[1, 2, 5, 10]))
    axis.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))


def _scale_log(axis: Any, values: np.ndarray) -> None:
    from matplotlib import ticker

    decades = math.log10(values.max() / values.min())
    axis.set_yscale("log")
    # one to three decades: ticks within them too
    axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if decades < 3 else (1,)))
    axis.yaxis.set_major_formatter(ticker.FuncFormatter(_short))
    axis.yaxis.set_minor_formatter(ticker.NullFormatter())


def _scale(axis: Any, name: str, values: np.ndarray) -> None:
    from matplotlib import ticker

    if not values.size:
        axis.set_ylim(0, 1)
        axis.set_yticks([])
        return
    low, high = values.min(), values.max()
    size = max(abs(low), abs(high))
    if high - low <= 1e-4 * size:  # a constant, or nearly: not the noise of its last digit
        pad = 0.05 * size or 1.0
        axis.set_ylim(low - pad, high + pad)
    elif name == "learning_rate" and low >= 0:
        axis.set_ylim(0, 1.05 * high)
    axis.yaxis.set_major_locator(ticker.MaxNLocator(_TICKS, steps=[1, 2, 2.5, 5, 10]))
    axis.yaxis.set_major_formatter(ticker.FuncFormatter(_short))


def _short(value: float, _: Any = None) -> str:
    """Ticks without an offset or a factor elsewhere."""
    if value == 0:
        return "0"
    return f"{value:,.10g}" if 1e-4 <= abs(value) < 1e7 else f"{value:.4g}"


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        # A letter that the font lacks, in a title, is a box in the picture and no reason to fail.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()
