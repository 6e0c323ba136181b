"""Clipping never lengthens, is idempotent, keeps directions and what is inside."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from law_strategies import first_update, law, norm, same_bits, trees

from optlab.transforms import (
    adaptive_clip,
    clip_by_global_norm,
    clip_by_norm,
    clip_by_rms,
    clip_by_value,
)

ONES = {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(3), "scale": jnp.ones(())}
FACTORIES = [clip_by_value, clip_by_norm, clip_by_global_norm, clip_by_rms, adaptive_clip]
every_clip = pytest.mark.parametrize("factory", FACTORIES, ids=lambda f: f.__name__)
bounds = st.floats(1e-3, 1e3)
ROUNDING = 1 + 2e-6


def sizes(factory, tree):
    """What a clip bounds, in float64: entries, or norms of leaves, of units, of the tree."""
    leaves = [np.asarray(x, np.float64) for x in jax.tree.leaves(tree)]
    if factory is clip_by_value:
        return np.concatenate([np.abs(x).ravel() for x in leaves])
    if factory is clip_by_norm:
        return np.array([np.linalg.norm(x) for x in leaves])
    if factory is clip_by_global_norm:
        return np.array([norm(tree)])
    if factory is clip_by_rms:
        return np.array([np.sqrt(np.mean(x**2)) for x in leaves])
    units = [x if x.ndim > 1 else x.reshape(-1, 1) for x in leaves]
    weights = [np.sqrt(np.prod(x.shape[:-1])) for x in units]  # the norm of a unit of ones
    return np.concatenate(
        [np.linalg.norm(x, axis=0) / w for x, w in zip(units, weights, strict=True)]
    )


@every_clip
@law
@given(gradients=trees(), bound=bounds)
def test_it_never_raises_a_norm_and_keeps_the_bound(factory, gradients, bound):
    clipped = first_update(factory(bound), gradients, ONES)
    before, after = sizes(factory, gradients), sizes(factory, clipped)
    assert np.all(after <= before * ROUNDING)
    assert np.all(after <= np.float32(bound) * ROUNDING)
    assert norm(clipped) <= norm(gradients) * ROUNDING


@every_clip
@law
@given(gradients=trees(), bound=bounds)
def test_clipping_twice_is_clipping_once(factory, gradients, bound):
    once = first_update(factory(bound), gradients, ONES)
    twice = first_update(factory(bound), once, ONES)
    for a, b in zip(jax.tree.leaves(once), jax.tree.leaves(twice), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6)  # the clipped norm may round past the bound


@every_clip
@law
@given(gradients=trees(-6, 6), bound=bounds)
def test_what_is_inside_the_bound_passes_bit_identical(factory, gradients, bound):
    largest = max(float(sizes(factory, gradients).max()), 1e-6)
    inside = jax.tree.map(lambda g: g * np.float32(0.99 * bound / largest), gradients)
    assert same_bits(first_update(factory(bound), inside, ONES), inside)


@pytest.mark.parametrize("factory", [clip_by_norm, clip_by_global_norm, clip_by_rms])
@law
@given(gradients=trees(-3, 3), bound=bounds, power=st.integers(-20, 20))
def test_outside_the_bound_only_the_direction_counts(factory, gradients, bound, power):
    """Scaling what is clipped already, by an exact power of two, changes nothing."""
    smallest = float(sizes(factory, gradients).min())
    if smallest == 0:
        return
    outside = jax.tree.map(lambda g: g * np.float32(4 * bound / smallest), gradients)
    scaled = jax.tree.map(lambda g: g * np.float32(2.0 ** max(power, 0)), outside)
    for a, b in zip(
        jax.tree.leaves(first_update(factory(bound), outside, ONES)),
        jax.tree.leaves(first_update(factory(bound), scaled, ONES)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=2e-6)


@law
@given(gradients=trees(-3, 3), bound=bounds)
def test_every_entry_keeps_its_sign_and_order(gradients, bound):
    for factory in (clip_by_value, clip_by_norm):
        clipped = first_update(factory(bound), gradients, ONES)
        for g, c in zip(jax.tree.leaves(gradients), jax.tree.leaves(clipped), strict=True):
            np.testing.assert_array_equal(np.sign(g), np.sign(c))
            order = np.argsort(np.ravel(g), kind="stable")
            assert np.all(np.diff(np.ravel(c)[order]) >= 0)


@law
@given(gradients=trees(), bound=bounds, leaf=st.sampled_from(["kernel", "bias", "scale"]))
def test_an_infinite_entry_makes_a_zero_step_whatever_the_rest(gradients, bound, leaf):
    spoiled = gradients | {leaf: jnp.full_like(gradients[leaf], np.inf)}
    clipped = first_update(clip_by_global_norm(bound), spoiled, ONES)
    assert norm(clipped) == 0.0


@law
@given(gradients=trees(), bound=bounds)
def test_the_derivative_is_finite_everywhere(gradients, bound):
    def total(gradients):
        clipped = first_update(clip_by_global_norm(bound), gradients, ONES)
        return sum(jnp.sum(x) for x in jax.tree.leaves(clipped))

    slopes = jax.grad(total)(gradients)
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(slopes))
