"""EMA, equal and tail averages of parameters, against NumPy's; where and when they are taken."""

import chex
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from averaging_cases import along, ema, snapshots, tail_lengths

import optlab as ol

PATH = np.random.default_rng(0).normal(size=(40, 3))
KINDS = {
    "ema": lambda tx: ol.average_params(tx, ema=0.9),
    "warm": lambda tx: ol.average_params(tx, ema=0.9, warmup=True),
    "swa": lambda tx: ol.average_params(tx, "swa"),
    "tail": lambda tx: ol.average_params(tx, "tail"),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


# --- values


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_an_ema_is_the_weighted_mean_of_all_snapshots_at_every_step(decay):
    with jax.enable_x64(True):
        averages, _, _ = along(lambda tx: ol.average_params(tx, ema=decay), PATH)
    want = [ema(PATH[: n + 1], decay) for n in range(len(PATH))]
    np.testing.assert_allclose(averages, want, rtol=1e-12)


def test_a_warm_ema_forgets_with_one_plus_n_over_ten_plus_n():
    with jax.enable_x64(True):
        averages, _, _ = along(KINDS["warm"], PATH)
    average, weight, want = 0.0, 0.0, []
    for n, value in enumerate(PATH):
        decay = min(0.9, (1 + n) / (10 + n))
        average, weight = decay * average + value, decay * weight + 1
        want.append(average / weight)
    np.testing.assert_allclose(averages, want, rtol=1e-12)


def test_a_scheduled_decay_is_that_of_its_step():
    decays = np.linspace(0.3, 0.95, len(PATH))
    with jax.enable_x64(True):
        averages, told, _ = along(
            lambda tx: ol.average_params(tx, lambda n: jnp.asarray(decays)[n]), PATH
        )
    average, weight, want = 0.0, 0.0, []
    for decay, value in zip(decays, PATH, strict=True):
        average, weight = decay * average + value, decay * weight + 1
        want.append(average / weight)
    np.testing.assert_allclose(averages, want, rtol=1e-12)
    np.testing.assert_allclose(told["ema"], decays, rtol=1e-6)


def test_an_equal_average_is_the_mean_of_the_snapshots_so_far():
    with jax.enable_x64(True):
        averages, _, _ = along(KINDS["swa"], PATH)
    want = [PATH[: n + 1].mean(0) for n in range(len(PATH))]
    np.testing.assert_allclose(averages, want, rtol=1e-12)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.8])
def test_a_tail_is_the_mean_of_the_latest_snapshots(fraction):
    with jax.enable_x64(True):
        averages, told, _ = along(
            lambda tx: ol.average_params(tx, "tail", tail_fraction=fraction), PATH
        )
    lengths = tail_lengths(len(PATH), fraction)
    want = [PATH[: n + 1][-k:].mean(0) for n, k in enumerate(lengths)]
    np.testing.assert_allclose(averages, want, rtol=1e-11)
    np.testing.assert_array_equal(told["averaged_steps"], lengths)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.8])
def test_a_tail_covers_at_least_its_fraction_and_at_most_the_next(fraction):
    n = np.arange(1, 2001)
    covered = np.asarray(tail_lengths(2000, fraction)) / n
    assert np.all(covered >= fraction)
    assert np.all(covered <= 1 - (1 - fraction) ** 2 + 2 / n)


def test_half_a_tail_of_a_power_of_two_is_the_last_half():
    assert [tail_lengths(64, 0.5)[n - 1] for n in (2, 4, 8, 16, 32, 64)] == [1, 2, 4, 8, 16, 32]


@hypothesis.given(
    value=st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False),
    decay=st.floats(0.0, 0.9999),
    kind=st.sampled_from(sorted(KINDS)),
)
@hypothesis.settings(max_examples=25, deadline=None)
def test_the_average_of_a_constant_is_it_to_the_bit_at_every_step(value, decay, kind):
    link = KINDS[kind](ol.freeze())
    tx = link if kind in ("swa", "tail") else ol.replace(link, {"ema": decay})
    averages = _constant(tx, jnp.float32(value))
    np.testing.assert_array_equal(averages, np.full(30, value, np.float32))


@jax.jit
def _constant(tx, value):
    def step(state, _):
        _, state = tx.update(jnp.ones(()), state, value)
        return state, ol.eval_params(state, value)

    return jax.lax.scan(step, tx.init(value), None, length=30)[1]


def test_a_tail_forgets_what_was_not_finite_once_it_is_behind():
    tx = ol.average_params(ol.freeze(), "tail")
    state = tx.init(jnp.zeros(1))
    for step in range(1, 13):
        params = jnp.full(1, jnp.nan if step == 3 else 2.0)
        _, state = tx.update(jnp.zeros(1), state, params)
    np.testing.assert_array_equal(ol.eval_params(state, params), [2.0])


