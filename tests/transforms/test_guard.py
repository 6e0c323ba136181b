"""A guard: bad steps move and leave nothing; good ones are those of the bare step."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from wrapper_cases import (
    INF,
    NAN,
    OPTIMIZERS,
    bits,
    every_optimizer,
    gradients,
    is_zero,
    moves,
    params,
    poisoned,
    schedule,
)

from optlab import core, optimizers
from optlab import transforms as t
from optlab.transforms._finite_links import KNOWN, keeps_finite

BARE = t.scale_by_learning_rate(0.5)
SGD = t.guard(BARE)


def gave(tx, *many, state=None):
    """Updates and states of eager steps with these gradients."""
    state = tx.init(params()) if state is None else state
    updates = []
    for g in many:
        u, state = tx.update(g, state, params())
        updates.append(u)
    return updates, state


def ones(size):
    return jax.tree.map(lambda p: jnp.full_like(p, size / 3), params())  # 9 entries: norm = size


# --- what is skipped


@every_optimizer
def test_a_bad_step_is_no_step_whatever_is_guarded(name):
    tx = t.guard(OPTIMIZERS[name]())
    update = jax.jit(tx.update)
    _, state = update(gradients(0), tx.init(params()), params())
    before = bits(state.inner)
    for bad in (NAN, INF, -INF, 1e25, 1e37):
        updates, state = update(poisoned(bad), state, params())
        assert is_zero(updates)
        assert bits(state.inner) == before
    assert core.read(state)["skipped"] == 5


@every_optimizer
def test_good_steps_are_those_of_the_bare_transformation(name):
    bare, guarded = core.chain(OPTIMIZERS[name]()), t.guard(OPTIMIZERS[name](), spike=10.0)
    update, guarded_update = jax.jit(bare.update), jax.jit(guarded.update)
    state, guarded_state = bare.init(params()), guarded.init(params())
    for i in range(3):
        want, state = update(gradients(i), state, params())
        _, guarded_state = guarded_update(poisoned(NAN, i), guarded_state, params())
        got, guarded_state = guarded_update(gradients(i), guarded_state, params())
        chex.assert_trees_all_close(got, want, rtol=1e-6)
    chex.assert_trees_all_close(
        jax.tree.leaves(guarded_state.inner), jax.tree.leaves(state), rtol=1e-6
    )


def test_one_finite_gradient_of_1e25_cannot_freeze_optax_adam():
    def last(tx):
        update, state = jax.jit(tx.update), tx.init(params())
        for g in (poisoned(1e25), gradients(0), gradients(1)):
            updates, state = update(g, state, params())
        return updates["kernel"][1, 2]

    assert last(core.chain(optax.adam(1e-2))) == 0.0
    assert last(t.guard(optax.adam(1e-2))) != 0.0


@pytest.mark.parametrize("dtype", [jnp.bfloat16, pytest.param(jnp.float16, marks=pytest.mark.slow)])
def test_low_precision_parameters_are_guarded_too(dtype):
    tx = t.guard(optimizers.adam(1e-2))
    update, state = jax.jit(tx.update), tx.init(params(dtype))
    updates, after = update(poisoned(INF, dtype=dtype), state, params(dtype))
    assert is_zero(updates)
    assert bits(after.inner) == bits(state.inner)
    updates, _ = update(gradients(dtype=dtype), after, params(dtype))
    assert moves(updates)
    assert {u.dtype for u in jax.tree.leaves(updates)} == {jnp.dtype(dtype)}


def test_gradients_far_from_overflow_are_not_bad():
    updates, state = gave(SGD, ones(1e14))
    assert moves(updates[0])
    assert core.read(state)["skipped"] == 0


# --- updates and new states are judged too


def foreign(update, init=lambda p: jnp.zeros(())):
    return optax.GradientTransformation(init, update)


@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize(
    "tx",
    [
        foreign(lambda g, s, p=None: (jax.tree.map(lambda x: x / (x - x), g), s)),
        foreign(lambda g, s, p=None: (g, s + jnp.nan)),
        foreign(lambda g, s, p=None: (g, s - jnp.inf)),
        foreign(lambda g, s, p=None: (jax.tree.map(lambda x: 1e38 * x, g), s)),
        t.scale_by_learning_rate(lambda count: jnp.float32(jnp.nan)),
        core.chain(t.route({}, t.scale_by_learning_rate(lambda count: jnp.float32(jnp.inf)))),
    ],
    ids=["update", "state", "infinite state", "overflow", "schedule", "schedule inside"],
)
def test_bad_results_of_good_gradients_are_skipped(tx, jit):
    tx = t.guard(tx)
    update = jax.jit(tx.update) if jit else tx.update
    state = tx.init(params())
    updates, after = update(ones(30.0), state, params())
    assert is_zero(updates)
    assert bits(after.inner) == bits(state.inner)
    assert core.read(after)["skipped"] == 1


def test_an_optimizer_of_the_user_is_judged_by_its_results():
    class Broken(core.Link):
        def update(self, updates, state, params=None, **extra):
            return jax.tree.map(lambda u: u * jnp.inf, updates), state

    tx = t.guard(core.chain(core.Transformation(Broken()), t.scale(0.5)))
    assert is_zero(gave(tx, gradients())[0])


@pytest.mark.parametrize("name", optimizers.__all__)
def test_recipes_of_optlab_are_known_to_keep_finite_what_is_finite(name):
    assert keeps_finite(getattr(optimizers, name)(1e-2).link)


def test_what_is_known_exists():
    assert {f"transforms.{name}" for name in KNOWN} <= set(core.registry)


# --- counters


def test_counters_tell_what_happened():
    _, state = gave(SGD, ones(1.0), poisoned(NAN), poisoned(INF), ones(2.0), poisoned(NAN))
    values = core.read(state)
    assert (values["skipped"], values["consecutive_skipped"]) == (3, 1)
    assert not values["gave_up"]
    assert np.isnan(values["last_norm"])
    assert state.accepted == 2


def test_schedules_count_good_steps():
    tx = t.guard(core.chain(t.scale_by_learning_rate(schedule)))
    updates, _ = gave(tx, poisoned(NAN), ones(3.0), poisoned(NAN), ones(3.0))
    assert [float(u["bias"][0]) for u in updates] == [0.0, -0.5, 0.0, -0.25]


def test_the_last_norm_is_that_of_the_gradient():
    _, state = gave(SGD, ones(7.0))
    np.testing.assert_allclose(core.read(state)["last_norm"], 7.0, rtol=1e-6)


# --- giving up


def test_too_many_in_a_row_are_flagged_and_none_is_ever_taken():
    tx = t.guard(optimizers.adam(1e-2), max_consecutive=3)
    update, state = jax.jit(tx.update), tx.init(params())
    flags = []
    before = bits(state.inner)
    for _ in range(5):
        updates, state = update(poisoned(NAN), state, params())
        flags.append(bool(core.read(state)["gave_up"]))
        assert is_zero(updates)
        assert bits(state.inner) == before
    assert flags == [False, False, True, True, True]


def test_a_good_step_between_begins_the_count_anew():
    tx = t.guard(optimizers.adam(1e-2), max_consecutive=2)
    _, state = gave(tx, poisoned(NAN), gradients(), poisoned(NAN))
    assert not core.read(state)["gave_up"]


def test_having_given_up_it_accepts_good_steps_and_keeps_the_flag():
    tx = t.guard(optimizers.adam(1e-2), max_consecutive=1)
    update = jax.jit(tx.update)
    _, state = update(poisoned(NAN), tx.init(params()), params())
    updates, state = update(gradients(), state, params())
    assert moves(updates)
    assert core.read(state)["gave_up"]


def test_outside_of_jit_giving_up_raises_and_says_what_to_do():
    tx = t.guard(BARE, max_consecutive=2)
    _, state = gave(tx, poisoned(NAN))
    with pytest.raises(FloatingPointError, match=r"2 bad steps in a row.*checkpoint"):
        gave(tx, poisoned(NAN), state=state)


def test_a_loop_around_jit_can_raise():
    tx = core.chain(t.scale(1.0), t.guard(BARE, max_consecutive=1))
    state = tx.init(params())
    t.raise_if_gave_up(state)
    _, state = jax.jit(tx.update)(poisoned(NAN), state, params())
    with pytest.raises(FloatingPointError, match=r"guard gave up: 1 bad steps.*norm nan"):
        t.raise_if_gave_up(state)
    with pytest.raises(TypeError, match="inside jit"):
        jax.jit(t.raise_if_gave_up)(state)
    t.raise_if_gave_up(optax.adam(1e-3).init(params()))


def test_nonfinite_raise_gives_up_at_once_but_not_for_spikes():
    tx = t.guard(BARE, "raise", spike=2.0, warmup_steps=1)
    _, state = gave(tx, ones(1.0), ones(5.0))
    assert core.read(state)["consecutive_skipped"] == 1
    assert not core.read(state)["gave_up"]
    with pytest.raises(FloatingPointError, match="gave up"):
        gave(tx, poisoned(NAN), state=state)


def test_a_guard_inside_a_guard_is_found_by_its_place():
    tx = t.guard(t.guard(BARE, max_consecutive=1))
    _, state = jax.jit(tx.update)(poisoned(NAN), tx.init(params()), params())
    values = core.read(state)
    assert (values["skipped"], values["inner/skipped"]) == (1, 0)


def test_it_never_gives_up_if_told_so():
    _, state = gave(t.guard(BARE, max_consecutive=None), *[poisoned(NAN)] * 3)
    assert core.read(state)["consecutive_skipped"] == 3
    assert not core.read(state)["gave_up"]


# --- spikes


def test_a_spike_is_a_norm_above_the_factor_times_the_typical_norm():
    tx = t.guard(BARE, spike=3.0, decay=0.9, warmup_steps=3)
    norms = [1.0, 2.0, 4.0]
    _, state = gave(tx, *map(ones, norms))
    weights = [0.1 * 0.9**k for k in (2, 1, 0)]
    log = sum(w * math.log(n) for w, n in zip(weights, norms, strict=True)) / sum(weights)
    typical = math.exp(log)
    np.testing.assert_allclose(core.read(state)["typical_norm"], typical, rtol=1e-5)
    assert moves(gave(tx, ones(2.99 * typical), state=state)[0][0])
    updates, after = gave(tx, ones(3.01 * typical), state=state)
    assert is_zero(updates)
    assert bits(after.inner) == bits(state.inner)
    assert core.read(after)["typical_norm"] == core.read(state)["typical_norm"]


def test_no_step_spikes_before_the_warm_up_is_over():
    tx = t.guard(BARE, spike=2.0, warmup_steps=3)
    updates, state = gave(tx, *[ones(10.0**i) for i in range(3)], ones(1e6))
    assert [moves(u) for u in updates] == [True, True, True, False]
    assert core.read(state)["skipped"] == 1


def test_without_the_rule_a_spike_passes():
    updates, _ = gave(t.guard(BARE, warmup_steps=1), ones(1.0), ones(1e6))
    assert moves(updates[1])


def test_norms_of_zero_are_left_out_of_the_history():
    tx = t.guard(BARE, spike=3.0, warmup_steps=1)
    updates, state = gave(tx, ones(0.0), ones(0.0), ones(1.0), ones(0.0), ones(2.0))
    assert moves(updates[-1])
    np.testing.assert_allclose(core.read(state)["typical_norm"], math.sqrt(2.0), rtol=1e-2)


# --- where it can stand


def test_it_can_stand_around_a_link_of_a_chain():
    tx = core.chain(t.guard(t.accumulate_momentum(0.9)), t.scale_by_learning_rate(0.5))
    updates, state = gave(tx, gradients(), poisoned(NAN), gradients())
    assert is_zero(updates[1])
    assert moves(updates[2])
    assert core.read(state)["learning_rate"] == 0.5


def test_decay_behind_it_finds_the_learning_rate_inside():
    tx = core.chain(t.guard(t.scale_by_learning_rate(0.5)), t.add_decayed_weights(0.5))
    updates, _ = gave(tx, jax.tree.map(jnp.zeros_like, params()))
    chex.assert_trees_all_close(updates[0], jax.tree.map(lambda p: -0.25 * p, params()))


def test_moments_are_refused_by_name():
    with pytest.raises(TypeError, match="guard takes plain updates"):
        gave(core.chain(t.guard(t.accumulate_moments()), t.divide_by_rms()), gradients())


def test_an_override_reaches_the_guarded_optimizer():
    tx = t.guard(core.chain(t.scale_by_learning_rate(schedule)))
    state = core.override(tx.init(params()), {"learning_rate": 0.125})
    updates, state = gave(tx, ones(3.0), state=state)
    assert updates[0]["bias"][0] == -0.125
    assert core.read(state)["learning_rate"] == 0.125


def test_inside_a_scan_only_the_bad_steps_are_missing():
    tx = t.guard(optimizers.adam(1e-2))
    many = [gradients(0), poisoned(NAN), gradients(1), poisoned(1e30), gradients(2)]

    def step(carry, g):
        p, state = carry
        updates, state = tx.update(g, state, p)
        return (optax.apply_updates(p, updates), state), None

    def train(many):
        stacked = jax.tree.map(lambda *x: jnp.stack(x), *many)
        return jax.lax.scan(step, (params(), tx.init(params())), stacked)[0]

    got, state = jax.jit(train)(many)
    want, _ = jax.jit(train)(many[::2])
    chex.assert_trees_all_equal(got, want)
    assert core.read(state)["skipped"] == 2


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"nonfinite": "ignore"}, ValueError),
        ({"spike": 1.0}, ValueError),
        ({"spike": NAN}, ValueError),
        ({"decay": 1.0}, ValueError),
        ({"warmup_steps": -1}, ValueError),
        ({"max_consecutive": 0}, ValueError),
        ({"max_consecutive": True}, TypeError),
    ],
)
def test_arguments_out_of_range_are_refused_by_name(options, error):
    with pytest.raises(error, match=f"guard: {next(iter(options))} must be"):
        t.guard(BARE, **options)


def test_something_that_is_no_transformation_is_refused():
    with pytest.raises(TypeError, match="forget to call it"):
        t.guard(optimizers.adam)


# --- what it costs


def test_around_optlabs_links_it_adds_no_temporaries_of_the_size_of_the_parameters():
    p = {"kernel": jnp.zeros((512, 512))}

    def temporaries(tx):
        step = jax.jit(tx.update, donate_argnums=(0, 1))
        state = jax.eval_shape(tx.init, p)
        return step.lower(p, state, p).compile().memory_analysis().temp_size_in_bytes

    size = 512 * 512 * 4
    tx = optimizers.adamw(1e-3)
    assert temporaries(t.guard(tx, spike=10.0)) < temporaries(tx) + 0.3 * size
