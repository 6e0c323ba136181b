"""`peak` is the largest value over all counts, of every schedule and of schedules of schedules."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import schedule_cases as cases

from optlab import schedules
from optlab.schedules import (
    constant,
    cosine,
    cosine_restarts,
    exponential,
    inverse_sqrt,
    join,
    linear,
    one_cycle,
    piecewise,
    scale,
    shift,
    warmup_cosine,
    wsd,
)

restarts = cosine_restarts(1.0, 10, 2.0, 0.5)
wave = piecewise(1.0, {10: -2.0, 20: -2.0, 30: 0.1})
MORE = [
    # The largest value of a part may lie outside of what is used of it.
    join([linear(0.0, 1.0, 1000), constant(0.1)], [500]),
    join([constant(0.1), linear(1.0, 0.0, 10), wave], [5, 8]),
    join([restarts, constant(0.0)], [50]),
    join([constant(-1.0), restarts], [35]),
    join([linear(0.0, 1.0, 10), warmup_cosine(0.3, 40, 20)], [7]),
    scale(warmup_cosine(0.3, 40, 20, end_value=-0.1), -1.0),
    scale(wave, -1.0),
    scale(restarts, -2.0),
    scale(join([restarts, constant(0.5)], [33]), -1.0),
    scale(one_cycle(1.0, 37), -1.0),
    one_cycle(1.0, 33),  # whose top lies between two counts, nearer to the later one
    shift(join([constant(-1.0), restarts], [40]), 48),
    shift(warmup_cosine(0.3, 40, 20), 25),
    shift(wave, 25),
    shift(wave, -25),
    shift(restarts, 12),
    shift(cosine_restarts(1.0, 10, 1.4, 0.9), 12),
    shift(cosine_restarts(-1.0, 10, 1.4, 0.9), 12),
    shift(inverse_sqrt(1.0, 20), 33),
    shift(shift(restarts, 12), -5),
    shift(join([linear(0.0, 1.0, 40), cosine(0.5, 20), restarts], [20, 30]), 25),
    scale(shift(join([wave, shift(wave, 3)], [25]), 13), -0.7),
    wsd(1.0, 20, 20, 0),
    warmup_cosine(-1.0, 20, 20, end_value=-3.0),
    exponential(-1.0, 0.9, 3, end_value=-0.2),
]
STEADY = [case for case in cases.CASES if case[1].get("peak_factor", 1.0) <= 1.0]
EVERY = [*map(cases.build, STEADY), *MORE]
COUNTS = jnp.concatenate([jnp.arange(1000), jnp.array([cases.LAST])])


@jax.jit
def evaluate(schedule):
    return jax.vmap(schedule)(COUNTS)


@pytest.mark.parametrize("schedule", EVERY, ids=lambda s: s.record_name)
def test_a_peak_is_the_largest_of_all_values(schedule):
    np.testing.assert_allclose(schedule.peak(), evaluate(schedule).max(), 1e-6, 1e-5)


def test_a_peak_at_a_large_count_is_found():
    n = 2**28
    schedule = shift(cosine_restarts(1.0, 1000, 3.0), n + 1)
    assert schedule.peak() == 1.0
    late = join([constant(0.0), piecewise(1.0, {n: 5.0, n + 1: 0.1})], [n + 3])
    assert late.peak() == 5.0


def test_a_peak_is_a_traced_and_differentiable_float32_scalar():
    def peak(value, steps):
        return scale(warmup_cosine(value, steps, 10.0), 3.0).peak()

    value, slope = jax.jit(jax.value_and_grad(peak))(0.5, 40.0)
    assert (value, slope) == (1.5, 3.0)
    many = jax.vmap(peak, (0, None))(jnp.array([0.1, 0.2]), 40)
    np.testing.assert_allclose(many, [0.3, 0.6], 1e-6)
    assert schedules.constant(2).peak().dtype == jnp.float32


def test_a_plain_function_has_no_known_peak():
    for schedule in (
        scale(optax.constant_schedule(1.0), 2.0),
        shift(optax.constant_schedule(1.0), 1),
    ):
        with pytest.raises(ValueError, match=r"optlab\.schedules"):
            schedule.peak()
