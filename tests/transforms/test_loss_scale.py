"""Dynamic loss scaling follows PyTorch's rule, and a step that overflowed is no step."""

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
    params,
    poisoned,
    schedule,
)

from optlab import core, optimizers
from optlab import transforms as t

OVERFLOWS = [0, 0, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]


def grad_scaler(overflows, scale, interval, factor, backoff):
    """The scale after each step, and growth tracker: the rule in plain Python."""
    tracker, scales = 0, []
    for bad in overflows:
        if bad:
            scale, tracker = scale * backoff, 0
        else:
            tracker += 1
            if tracker == interval:
                scale, tracker = scale * factor, 0
        scales.append(scale)
    return scales


def scales_of(tx, overflows):
    """The scale after each step of one compiled scan."""
    good, bad = gradients(), poisoned(INF)

    def step(state, overflow):
        g = jax.tree.map(lambda a, b: jnp.where(overflow > 0, b, a), good, bad)
        _, state = tx.update(g, state, params())
        return state, core.read(state)["loss_scale"]

    run = jax.jit(lambda x: jax.lax.scan(step, tx.init(params()), x)[1])
    return run(jnp.asarray(overflows)).tolist()


@pytest.mark.parametrize(
    ("interval", "factor", "backoff"), [(3, 2.0, 0.5), (1, 4.0, 0.25), (2, 1.5, 0.75)]
)
def test_the_scale_follows_the_rule_of_pytorchs_grad_scaler(interval, factor, backoff):
    tx = t.dynamic_loss_scale(
        t.scale(-1.0),
        2.0**10,
        growth_interval=interval,
        factor=factor,
        backoff=backoff,
        minimum=1e-6,
        maximum=1e12,
    )
    want = grad_scaler(OVERFLOWS, 2.0**10, interval, factor, backoff)
    np.testing.assert_allclose(scales_of(tx, OVERFLOWS), want, rtol=1e-6)


def test_the_scale_is_that_of_torch():
    torch = pytest.importorskip("torch")
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=3)
    p = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([p], 0.1)
    want = []
    for bad in OVERFLOWS:
        scaler.scale(p.sum() * 0).backward()
        p.grad = torch.full((2,), INF if bad else 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        want.append(scaler.get_scale())
    tx = t.dynamic_loss_scale(t.scale(-1.0), 2.0**10, growth_interval=3)
    assert scales_of(tx, OVERFLOWS) == want


def test_the_scale_stays_within_its_bounds():
    options = {"growth_interval": 1, "minimum": 3.0, "maximum": 20.0}
    tx = t.dynamic_loss_scale(t.scale(-1.0), 8.0, **options)
    assert scales_of(tx, [0, 0, 1, 1, 1, 0]) == [16.0, 20.0, 10.0, 5.0, 3.0, 6.0]


@every_optimizer
def test_good_steps_are_those_of_the_unscaled_gradient(name):
    bare, scaled = core.chain(OPTIMIZERS[name]()), t.dynamic_loss_scale(OPTIMIZERS[name](), 1024.0)
    update, scaled_update = jax.jit(bare.update), jax.jit(scaled.update)
    state, scaled_state = bare.init(params()), scaled.init(params())
    for i in range(2):
        want, state = update(gradients(i), state, params())
        times = jax.tree.map(lambda g: 1024.0 * g, gradients(i))
        got, scaled_state = scaled_update(times, scaled_state, params())
        chex.assert_trees_all_close(got, want, rtol=1e-6)


@every_optimizer
def test_a_step_that_overflowed_is_no_step(name):
    tx = t.dynamic_loss_scale(OPTIMIZERS[name]())
    update = jax.jit(tx.update)
    _, state = update(gradients(), tx.init(params()), params())
    before = bits(state.inner)
    for bad in (NAN, INF):
        updates, state = update(poisoned(bad), state, params())
        assert is_zero(updates)
        assert bits(state.inner) == before
    assert core.read(state)["skipped"] == 2


def test_float16_training_finds_a_scale_and_learns():
    tx = t.dynamic_loss_scale(optimizers.sgd(0.5), 2.0**20)
    weights = jnp.asarray([1.0, -2.0], jnp.float16)

    def step(carry, _):
        w, state = carry

        def loss(w):  # its gradient of 1e-5 underflows in the square; times 2**20 it overflows
            return t.scale_loss(jnp.sum(w.astype(jnp.float32) ** 2) * 0.1, state)

        updates, state = tx.update(jax.grad(loss)(w), state, w)
        return (optax.apply_updates(w, updates), state), None

    (w, state), _ = jax.jit(lambda w: jax.lax.scan(step, (w, tx.init(w)), length=80))(weights)
    assert core.read(state)["skipped"] > 0
    assert np.all(np.abs(w) < 1e-2)


def test_tiny_float16_gradients_are_divided_in_float32():
    tx = t.dynamic_loss_scale(t.scale(2.0**16), 2.0**16)
    p = jnp.ones(1, jnp.float16)
    g = jnp.asarray([2.0**-14], jnp.float16)  # 2**-30 is beyond float16
    assert tx.update(g, tx.init(p), p)[0][0] == 2.0**-14


def test_schedules_count_good_steps():
    tx = t.dynamic_loss_scale(core.chain(t.scale_by_learning_rate(schedule)), 1.0)
    state, first = tx.init(params()), []
    for g in (poisoned(NAN), gradients(), poisoned(NAN), gradients()):
        updates, state = tx.update(g, state, params())
        first.append(float(updates["bias"][0] / gradients()["bias"][0]))
    assert first == pytest.approx([0.0, -0.5, 0.0, -0.25])


def test_a_guard_inside_leaves_overflow_to_the_scale():
    tx = t.dynamic_loss_scale(t.guard(optimizers.adam(1e-2)), 4.0)
    _, state = tx.update(poisoned(INF), tx.init(params()), params())
    values = core.read(state)
    assert values["loss_scale"] == 2.0
    assert (values["skipped"], values["inner/skipped"]) == (1, 0)


def test_the_loss_is_scaled_by_the_scale_in_the_state_in_float32():
    tx = core.chain(t.scale(1.0), t.dynamic_loss_scale(optimizers.adam(1e-2), 2.0**20))
    state = tx.init(params())
    scaled = t.scale_loss(jnp.asarray(3.0, jnp.float16), state)
    assert scaled == 3.0 * 2.0**20
    assert scaled.dtype == jnp.float32


def test_a_state_without_a_scale_is_refused():
    with pytest.raises(ValueError, match=r"0 loss scales.*dynamic_loss_scale"):
        t.scale_loss(1.0, optimizers.adam(1e-2).init(params()))
    twice = t.dynamic_loss_scale(t.dynamic_loss_scale(t.scale(1.0)))
    with pytest.raises(ValueError, match="2 loss scales"):
        t.scale_loss(1.0, twice.init(params()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initial": 0.0}, "initial must be"),
        ({"initial": NAN}, "initial must be"),
        ({"initial": 2.0**30}, "initial must lie between"),
        ({"minimum": 2.0**17}, "initial must lie between"),
        ({"factor": 1.0}, "factor must be"),
        ({"backoff": 1.0}, "backoff must be"),
        ({"growth_interval": 0}, "growth_interval must be"),
    ],
)
def test_arguments_out_of_range_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=f"dynamic_loss_scale: {message}"):
        t.dynamic_loss_scale(t.scale(1.0), **options)