def test_a_long_equal_average_in_float32_is_numpys_mean():
    path = 1 + 0.01 * np.random.default_rng(1).normal(size=(10_000, 2))
    averages, _, _ = along(KINDS["swa"], path.astype(np.float32))
    np.testing.assert_allclose(averages[-1], path.mean(0), rtol=2e-6)


def test_another_kind_goes_on_with_the_average_so_far():
    params = {"w": jnp.zeros(1)}
    first, then = (ol.average_params(ol.sgd(1.0), ema) for ema in (0.999999, "swa"))
    state = first.init(params)
    for n in range(4):
        if n == 2:
            state, _ = ol.migrate(state, first, then, params)
        tx = first if n < 2 else then
        updates, state = tx.update({"w": jnp.ones(1)}, state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(ol.eval_params(state, params)["w"], [-2.5], rtol=1e-5)


def test_put_around_a_running_optimizer_it_starts_with_the_next_step():
    params, bare = {"w": jnp.zeros(1)}, ol.sgd(1.0, momentum=0.5)
    ones, loaded = {"w": jnp.ones(1)}, {"w": jnp.full(1, 8.0)}
    _, state = bare.update(ones, bare.init(params), params)
    for make in (*KINDS.values(), ol.lookahead, ol.schedule_free):
        tx = make(bare)
        updates, new = tx.update(ones, ol.migrate(state, bare, tx, params)[0], loaded)
        want = 8.0 if make is ol.lookahead else 8.0 - 1.5
        np.testing.assert_allclose(ol.eval_params(new, ones)["w"], [want])
        np.testing.assert_allclose(updates["w"], [-1.5])


# --- steps


@pytest.mark.parametrize("kind", ["ema", "swa", "tail"])
@pytest.mark.parametrize(("start", "every"), [(0, 1), (1, 1), (0, 3), (5, 1), (7, 4), (30, 20)])
def test_snapshots_are_taken_from_start_every_so_many_steps(kind, start, every):
    def make(tx):
        return ol.average_params(tx, 0.8 if kind == "ema" else kind, start=start, every=every)

    first = np.full(3, 9.0)
    with jax.enable_x64(True):
        averages, _, _ = along(make, PATH, first)
    for n in range(1, len(PATH) + 1):
        taken = PATH[[t - 1 for t in snapshots(n, start, every)]]
        if len(taken) == 0:
            want = PATH[n - 1]  # nothing averaged yet: the parameters
        elif kind == "ema":
            want = ema(taken, 0.8)
        else:
            length = len(taken) if kind == "swa" else tail_lengths(len(taken), 0.5)[-1]
            want = taken[-length:].mean(0)
        np.testing.assert_allclose(averages[n - 1], want, rtol=1e-11)


def test_before_any_step_the_parameters_are_evaluated():
    params = {"w": jnp.arange(3.0)}
    for make in KINDS.values():
        state = make(ol.sgd(1.0)).init(params)
        chex.assert_trees_all_equal(ol.eval_params(state, params), params)


def test_the_count_of_snapshots_can_be_read():
    _, told, _ = along(lambda tx: ol.average_params(tx, "swa", start=5, every=10), PATH)
    assert told["averaged_steps"][-1] == 4
    assert told["averaged_steps"].dtype == jnp.int32


# --- what it leaves alone


@every_kind
def test_the_updates_are_those_of_the_optimizer_to_the_bit(kind):
    params, grads = {"w": jnp.arange(4.0)}, {"w": jnp.array([0.1, -0.2, 0.3, 0.4])}
    tx, bare = KINDS[kind](ol.adamw(1e-2)), ol.adamw(1e-2)
    got, state = tx.update(grads, tx.init(params), params)
    want, inner = bare.update(grads, bare.init(params), params)
    chex.assert_trees_all_equal((got, state.inner), (want, inner))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@every_kind
def test_low_precision_parameters_have_a_float32_average(kind, dtype):
    params = {"w": jnp.ones(2, dtype)}
    tx = KINDS[kind](ol.sgd(1e-3))
    _, state = tx.update({"w": jnp.ones(2, dtype)}, tx.init(params), params)
    average, _ = state.averaged()
    # The exact sum, which apply_updates rounds back to 1 for bf16.
    np.testing.assert_allclose(average["w"], 1 - 1e-3, rtol=3e-6)
    assert average["w"].dtype == jnp.float32
    assert ol.eval_params(state, params)["w"].dtype == dtype


def test_many_small_steps_of_bf16_parameters_are_averaged_in_float32():
    first = jnp.ones(1, jnp.bfloat16)
    path = jnp.full((100, 1), 1.0078125, jnp.bfloat16).at[::2].set(1.0)  # neighbours in bf16
    _, _, state = along(KINDS["swa"], path, first)
    assert float(state.average[0]) == pytest.approx(1 + 0.0078125 / 2, rel=1e-5)


def test_integer_parameters_are_kept_at_their_latest_value():
    params = {"w": jnp.ones(2), "n": jnp.array([3], jnp.int32)}
    freeze = ol.average_params(ol.freeze(), "swa")
    state = freeze.init(params)
    for _ in range(2):
        _, state = freeze.update(jax.tree.map(jnp.zeros_like, params), state, params)
    chex.assert_trees_all_equal(ol.eval_params(state, params), params)


# --- where it may stand


def test_without_an_optimizer_it_is_the_last_link_of_a_chain():
    params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, 0.5])
    last = ol.chain(ol.clip_by_norm(1.0), ol.adamw(0.1), ol.average_params(ema=0.9))
    around = ol.average_params(ol.chain(ol.clip_by_norm(1.0), ol.adamw(0.1)), ema=0.9)
    states = [tx.update(grads, tx.init(params), params)[1] for tx in (last, around)]
    chex.assert_trees_all_equal(*[ol.eval_params(s, params) for s in states])


