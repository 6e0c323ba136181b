"""Edits of an optimizer keep what it has gathered."""

from __future__ import annotations

import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optlab as ol

PARAMS = {
    "dense": {"kernel": jnp.linspace(-1.0, 1.0, 6).reshape(3, 2), "bias": jnp.array([0.5, -0.5])},
    "scale": jnp.asarray(0.7),
}


def gradient(step, params=PARAMS):
    return jax.tree.map(lambda p: 0.3 * p + 0.1 * (step + 1), params)


@pytest.fixture(autouse=True)
def _promotion_that_optax_needs():
    with jax.numpy_dtype_promotion("standard"):
        yield


def after(tx, steps=7, params=PARAMS):
    return steps_from(tx, tx.init(params), params, range(steps))[1]


def next_update(tx, state, params=PARAMS):
    return steps_from(tx, state, params, [7])[0]


def steps_from(tx, state, params, steps):
    update = jax.jit(tx.update)
    updates = None
    for i in steps:
        updates, state = update(gradient(i, params), state, params)
    return updates, state


def goes_on(old, new, rtol=1e-6):
    """A migrated state gives what the new transformation gives that was there from the start."""
    migrated, report = ol.migrate(after(old), old, new, PARAMS)
    chex.assert_trees_all_equal_shapes_and_dtypes(migrated, new.init(PARAMS))
    chex.assert_trees_all_close(next_update(new, migrated), next_update(new, after(new)), rtol=rtol)
    return report


RATE = ol.schedules.cosine(1e-2, 20)
EDITS = {
    "constant to schedule": (ol.adamw(1e-2), ol.adamw(RATE)),
    "schedule to constant": (ol.adamw(RATE), ol.adamw(1e-2)),
    "a decay mask added": (ol.adamw(1e-2), ol.adamw(1e-2, where=ol.kernels)),
    "a clip added": (ol.adam(1e-2), ol.chain(ol.clip_by_value(1e3), ol.adam(1e-2))),
    "a clip taken away": (ol.chain(ol.clip_by_value(1e3), ol.adam(1e-2)), ol.adam(1e-2)),
    "adamw to adam": (ol.adamw(1e-2), ol.adam(1e-2)),
    "adam to amsgrad and back": (ol.amsgrad(1e-2), ol.adam(1e-2)),
    "a scheduled decay": (ol.adam(1e-2), ol.adam(1e-2, b1=ol.schedules.constant(0.9))),
    "named links": (
        ol.chain(ol.accumulate_momentum(0.9), ol.scale_by_learning_rate(0.1)),
        ol.named_chain(m=ol.accumulate_momentum(0.9), s=ol.scale_by_learning_rate(0.1)),
    ),
    "into groups": (
        ol.adam(1e-2),
        ol.route({ol.kernels: ol.adam(1e-2)}, default=ol.adam(1e-2)),
    ),
    "out of groups": (
        ol.route({ol.kernels: ol.adam(1e-2)}, default=ol.adam(1e-2)),
        ol.adam(1e-2),
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_keeps_the_moments(name):
    report = goes_on(*EDITS[name])
    assert report.count == 7
    assert not [path for path in report.fresh if "norm" not in path]


FROM_OPTAX = {
    "adam": (optax.adam(1e-2), ol.adam(1e-2)),
    "adamw": (optax.adamw(1e-2), ol.adamw(1e-2, weight_decay=1e-4)),
    "adamw, scheduled": (optax.adamw(optax.cosine_decay_schedule(1e-2, 20)), ol.adamw(RATE)),
    "clip and adam": (
        optax.chain(optax.clip(1e3), optax.adam(1e-2)),
        ol.chain(ol.clip_by_value(1e3), ol.adam(1e-2)),
    ),
    "sgd": (optax.sgd(1e-2, 0.9), ol.sgd(1e-2, 0.9)),
    "rmsprop": (optax.rmsprop(1e-2), ol.rmsprop(1e-2)),
    "adadelta": (optax.adadelta(1.0), ol.adadelta(1.0)),
    "lion": (optax.lion(1e-2), ol.lion(1e-2)),
    "radam": (optax.radam(1e-2), ol.radam(1e-2)),
    "masked": (
        optax.masked(optax.adam(1e-2), {"dense": True, "scale": False}),
        ol.route({ol.path("dense/*"): ol.adam(1e-2)}, default=ol.scale(1.0)),
    ),
    "MultiSteps": (optax.MultiSteps(optax.adam(1e-2), 1).gradient_transformation(), ol.adam(1e-2)),
    "bf16 momentum": (optax.adam(1e-2, mu_dtype=jnp.bfloat16), ol.adam(1e-2)),
}


@pytest.mark.parametrize("name", FROM_OPTAX)
def test_a_state_of_optax_goes_on_in_optlab(name):
    old, new = FROM_OPTAX[name]
    report = goes_on(old, new, rtol=2e-2 if "bf16" in name else 2e-4)
    assert report.kept
    uncounted = [] if report.count else ["scale_by_learning_rate/count"]
    assert [path for path in report.fresh if "norm" not in path] == uncounted


@pytest.mark.parametrize("name", ["adam", "sgd", "lion", "adadelta"])
def test_a_state_of_optlab_goes_on_in_optax(name):
    theirs, ours = FROM_OPTAX[name]
    goes_on(ours, theirs, rtol=2e-4)


STORED = {"first": ol.storage.bf16("nearest"), "second": ol.storage.bf16("nearest")}


def stored(tx):
    return ol.store(tx, STORED, min_size=1)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (ol.adam(1e-2), stored(ol.adam(1e-2))),
        (stored(ol.adam(1e-2)), ol.adam(1e-2)),
        (optax.adam(1e-2), ol.guard(stored(ol.adam(1e-2)))),
        (
            ol.adam(1e-2),
            ol.route({ol.kernels: stored(ol.adam(1e-2))}, default=ol.adam(1e-2)),
        ),
        (ol.adam(1e-2), ol.average_params(ol.guard(ol.adam(1e-2)))),
        (ol.guard(ol.adam(1e-2)), ol.accumulate_gradients(ol.adam(1e-2), 1)),
    ],
    ids=["stored", "exact", "from optax", "in a group", "averaged", "rewrapped"],
)
def test_wrapping_and_unwrapping_keep_the_moments(old, new):
    goes_on(old, new, rtol=2e-2)


