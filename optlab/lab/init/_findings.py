"""What is wrong with a start, in words: each rule with its threshold."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from optlab import initializers
from optlab.lab.init._layer import Layer
from optlab.lab.init._measure import STATISTICS, Measured
from optlab.lab.init._summary import Summary, powers_of, trend

_LOST = 1.0  # powers of ten from the first layer to the last, by the trend
_SATURATED = 0.3
_DEAD = 0.5
_ALIKE = 0.1
_BIASED = 3.0  # a layer's mean over its spread between examples
_UPDATE = (1e-6, 0.3)  # of the weights' norm, at the first step; 1e-3 is usual
_INPUT = (0.03, 30.0)
_CONDITION = 1e4
_FITS, _RULED_OUT = 3.0, 5.0  # standard errors of a variance
_NEAR = math.log(1.25)  # a factor on the variance that is no matter
# What lies below is rounding (of the first layer's signal), or near the smallest numbers.
_SIGNAL_FLOOR, _GRADIENT_FLOOR = 1e-6, 1e-30
_ZERO = ("zero kernel", "zero head")
_OF_ZERO = (
    "signal vanishes", "gradient vanishes", "examples alike", "dead units", "ill-conditioned"
)  # fmt: skip
SEE = "See the recommendation."


@dataclasses.dataclass(frozen=True)
class Finding:
    """Attributes: kind: a short name of the rule; layers: where; text: what was measured; fix: what
    to do; cause: the same as text, short, for the recommendation's sentence.

    Example:
      >>> from optlab.lab.init import Finding
      >>> print(Finding("dead units", ("Dense_1",), "60% of the units are 0.", "Look at its bias."))
      Dense_1: 60% of the units are 0. Look at its bias.
    """

    kind: str
    layers: tuple[str, ...]
    text: str
    fix: str
    cause: str = ""

    def __str__(self) -> str:
        return f"{_names(self.layers)}: {self.text} {self.fix}"


@dataclasses.dataclass(frozen=True, eq=False)
class Start:
    """What the rules look at: the parameters as given.

    Attributes: copies: layers of equal units; singular_values: of the input-output Jacobian,
    (example, value), or None; has_tx: whether updates are those of an optimizer.
    """

    layers: list[Layer]
    leaves: list[Any]
    measured: Measured
    summary: Summary
    copies: list[bool]
    singular_values: np.ndarray | None
    has_tx: bool

    def column(self, name: str) -> np.ndarray:
        return self.measured.layers[STATISTICS.index(name)]


def find(start: Start) -> list[Finding]:
    """All that the rules find, the cause before its effects; of zero kernels, the cause alone."""
    rules = (
        _non_finite, _inputs, _equal_units, _zero_kernels, _fan_axes, _signal, _gradient, _alike,
        _saturated, _dead, _condition, _updates,
    )  # fmt: skip
    found = [finding for rule in rules for finding in rule(start)]
    zero = {layer for one in found if one.kind in _ZERO for layer in one.layers}
    return [one for one in found if one.kind not in _OF_ZERO or not {*one.layers} <= zero]


def _non_finite(start: Start) -> Iterator[Finding]:
    bad = ~np.isfinite(start.measured.layers).all(0)
    if bad.any():
        forward = ~np.isfinite(start.column("pre_std"))
        where = _where(start, forward if forward.any() else bad)
        kind = "outputs" if forward.any() else "gradients"
        text = f"{kind} are not finite, first at {where[0]}."
        yield Finding(
            "non-finite", where, text, "The start is too large for this dtype, see below."
        )


def _inputs(start: Start) -> Iterator[Finding]:
    rms = start.column("input_rms")[0]
    if not _INPUT[0] <= rms <= _INPUT[1]:
        yield Finding(
            "inputs",
            (start.layers[0].name,),
            f"its inputs have root mean square {rms:.3g}.",
            "Standardise the data: every formula here supposes about 1.",
        )


def _equal_units(start: Start) -> Iterator[Finding]:
    if any(start.copies):
        yield Finding(
            "equal units",
            _where(start, np.array(start.copies)),
            "all units have equal weights, so they get equal gradients and stay one unit for ever.",
            "Draw kernels at random; constants are for biases and scales.",
        )


def _zero_kernels(start: Start) -> Iterator[Finding]:
    zero = np.array([not np.asarray(start.leaves[x.leaf]).any() for x in start.layers])
    inside = zero & np.array([not x.branch_end for x in start.layers])
    inside[-1] = False
    if inside.any():
        yield Finding(
            "zero kernel",
            _where(start, inside),
            "the kernel is zero: no signal passes, and no gradient behind it.",
            "Draw it at random; zero is for residual branches' last kernels and for heads.",
        )
    if zero[-1]:
        yield Finding(
            "zero head",
            (start.layers[-1].name,),
            "the last kernel is zero: at the first step no gradient reaches the others.",
            "Fine if meant so; the gradients of this report say nothing then.",
        )


def _fan_axes(start: Start) -> Iterator[Finding]:
    seen = set()
    for layer in start.layers:
        if layer.leaf in seen or layer.axes is None or len(layer.shape) < 3:
            continue
        seen.add(layer.leaf)
        wrong = initializers.fans(layer.shape)
        kernel = np.asarray(start.leaves[layer.leaf], np.float64)
        variance = float(kernel.var())
        right = (layer.fan_in, initializers.fans(layer.shape, *layer.axes).fan_out)
        if variance == 0 or wrong.fan_in == right[0]:
            continue
        # Of a normal sample; that of bounded draws is smaller.
        error = math.sqrt(2 / kernel.size)
        off = {name: _apart(variance, rule(*wrong)) / error for name, rule in _RULES.items()}
        meant = min(_apart(variance, rule(*right)) for rule in _RULES.values())
        name = min(off, key=lambda rule: off[rule])
        # It must be what the wrong axes give, and beyond chance not what the right ones do.
        if off[name] < _FITS and meant > max(_RULED_OUT * error, _NEAR):
            yield Finding(
                "fan axes",
                (layer.name,),
                f"the shape {layer.shape} was read as fan_in {wrong.fan_in} ({name} there: "
                f"Var(w) = {variance:.2g}), but each output sums {layer.fan_in} inputs: the "
                f"variance is {variance * layer.fan_in:.2g}/fan_in.",
                f"Name the axes: {name}({_axes_text(layer.axes)}).",
            )


def _apart(variance: float, other: float) -> float:
    return abs(math.log(variance / other))


_RULES = {
    "lecun_normal": lambda fan_in, fan_out: 1 / fan_in,
    "he_normal": lambda fan_in, fan_out: 2 / fan_in,
    "xavier_uniform": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
}


def _axes_text(axes: initializers.Axes) -> str:
    def one(axis: tuple[int, ...]) -> str:
        return str(axis[0]) if len(axis) == 1 else str(axis)

    named = zip(axes._fields, axes, strict=True)
    return ", ".join(f"{name}={one(axis)}" for name, axis in named if axis)


def _signal(start: Start) -> Iterator[Finding]:
    signal = start.column("signal")
    powers = powers_of(signal, signal[0])
    rise = trend(powers)
    if abs(rise) < _LOST:
        return
    falls = rise < 0
    place = int(np.argmin(powers) if falls else np.argmax(powers))
    rate = _rate(signal, _SIGNAL_FLOOR * signal[0], rise) ** 2
    said = "is lost" if abs(powers[place]) >= 8 else f"is {10 ** powers[place]:.2g} of the first"
    cause = f"the variance between examples {_times(rate)} at each layer (measured {rate:.2g})"
    yield Finding(
        "signal vanishes" if falls else "signal explodes",
        tuple(x.name for x in start.layers[: place + 1]),
        f"{describe_start(start)}: {cause}; the signal {said} by {start.layers[place].name}.",
        SEE,
        f", {cause}",
    )


def _gradient(start: Start) -> Iterator[Finding]:
    gradient = start.column("gradient")
    powers = powers_of(gradient, gradient[-1])
    rise = -trend(powers)  # from the last layer to the first
    if abs(rise) < _LOST:
        return
    place = int(np.argmin(powers) if rise < 0 else np.argmax(powers))
    rate = _rate(gradient[::-1], _GRADIENT_FLOOR, rise)
    said = "nothing" if powers[place] <= -8 else f"{10 ** powers[place]:.2g} of the last layer's"
    yield Finding(
        "gradient vanishes" if rise < 0 else "gradient explodes",
        tuple(x.name for x in start.layers[place:]),
        f"the gradient's norm is multiplied by {rate:.2g} at each layer on its way back; "
        f"{said} arrives.",
        SEE,
    )


def _alike(start: Start) -> Iterator[Finding]:
    low = start.column("variety")[:-1] < _ALIKE
    if low.any():
        where = _where(start, low)
        least = start.column("variety")[:-1].min()
        yield Finding(
            "examples alike",
            where,
            f"what differs between examples is {least:.1g} of what is passed on: the rest is the "
            "same for all.",
            "Centre the outputs (biases, normalisation), or use an activation that is 0 at 0.",
        )


def _saturated(start: Start) -> Iterator[Finding]:
    share = start.column("saturated")
    if (share > _SATURATED).any():
        yield Finding(
            "saturated",
            _where(start, share > _SATURATED),
            f"up to {share.max():.0%} of the values lie at the ends of the activation's range, "
            "where its slope is nearly 0.",
            "Smaller kernels, or biases that centre the outputs.",
        )


def _dead(start: Start) -> Iterator[Finding]:
    share = start.column("dead")[:-1]
    if (share > _DEAD).any():
        yield Finding(
            "dead units",
            _where(start, np.append(share > _DEAD, False)),
            f"up to {share.max():.0%} of the units are 0 for every one of the examples.",
            "They get no gradient: look at the biases and the mean of the inputs.",
        )


def _condition(start: Start) -> Iterator[Finding]:
    values = start.singular_values
    if values is None or not values.size:
        return
    ratio = np.median(values[:, 0] / np.maximum(values[:, -1], 1e-300))
    if ratio > _CONDITION:
        yield Finding(
            "ill-conditioned",
            tuple(x.name for x in start.layers),
            f"the input-output Jacobian's singular values lie {ratio:.2g} apart: some directions "
            "of the input hardly reach the output.",
            "Orthogonal kernels, or skip connections.",
        )


def _updates(start: Start) -> Iterator[Finding]:
    if not start.has_tx:
        return
    leaves = [x.leaf for x in start.layers]
    norms = start.measured.parameter_norm[leaves]
    ratio = start.measured.update_norm[leaves] / np.where(norms == 0, np.nan, norms)
    low, high = ratio < _UPDATE[0], ratio > _UPDATE[1]
    if high.any():
        yield Finding(
            "updates large",
            _where(start, high),
            f"the first update is up to {np.nanmax(ratio):.2g} of the weights' norm.",
            f"Lower the learning rate about {np.nanmax(ratio) / 1e-2:.0f} times, or warm it up.",
        )
    if low.any():
        yield Finding(
            "updates small",
            _where(start, low),
            f"the first update is only {np.nanmin(ratio):.2g} of the weights' norm.",
            "The learning rate, or the gradient that arrives there, is too small.",
        )


def _rate(values: np.ndarray, floor: float, rise: float) -> float:
    """The factor from layer to layer, by least squares over those above the floor.

    Where fewer than two are, from `rise`, powers of ten over all layers.
    """
    sound = np.flatnonzero(np.isfinite(values) & (values > floor))
    if len(sound) < 2:
        return float(10 ** (rise / (len(values) - 1)))
    return float(10 ** np.polyfit(sound, np.log10(values[sound]), 1)[0])


def describe_start(start: Start) -> str:
    """`"relu with Var(w) = 0.98/fan_in (LeCun)"`: what most layers have."""
    names = [x.activation.name for x in start.layers[:-1]]
    names = [x for x in names if x != "none" and not x.startswith("times")] or ["none"]
    activation = max(dict.fromkeys(names), key=names.count)
    factors, rules = [], []
    for layer in start.layers:
        if layer.fan_in:
            kernel = np.asarray(start.leaves[layer.leaf], np.float64)
            factors.append(float((kernel**2).mean()) * layer.fan_in)
            rules.append(_rule(factors[-1], layer))
    factor = float(np.median(factors)) if factors else math.nan
    rule = max(dict.fromkeys(rules), key=rules.count) if rules else ""
    activation = "no activation" if activation == "none" else activation
    return f"{activation} with Var(w) = {factor:.2g}/fan_in{rule}"


def _rule(factor: float, layer: Layer) -> str:
    """The name of the rule that gives this factor on 1/fan_in."""
    fan_out = max(layer.fan_out, 1)
    rules = {"LeCun": 1.0, "He": 2.0, "Xavier": 2 * layer.fan_in / (layer.fan_in + fan_out)}
    fits = [
        name for name, value in rules.items() if abs(math.log(max(factor, 1e-30) / value)) < 0.15
    ]
    return f" ({' or '.join(fits)})" if fits else ""


def _times(rate: float) -> str:
    if abs(math.log(rate / 0.5)) < 0.18:
        return "halves"
    if abs(math.log(rate / 2)) < 0.18:
        return "doubles"
    return "falls" if rate < 1 else "grows"


def _where(start: Start, mask: np.ndarray) -> tuple[str, ...]:
    return tuple(x.name for x, chosen in zip(start.layers, mask, strict=False) if chosen)


def _names(names: tuple[str, ...]) -> str:
    if len(names) <= 3:
        return ", ".join(names)
    return f"{names[0]} to {names[-1]} ({len(names)} layers)"
