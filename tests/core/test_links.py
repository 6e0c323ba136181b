"""Links: schedules in place of any hyperparameter, and what their state keeps."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from core_links import (
    Decay,
    Divide,
    Ema,
    Gather,
    Line,
    Scale,
    count_traces,
    decay,
    ema,
    scale,
    signature,
)

from optlab import core


def halving(count):
    return 0.5 ** count.astype(jnp.float32)


def run(tx, steps):
    state, out = tx.init(jnp.zeros(())), []
    for _ in range(steps):
        update, state = tx.update(jnp.ones(()), state, jnp.zeros(()))
        out.append(float(update))
    return out, state


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Line(1.0, 0.5), [1.0, 1.5, 2.0]),
        (halving, [1.0, 0.5, 0.25]),
        (lambda count: 3, [3.0, 3.0, 3.0]),
        (optax.linear_schedule(0.0, 1.0, 2), [0.0, 0.5, 1.0]),
        (optax.join_schedules([optax.constant_schedule(2.0), halving], [1]), [2.0, 1.0, 0.5]),
    ],
    ids=["record", "function", "python-number", "optax", "optax-joined"],
)
def test_a_schedule_is_evaluated_at_the_number_of_updates_done(schedule, expected):
    assert run(scale(schedule), 3)[0] == expected


def test_any_hyperparameter_can_be_scheduled():
    schedule = Line(0.0, 0.25)
    out, state = run(ema(schedule), 3)
    means = [1.0, 1.0, 1.0]  # each is d * 1 + (1 - d) * 1, since the first decay is 0
    assert out == means
    assert core.read(state)["decay"] == 0.5
    assert run(core.chain(ema(0.0), decay(Line(1.0))), 1)[0] == [1.0]


def test_a_constant_schedule_equals_the_number():
    chex.assert_trees_all_equal(run(ema(Line(0.75)), 4)[0], run(ema(0.75), 4)[0])


def test_a_link_without_schedules_keeps_no_count():
    assert scale(1.0).init(jnp.zeros(2)) == optax.EmptyState()


def test_a_scheduled_link_counts_and_keeps_the_value_used_last():
    tx = scale(Line(1.0, 0.5))
    state = tx.init(jnp.zeros(2))
    assert state.count == 0
    assert core.read(state) == {"factor": 1.0}
    for step in range(3):
        _, state = tx.update(jnp.ones(2), state)
        assert state.count == step + 1
        assert core.read(state) == {"factor": 1.0 + 0.5 * step}
    chex.assert_type([state.count, state.values["factor"]], [jnp.int32, jnp.float32])


def test_a_recorded_field_is_kept_though_it_is_constant():
    state = decay(0.25).init(jnp.zeros(2))
    assert core.read(state) == {"rate": 0.25}


def test_recorded_values_are_float32_whatever_was_given():
    for value in (1, 0.25, jnp.int32(1), jnp.bfloat16(0.25), np.float64(0.25), lambda count: 1):
        recorded = decay(value).init(jnp.zeros(2)).values["rate"]
        assert (recorded.dtype, recorded.weak_type) == (jnp.float32, False)


def test_the_count_saturates_instead_of_turning_negative():
    tx = scale(lambda count: count.astype(jnp.float32))
    state = tx.init(jnp.zeros(()))._replace(count=jnp.int32(np.iinfo(np.int32).max))
    update, state = tx.update(jnp.ones(()), state)
    assert state.count == np.iinfo(np.int32).max
    assert update > 0


def test_the_fields_of_a_schedule_are_leaves():
    tx = scale(Line(1.0, 0.5))
    assert jax.tree.leaves(tx) == [1.0, 0.5]
    slope = jax.grad(lambda tx: tx.update(jnp.ones(()), tx.init(jnp.ones(())))[0])(tx)
    assert jax.tree.leaves(slope) == [1.0, 0.0]
    swept = jax.vmap(lambda s: run_one(scale(Line(s))))(jnp.arange(3.0))
    chex.assert_trees_all_equal(swept, jnp.arange(3.0))


def run_one(tx):
    return tx.update(jnp.ones(()), tx.init(jnp.zeros(())))[0]


def test_a_function_is_part_of_the_structure():
    step, traces = count_traces(run_one)
    step(scale(halving))
    step(scale(halving))
    assert len(traces) == 1
    step(scale(lambda count: 1.0))
    assert len(traces) == 2
    assert scale(halving) == scale(halving)
    assert repr(scale(halving)) == "scale(factor=halving)"


def test_a_number_and_its_successor_share_a_state():
    tx = decay(0.1)
    state = tx.init(jnp.zeros(2))
    _, state = core.replace(tx, {"rate": 0.2}).update(jnp.ones(2), state, jnp.ones(2))
    assert core.read(state) == {"rate": jnp.float32(0.2)}
    _, state = core.replace(tx, {"rate": Line(0.3)}).update(jnp.ones(2), state, jnp.ones(2))
    assert core.read(state) == {"rate": jnp.float32(0.3)}


def test_a_state_without_the_count_a_schedule_needs_is_refused():
    plain, scheduled = scale(1.0), scale(Line(1.0))
    with pytest.raises(ValueError, match=r"scale: the state does not fit .* keeps \['factor'\]"):
        scheduled.update(jnp.ones(2), plain.init(jnp.ones(2)))
    with pytest.raises(ValueError, match=r"which keeps \[\]; got one that keeps \['factor'\]"):
        plain.update(jnp.ones(2), scheduled.init(jnp.ones(2)))
    with pytest.raises(ValueError, match="Make a new state with init"):
        decay(0.1).update(jnp.ones(2), scheduled.init(jnp.ones(2)), jnp.ones(2))


@pytest.mark.parametrize(
    "value", [float, Line, Scale], ids=["float", "schedule-class", "link-class"]
)
def test_a_class_is_not_taken_for_a_schedule(value):
    with pytest.raises(TypeError, match=r"scale: factor must be .* Did you forget to call it"):
        scale(value)


@pytest.mark.parametrize("value", [optax.sgd(0.1), scale(1.0), "cosine", None, [1.0], True])
def test_what_is_neither_number_nor_schedule_is_refused(value):
    with pytest.raises(TypeError, match=r"scale: factor must be a number \(finite\)"):
        scale(value)


@pytest.mark.parametrize(
    "schedule", [optax.constant_schedule, lambda count: None, lambda count: jnp.ones(2)]
)
def test_a_schedule_that_gives_no_number_is_named(schedule):
    with pytest.raises(
        TypeError, match=r"scale: the schedule .* for factor must turn a count into"
    ):
        scale(schedule).init(jnp.zeros(2))


def test_an_array_of_values_is_refused_outside_of_vmap():
    tx = scale(jnp.array([1.0, 2.0]))
    with pytest.raises(ValueError, match=r"factor must be a scalar .* shape \(2,\).*jax.vmap"):
        tx.update(jnp.ones(2), optax.EmptyState())
    with pytest.raises(ValueError, match="factor must be a scalar"):
        tx.init(jnp.ones(2))
    chex.assert_trees_all_equal(jax.vmap(run_one)(tx), jnp.array([1.0, 2.0]))


def test_schedules_run_under_strict_promotion():
    assert jax.config.jax_numpy_dtype_promotion == "strict"
    schedule = optax.warmup_cosine_decay_schedule(0.0, 1.0, 2, 8)
    np.testing.assert_allclose(run(scale(schedule), 3)[0], [0.0, 0.5, 1.0])


def test_the_peak_of_a_schedule():
    assert core.LearningRate(0.5, jnp.int32(0), False).peak("owner") == 0.5
    assert core.LearningRate(Line(0.5), jnp.int32(0), False).peak("owner") == 0.5
    plain = core.LearningRate(core.PlainFunction(halving), jnp.int32(0), False)
    with pytest.raises(ValueError, match=r"owner needs the peak .* the schedule halving does not"):
        plain.peak("owner")


def test_a_link_must_define_update():
    class Empty(core.Link):
        pass

    tx = core.Transformation(Empty())
    with pytest.raises(NotImplementedError, match="Empty must define update"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))


def test_moments_travel_from_link_to_link():
    for join in (core.chain, optax.chain):
        tx = join(core.Transformation(Gather()), core.Transformation(Divide()))
        for params in (jnp.ones(2, jnp.bfloat16), {"a": jnp.ones(2), "b": None}):
            grads = jax.tree.map(lambda p: -2 * p, params)
            updates, _ = tx.update(grads, tx.init(params), params)
            chex.assert_trees_all_equal(updates, jax.tree.map(lambda p: -jnp.ones_like(p), params))


def test_moments_are_pytrees_that_compare_by_identity():
    node = core.Moments(
        jnp.ones(2), core.Estimate(jnp.ones(2)), core.Estimate(jnp.ones(2)), power=1
    )
    doubled = jax.tree.map(lambda x: 2 * x, node)
    assert doubled.power == 1
    assert doubled.second.weight == 2.0
    assert node == node
    assert node != jax.tree.map(lambda x: x, node)
    assert len({node, doubled}) == 2
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(node)]
    assert paths[:2] == [".gradient", ".first.value"]


def test_a_link_that_misses_moments_says_which_link_is_missing():
    divide = core.Transformation(Divide())
    with pytest.raises(TypeError, match=r"divide takes Moments, .* Put accumulate_moments"):
        divide.update(jnp.ones(2), divide.init(jnp.ones(2)))
    gathered = core.chain(core.Transformation(Gather()), optax.scale(2.0))
    with pytest.raises(TypeError, match="scale takes plain updates, but got Moments"):
        gathered.update(jnp.ones(2), gathered.init(jnp.ones(2)))


def test_the_state_is_a_fixed_point_with_schedules_everywhere():
    link = core.Transformation(Ema(decay=Line(0.5, 0.01)))
    tx = core.chain(link, core.Transformation(Decay(rate=halving)))
    params = jnp.ones(2, jnp.bfloat16)
    state = tx.init(params)
    _, new_state = tx.update(params, state, params)
    assert signature(new_state) == signature(state)