def test_after_many_steps_adam_becomes_nadam():
    old, new = ol.adam(1e-2), ol.nadam(1e-2, convention="optax")
    migrated, _ = ol.migrate(after(old, 200), old, new, PARAMS)
    chex.assert_trees_all_close(
        next_update(new, migrated), next_update(new, after(new, 200)), rtol=1e-5
    )


@pytest.mark.parametrize("recipe", [ol.nadam, ol.radam, ol.amsgrad])
def test_before_the_first_step_a_state_becomes_a_fresh_one(recipe):
    old, new = ol.adam(1e-2), recipe(1e-2)
    migrated, _ = ol.migrate(old.init(PARAMS), old, new, PARAMS)
    chex.assert_trees_all_equal(migrated, new.init(PARAMS))


@pytest.mark.parametrize("steps", [0, 1, 7])
def test_dampening_spares_the_first_gradient_of_all_and_no_later_one(steps):
    old = optax.sgd(optax.cosine_decay_schedule(1e-2, 20), 0.9)
    new = ol.sgd(RATE, 0.9, dampening=0.5)
    momentum, _ = ol.migrate(after(old, steps), old, new, PARAMS)[0]
    assert bool(momentum.started) == (steps > 0)


def test_to_the_same_optimizer_nothing_changes():
    tx = ol.chain(ol.clip_by_global_norm(1.0), ol.nadam(RATE))
    state = after(tx)
    migrated, report = ol.migrate(state, tx, tx, PARAMS)
    chex.assert_trees_all_equal(migrated, state)
    assert not report.fresh
    assert not report.dropped
    assert not report.computed


def test_where_nothing_fits_moments_start_anew_and_the_schedule_goes_on():
    old, new = ol.sgd(0.1, momentum=0.9), ol.adam(RATE)
    state, report = ol.migrate(after(old), old, new, PARAMS)
    first = new.init(PARAMS)
    chex.assert_trees_all_equal(state[0], first[0])
    assert ol.read(state)["learning_rate"] == pytest.approx(float(RATE(6)))
    assert "accumulate_momentum/momentum/scale" in report.dropped
    assert "accumulate_moments/first_weight" in report.fresh


def test_a_constant_that_becomes_a_schedule_reads_as_if_it_had_been_one():
    old, new = ol.adam(1e-2), ol.adam(RATE)
    state, _ = ol.migrate(after(old), old, new, PARAMS)
    assert int(state[-1].count) == 7
    assert ol.read(state)["learning_rate"] == pytest.approx(float(RATE(6)), rel=1e-6)


@pytest.mark.parametrize("tx", [ol.adamw(1e-2), optax.adamw(1e-2)], ids=["optlab", "optax"])
def test_a_state_that_lost_its_classes_is_found_by_path(tx):
    state = after(tx)
    plain = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        *heads, last = [ol.core.trees.path_text((key,)) for key in path]
        node = plain
        for head in heads:
            node = node.setdefault(head, {})
        node[last] = np.asarray(leaf).tolist()
    plain = json.loads(json.dumps(plain))
    plain = jax.tree.map(np.asarray, plain, is_leaf=lambda x: isinstance(x, list))
    migrated, _ = ol.migrate(plain, tx, ol.adamw(1e-2), PARAMS)
    expected, _ = ol.migrate(state, tx, ol.adamw(1e-2), PARAMS)
    chex.assert_trees_all_equal(migrated, expected)


