"""One table of schedules and, written independently in NumPy and float64, what they should be.

A reference takes counts (float64, whole) and the fields by name; whole fields may come as floats,
so that finite differences with respect to them exist.
"""

import math

import numpy as np

from optlab import schedules

LAST = 2**31 - 1


def _fraction(count, start, stop):
    if stop <= start:
        return (count >= start).astype(float)
    return np.clip((count - start) / (stop - start), 0, 1)


def _cosine(fraction):
    return (1 - np.cos(np.pi * fraction)) / 2


def _mix(a, b, fraction):
    return a * (1 - fraction) + b * fraction


def constant(count, value):
    return np.full_like(count, value)


def linear(count, init_value, end_value, steps):
    return _mix(init_value, end_value, _fraction(count, 0, steps))


def polynomial(count, init_value, end_value, steps, power):
    return end_value + (init_value - end_value) * (1 - _fraction(count, 0, steps)) ** power


def exponential(count, init_value, factor, every, staircase=False, end_value=None):
    times = np.floor(count / every) if staircase else count / every
    with np.errstate(over="ignore"):
        value = init_value * np.minimum(factor**times, np.exp(88.0) / max(abs(init_value), 1))
    if end_value is None or factor == 1:
        return value
    rising = init_value * (factor - 1) > 0
    return np.minimum(value, end_value) if rising else np.maximum(value, end_value)


def step(count, init_value, factor, every):
    return exponential(count, init_value, factor, every, staircase=True)


def piecewise(count, init_value, factors):
    value = np.full_like(count, init_value)
    for boundary, factor in factors.items():
        value = np.where(count >= boundary, value * factor, value)
    return value


def cosine(count, init_value, steps, end_value=0.0):
    return _mix(init_value, end_value, _cosine(_fraction(count, 0, steps)))


def _warm_up(count, init_value, peak_value, warmup_steps):
    if init_value is None:
        init_value = peak_value / max(warmup_steps, 1)
    return _mix(init_value, peak_value, _fraction(count, 0, warmup_steps))


def warmup_cosine(count, peak_value, steps, warmup_steps, init_value=None, end_value=0.0):
    up = _warm_up(count, init_value, peak_value, warmup_steps)
    down = _mix(peak_value, end_value, _cosine(_fraction(count, warmup_steps, steps)))
    return np.where(count < warmup_steps, up, down)


def cosine_restarts(count, peak_value, period, period_factor=1.0, peak_factor=1.0, end_value=0.0):
    start, length, top = 0.0, float(period), peak_value
    value = np.full_like(count, np.nan)
    for _ in range(400):
        inside = (count >= start) & (count < start + length)
        value = np.where(inside, _mix(top, end_value, _cosine((count - start) / length)), value)
        start, length, top = start + length, length * period_factor, top * peak_factor
    return value


def one_cycle(
    count,
    peak_value,
    steps,
    pct_start=0.3,
    div_factor=25.0,
    final_div_factor=1e4,
    anneal="cos",
    three_phase=False,
):
    first = peak_value / div_factor
    last = first / final_div_factor
    ends = [pct_start * steps - 1, steps - 1]
    values = [first, peak_value, last]
    if three_phase:
        ends.insert(1, 2 * pct_start * steps - 2)
        values.insert(2, first)
    result, done, start = np.full_like(count, last), np.zeros_like(count, bool), 0.0
    for end, a, b in zip(ends, values, values[1:], strict=False):
        here = ~done & (count <= end)
        fraction = _fraction(count, start, end)
        fraction = _cosine(fraction) if anneal == "cos" else fraction
        result = np.where(here, _mix(a, b, fraction), result)
        done, start = done | here, end
    return result


def inverse_sqrt(count, peak_value, warmup_steps):
    up = _warm_up(count, None, peak_value, warmup_steps)
    scale = max(warmup_steps, 1)
    down = peak_value * math.sqrt(scale) / np.sqrt(np.maximum(count, scale))
    return np.where(count < warmup_steps, up, down)


def wsd(count, peak_value, steps, warmup_steps, decay_steps, end_value=0.0, shape="linear"):
    up = _warm_up(count, None, peak_value, warmup_steps)
    fraction = _fraction(count, steps - decay_steps, steps)
    left = {
        "linear": 1 - fraction,
        "cosine": 1 - _cosine(fraction),
        "1-sqrt": 1 - np.sqrt(fraction),
    }[shape]
    return np.where(count < warmup_steps, up, end_value + (peak_value - end_value) * left)


