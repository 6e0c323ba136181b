"""Every schedule against an independent NumPy float64 reference, at both ends and far beyond."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import schedule_cases as cases

from optlab import schedules

COUNTS = np.arange(0, 120)
FAR = np.array([2**24 - 1, 2**24, 2**24 + 1, 2**30, cases.LAST - 1, cases.LAST])


def evaluate(schedule, counts):
    return np.asarray(jax.jit(jax.vmap(schedule))(jnp.asarray(counts, jnp.int32)))


@pytest.mark.parametrize("case", cases.CASES, ids=cases.name)
def test_values_are_those_of_the_formula_at_every_count(case):
    values = evaluate(cases.build(case), np.concatenate([COUNTS, FAR]))
    near = 1e-5 if case[0] in ("exponential", "step") else 3e-6  # exp(80) has 80 roundings in it
    np.testing.assert_allclose(values[: COUNTS.size], cases.expected(case, COUNTS), near, 3e-8)
    assert np.all(np.isfinite(values))
    if case[0] != "cosine_restarts":
        np.testing.assert_allclose(values[COUNTS.size :], cases.expected(case, FAR), 2e-5, 1e-30)


@pytest.mark.parametrize("name", cases.composites())
def test_schedules_of_schedules_are_what_their_parts_say(name):
    schedule, reference = cases.composites()[name]
    values = evaluate(schedule, COUNTS)
    np.testing.assert_allclose(values, reference(COUNTS.astype(float)), 3e-6, 3e-8)
    assert np.all(np.isfinite(evaluate(schedule, FAR)))


@pytest.mark.parametrize(
    ("schedule", "start", "end", "steps"),
    [
        (schedules.linear(0.1, 0.7, 3), 0.1, 0.7, 3),
        (schedules.polynomial(0.1, 0.7, 3, 1.7), 0.1, 0.7, 3),
        (schedules.cosine(0.1, 7, 0.7), 0.1, 0.7, 7),
        (schedules.warmup_cosine(0.3, 7, 3, 0.1, 0.7), 0.1, 0.7, 7),
        (schedules.wsd(0.3, 7, 0, 3, 0.7, "1-sqrt"), 0.3, 0.7, 7),
    ],
)
def test_both_ends_are_exact_to_the_bit(schedule, start, end, steps):
    assert schedule(0) == np.float32(start)
    assert schedule(steps) == np.float32(end)
    assert schedule(steps + 1) == np.float32(end)
    assert schedule(cases.LAST) == np.float32(end)


@pytest.mark.parametrize("kind", ["warmup_cosine", "inverse_sqrt", "wsd"])
def test_no_update_of_a_warm_up_is_wasted_and_the_peak_is_at_its_end(kind):
    fields = {"peak_value": 0.4, "steps": 100, "warmup_steps": 8, "decay_steps": 10}
    wanted = {
        "warmup_cosine": ("peak_value", "steps", "warmup_steps"),
        "inverse_sqrt": ("peak_value", "warmup_steps"),
        "wsd": tuple(fields),
    }[kind]
    values = evaluate(getattr(schedules, kind)(**{k: fields[k] for k in wanted}), np.arange(9))
    assert values[0] == np.float32(0.4 / 8)
    assert values[8] == np.float32(0.4)
    np.testing.assert_allclose(np.diff(values), (0.4 - 0.05) / 8, 1e-5)


@pytest.mark.parametrize("steps", [10, 100, 1000])
def test_one_cycle_is_exactly_at_its_peak_where_that_is_a_whole_count(steps):
    for three_phase in (False, True):
        schedule = schedules.one_cycle(0.4, steps, anneal="linear", three_phase=three_phase)
        assert schedule(3 * steps // 10 - 1) == np.float32(0.4)


def test_counts_above_2_to_the_24_do_not_stall():
    n = 2**30
    near_end = np.arange(n - 5, n + 2)
    ramp = evaluate(schedules.linear(1.0, 0.0, n), near_end)
    np.testing.assert_allclose(ramp, np.maximum(n - near_end, 0) / n, 1e-6)
    near_start = evaluate(schedules.linear(0.0, 1.0, n), np.arange(4))
    np.testing.assert_allclose(near_start, np.arange(4) / n, 1e-6)
    power = evaluate(schedules.polynomial(0.0, 1.0, n, 2.0), np.arange(4))
    np.testing.assert_allclose(power, 2 * np.arange(4) / n, 1e-6)

    odd = 2**25 + 1
    jump = evaluate(schedules.piecewise(1.0, {odd: 0.5}), [odd - 1, odd])
    assert jump.tolist() == [1.0, 0.5]
    stairs = evaluate(schedules.step(1.0, 0.5, odd), [odd - 1, odd, 2 * odd - 1, 2 * odd])
    assert stairs.tolist() == [1.0, 0.5, 0.5, 0.25]
    joined = schedules.join([schedules.constant(9.0), schedules.linear(0.0, 4.0, 4)], [odd])
    assert evaluate(joined, odd + np.arange(-1, 5)).tolist() == [9.0, 0.0, 1.0, 2.0, 3.0, 4.0]
    shifted = evaluate(schedules.shift(joined, odd), np.arange(3))
    assert shifted.tolist() == [0.0, 1.0, 2.0]
    assert schedules.shift(schedules.linear(1.0, 0.0, 10), odd)(cases.LAST) == 0.0


@pytest.mark.parametrize(("period", "factor"), [(1000, 1), (10, 2), (3, 7), (1, 10), (1, 2)])
def test_restarts_come_at_the_exact_count_up_to_the_last(period, factor):
    starts, start, length = [], 0, period
    while start <= cases.LAST and len(starts) < 60:
        starts.append(start)
        start, length = start + length, length * factor
    if factor == 1:
        starts += [cases.LAST // period // k * period for k in (9, 5, 2, 1)]
    starts = np.unique(starts)
    values = evaluate(schedules.cosine_restarts(1.0, period, factor), starts)
    assert np.all(values == 1.0)
    if period > 1:
        before = evaluate(schedules.cosine_restarts(1.0, period, factor), starts[1:] - 1)
        assert np.all(before < 0.3)


@pytest.mark.parametrize(("period", "factor"), [(1, 3), (3, 5), (10, 3), (100, 5), (100, 7)])
def test_a_cycle_that_outlasts_32_bits_goes_on_to_the_last_count(period, factor):
    start, length = 0, period
    while start + length <= cases.LAST:
        start, length = start + length, length * factor
    counts = np.linspace(start, cases.LAST, 20).astype(np.int64)
    values = evaluate(schedules.cosine_restarts(1.0, period, factor), counts)
    wanted = (1 + np.cos(np.pi * (counts - start) / length)) / 2
    np.testing.assert_allclose(values, wanted, 1e-4)


def test_fractional_restarts_agree_with_exact_arithmetic():
    starts = [100 * (1.5**n - 1) / 0.5 for n in range(12)]
    values = evaluate(schedules.cosine_restarts(1.0, 100, 1.5), np.ceil(starts))
    np.testing.assert_allclose(values, 1.0, atol=1e-3)


def test_restarts_with_a_factor_just_above_1_approach_those_with_1():
    counts = np.setdiff1d(np.arange(100), np.arange(0, 100, 10))
    one = evaluate(schedules.cosine_restarts(1.0, 10, 1.0), counts)
    above = evaluate(schedules.cosine_restarts(1.0, 10, 1.0 + 2e-7), counts)
    np.testing.assert_allclose(above, one, atol=1e-4)


def test_a_factor_near_1_stays_accurate_over_thousands_of_updates():
    schedule, counts = schedules.exponential(1.0, 0.999, 1), np.array([1000, 2000, 5000])
    np.testing.assert_allclose(evaluate(schedule, counts), 0.999**counts, 2e-6)
    np.testing.assert_allclose([schedule(int(c)) for c in counts], 0.999**counts, 2e-6)


@pytest.mark.parametrize("value", [3.7, 0.0, -2e4])
def test_growth_without_an_end_stays_finite(value):
    grown = evaluate(schedules.exponential(value / 4, 10.0, 1), FAR)
    assert np.all(np.isfinite(grown))
    assert np.all(np.sign(grown) == np.sign(value))


@pytest.mark.parametrize(
    "count",
    [3, np.int64(3), np.uint8(3), np.array(3), jnp.int32(3), jnp.uint8(3), jnp.int8(3), 3.0],
    ids=lambda c: f"{type(c).__name__}-{getattr(c, 'dtype', '')}",
)
def test_any_kind_of_count_gives_the_same_strong_float32_scalar(count):
    value = schedules.linear(0.0, 1.0, 10)(count)
    assert value == np.float32(0.3)
    assert (value.dtype, value.shape, value.weak_type) == (jnp.float32, (), False)


def test_counts_beyond_32_bits_are_the_last_and_below_0_the_first():
    schedule = schedules.linear(3.0, 4.0, 10)
    for count in (2**31, 2**40, 10**30, np.int64(2**32)):
        assert schedule(count) == 4.0
    for count in (-1, -(2**40), np.int64(-(2**32)), jnp.int32(-5)):
        assert schedule(count) == 3.0


def test_x64_changes_no_value_and_takes_64_bit_counts():
    with jax.enable_x64(True):
        schedule = schedules.warmup_cosine(0.3, 100, 10)
        value = schedule(jnp.asarray(2**40, jnp.int64))
        assert value.dtype == jnp.float32
        assert value == 0.0
        np.testing.assert_allclose(schedule(jnp.asarray(55)), 0.15, 1e-6)
        restarts = schedules.cosine_restarts(1.0, 10, 2.0)
        assert jax.jit(restarts)(jnp.asarray(30)) == 1.0


@pytest.mark.parametrize("count", [None, "3", True, 1j, [1], np.array([True])])
def test_a_count_that_is_no_number_is_a_type_error(count):
    with pytest.raises(TypeError, match="count must be the number of updates done"):
        schedules.constant(1.0)(count)
