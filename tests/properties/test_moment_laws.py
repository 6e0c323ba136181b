"""Averages of a constant are that constant, steps are bounded, second moments are what they say."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from law_strategies import all_updates, decays, floats_of_all_sizes, law

from optlab import core
from optlab.transforms import (
    accumulate_average,
    accumulate_moments,
    accumulate_momentum,
    centralize,
    correct_bias,
    divide_by_rms,
    keep_maximum,
    scale_by_trust_ratio,
)

STEPS = 12
RNG = np.random.default_rng(0)
NOISE = jnp.asarray(
    RNG.normal(size=(STEPS, 4)) * 10.0 ** RNG.integers(-3, 4, (STEPS, 4)), "float32"
)
factors = st.floats(-5.0, 5.0)


@law
@given(value=floats_of_all_sizes(-15, 15), b1=decays, b2=decays)
def test_moments_and_bias_correction_give_a_constant_gradient_at_every_step(value, b1, b2):
    tx = core.chain(accumulate_moments(b1, b2), correct_bias())
    gradients = jnp.full((STEPS, 2), value, jnp.float32)
    nodes, _ = all_updates(tx, gradients, gradients[0])
    np.testing.assert_allclose(nodes.first.value, gradients, rtol=2e-6)
    np.testing.assert_allclose(nodes.second.value, gradients**2, rtol=2e-6, atol=1e-37)


@law
@given(b1=decays, b2=decays)
def test_steps_of_adam_without_eps_on_a_constant_gradient_are_its_sign(b1, b2):
    tx = core.chain(accumulate_moments(b1, b2), correct_bias(), divide_by_rms(0.0))
    gradients = jnp.tile(jnp.array([3.0, -1e-6, 1e6, 0.0]), (STEPS, 1))
    updates, _ = all_updates(tx, gradients, gradients[0])
    np.testing.assert_allclose(updates, np.sign(gradients), rtol=3e-6)


@law
@given(b1=st.floats(0.0, 0.9), b2=st.floats(0.9, 0.999))
def test_uncorrected_steps_obey_the_cauchy_schwarz_bound(b1, b2):
    """|m| / sqrt(v) <= (1 - b1) / sqrt((1 - b2) (1 - b1² / b2)) for any gradients."""
    updates, _ = all_updates(
        core.chain(accumulate_moments(b1, b2), divide_by_rms(0.0)), NOISE, NOISE[0]
    )
    bound = (1 - b1) / np.sqrt((1 - b2) * (1 - b1**2 / b2))
    assert np.max(np.abs(updates)) <= bound * (1 + 1e-4)


@pytest.mark.parametrize("rule", ["square", "sum", "infinity", "belief", "yogi", "factored"])
@law
@given(b1=decays, b2=decays, size=floats_of_all_sizes(-15, 15))
def test_second_moments_are_never_negative(rule, b1, b2, size):
    tx = accumulate_moments(b1, b2, second=rule, min_size=2)
    gradients = np.float32(size) * NOISE.reshape(STEPS, 2, 2)
    nodes, _ = all_updates(tx, gradients, gradients[0])
    assert float(nodes.second.value.min()) >= 0
    assert bool(jnp.isfinite(nodes.second.value).all())


@law
@given(b1=decays, b2=decays)
def test_maxima_and_sums_only_grow_and_are_at_least_what_they_were_made_of(b1, b2):
    plain, _ = all_updates(accumulate_moments(b1, b2), NOISE, NOISE[0])
    kept, _ = all_updates(core.chain(accumulate_moments(b1, b2), keep_maximum()), NOISE, NOISE[0])
    summed, _ = all_updates(accumulate_moments(b1, None, second="sum"), NOISE, NOISE[0])
    for grown in (kept, summed):
        assert np.all(np.diff(grown.second.value, axis=0) >= 0)
    assert np.all(np.asarray(kept.second.value) >= np.asarray(plain.second.value))


@law
@given(b2=decays)
def test_the_infinity_norm_is_at_least_the_gradient_and_decays_no_faster_than_b2(b2):
    nodes, _ = all_updates(accumulate_moments(0.5, b2, second="infinity"), NOISE, NOISE[0])
    top = np.asarray(nodes.second.value)
    assert np.all(top >= np.abs(NOISE))
    assert np.all(top[1:] >= np.float32(b2) * top[:-1] * (1 - 1e-6))


@law
@given(
    rows=st.lists(st.floats(0.1, 10.0), min_size=3, max_size=3),
    columns=st.lists(st.floats(0.1, 10.0), min_size=4, max_size=4),
    b2=decays,
)
def test_factored_moments_are_exact_for_squares_of_rank_one(rows, columns, b2):
    gradients = np.sqrt(np.outer(rows, columns)) * np.sign(RNG.normal(size=(STEPS, 3, 4)))
    gradients = jnp.asarray(gradients, jnp.float32)
    found = [
        all_updates(accumulate_moments(None, b2, second=rule, min_size=2), gradients, gradients[0])
        for rule in ("factored", "square")
    ]
    (factored, _), (exact, _) = found
    np.testing.assert_allclose(factored.second.value, exact.second.value, rtol=1e-5)


@law
@given(b2=decays)
def test_factored_moments_have_the_row_and_column_means_of_the_exact_ones(b2):
    gradients = NOISE.reshape(STEPS, 2, 2)
    means = []
    for rule in ("factored", "square"):
        tx = accumulate_moments(None, b2, second=rule, min_size=2)
        value = all_updates(tx, gradients, gradients[0])[0].second.value
        means.append([np.mean(value, axis=-1), np.mean(value, axis=-2)])
    for a, b in zip(*means, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.mark.parametrize("link", [accumulate_momentum, accumulate_average])
@law
@given(decay=decays, a=factors, b=factors)
def test_momentum_is_linear_in_the_gradients(link, decay, a, b):
    x, y = jnp.tanh(NOISE), jnp.cos(NOISE)
    (left, _), (of_x, _), (of_y, _) = (
        all_updates(link(decay), g, x[0]) for g in (a * x + b * y, x, y)
    )
    np.testing.assert_allclose(left, a * of_x + b * of_y, rtol=1e-3, atol=2e-4)


@law
@given(decay=decays)
def test_an_average_stays_within_the_gradients_it_saw(decay):
    updates, _ = all_updates(accumulate_average(decay), NOISE, NOISE[0])
    assert np.all(np.abs(updates) <= np.maximum.accumulate(np.abs(NOISE)) * (1 + 1e-5))


@law
@given(size=floats_of_all_sizes(-25, 25), coefficient=st.floats(1e-3, 10.0))
def test_a_trust_ratio_makes_every_step_a_fixed_part_of_the_parameters(size, coefficient):
    if size == 0:
        return
    params = jnp.array([3.0, -4.0, 0.0, 12.0])
    gradients = NOISE * np.float32(size)
    updates, _ = all_updates(scale_by_trust_ratio(coefficient), gradients, params)
    lengths = np.linalg.norm(np.asarray(updates, np.float64), axis=-1)
    np.testing.assert_allclose(lengths, 13 * coefficient, rtol=1e-5)


@law
@given(offset=st.floats(-100.0, 100.0))
def test_centralising_forgets_what_all_entries_of_a_unit_share(offset):
    gradients = jnp.tanh(NOISE).reshape(STEPS, 2, 2)
    (plain, _), (shifted, _) = (
        all_updates(centralize(), g, gradients[0]) for g in (gradients, gradients + offset)
    )
    np.testing.assert_allclose(plain, shifted, atol=1e-4)
    np.testing.assert_allclose(np.mean(plain, axis=-2), 0.0, atol=1e-6)
    assert jnp.linalg.norm(plain) <= jnp.linalg.norm(gradients)
