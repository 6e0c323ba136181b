"""Weight decay: zero is none, its place does not matter, and parameters shrink as the rule says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from law_strategies import all_updates, law

from optlab import core, optimizers, schedules
from optlab.transforms import add_decayed_weights, add_l2, scale_by_learning_rate

RNG = np.random.default_rng(0)
NOISE = np.float32(RNG.normal(size=(5, 3, 4)))
PARAMS = np.float32(RNG.normal(size=(3, 4)))
rates, amounts = st.floats(1e-4, 1.0), st.floats(1e-4, 0.5)
COUPLINGS = ["lr", "schedule", "independent", "corrected", "cautious"]


@law
@given(rate=rates, eps=st.floats(1e-10, 1e-2))
def test_a_decay_of_zero_is_no_decay_to_the_bit(rate, eps):
    """Updates as `apply_updates` adds them, so that a zero's sign does not count."""
    for ours, plain in (
        (optimizers.adamw(rate, eps=eps, weight_decay=0.0), optimizers.adam(rate, eps=eps)),
        (optimizers.sgd(rate, 0.9, l2=0.0), optimizers.sgd(rate, 0.9)),
    ):
        a, b = (np.asarray(all_updates(tx, NOISE, PARAMS)[0]) for tx in (ours, plain))
        np.testing.assert_array_equal(PARAMS + a, PARAMS + b)


@pytest.mark.parametrize("coupling", [c for c in COUPLINGS if c != "independent"])
@law
@given(rate=rates, decay=amounts)
def test_before_and_behind_the_learning_rate_is_the_same(coupling, rate, decay):
    lr = schedules.cosine(rate, 8)
    links = add_decayed_weights(decay, coupling=coupling), scale_by_learning_rate(lr)
    before, _ = all_updates(core.chain(*links), NOISE, PARAMS)
    behind, _ = all_updates(core.chain(*links[::-1]), NOISE, PARAMS)
    np.testing.assert_allclose(before, behind, rtol=2e-5, atol=1e-6 * rate)


@pytest.mark.parametrize("coupling", COUPLINGS)
@law
@given(rate=rates, decay=amounts)
def test_without_gradients_parameters_shrink_by_the_product_of_what_the_rule_says(
    coupling, rate, decay
):
    lr = schedules.warmup_cosine(rate, 20, 5)
    tx = core.chain(scale_by_learning_rate(lr), add_decayed_weights(decay, coupling=coupling))
    eta = np.float64([float(v) for v in _values(lr)])
    peak = float(np.float32(rate))
    share = {
        "lr": eta, "cautious": eta, "schedule": eta / peak, "corrected": eta**2 / peak,
        "independent": np.ones_like(eta),
    }[coupling]  # fmt: skip
    want = PARAMS * np.prod(1 - decay * share)
    np.testing.assert_allclose(_train(tx, PARAMS), want, rtol=1e-4, atol=1e-6)


@jax.jit
def _values(schedule):
    return jax.vmap(schedule)(jnp.arange(20))


@jax.jit
def _train(tx, params):
    def step(carry, _):
        params, state = carry
        updates, state = tx.update(jnp.zeros_like(params), state, params)
        return (params + updates, state), None

    return jax.lax.scan(step, (params, tx.init(params)), length=20)[0][0]


@law
@given(rate=rates, decay=amounts)
def test_cautious_decay_only_ever_helps_the_update(rate, decay):
    """Where it acts, the step without it goes towards zero already."""
    cautious, plain = (
        all_updates(
            core.chain(add_decayed_weights(d, coupling="cautious"), scale_by_learning_rate(rate)),
            NOISE,
            PARAMS,
        )[0]
        for d in (decay, 0.0)
    )
    acts = np.asarray(cautious) != np.asarray(plain)
    assert 0 < acts.sum() < acts.size
    assert np.all((np.asarray(plain) * PARAMS)[acts] <= 0)
    assert np.all(np.abs(cautious)[acts] >= np.abs(plain)[acts])


@law
@given(rate=rates, decay=amounts)
def test_l2_is_decoupled_decay_in_sgd_but_not_in_adam(rate, decay):
    def updates(*links):
        return np.asarray(all_updates(core.chain(*links), NOISE, PARAMS)[0])

    lr = scale_by_learning_rate(rate)
    l2, decoupled = add_l2(decay), add_decayed_weights(decay)
    np.testing.assert_allclose(updates(l2, lr), updates(decoupled, lr), rtol=1e-6)
    inside = updates(l2, optimizers.adam(rate))
    outside = np.asarray(all_updates(optimizers.adamw(rate, weight_decay=decay), NOISE, PARAMS)[0])
    assert np.max(np.abs(inside - outside)) > 0.1 * rate * decay