@pytest.mark.parametrize(
    "wrapper", [ol.average_params, ol.lookahead, lambda tx: ol.schedule_free(tx, 0.1)]
)
def test_a_learning_rate_behind_it_is_refused(wrapper):
    tx = ol.chain(ol.chain(wrapper(ol.scale(1.0))), ol.scale_by_learning_rate(0.1))
    with pytest.raises(ValueError, match="learning rate is applied behind it"):
        tx.update(jnp.ones(1), tx.init(jnp.ones(1)), jnp.ones(1))


def test_links_with_rates_of_their_own_may_follow_it():
    tx = ol.chain(ol.average_params(ol.sgd(0.1)), ol.average_params(ema=0.5))
    tx.update(jnp.ones(1), tx.init(jnp.ones(1)), jnp.ones(1))


def test_without_parameters_it_says_that_it_needs_them():
    tx = ol.average_params(ol.sgd(0.1))
    with pytest.raises(ValueError, match="average_params needs the parameters"):
        tx.update(jnp.ones(1), tx.init(jnp.ones(1)))


def test_bad_arguments_are_refused_by_name():
    sgd = ol.sgd(0.1)
    for arguments, message in [
        ({"ema": 1.0}, "ema must be a number in .0, 1., got 1.0"),
        ({"ema": "mean"}, 'ema must be a decay in .0, 1., "swa" or "tail", got \'mean\''),
        ({"start": -1}, "start must be a whole number >= 0, got -1"),
        ({"every": 0}, "every must be a whole number >= 1, got 0"),
        (
            {"ema": "tail", "tail_fraction": 1.0},
            "tail_fraction must be a number in .0, 1., got 1.0",
        ),
        ({"ema": "swa", "warmup": True}, "warmup is for the decay of an EMA"),
        ({"ema": "tail", "warmup": True}, "warmup is for the decay of an EMA"),
    ]:
        with pytest.raises(ValueError, match=message):
            ol.average_params(sgd, **arguments)
    with pytest.raises(TypeError, match="transformation"):
        ol.average_params(0.999)


@every_kind
def test_it_prints_like_its_call(kind):
    tx = (
        ol.average_params(ol.scale(2.0), **{"ema": 0.9} if kind == "ema" else {"ema": kind})
        if (kind in ("ema", "swa", "tail"))
        else KINDS[kind](ol.scale(2.0))
    )
    shown = {
        "ema": "average_params(scale(factor=2.0), ema=0.9)",
        "warm": "average_params(scale(factor=2.0), ema=0.9, warmup=True)",
        "swa": "average_params(scale(factor=2.0), ema='swa')",
        "tail": "average_params(scale(factor=2.0), ema='tail', tail_fraction=0.5)",
    }
    assert repr(tx) == shown[kind]
    space = {"ol": ol, **vars(ol)}
    assert eval(repr(tx), space) == tx
    assert ol.from_dict(ol.to_dict(tx)) == tx


# --- other wrappers


def test_a_step_skipped_by_a_guard_is_not_averaged():
    tx = ol.transforms.guard(ol.average_params(ol.sgd(1.0), "swa"))
    params = jnp.zeros(1)
    state = tx.init(params)
    for gradient in (1.0, jnp.nan, 2.0):
        updates, state = tx.update(jnp.full(1, gradient), state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(ol.eval_params(state, params), [(-1.0 - 3.0) / 2])


def test_inside_accumulation_micro_batches_are_no_steps():
    tx = ol.transforms.accumulate_gradients(ol.average_params(ol.sgd(1.0), "swa"), every=2)
    params = jnp.zeros(1)
    state = tx.init(params)
    for _ in range(4):
        updates, state = tx.update(jnp.ones(1), state, params)
        params = optax.apply_updates(params, updates)
    assert ol.read(state)["averaged_steps"] == 2
    np.testing.assert_allclose(ol.eval_params(state, params), [-1.5])