# Kind and fields. The first of each kind is the ordinary one; then ends, signs and degenerate ones.
CASES = [
    ("constant", {"value": -0.3}),
    ("linear", {"init_value": 0.1, "end_value": 0.9, "steps": 20}),
    ("linear", {"init_value": 2.0, "end_value": -1.0, "steps": 1}),
    ("polynomial", {"init_value": 1.0, "end_value": 0.1, "steps": 20, "power": 2.0}),
    ("polynomial", {"init_value": -1.0, "end_value": 1.0, "steps": 30, "power": 0.5}),
    ("exponential", {"init_value": 0.5, "factor": 0.9, "every": 7}),
    (
        "exponential",
        {"init_value": 0.5, "factor": 0.5, "every": 10, "staircase": True, "end_value": 0.1},
    ),
    ("exponential", {"init_value": 1e-6, "factor": 1.1, "every": 1, "end_value": 10.0}),
    ("exponential", {"init_value": -1.0, "factor": 0.9, "every": 3, "end_value": -0.2}),
    ("exponential", {"init_value": 0.5, "factor": 2.0, "every": 1}),
    ("exponential", {"init_value": 0.5, "factor": 1.0, "every": 3, "end_value": 2.0}),
    ("step", {"init_value": 0.5, "factor": 0.3, "every": 10}),
    ("step", {"init_value": -2.0, "factor": 1.5, "every": 30}),
    ("piecewise", {"init_value": 0.7, "factors": {10: 0.5, 30: -2.0, 31: 0.1}}),
    ("piecewise", {"init_value": 0.7, "factors": {0: 3.0}}),
    ("piecewise", {"init_value": 0.7, "factors": {}}),
    ("cosine", {"init_value": 0.9, "steps": 30, "end_value": 0.1}),
    ("cosine", {"init_value": -1.0, "steps": 1, "end_value": 2.0}),
    ("warmup_cosine", {"peak_value": 0.3, "steps": 40, "warmup_steps": 10}),
    (
        "warmup_cosine",
        {"peak_value": 0.3, "steps": 40, "warmup_steps": 7, "init_value": 0.5, "end_value": 0.1},
    ),
    ("warmup_cosine", {"peak_value": 0.3, "steps": 40, "warmup_steps": 40, "end_value": 0.1}),
    ("warmup_cosine", {"peak_value": 0.3, "steps": 40, "warmup_steps": 0}),
    ("warmup_cosine", {"peak_value": 0.3, "steps": 1, "warmup_steps": 1}),
    ("cosine_restarts", {"peak_value": 0.9, "period": 10, "end_value": 0.1}),
    (
        "cosine_restarts",
        {
            "peak_value": 0.9,
            "period": 5,
            "period_factor": 2.0,
            "peak_factor": 0.8,
            "end_value": -0.1,
        },
    ),
    ("cosine_restarts", {"peak_value": 0.9, "period": 7, "period_factor": 1.3, "peak_factor": 1.1}),
    ("cosine_restarts", {"peak_value": 0.9, "period": 1}),
    ("one_cycle", {"peak_value": 0.3, "steps": 40}),
    (
        "one_cycle",
        {
            "peak_value": 0.3,
            "steps": 41,
            "pct_start": 0.25,
            "anneal": "linear",
            "three_phase": True,
        },
    ),
    ("one_cycle", {"peak_value": -0.3, "steps": 10, "pct_start": 0.0, "div_factor": 0.5}),
    ("one_cycle", {"peak_value": 0.3, "steps": 10, "pct_start": 1.0, "anneal": "linear"}),
    ("one_cycle", {"peak_value": 0.3, "steps": 1}),
    ("inverse_sqrt", {"peak_value": 0.3, "warmup_steps": 12}),
    ("inverse_sqrt", {"peak_value": 0.3, "warmup_steps": 0}),
    (
        "wsd",
        {"peak_value": 0.3, "steps": 50, "warmup_steps": 10, "decay_steps": 15, "end_value": 0.02},
    ),
    (
        "wsd",
        {"peak_value": 0.3, "steps": 50, "warmup_steps": 0, "decay_steps": 50, "shape": "cosine"},
    ),
    (
        "wsd",
        {"peak_value": 0.3, "steps": 50, "warmup_steps": 20, "decay_steps": 30, "shape": "1-sqrt"},
    ),
    ("wsd", {"peak_value": 0.3, "steps": 50, "warmup_steps": 50, "decay_steps": 0}),
    ("wsd", {"peak_value": 0.3, "steps": 50, "warmup_steps": 1, "decay_steps": 0}),
    ("wsd", {"peak_value": 0.3, "steps": 1, "warmup_steps": 0, "decay_steps": 1}),
]

ORDINARY = list({kind: (kind, fields) for kind, fields in reversed(CASES)}.values())[::-1]


def name(case):
    kind, fields = case
    return f"{kind}-{'-'.join(str(v).replace(' ', '') for v in fields.values())}"


def build(case):
    kind, fields = case
    return getattr(schedules, kind)(**fields)


def expected(case, counts):
    kind, fields = case
    return globals()[kind](np.asarray(counts, np.float64), **fields)


def composites():
    """Schedules made of schedules, with references in terms of those above."""
    ramp = ("linear", {"init_value": 0.0, "end_value": 1.0, "steps": 30})
    fall = ("cosine", {"init_value": 0.8, "steps": 20, "end_value": -0.1})
    warm = ("warmup_cosine", {"peak_value": 0.3, "steps": 40, "warmup_steps": 10})

    def joined(count):
        late = np.maximum(count - 45, 0)
        value = np.where(count < 12, expected(ramp, count), expected(fall, count - 12))
        return np.where(count < 45, value, expected(warm, late))

    return {
        "join": (schedules.join([build(ramp), build(fall), build(warm)], [12, 45]), joined),
        "join-one": (schedules.join([build(fall)], []), lambda c: expected(fall, c)),
        "join-at-0": (
            schedules.join([build(fall), build(ramp)], [0]),
            lambda c: expected(ramp, c),
        ),
        "scale": (schedules.scale(build(warm), -2.0), lambda c: -2 * expected(warm, c)),
        "shift": (schedules.shift(build(warm), 13), lambda c: expected(warm, c + 13)),
        "delay": (
            schedules.shift(build(warm), -13),
            lambda c: expected(warm, np.maximum(c - 13, 0)),
        ),
    }
