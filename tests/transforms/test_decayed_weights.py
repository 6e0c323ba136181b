"""Decoupled weight decay: five couplings, wherever the link stands in a chain."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from transform_cases import normal, once, quick, run

from optlab import core, schedules
from optlab.selectors import biases, kernels
from optlab.transforms import (
    accumulate_moments,
    add_decayed_weights,
    correct_bias,
    divide_by_rms,
    scale,
    scale_by_learning_rate,
)

DECAY, STEPS = 0.03, 3
G, W = normal(STEPS, 4, 3), normal(4, 3, seed=1)
RATES = {"number": 0.2, "schedule": schedules.warmup_cosine(0.2, 6, 4, init_value=0.0)}
COUPLINGS = ["lr", "schedule", "independent", "corrected", "cautious"]


def rate(kind, step=STEPS - 1):
    return 0.2 if kind == "number" else 0.2 * step / 4  # within the warm-up


def amount(coupling, lr, u):
    """What one step subtracts, from the table of the docstring; u is the update's direction."""
    return {
        "lr": lr * DECAY * W,
        "schedule": lr / 0.2 * DECAY * W,
        "independent": DECAY * W,
        "corrected": lr**2 / 0.2 * DECAY * W,
        "cautious": lr * DECAY * W * (u * W >= 0),
    }[coupling]


PLACES = {
    "before": lambda d, s: core.chain(d, s),
    "after": lambda d, s: core.chain(s, d),
    "in a chain before": lambda d, s: core.chain(core.chain(scale(1.0), d), s),
    "after a chain": lambda d, s: core.chain(core.chain(core.chain(s), scale(1.0)), d),
    "in a chain after a chain": lambda d, s: core.chain(core.chain(s), core.chain(d, scale(1.0))),
    "with names": lambda d, s: core.named_chain(step=core.named_chain(lr=s), decay=d),
    "within one inner chain": lambda d, s: core.chain(scale(1.0), core.chain(d, s)),
}
LEGAL = [
    (coupling, place, kind)
    for coupling in COUPLINGS
    for place in PLACES
    for kind in RATES
    if (coupling != "independent" or "after" in place or place == "with names")
    and (kind == "schedule" or place in ("before", "after"))
]


@pytest.fixture(scope="module")
def last_updates():
    """Third updates of all combinations, in one compile, in float64."""
    txs = {
        " ".join(key): PLACES[key[1]](
            add_decayed_weights(DECAY, coupling=key[0]), scale_by_learning_rate(RATES[key[2]])
        )
        for key in LEGAL
    }
    with jax.enable_x64(True):
        return quick(run)(txs, jnp.asarray(G), jnp.asarray(W))[0]


@pytest.mark.parametrize(("coupling", "place", "kind"), LEGAL)
def test_every_coupling_is_right_wherever_it_stands(coupling, place, kind, last_updates):
    lr, u = rate(kind), G[-1]
    want = -lr * u - amount(coupling, lr, u)
    got = last_updates[" ".join((coupling, place, kind))]
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-9)  # schedules are float32


def test_couplings_differ_where_the_learning_rate_is_not_at_its_peak():
    found = [amount(c, rate("schedule"), G[-1]) for c in COUPLINGS]
    for i, a in enumerate(found):
        for b in found[i + 1 :]:
            assert np.max(np.abs(a - b)) > 1e-4


