"""Bad values are refused where they are written, with the value, what is allowed and what to do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optlab import schedules as s

NAN, INF = float("nan"), float("inf")

VALUES = [
    (lambda: s.constant(NAN), "constant: value must be a number (finite), got nan"),
    (lambda: s.constant(INF), "constant: value must be"),
    (lambda: s.linear(0, 1, 0), "linear: steps must be a whole number >= 1, got 0"),
    (lambda: s.linear(0, 1, -5), "linear: steps must be"),
    (lambda: s.linear(0, 1, 2.5), "linear: steps must be a whole number >= 1, got 2.5"),
    (lambda: s.linear(0, 1, 2**31), "linear: steps must be at most 2147483647 in size"),
    (lambda: s.linear(NAN, 1, 5), "linear: init_value must be"),
    (lambda: s.linear(0, jnp.array(jnp.inf), 5), "linear: end_value must be"),
    (lambda: s.polynomial(0, 1, 5, 0.0), "polynomial: power must be a number > 0, got 0.0"),
    (lambda: s.polynomial(0, 1, 5, -1), "polynomial: power must be"),
    (lambda: s.exponential(1, 0.0, 5), "exponential: factor must be a number > 0, got 0.0"),
    (lambda: s.exponential(1, 0.5, 0), "exponential: every must be"),
    (lambda: s.exponential(1, 0.5, 5, end_value=2.0), "end_value must lie where the schedule is"),
    (lambda: s.exponential(-1, 2, 5, end_value=0.0), "end_value must lie where the schedule is"),
    (lambda: s.step(1, -0.5, 5), "step: factor must be"),
    (lambda: s.step(1, 0.5, 0), "step: every must be"),
    (lambda: s.piecewise(1, {-1: 0.5}), "piecewise: boundaries[0] must be a whole number >= 0"),
    (lambda: s.piecewise(1, {1.5: 0.5}), "piecewise: boundaries[0] must be a whole number >= 0"),
    (lambda: s.piecewise(1, {1: NAN}), "piecewise: factors[0] must be"),
    (
        lambda: s.piecewise(1, (0.5, 0.5), (20, 10)),
        "piecewise: boundaries must increase, got boundaries[0]=20 before boundaries[1]=10",
    ),
    (lambda: s.piecewise(1, (0.5, 0.5), (20,)), "piecewise: each boundary needs one factor"),
    (lambda: s.cosine(1, 0), "cosine: steps must be"),
    (
        lambda: s.warmup_cosine(1, 100, 200),
        "warmup_steps must be at most steps, got warmup_steps=200, steps=100",
    ),
    (lambda: s.warmup_cosine(1, 0, 0), "warmup_cosine: steps must be"),
    (lambda: s.warmup_cosine(1, 10, -1), "warmup_cosine: warmup_steps must be"),
    (lambda: s.warmup_cosine(1, np.array([9, 5]), 7), "warmup_steps must be at most steps"),
    (lambda: s.cosine_restarts(1, 0), "cosine_restarts: period must be"),
    (lambda: s.cosine_restarts(1, 5, 0.5), "period_factor must be a number in [1, 1e+09], got 0.5"),
    (lambda: s.cosine_restarts(1, 5, 1, 0), "cosine_restarts: peak_factor must be"),
    (lambda: s.one_cycle(1, 10, pct_start=1.5), "one_cycle: pct_start must be a number in [0, 1]"),
    (lambda: s.one_cycle(1, 10, pct_start=0.6, three_phase=True), "pct_start must be at most 0.5"),
    (lambda: s.one_cycle(1, 10, div_factor=0), "one_cycle: div_factor must be"),
    (lambda: s.one_cycle(1, 10, anneal="cosine"), "did you mean 'cos'?"),
    (lambda: s.inverse_sqrt(1, -1), "inverse_sqrt: warmup_steps must be"),
    (lambda: s.wsd(1, 10, 6, 5), "warmup_steps + decay_steps must be at most steps"),
    (lambda: s.wsd(1, 10, 6, -1), "wsd: decay_steps must be"),
    (lambda: s.wsd(1, 10, 1, 1, shape="sqrt"), "did you mean '1-sqrt'?"),
    (lambda: s.join([], []), "join: n schedules need n - 1 boundaries"),
    (lambda: s.join([s.constant(1)], [5]), "got 1 schedules and 1 boundaries"),
    (lambda: s.join([s.constant(1)] * 3, [5, 5]), "join: boundaries must increase"),
    (lambda: s.scale(s.constant(1), INF), "scale: factor must be"),
    (lambda: s.shift(s.constant(1), 0.5), "shift: by must be a whole number (finite), got 0.5"),
    (lambda: s.shift(s.constant(1), -(2**31)), "shift: by must be"),
    (lambda: s.join([s.constant(1), abs], [5]).peak(), "tells neither its peak nor its length"),
]

TYPES = [
    (lambda: s.constant("0.1"), "constant: value must be a number (finite), got '0.1' of type str"),
    (lambda: s.constant(None), "constant: value must be"),
    (lambda: s.constant(True), "constant: value must be"),
    (lambda: s.constant(s.constant(1)), "constant: value must be"),
    (lambda: s.linear(0, 1), "steps"),
    (lambda: s.exponential(1, 0.5, 5, staircase=1), "staircase must be True or False"),
    (lambda: s.piecewise(1, [0.5]), "piecewise: factors must be {count: factor}, got [0.5]"),
    (lambda: s.piecewise(1, {5: 0.5}, (5,)), "boundaries are the keys of factors already"),
    (lambda: s.piecewise(1, {"5": 0.5}), "piecewise: boundaries[0] must be a whole number"),
    (lambda: s.piecewise(1, 0.5, 5), "piecewise: factors must be a list or tuple, got 0.5"),
    (lambda: s.one_cycle(1, 10, anneal=None), "anneal must be 'cos' | 'linear', got None"),
    (lambda: s.join(s.constant(1), []), "join: schedules must be a list or tuple"),
    (lambda: s.join([s.linear], []), "join: schedules[0] must be a schedule"),
    (lambda: s.join([s.linear], []), "Did you forget to call it?"),
    (lambda: s.join([s.constant(1), 0.1], [5]), "use constant(0.1)"),
    (lambda: s.scale(0.5, s.constant(1)), "scale: schedule must be a schedule or a function"),
    (lambda: s.scale(s.constant(1), s.constant(1)), "scale: factor must be"),
    (lambda: s.shift(s.constant(1), "5"), "shift: by must be"),
]


def show(part):
    return part if isinstance(part, str) else "-"


@pytest.mark.parametrize(("build", "message"), VALUES, ids=show)
def test_a_bad_value_is_refused(build, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        build()
    assert message in str(error.value)


@pytest.mark.parametrize(("build", "message"), TYPES, ids=show)
def test_a_value_of_a_wrong_kind_is_refused(build, message):
    with pytest.raises(TypeError) as error:
        build()
    assert message in str(error.value)


def test_bad_values_are_refused_inside_jit_too_where_they_are_known():
    with pytest.raises(ValueError, match="steps must be"):
        jax.jit(lambda count: s.linear(0, 1, 0)(count))(3)
