"""L1 and L2: the gradients of the penalties they name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transform_cases import normal, once

from optlab import core
from optlab.selectors import biases, kernels, path
from optlab.transforms import (
    accumulate_moments,
    add_decayed_weights,
    add_l1,
    add_l2,
    correct_bias,
    divide_by_rms,
    scale_by_learning_rate,
)

G, W = normal(3, 2), normal(3, 2, seed=1)
PENALTIES = {add_l1: lambda w: jnp.sum(jnp.abs(w)), add_l2: lambda w: jnp.sum(w**2) / 2}
both = pytest.mark.parametrize("factory", PENALTIES)


@both
def test_the_penalty_adds_the_gradient_of_its_formula(factory):
    with jax.enable_x64(True):
        slope = jax.grad(PENALTIES[factory])(jnp.asarray(W))
        got = once(factory(0.3), jnp.asarray(G), jnp.asarray(W))
        np.testing.assert_allclose(got, G + 0.3 * slope, rtol=1e-14)


@both
def test_the_slope_at_zero_is_zero(factory):
    np.testing.assert_array_equal(once(factory(0.5), jnp.array([2.0]), jnp.zeros(1)), [2.0])


@both
def test_only_selected_leaves_are_penalised(factory):
    g = {"Dense_0": {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}}
    w = jax.tree.map(jnp.ones_like, g)
    for where, chosen, other in ((kernels, "kernel", "bias"), (biases, "bias", "kernel")):
        updates = once(factory(0.5, where), g, w)["Dense_0"]
        assert np.all(np.asarray(updates[chosen]) == 0.5)
        assert not np.any(updates[other])


@both
def test_a_selector_that_matches_nothing_is_an_error(factory):
    with pytest.raises(ValueError, match=r"encoder.*selects nothing|selects no"):
        once(factory(0.5, path("encoder/**")), {"decoder": jnp.ones(2)}, {"decoder": jnp.ones(2)})


@both
@pytest.mark.parametrize("nested", [False, True])
def test_behind_the_learning_rate_it_says_where_to_stand(factory, nested):
    front = scale_by_learning_rate(0.1)
    tx = core.chain(core.chain(front) if nested else front, factory(0.1))
    message = rf"{factory.__name__} adds to the gradient, but stands after .*Move it to the front"
    with pytest.raises(ValueError, match=message):
        once(tx, jnp.ones(2), jnp.ones(2))


def test_l2_in_sgd_is_decoupled_decay_and_in_adam_it_is_not():
    def run(*links):
        return np.asarray(once(core.chain(*links, scale_by_learning_rate(0.1)), g, w))

    g, w = jnp.array([10.0, 0.01]), jnp.array([1.0, 1.0])
    np.testing.assert_allclose(run(add_l2(0.3)), run(add_decayed_weights(0.3)), rtol=1e-6)
    adam = (accumulate_moments(), correct_bias(), divide_by_rms())
    inside, outside = run(add_l2(0.3), *adam), run(*adam, add_decayed_weights(0.3))
    np.testing.assert_allclose(outside, [-0.13, -0.13], rtol=1e-5)
    np.testing.assert_allclose(inside, [-0.1, -0.1], rtol=1e-5)  # normalised away at step 1


def test_weights_with_larger_gradients_decay_less_in_adam_with_l2():
    tx = core.chain(
        add_l2(0.1), accumulate_moments(), correct_bias(), divide_by_rms(),
        scale_by_learning_rate(1e-3),
    )  # fmt: skip
    noise = normal(2000, 2) * np.array([10.0, 0.01])
    params = jnp.ones(2)

    def step(carry, g):
        params, state = carry
        updates, state = tx.update(g, state, params)
        return (params + updates, state), None

    (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), jnp.asarray(noise, jnp.float32))
    assert abs(params[1]) < 0.1 < 0.8 < params[0]
