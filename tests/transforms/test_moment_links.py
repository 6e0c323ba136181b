"""Bias correction, maximum, centring and look-ahead, against their papers in float64."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transform_cases import follow, normal, once

from optlab import core
from optlab.core import Estimate, Moments
from optlab.transforms import (
    accumulate_moments,
    correct_bias,
    divide_by_rectified_rms,
    divide_by_rms,
    keep_maximum,
    look_ahead,
    subtract_squared_mean,
)

B1, B2, EPS = 0.9, 0.97, 1e-8
G = normal(12, 5) * np.array([3.0, 1, 0.3, 1, 1])


def chain(*links, b1=B1, b2=B2, eps=EPS):
    return core.chain(accumulate_moments(b1, b2), *links, divide_by_rms(eps))


def biased_moments(gradients, b1=B1, b2=B2):
    m = v = 0.0
    for t, g in enumerate(gradients, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        yield t, g, m, v


def test_bias_correction_is_adam():
    want = [m / (1 - B1**t) / (np.sqrt(v / (1 - B2**t)) + EPS) for t, _, m, v in biased_moments(G)]
    with jax.enable_x64(True):
        np.testing.assert_allclose(follow(chain(correct_bias()), G), want, rtol=1e-12)


def test_correcting_twice_is_correcting_once():
    once_, twice = (
        follow(chain(correct_bias()), G),
        follow(chain(correct_bias(), correct_bias()), G),
    )
    np.testing.assert_array_equal(once_, twice)


def test_a_maximum_before_bias_correction_is_the_paper_and_pytorch():
    top, want = 0.0, []
    for t, _, m, v in biased_moments(G):
        top = np.maximum(top, v)
        want.append(m / (1 - B1**t) / (np.sqrt(top / (1 - B2**t)) + EPS))
    with jax.enable_x64(True):
        updates = follow(chain(keep_maximum(), correct_bias()), G)
        np.testing.assert_allclose(updates, want, rtol=1e-12)


def test_a_maximum_after_bias_correction_is_optax():
    top, want = 0.0, []
    for t, _, m, v in biased_moments(G):
        top = np.maximum(top, v / (1 - B2**t))
        want.append(m / (1 - B1**t) / (np.sqrt(top) + EPS))
    with jax.enable_x64(True):
        updates = follow(chain(correct_bias(), keep_maximum()), G)
        np.testing.assert_allclose(updates, want, rtol=1e-12)


def test_the_order_of_maximum_and_bias_correction_matters():
    before = follow(chain(keep_maximum(), correct_bias()), G)
    after = follow(chain(correct_bias(), keep_maximum()), G)
    np.testing.assert_allclose(before[0], after[0], rtol=1e-6)
    assert np.max(np.abs(before - after)) > 0.05


def test_one_large_gradient_shortens_all_later_steps():
    gradients = np.ones((400, 1))
    gradients[3] = 100.0
    with_maximum = follow(chain(correct_bias(), keep_maximum()), gradients)
    without = follow(chain(correct_bias()), gradients)
    assert with_maximum[-1, 0] < 0.1
    assert without[-1, 0] == pytest.approx(1.0, rel=0.05)


def test_a_nan_stays_in_the_maximum():
    tx = keep_maximum()
    node = Moments(jnp.ones(2), Estimate(jnp.ones(2)), Estimate(jnp.array([np.nan, 1.0])))
    _, state = tx.update(node, tx.init(jnp.ones(2)))
    node = dataclasses.replace(node, second=Estimate(jnp.ones(2)))
    _, state = tx.update(node, state)
    np.testing.assert_array_equal(np.isnan(state.maximum), [True, False])


def test_subtracting_the_squared_mean_is_centred_rmsprop():
    """PyTorch's: v - mean², no bias correction, the gradient on top."""
    want = [g / (np.sqrt(v - m**2) + 1e-2) for _, g, m, v in biased_moments(G, 0.9, 0.9)]
    tx = chain(subtract_squared_mean(), b1=0.9, b2=0.9, eps=1e-2)
    with jax.enable_x64(True):
        np.testing.assert_allclose(follow(tx, G), want, rtol=1e-10)


