"""Schedules as pytrees: jit, vmap and grad with respect to every field."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import schedule_cases as cases

from optlab import schedules

COUNTS = np.array([*range(58), 1000, cases.LAST])
COMPOSITES = [
    schedules.join([schedules.linear(0.0, 1.0, 12), schedules.cosine(1.0, 20)], [12]),
    schedules.scale(schedules.step(1.0, 0.5, 10), -2.0),
    schedules.shift(schedules.wsd(0.3, 50, 10, 15), 5),
]
EVERY_KIND = [*map(cases.build, cases.ORDINARY), *COMPOSITES]
by_name = pytest.mark.parametrize("schedule", EVERY_KIND, ids=lambda s: s.record_name)


@jax.jit
def evaluate(schedule, counts):
    return jax.vmap(schedule)(counts)


@jax.jit
def gradients(schedule, counts):
    return jax.vmap(jax.grad(lambda s, c: s(c)), in_axes=(None, 0))(schedule, counts)


def all_floats(schedule):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), schedule)


def varied(leaf):
    return leaf + 1 if isinstance(leaf, int) else leaf * 1.25


@by_name
def test_jit_vmap_and_eager_agree_and_an_array_of_counts_is_elementwise(schedule):
    counts = jnp.asarray(COUNTS, jnp.int32)
    eager = np.array([schedule(int(c)) for c in COUNTS])
    for values in (jax.jit(jax.vmap(schedule))(counts), schedule(counts)):
        np.testing.assert_allclose(values, eager, 1e-6, 1e-9)
        assert values.dtype == jnp.float32
    # As an argument its numbers are float32 from the start.
    np.testing.assert_allclose(evaluate(schedule, counts), eager, 1e-4, 1e-6)


@by_name
def test_three_sets_of_values_compile_once(schedule):
    traces = []

    @jax.jit
    def run(s, count):
        traces.append(s)
        return s(count)

    for other in (schedule, jax.tree.map(varied, schedule)):
        run(other, jnp.int32(3))
    assert len(traces) == 1


@by_name
def test_a_population_under_vmap_gives_what_each_member_gives(schedule):
    members = [schedule, jax.tree.map(varied, schedule)]
    counts = jnp.asarray(COUNTS, jnp.int32)
    stacked = jax.tree.map(lambda *leaves: jnp.asarray(leaves), *members)
    together = jax.jit(jax.vmap(lambda s: jax.vmap(s)(counts)))(stacked)
    alone = [evaluate(member, counts) for member in members]
    np.testing.assert_allclose(together, alone, 2e-5, 1e-6)


@by_name
def test_derivatives_by_every_field_are_finite_at_every_count(schedule):
    for leaf in jax.tree.leaves(gradients(all_floats(schedule), jnp.asarray(COUNTS, jnp.int32))):
        assert np.all(np.isfinite(leaf))


@pytest.mark.parametrize("case", cases.ORDINARY, ids=cases.name)
def test_derivatives_are_those_of_the_formula(case):
    kind, fields = case
    counts = np.arange(1, 61)
    found = gradients(all_floats(cases.build(case)), jnp.asarray(counts, jnp.int32))
    numbers = {k: v for k, v in fields.items() if isinstance(v, int | float)}
    for name, value in numbers.items():
        h = 1e-4 * abs(value)
        low, middle, high = (
            cases.expected((kind, fields | {name: value + d}), counts) for d in (-h, 0, h)
        )
        left, right = (middle - low) / h, (high - middle) / h
        smooth = np.abs(left - right) < 1e-3 * (1e-2 + np.abs(left))  # no kink in between
        assert smooth.sum() > 20
        wanted = (left + right)[smooth] / 2
        np.testing.assert_allclose(getattr(found, name)[smooth], wanted, 2e-3, 1e-5)


@pytest.mark.parametrize("period_factor", [1.0, 1.1, 2.0])
def test_a_longer_period_factor_has_the_derivative_of_the_real_formula(period_factor):
    fields = {"peak_value": 1.0, "period": 10, "period_factor": period_factor}
    counts = np.array([13, 17, 25, 44])

    def value(factor, count):
        return schedules.cosine_restarts(1.0, 10, factor)(count)

    gradient = jax.jit(jax.vmap(jax.grad(value), (None, 0)))
    found = gradient(jnp.float32(period_factor), jnp.asarray(counts))
    ends = [
        cases.expected(("cosine_restarts", fields | {"period_factor": period_factor + d}), counts)
        for d in (-1e-6, 1e-6)
    ]
    np.testing.assert_allclose(found, (ends[1] - ends[0]) / 2e-6, 1e-3, 1e-4)


def test_derivatives_stay_finite_where_a_formula_has_none():
    """Powers and roots at 0, empty phases, equal ends."""
    degenerate = [
        schedules.polynomial(1.0, 0.0, 10, 0.5),
        schedules.polynomial(0.5, 0.5, 1, 3.0),
        schedules.wsd(1.0, 10, 0, 10, shape="1-sqrt"),
        schedules.wsd(1.0, 10, 10, 0),
        schedules.warmup_cosine(1.0, 5, 5),
        schedules.warmup_cosine(0.0, 5, 0),
        schedules.exponential(0.0, 2.0, 1),
        schedules.exponential(1.0, 1.0, 1, end_value=1.0),
        schedules.cosine_restarts(1.0, 1, 1.0),
        schedules.cosine_restarts(1.0, 1, 1e9),
        schedules.one_cycle(1.0, 1),
        schedules.one_cycle(1.0, 10, pct_start=0.1),
        schedules.inverse_sqrt(1.0, 0),
    ]
    counts = jnp.array([0, 1, 5, 9, 10, 11, cases.LAST], jnp.int32)

    @jax.jit
    def run(schedules):
        each_count = jax.vmap(jax.value_and_grad(lambda s, c: s(c)), in_axes=(None, 0))
        return [each_count(schedule, counts) for schedule in schedules]

    for schedule, results in zip(degenerate, run(all_floats(degenerate)), strict=True):
        for leaf in jax.tree.leaves(results):
            assert np.all(np.isfinite(leaf)), schedule


def test_traced_fields_are_accepted_and_not_checked():
    @jax.jit
    def run(peak, steps, warmup_steps, boundary):
        first = schedules.warmup_cosine(peak, steps, warmup_steps)
        second = schedules.piecewise(peak, (0.5,), (boundary,))
        return schedules.join([first, second], [boundary])(steps)

    assert run(1.0, 10, 20, 5) == 0.5
    assert run(1.0, 10.0, 2.0, 11.0) == 0.0


def test_a_gradient_of_the_whole_schedule_has_its_type():
    schedule = schedules.warmup_cosine(0.3, 100, 10)
    gradient = jax.grad(lambda s: s(55), allow_int=True)(schedule)
    assert isinstance(gradient, schedules.warmup_cosine)
    np.testing.assert_allclose(gradient.peak_value, 0.5, 1e-6)
    assert gradient.steps.dtype == jax.dtypes.float0


def test_nothing_in_a_schedule_waits_for_a_device_value():
    """No host round trip: the whole evaluation is one traced program, peak included."""
    for schedule in EVERY_KIND:
        for out in jax.eval_shape(lambda s: (s(3), s.peak()), schedule):
            assert (out.shape, out.dtype) == ((), jnp.float32)
