"""Momentum as a sum and as an average, against PyTorch's recursion written out."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from transform_cases import follow, normal, once, once_optax

from optlab.transforms import accumulate_average, accumulate_momentum

G = normal(6, 3)


def heavy_ball(gradients, decay, dampening=0.0, nesterov=False):
    m, out = None, []
    for g in gradients:
        m = g if m is None else decay * m + (1 - dampening) * g
        out.append(g + decay * m if nesterov else m)
    return np.stack(out)


@pytest.mark.parametrize(
    "options",
    [{"decay": 0.9}, {"decay": 0.9, "dampening": 0.4}, {"decay": 0.9, "dampening": 1.0},
     {"decay": 0.9, "nesterov": True}, {"decay": 0.0}],
)  # fmt: skip
def test_momentum_follows_the_recursion(options):
    with jax.enable_x64(True):
        np.testing.assert_allclose(
            follow(accumulate_momentum(**options), G), heavy_ball(G, **options), rtol=1e-13
        )


def test_a_scheduled_decay_is_the_one_of_its_step():
    decays = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95]
    m, want = 0.0, []
    for g, decay in zip(G, decays, strict=True):
        m = decay * m + g
        want.append(m)
    with jax.enable_x64(True):
        tx = accumulate_momentum(lambda count: jnp.asarray(decays)[count])
        np.testing.assert_allclose(follow(tx, G), want, rtol=1e-13)


def test_the_first_gradient_has_full_weight_even_at_dampening_one():
    tx = accumulate_momentum(0.5, dampening=1.0)
    np.testing.assert_array_equal(follow(tx, jnp.ones((3, 1))).ravel(), [1, 0.5, 0.25])


def test_dampening_equal_to_decay_averages():
    updates = follow(accumulate_momentum(0.9, dampening=0.9), jnp.full((200, 1), 3.0))
    np.testing.assert_allclose(updates, 3.0, rtol=1e-5)


def test_a_sum_grows_to_one_over_one_minus_decay():
    updates = follow(accumulate_momentum(0.9), jnp.full((300, 1), 3.0))
    assert float(updates[-1, 0]) == pytest.approx(30.0, rel=1e-5)


def test_zero_gradients_let_momentum_fade():
    gradients = jnp.array([[8.0], [0.0], [0.0]])
    np.testing.assert_array_equal(follow(accumulate_momentum(0.5), gradients).ravel(), [8, 4, 2])


def test_a_non_finite_entry_stays_in_the_state():
    gradients = jnp.array([[1.0, np.inf], [1.0, 0.0], [1.0, 0.0]])
    updates = follow(accumulate_momentum(0.5), gradients)
    np.testing.assert_array_equal(updates[:, 0], [1, 1.5, 1.75])
    assert np.isinf(updates[:, 1]).all()


def test_bf16_momentum_is_kept_in_float32():
    gradients = jnp.full((100, 1), 1.0, jnp.bfloat16)
    tx = accumulate_momentum(0.99)
    assert tx.init(gradients[0]).momentum.dtype == jnp.float32
    want = (1 - 0.99**100) / 0.01
    assert float(follow(tx, gradients)[-1, 0]) == pytest.approx(want, rel=2**-8)
    trace = optax.trace(0.99)  # as the docstring says: in the gradient's dtype
    state = trace.init(gradients[0])
    assert state.trace.dtype == jnp.bfloat16


@pytest.mark.parametrize("dampening", [0.5, jnp.array([0.0, 0.1]), lambda count: 0.0])
def test_nesterov_takes_no_dampening(dampening):
    with pytest.raises(ValueError, match=r"nesterov needs dampening 0, got .*Drop one of the two"):
        accumulate_momentum(0.9, nesterov=True, dampening=dampening)


def test_an_average_follows_its_recursion_from_zero():
    m, want = 0.0, []
    for g in G:
        m = 0.9 * m + 0.1 * g
        want.append(m)
    with jax.enable_x64(True):
        np.testing.assert_allclose(follow(accumulate_average(0.9), G), want, rtol=1e-13)


def test_an_average_is_one_minus_decay_of_the_first_gradient_and_all_in_the_long_run():
    updates = follow(accumulate_average(0.75), jnp.full((100, 1), 4.0))
    assert float(updates[0, 0]) == 1.0
    assert float(updates[-1, 0]) == pytest.approx(4.0, rel=1e-5)


def test_an_average_is_one_minus_decay_times_the_sum():
    sums, averages = follow(accumulate_momentum(0.9), G), follow(accumulate_average(0.9), G)
    np.testing.assert_allclose(averages, 0.1 * sums, rtol=1e-5)


def test_optax_corrects_the_bias_of_its_average():
    """The `Differs from` of `accumulate_average`."""
    g = jnp.array([4.0])
    np.testing.assert_allclose(once_optax(optax.ema(0.75), g), 4.0)
    plain = once_optax(optax.ema(0.75, debias=False), g)
    np.testing.assert_allclose(plain, once(accumulate_average(0.75), g))
