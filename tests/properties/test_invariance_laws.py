"""Methods that divide by the gradient's own size, or take its sign, do not see its scale."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from law_strategies import all_updates, floats_of_all_sizes, law

from optlab import core, optimizers
from optlab.transforms import scale_by_learning_rate, scale_by_trust_ratio, sign

STEPS = 5
RNG = np.random.default_rng(0)
NOISE = np.float32(RNG.normal(size=(STEPS, 3, 4)) * 10.0 ** RNG.integers(-3, 3, (STEPS, 3, 4)))
PARAMS = np.float32(RNG.normal(size=(3, 4)))
METHODS = {
    "adam": optimizers.adam(0.1, eps=0.0),
    "adamw": optimizers.adamw(0.1, eps=0.0, weight_decay=0.1),
    "amsgrad": optimizers.amsgrad(0.1, eps=0.0),
    "nadam": optimizers.nadam(0.1, eps=0.0),
    "rmsprop": optimizers.rmsprop(0.1, eps=0.0),
    "adagrad": optimizers.adagrad(0.1, eps=0.0),
    "lamb": optimizers.lamb(0.1, eps=0.0),
    "lars": optimizers.lars(0.1),
    "lion": optimizers.lion(0.1),
    "signSGD": core.chain(sign(), scale_by_learning_rate(0.1)),
    "normalised": core.chain(scale_by_trust_ratio(), scale_by_learning_rate(0.1)),
}
every_method = pytest.mark.parametrize("name", METHODS)


@every_method
@law
@given(power=st.integers(-30, 30))
def test_scaling_gradients_by_a_power_of_two_changes_no_bit(name, power):
    plain, _ = all_updates(METHODS[name], NOISE, PARAMS)
    scaled, _ = all_updates(METHODS[name], NOISE * np.float32(2.0**power), PARAMS)
    np.testing.assert_array_equal(plain, scaled)


@every_method
@law
@given(factor=floats_of_all_sizes(-9, 9))
def test_scaling_gradients_by_any_positive_number_changes_only_rounding(name, factor):
    if factor == 0:
        return
    plain, _ = all_updates(METHODS[name], NOISE, PARAMS)
    scaled, _ = all_updates(METHODS[name], NOISE * np.float32(abs(factor)), PARAMS)
    np.testing.assert_allclose(plain, scaled, rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["adam", "rmsprop", "adagrad", "lion", "signSGD"])
@law
@given(powers=st.lists(st.integers(-15, 15), min_size=12, max_size=12))
def test_elementwise_methods_do_not_see_a_scale_of_their_own_for_each_entry(name, powers):
    factors = np.float32(2.0) ** np.float32(powers).reshape(3, 4)
    plain, _ = all_updates(METHODS[name], NOISE, PARAMS)
    scaled, _ = all_updates(METHODS[name], NOISE * factors, PARAMS)
    np.testing.assert_array_equal(plain, scaled)


@law
@given(rate=st.floats(1e-6, 10.0), power=st.integers(-10, 10))
def test_updates_are_proportional_to_the_learning_rate(rate, power):
    for make in (optimizers.adam, optimizers.lion, optimizers.sgd):
        one, _ = all_updates(make(rate), NOISE, PARAMS)
        other, _ = all_updates(make(np.float32(rate) * 2.0**power), NOISE, PARAMS)
        np.testing.assert_allclose(other, one * np.float32(2.0**power), rtol=1e-5)


@law
@given(order=st.permutations(range(12)))
def test_elementwise_methods_commute_with_any_permutation_of_entries(order):
    order = np.array(order)
    for name in ("adam", "adagrad", "lion"):
        plain, _ = all_updates(METHODS[name], NOISE, PARAMS)
        mixed = NOISE.reshape(STEPS, 12)[:, order].reshape(NOISE.shape)
        permuted, _ = all_updates(METHODS[name], mixed, PARAMS.ravel()[order].reshape(3, 4))
        want = np.asarray(plain).reshape(STEPS, 12)[:, order].reshape(NOISE.shape)
        np.testing.assert_array_equal(permuted, want)


def test_with_an_eps_adam_does_see_the_scale():
    plain, _ = all_updates(optimizers.adam(0.1, eps=1.0), NOISE, PARAMS)
    scaled, _ = all_updates(optimizers.adam(0.1, eps=1.0), NOISE * 8, PARAMS)
    assert np.max(np.abs(np.asarray(plain) - np.asarray(scaled))) > 1e-3
    assert jax.tree.structure(plain) == jax.tree.structure(scaled)
