"""What the statistics of all layers say of one draw, and of a candidate over its seeds."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from optlab.lab.init._layer import Layer
from optlab.lab.init._measure import STATISTICS, Measured

LIMIT = 1e3  # a signal that grew, or fell, by this factor since the first layer is lost
_WORST = 10.0  # powers of ten; what non-finite, zero and equal units count as
_AROUND = 0.3  # how much a layer counts that leaves the trend
_MARGIN = 0.3  # a candidate must be better by a factor of two to be worth a change


@dataclasses.dataclass(frozen=True)
class Summary:
    """One draw, or the worst of several.

    Attributes:
      signal: spread between examples, last layer over first.
      gradient: norm of the loss's gradient by a layer's output, first layer over last.
      signal_depth: layers that the signal survives, within 1e-3 and 1e3 of its first.
      gradient_depth: layers that the gradient survives, counted from the output.
      variety: least share of the differences between examples in what a layer passes on.
      dead: largest share of units that are 0 for every example.
      saturated: largest share of values at the ends of the activation's range.
      copies: layers whose units all have the same inputs.
      finite: whether all numbers were.
      score: powers of ten lost, added up; less is better.
    """

    signal: float
    gradient: float
    signal_depth: int
    gradient_depth: int
    variety: float
    dead: float
    saturated: float
    copies: int
    finite: bool
    score: float


def summarize(measured: Measured, layers: list[Layer], copies: list[bool]) -> Summary:
    """Judges one draw."""
    table = dict(zip(STATISTICS, measured.layers, strict=True))
    signal, gradient = table["signal"], table["gradient"]
    hidden = slice(0, max(len(layers) - 1, 1))
    finite = bool(np.isfinite(measured.layers).all() and np.isfinite(measured.loss))
    forward = powers_of(signal, signal[0])
    backward = powers_of(gradient, gradient[-1])
    # A stack whose every value is tiny or huge is no better for being so from the first layer on.
    size = np.maximum(np.abs(powers_of(table["pre_std"], 1.0)) - 1, 0)
    lost = np.clip(1 - table["variety"][hidden], 0, 1 - 10.0**-_WORST)
    parts = [
        max(_loss(forward), size.max()),
        _loss(backward),
        -np.log10(1 - lost).min() if lost.size == 0 else (-np.log10(1 - lost)).max(),
        table["dead"][hidden].max(),
        table["saturated"][hidden].max(),
        _WORST * any(copies),
        0.0 if finite else 3 * _WORST,
    ]
    return Summary(
        signal=_ratio(signal[-1], signal[0]),
        gradient=_ratio(gradient[0], gradient[-1]),
        signal_depth=_depth(forward),
        gradient_depth=_depth(backward[::-1]),
        variety=float(np.nan_to_num(table["variety"][hidden]).min()),
        dead=float(np.nan_to_num(table["dead"][hidden], nan=1.0).max()),
        saturated=float(np.nan_to_num(table["saturated"][hidden], nan=1.0).max()),
        copies=sum(copies),
        finite=finite,
        score=float(sum(np.nan_to_num(p, nan=_WORST, posinf=_WORST) for p in parts)),
    )


def worst(summaries: list[Summary]) -> Summary:
    """The draw with the worst score."""
    return max(summaries, key=lambda s: s.score)


def best_candidate(scores: dict[str, float], given: str) -> str:
    """The name with the lowest score; the given one, or the earlier, unless clearly beaten."""
    lowest = min(scores.values())
    if scores.get(given, np.inf) <= lowest + _MARGIN:
        return given
    others = {name: score for name, score in scores.items() if name != given}
    return next(name for name, score in others.items() if score <= lowest + _MARGIN / 3)


def equal_units(layers: list[Layer], leaves: list[Any]) -> list[bool]:
    """For every layer, whether all its units are copies of one: equal weights, not all zero."""
    known: dict[int, bool] = {}
    for layer in layers:
        if layer.leaf in known:
            continue
        known[layer.leaf] = False
        if layer.axes is None or layer.kind == "captured":
            continue
        kernel = np.asarray(leaves[layer.leaf], np.float32)
        outputs = tuple(layer.axes.out_axis)
        if np.prod([kernel.shape[i] for i in outputs]) < 2 or not kernel.any():
            continue
        known[layer.leaf] = bool(np.all(np.ptp(kernel, axis=outputs) == 0))
    return [known[layer.leaf] for layer in layers]


def powers_of(values: np.ndarray, reference: float) -> np.ndarray:
    """log10 of ratios, within ±10; zeros are -10, and what is not finite +10."""
    if not np.isfinite(reference) or reference <= 0:
        return np.full(len(values), -_WORST)
    with np.errstate(divide="ignore", invalid="ignore"):
        powers = np.log10(values / reference)
    return np.clip(
        np.nan_to_num(powers, nan=_WORST, posinf=_WORST, neginf=-_WORST), -_WORST, _WORST
    )


def trend(powers: np.ndarray) -> float:
    """How many powers of ten the values rise over all layers, by least squares.

    Side branches, such as an attention's queries, may have small gradients by nature; what counts
    is what goes on from layer to layer.
    """
    if len(powers) < 2:
        return 0.0
    return float(np.polyfit(np.linspace(0, 1, len(powers)), powers, 1)[0])


def _loss(powers: np.ndarray) -> float:
    rise = trend(powers)
    around = np.abs(powers - powers[0] - rise * np.linspace(0, 1, len(powers))).max()
    return abs(rise) + _AROUND * float(around)


def _ratio(value: float, reference: float) -> float:
    if value == 0:
        return 0.0  # nothing arrived, be it that nothing set out
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.float64(value) / np.float64(reference))


def _depth(powers: np.ndarray) -> int:
    beyond = np.nonzero(np.abs(powers) > np.log10(LIMIT))[0]
    return int(beyond[0]) if beyond.size else len(powers)