def test_a_lambda_of_the_paper_is_the_peak_times_that_of_pytorch():
    def step(coupling, weight_decay, lr):
        tx = core.chain(
            add_decayed_weights(weight_decay, coupling=coupling), scale_by_learning_rate(lr)
        )
        return once(tx, jnp.zeros(2), jnp.ones(2))

    peak = RATES["schedule"]
    np.testing.assert_allclose(
        step("schedule", 0.2 * 0.05, peak), step("lr", 0.05, peak), rtol=1e-6
    )


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_at_a_learning_rate_of_zero_only_independent_decay_is_left(coupling):
    tx = core.chain(scale_by_learning_rate(0.0), add_decayed_weights(0.1, coupling=coupling))
    updates = once(tx, jnp.ones(2), jnp.ones(2))
    want = -0.1 if coupling == "independent" else 0.0
    np.testing.assert_allclose(updates, want, rtol=1e-6)


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("after", [False, True])
def test_a_decay_of_zero_is_no_decay_to_the_bit(coupling, after):
    if coupling == "independent" and not after:
        pytest.skip("an error, tested below")
    links = [add_decayed_weights(0.0, coupling=coupling), scale_by_learning_rate(0.3)]
    u, w = jnp.asarray(normal(50), jnp.float32), jnp.asarray(1e30 * normal(50, seed=1), jnp.float32)
    with_, without = once(core.chain(*links[:: -1 if after else 1]), u, w), once(links[1], u, w)
    np.testing.assert_array_equal(
        np.asarray(with_).view(np.int32), np.asarray(without).view(np.int32)
    )


@pytest.mark.parametrize("after", [False, True])
def test_cautious_decay_acts_where_the_update_is_zero(after):
    """The paper's mask is u θ >= 0, not > 0."""
    links = [add_decayed_weights(0.1, coupling="cautious"), scale_by_learning_rate(0.5)]
    tx = core.chain(*links[:: -1 if after else 1])
    updates = once(tx, jnp.array([0.0, 0.0, -1.0]), jnp.array([2.0, -2.0, 2.0]))
    np.testing.assert_allclose(updates, [-0.1, 0.1, 0.5], rtol=1e-6)


def test_a_scheduled_decay_follows_its_schedule():
    tx = core.chain(add_decayed_weights(schedules.linear(0.0, 0.4, 4)), scale_by_learning_rate(0.5))
    params = jnp.ones(())
    state = tx.init(params)
    for step in range(4):
        updates, state = tx.update(jnp.zeros(()), state, params)
        assert float(updates) == pytest.approx(-0.5 * 0.1 * step, abs=1e-7)
        assert float(core.read(state)["weight_decay"]) == pytest.approx(0.1 * step, abs=1e-7)


def test_the_shift_of_the_count_is_the_same_before_and_after():
    """The link sees the learning rate its own step uses, not the next one's."""
    lr = schedules.linear(0.1, 0.5, 4)
    params, state = jnp.ones(()), {}
    txs = {
        "before": core.chain(add_decayed_weights(0.1), scale_by_learning_rate(lr)),
        "after": core.chain(scale_by_learning_rate(lr), add_decayed_weights(0.1)),
    }
    state = {name: tx.init(params) for name, tx in txs.items()}
    for step in range(4):
        for name, tx in txs.items():
            updates, state[name] = tx.update(jnp.zeros(()), state[name], params)
            assert float(updates) == pytest.approx(-0.1 * (0.1 + 0.1 * step), rel=1e-6), name


def test_only_selected_leaves_decay():
    zeros = {"Dense_0": {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}}
    ones = jax.tree.map(jnp.ones_like, zeros)
    for where, chosen, other in ((kernels, "kernel", "bias"), (biases, "bias", "kernel")):
        tx = core.chain(add_decayed_weights(0.1, where), scale_by_learning_rate(1.0))
        updates = once(tx, zeros, ones)["Dense_0"]
        np.testing.assert_allclose(updates[chosen], -0.1, rtol=1e-6)
        assert not np.any(updates[other])


def test_a_mask_or_a_function_may_stand_for_a_selector():
    zeros = {"a": jnp.zeros(2), "b": jnp.zeros(2)}
    ones = jax.tree.map(jnp.ones_like, zeros)
    for where in ({"a": True, "b": False}, lambda p: {"a": True, "b": False}):
        updates = once(add_decayed_weights(0.1, where), zeros, ones)
        np.testing.assert_allclose(updates["a"], 0.1, rtol=1e-6)
        assert not np.any(updates["b"])


