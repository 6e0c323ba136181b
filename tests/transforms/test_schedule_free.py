"""Schedule-Free against NumPy's three sequences and against Optax's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

import optlab as ol

START = np.random.default_rng(0).normal(size=5)
CURVATURE = np.linspace(0.5, 3.0, 5)


RATES = 0.1 * np.minimum(1.0, np.arange(1, 101) / 20)


RISE_AND_FALL = RATES * np.linspace(1, 0.2, 100)


def warmup(count):
    return jnp.asarray(RATES)[count]


def rise_and_fall(count):
    return jnp.asarray(RISE_AND_FALL)[count]


TABLES = {warmup: RATES, rise_and_fall: RISE_AND_FALL, 0.1: np.full(100, 0.1)}


def train(tx, params, steps):
    """Parameters and their average after each step on a quadratic."""
    curvature = jnp.asarray(CURVATURE).astype(params.dtype)
    tx_is_ours = isinstance(tx, ol.Transformation)

    def run(params, state):
        def step(carry, _):
            params, state = carry
            updates, state = tx.update(curvature * params, state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), (params, ol.eval_params(state, params))

        return jax.lax.scan(step, (params, state), None, length=steps)

    with jax.numpy_dtype_promotion("strict" if tx_is_ours else "standard"):
        (_, state), (y, x) = jax.jit(run)(params, tx.init(params))
    return np.asarray(y), np.asarray(x), state


def reference(steps, rates, b1, power, decay=0.0, adam=False):
    z = x = y = START.copy()
    top = total = v = 0.0
    ys, xs = [], []
    for t in range(steps):
        gamma = rates[t]
        g = CURVATURE * y
        if adam:
            v = 0.999 * v + 0.001 * g**2
            g = g / (np.sqrt(v / (1 - 0.999 ** (t + 1))) + 1e-8)
        z = z - gamma * (g + decay * y)
        top = max(top, gamma)
        total += top**power
        c = top**power / total if total else 0.0
        x = (1 - c) * x + c * z
        y = (1 - b1) * z + b1 * x
        ys.append(y)
        xs.append(x)
    return np.stack(ys), np.stack(xs)


@pytest.mark.parametrize(
    ("b1", "power", "rate"),
    [
        (0.9, 2.0, 0.1),
        (0.0, 2.0, 0.1),
        (0.98, 0.0, warmup),
        (0.9, 2.0, warmup),
        (0.9, 1.0, rise_and_fall),
    ],
)
def test_a_hundred_steps_are_those_of_the_three_sequences(b1, power, rate):
    with jax.enable_x64(True):
        tx = ol.schedule_free(ol.sgd(rate), b1=b1, weight_lr_power=power)
        y, x, _ = train(tx, jnp.asarray(START), 100)
    want = reference(100, TABLES[rate], b1, power)
    np.testing.assert_allclose(y, want[0], rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(x, want[1], rtol=1e-10, atol=1e-14)


def test_around_adamw_decay_acts_where_gradients_are_taken():
    with jax.enable_x64(True):
        tx = ol.schedule_free(ol.adamw(0.1, b1=0.0, weight_decay=0.1))
        y, x, _ = train(tx, jnp.asarray(START), 100)
    want = reference(100, TABLES[0.1], 0.9, 2.0, decay=0.1, adam=True)
    np.testing.assert_allclose(y, want[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(x, want[1], rtol=1e-9, atol=1e-12)


def test_a_hundred_steps_are_those_of_optax():
    with jax.enable_x64(True):
        theirs = optax.contrib.schedule_free(optax.sgd(0.1), 0.1, b1=0.9)
        y, x, _ = train(theirs, jnp.asarray(START), 100)
        ours = train(ol.schedule_free(ol.sgd(0.1)), jnp.asarray(START), 100)
        around = train(ol.schedule_free(optax.sgd(0.1), 0.1), jnp.asarray(START), 100)
    np.testing.assert_allclose(ours[0], y, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(ours[1], x, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(around[1], ours[1], rtol=1e-9, atol=1e-13)


def test_it_reaches_the_minimum_where_bf16_parameters_would_stall():
    params = jnp.full(5, 100.0, jnp.bfloat16)  # spacing 0.5, steps of 0.01
    tx = ol.schedule_free(ol.sgd(1e-4), b1=0.9)
    state, grads = tx.init(params), jnp.full(5, 100.0, jnp.bfloat16)
    step = jax.jit(tx.update)
    for _ in range(200):
        updates, state = step(grads, state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(state.z, 100.0 - 200 * 0.01, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(params, np.float32), 0.1 * 98 + 0.9 * 99.0, rtol=5e-3)


def test_a_learning_rate_of_zero_moves_nothing_and_counts_for_nothing():
    tx = ol.schedule_free(ol.sgd(lambda n: jnp.where(n < 2, 0.0, 1.0)))
    params = jnp.array([4.0])
    state = tx.init(params)
    for want in (4.0, 4.0, 3.0):
        updates, state = tx.update(jnp.ones(1), state, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_array_equal(ol.eval_params(state, params), [want])


def test_parameters_loaded_after_init_are_where_all_sequences_start():
    tx = ol.schedule_free(ol.sgd(1.0))
    updates, state = tx.update(jnp.ones(1), tx.init(jnp.zeros(1)), jnp.full(1, 8.0))
    np.testing.assert_allclose(updates, [-1.0], rtol=1e-6)
    np.testing.assert_allclose(ol.eval_params(state, jnp.full(1, 7.0)), [7.0])


def test_the_steps_in_the_average_can_be_read():
    _, _, state = train(ol.schedule_free(ol.sgd(0.1)), jnp.asarray(START, jnp.float32), 7)
    assert ol.read(state)["averaged_steps"] == 7
    assert float(ol.read(state)["learning_rate"]) == pytest.approx(0.1)


def test_integers_and_missing_leaves_pass():
    params = {"w": jnp.ones(2), "n": jnp.array([3], jnp.int32), "none": None}
    tx = ol.schedule_free(ol.freeze(), 0.1)
    updates, state = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    assert updates["none"] is None
    np.testing.assert_array_equal(updates["n"], [0])
    np.testing.assert_array_equal(ol.eval_params(state, params)["n"], [3])


def test_without_a_learning_rate_it_asks_for_one():
    tx = ol.schedule_free(optax.sgd(0.1))
    with pytest.raises(ValueError, match=r"found none in optax.*learning_rate=\.\.\."):
        tx.update(jnp.ones(1), tx.init(jnp.ones(1)), jnp.ones(1))


def test_bad_arguments_are_refused_by_name():
    for arguments, message in [
        ({"b1": 1.0}, "b1 must be a number in .0, 1."),
        ({"b1": -0.1}, "b1 must be"),
        ({"learning_rate": -1.0}, "learning_rate must be a number >= 0"),
        ({"weight_lr_power": -1.0}, "weight_lr_power must be a number >= 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            ol.schedule_free(ol.sgd(0.1), **arguments)
