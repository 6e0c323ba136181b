"""Laws that hold for all values: range, monotony, continuity, shape invariances."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from optlab import schedules

COUNTS = jnp.arange(200)
# XLA flushes subnormal numbers to 0.
values = st.floats(-100.0, 100.0, width=32, allow_subnormal=False)
steps = st.integers(1, 150)
ONE_ULP = 3e-7
law = settings(max_examples=60, deadline=None)


@jax.jit
def evaluate(schedule):
    return jax.vmap(schedule)(COUNTS)


def run(schedule):
    return np.asarray(evaluate(schedule))


def assert_monotone(seen, start, end):
    tolerance = ONE_ULP * max(abs(start), abs(end))
    assert np.all(np.sign(end - start) * np.diff(seen) >= -tolerance)


@st.composite
def ramps(draw):
    start, end, n = draw(values), draw(values), draw(steps)
    kind = draw(st.sampled_from(["linear", "cosine", "polynomial", "wsd", "warmup_cosine"]))
    made = {
        "linear": lambda: schedules.linear(start, end, n),
        "cosine": lambda: schedules.cosine(start, n, end),
        "polynomial": lambda: schedules.polynomial(start, end, n, draw(st.floats(0.1, 10.0))),
        "wsd": lambda: schedules.wsd(
            start, n, 0, draw(st.integers(0, n)), end, draw(st.sampled_from(["linear", "1-sqrt"]))
        ),
        "warmup_cosine": lambda: schedules.warmup_cosine(start, n, 0, None, end),
    }[kind]
    return made(), start, end, n


@given(ramps())
@law
def test_a_ramp_never_leaves_its_ends_nor_turns_back_and_stops_at_the_last(ramp):
    schedule, start, end, n = ramp
    seen = run(schedule)
    assert np.all((seen >= np.float32(min(start, end))) & (seen <= np.float32(max(start, end))))
    assert_monotone(seen, start, end)
    assert seen[0] == np.float32(start)
    assert np.all(seen[n:] == np.float32(end))


@given(values, values, values, st.data())
@law
def test_a_warm_up_rises_to_the_peak_and_the_rest_falls_from_it(init, peak, end, data):
    n = data.draw(st.integers(2, 150))
    warm = data.draw(st.integers(0, n - 1))
    seen = run(schedules.warmup_cosine(peak, n, warm, init, end))
    assert_monotone(seen[: warm + 1], init, peak)
    assert seen[warm] == np.float32(peak)
    assert_monotone(seen[warm:], peak, end)
    low, high = min(init, peak, end), max(init, peak, end)
    assert np.all((seen >= np.float32(low)) & (seen <= np.float32(high)))


@given(values, st.floats(0.5, 2.0), st.integers(1, 60), st.booleans())
@law
def test_a_geometric_schedule_is_multiplied_by_its_factor_every_so_often(
    value, factor, every, stairs
):
    seen = run(schedules.exponential(value, factor, every, staircase=stairs))
    n = min(len(seen), 20 * every)
    np.testing.assert_allclose(seen[every:n], factor * seen[: n - every], 2e-5, 1e-30)
    assert_monotone(seen, 0.0, value if factor > 1 else -value)


@given(st.floats(0.125, 10.0), st.integers(1, 60), st.floats(1.0, 3.0), st.floats(0.5, 1.5))
@law
def test_each_cycle_starts_at_its_peak_and_falls_until_the_next(peak, period, grows, peak_factor):
    seen = run(schedules.cosine_restarts(peak, period, grows, peak_factor))
    rises = np.flatnonzero(np.diff(seen) > 0) + 1
    start, wanted, n = 0.0, [], 0
    while start < len(seen) + 1:
        wanted.append(start)
        start, n = start + period * grows**n, n + 1
    for restart in rises:  # only ever where a cycle begins, or within rounding of it
        assert any(-1e-3 <= restart - w < 1 for w in wanted)
    assert np.all(seen <= peak * max(peak_factor, 1.0) ** len(wanted) * (1 + 1e-5))
    assert np.all(seen >= 0)


@given(values, values, st.integers(1, 60), st.integers(1, 60))
@law
def test_joined_ramps_that_meet_are_continuous(low, high, up, down):
    joined = schedules.join(
        [schedules.linear(low, high, up), schedules.linear(high, low, down)], [up]
    )
    slope = abs(high - low) / min(up, down)
    assert np.all(np.abs(np.diff(run(joined))) <= slope * (1 + 1e-4) + 1e-4)
    assert run(joined)[up] == np.float32(high)


@given(st.integers(-150, 150), st.integers(-150, 150))
@law
def test_shifts_of_one_sign_add_up(a, b):
    schedule = schedules.warmup_cosine(1.0, 100, 10)
    together = run(schedules.shift(schedule, a + b))
    if a * b >= 0:
        np.testing.assert_array_equal(
            run(schedules.shift(schedules.shift(schedule, a), b)), together
        )


@given(values, st.dictionaries(st.integers(0, 150), st.floats(-2.0, 2.0), max_size=3))
@settings(max_examples=30, deadline=None)
def test_the_order_of_factors_in_the_dict_does_not_matter(value, factors):
    backwards = dict(sorted(factors.items(), reverse=True))
    assert schedules.piecewise(value, factors) == schedules.piecewise(value, backwards)
    seen = run(schedules.piecewise(value, factors))
    wanted = [value * np.prod([f for b, f in factors.items() if c >= b]) for c in range(len(seen))]
    np.testing.assert_allclose(seen, wanted, 1e-5, 1e-30)