def test_adamw_is_pytorchs():
    """θ <- θ - η (m̂ / (sqrt(v̂) + ε) + λ θ), five steps, parameters moving."""
    m = v = 0.0
    want = W.copy()
    gradients = normal(5, 4, 3)
    for t, g in enumerate(gradients, 1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        u = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        want = want - 0.1 * (u + DECAY * want)
    tx = core.chain(
        accumulate_moments(), correct_bias(), divide_by_rms(), add_decayed_weights(DECAY),
        scale_by_learning_rate(0.1),
    )  # fmt: skip
    with jax.enable_x64(True):
        params = jnp.asarray(W)
        state = tx.init(params)
        for g in gradients:
            updates, state = tx.update(jnp.asarray(g), state, params)
            params = params + updates
        np.testing.assert_allclose(params, want, rtol=1e-12)


def test_outside_of_a_chain_each_coupling_takes_its_usual_place():
    u, w = jnp.array([1.0, -1.0]), jnp.array([2.0, 2.0])
    for coupling, want in (
        ("lr", [1.2, -0.8]), ("cautious", [1.2, -1.0]), ("independent", [0.8, -1.2]),
    ):  # fmt: skip
        np.testing.assert_allclose(
            once(add_decayed_weights(0.1, coupling=coupling), u, w), want, rtol=1e-6
        )


def test_before_the_learning_rate_it_is_optaxs():
    u, w = jnp.array([1.0, -1.0]), jnp.array([2.0, 3.0])
    ours = once(core.chain(add_decayed_weights(0.1), scale_by_learning_rate(0.5)), u, w)
    theirs = optax.chain(optax.add_decayed_weights(0.1), optax.scale_by_learning_rate(0.5))
    np.testing.assert_allclose(ours, theirs.update(u, theirs.init(w), w)[0], rtol=1e-6)


@pytest.mark.parametrize("coupling", ["schedule", "corrected"])
def test_couplings_that_need_the_learning_rate_say_so_outside_of_a_chain(coupling):
    link = add_decayed_weights(0.1, coupling=coupling)
    for tx in (link, core.chain(link), optax.chain(link, scale_by_learning_rate(0.1))):
        with pytest.raises(
            ValueError, match=rf"coupling='{coupling}' needs the learning rate. Put"
        ):
            tx.update(jnp.ones(2), tx.init(jnp.ones(2)), jnp.ones(2))


@pytest.mark.parametrize("place", ["before", "in a chain before", "within one inner chain"])
def test_independent_decay_before_the_learning_rate_is_an_error(place):
    tx = PLACES[place](
        add_decayed_weights(0.1, coupling="independent"), scale_by_learning_rate(0.1)
    )
    with pytest.raises(ValueError, match=r"'independent' .* must stand after .* Move it behind"):
        once(tx, jnp.ones(2), jnp.ones(2))


@pytest.mark.parametrize("coupling", ["schedule", "corrected"])
def test_a_plain_function_has_no_peak_unless_it_is_given(coupling):
    def tx(**options):
        return core.chain(
            add_decayed_weights(0.1, coupling=coupling, **options),
            scale_by_learning_rate(lambda count: 0.1),
        )

    with pytest.raises(ValueError, match=r"add_decayed_weights needs the peak .*pass the peak"):
        once(tx(), jnp.ones(2), jnp.ones(2))
    updates = once(tx(peak_learning_rate=0.4), jnp.zeros(2), jnp.ones(2))
    want = {"schedule": 0.1 / 0.4 * 0.1, "corrected": 0.1**2 / 0.4 * 0.1}[coupling]
    np.testing.assert_allclose(updates, -want, rtol=1e-6)


def test_moments_are_refused():
    tx = core.chain(accumulate_moments(), add_decayed_weights(0.1))
    with pytest.raises(TypeError, match="add_decayed_weights takes plain updates"):
        once(tx, jnp.ones(2), jnp.ones(2))


def test_bf16_parameters_decay_by_a_float32_factor():
    params = jnp.full((3,), 2.0, jnp.bfloat16)
    tx = core.chain(add_decayed_weights(0.1), scale_by_learning_rate(1e-3))
    updates = once(tx, jnp.zeros_like(params), params)
    assert updates.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(updates), -2e-4, rtol=2**-8)