def test_rounding_cannot_make_the_variance_negative():
    """Of a constant gradient v - m² is nothing but rounding; PyTorch takes its root: NaN."""
    gradient = jnp.asarray(np.abs(normal(512)) + 0.5, jnp.float32)
    tx = core.chain(accumulate_moments(0.5, 0.5), subtract_squared_mean())
    state, raw = tx.init(gradient), []
    for _ in range(40):
        node, state = tx.update(gradient, state)
        mean, square = (np.asarray(x) for x in (state[0].first, state[0].second))
        raw.append((square - mean * mean).min())
        assert float(node.second.value.min()) >= 0
    assert min(raw) < 0, "what this guards against does occur"


def dozat(psi):
    """Equations 9 of NAdam as PyTorch computes them; psi None keeps mu constant."""

    def mu(t):
        return B1 if psi is None else B1 * (1 - 0.5 * 0.96 ** (t * psi))

    product, out = 1.0, []
    for t, g, m, v in biased_moments(G):
        product *= mu(t)
        mean = mu(t + 1) * m / (1 - product * mu(t + 1)) + (1 - mu(t)) * g / (1 - product)
        out.append(mean / (np.sqrt(v / (1 - B2**t)) + EPS))
    return out


@pytest.mark.parametrize("psi", [None, 0.0, 0.004, 0.5])
def test_look_ahead_is_nadam(psi):
    with jax.enable_x64(True):
        updates = follow(chain(look_ahead(psi), correct_bias()), G)
        np.testing.assert_allclose(updates, dozat(psi), rtol=1e-12)


def test_look_ahead_corrects_the_mean_itself_and_leaves_only_the_second_moment_to_correct():
    """A constant gradient: 1 + μ / (1 + μ) times it at step 1, and soon the gradient itself."""
    tx = core.chain(accumulate_moments(B1, B2), look_ahead())
    state = tx.init(jnp.zeros(()))
    for step in range(60):
        node, state = tx.update(jnp.array(3.0), state)
        if step == 0:
            assert float(node.first.value) == pytest.approx(3 * (1 + B1 / (1 + B1)), rel=1e-6)
    assert float(node.first.value) == pytest.approx(3.0, rel=2e-3)
    fixed, _ = correct_bias().update(node, correct_bias().init(None))
    assert float(fixed.first.value) == float(node.first.value)
    assert float(fixed.second.value) == pytest.approx(9.0, rel=1e-6)


@pytest.mark.parametrize("b1", [0.0, None])
def test_look_ahead_without_momentum_is_the_gradient(b1):
    tx = core.chain(accumulate_moments(b1, B2), look_ahead(0.004))
    node = once(tx, jnp.array([3.0]))
    np.testing.assert_allclose(node.first.value, [3.0], rtol=1e-6)


def test_look_ahead_takes_b1_from_the_moments_also_when_scheduled():
    tx = core.chain(accumulate_moments(lambda count: 0.9, B2), look_ahead(), correct_bias())
    same = core.chain(accumulate_moments(0.9, B2), look_ahead(), correct_bias())
    got, want = (
        once(core.chain(t, divide_by_rms()), jnp.asarray(G[0], jnp.float32)) for t in (tx, same)
    )
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize("link", [subtract_squared_mean, divide_by_rectified_rms])
def test_links_that_need_mean_squares_refuse_the_infinity_norm(link):
    tx = core.chain(accumulate_moments(second="infinity"), link())
    with pytest.raises(ValueError, match=rf"{link.__name__} needs .* mean square.*'infinity'"):
        once(tx, jnp.ones(3))


@pytest.mark.parametrize(
    "link", [correct_bias, keep_maximum, subtract_squared_mean, look_ahead, divide_by_rms]
)
def test_links_that_take_moments_name_the_missing_accumulation(link):
    name = link.__name__
    with pytest.raises(TypeError, match=rf"{name} takes Moments.*Put accumulate_moments.*{name}"):
        once(link(), jnp.ones(3))