def test_shapes_are_enough_of_the_parameters():
    shapes = jax.eval_shape(lambda: PARAMS)
    tx = ol.adam(1e-2)
    migrated, _ = ol.migrate(after(tx), tx, ol.adamw(1e-2), shapes)
    expected, _ = ol.migrate(after(tx), tx, ol.adamw(1e-2), PARAMS)
    chex.assert_trees_all_equal(migrated, expected)


@pytest.mark.parametrize("shape", [(3, 2), (4,), ()])
def test_one_bare_array_is_a_model_too(shape):
    params = jnp.full(shape, 0.4)
    old, new = optax.adam(1e-2), ol.adam(1e-2)
    migrated, report = ol.migrate(after(old, params=params), old, new, params)
    assert report.kept["accumulate_moments/first"] == "0/mu"
    chex.assert_trees_all_close(
        next_update(new, migrated, params),
        next_update(new, after(new, params=params), params),
        rtol=2e-4,
    )


def test_an_average_of_one_bare_array_goes_on():
    params = jnp.full((3,), 0.4)
    old = ol.average_params(ol.sgd(0.1), ema=0.5)
    new = ol.average_params(ol.adam(0.1), ema=0.5)
    state = after(old, params=params)
    migrated, report = ol.migrate(state, old, new, params)
    chex.assert_trees_all_equal(migrated.average, state.average)
    assert report.kept["average"] == "average"


def test_a_state_of_another_model_is_refused_by_path_and_shape():
    tx = ol.adam(1e-2)
    other = PARAMS | {"scale": jnp.ones(4)}
    with pytest.raises(ValueError, match=r"0/first/scale.*shape \(\).*shape \(4,\)"):
        ol.migrate(after(tx, params=other), tx, tx, PARAMS)
    with pytest.raises(ValueError, match=r"dense/bias.*nothing.*shape \(2,\)"):
        ol.migrate({"0": {"first": {}}}, tx, tx, PARAMS)
    with pytest.raises(ValueError, match="does not keep"):
        ol.migrate((*after(ol.adam(1e-2)), {"extra": jnp.ones(2)}), tx, tx, PARAMS)


def test_the_report_names_every_leaf_once():
    old, new = optax.adamw(1e-2), ol.chain(ol.clip_by_global_norm(1.0), ol.adam(RATE))
    state, report = ol.migrate(after(old), old, new, PARAMS)
    news = [*report.kept, *report.computed, *report.fresh]
    assert len(news) == len(set(news))
    untold = 2  # the schedule's value, and whether it is held
    assert len(news) == len(jax.tree.leaves(state)) - untold
    assert str(report).splitlines()[0] == "migrated a state after 7 updates"
    assert len(str(report).splitlines()) == 1 + len(news) + len(report.dropped)


def test_an_overridden_value_stays_overridden():
    old, new = ol.adam(1e-2), ol.adam(RATE)
    state = ol.override(after(old), {"learning_rate": 0.5})
    state, _ = ol.migrate(state, old, new, PARAMS)
    assert ol.read(state)["learning_rate"] == pytest.approx(0.5)
    _, state = steps_from(new, state, PARAMS, [7])
    assert ol.read(state)["learning_rate"] == pytest.approx(0.5)


def test_reset_forgets_what_was_gathered_for_the_chosen_parameters():
    tx = ol.adam(1e-2)
    state, fresh = after(tx), tx.init(PARAMS)
    new = ol.reset(state, tx, PARAMS, ol.kernels)
    for field in ("first", "second"):
        was, now = getattr(state[0], field), getattr(new[0], field)
        assert not np.any(now["dense"]["kernel"])
        chex.assert_trees_all_equal(now["dense"]["bias"], was["dense"]["bias"])
    chex.assert_trees_all_equal(new[-1], state[-1])
    whole = ol.reset(state, tx, PARAMS)
    chex.assert_trees_all_equal(whole[0].first, fresh[0].first)
    assert int(whole[-1].count) == 7


def test_reset_starts_an_accumulator_where_init_does():
    tx = ol.adagrad(0.1, initial_accumulator_value=0.5)
    new = ol.reset(after(tx), tx, PARAMS, ol.path("scale"))
    assert float(new[0].second["scale"]) == 0.5
    assert np.all(new[0].second["dense"]["bias"] != 0.5)


def test_reset_works_on_optax_and_inside_groups():
    tx = ol.route({ol.kernels: ol.adam(1e-2)}, default=optax.adam(1e-2))
    state = after(tx)
    new = ol.reset(state, tx, PARAMS, ol.path("dense/bias"))
    assert not np.any(new.groups["default"][0].mu["dense"]["bias"])
    chex.assert_trees_all_equal(new.groups["kernels"], state.groups["kernels"])
    with pytest.raises(ValueError, match="none of the 3"):
        ol.reset(state, tx, PARAMS, ol.path("no/such"))
