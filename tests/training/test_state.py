"""The training step: a pure function of state and batch, whatever the model and the optimizer."""

from __future__ import annotations

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import optlab as ol
from optlab.training._state import first_nonfinite, make_train_step, reported

BATCH = {
    "x": np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32),
    "y": np.arange(8, dtype=np.float32),
}
PARAMS = {"w": np.array([0.5, -1.0, 2.0], np.float32), "b": np.float32(0.0)}
KEY = jax.random.key(0)


def loss_fn(params, batch, key):
    noise = 0.01 * jax.random.normal(key, ())
    error = batch["x"] @ params["w"] + params["b"] - batch["y"] + noise.astype(params["b"].dtype)
    return jnp.mean(error**2), {"mean_error": jnp.mean(error)}


def quiet_loss(params, batch, key):
    return jnp.mean((batch["x"] @ params["w"] + params["b"] - batch["y"]) ** 2)


def run(step, state, many):
    losses = []
    for _ in range(many):
        state, loss = step.update(state, BATCH)
        losses.append(float(loss))
    return state, losses


def test_a_step_is_that_of_the_optimizer_alone():
    tx = ol.adamw(0.1)
    step = make_train_step(quiet_loss, tx)
    state, losses = run(step, step.init(PARAMS, KEY, BATCH), 3)
    params, opt_state = jax.tree.map(jnp.asarray, PARAMS), tx.init(PARAMS)
    for loss in losses:
        value, grads = jax.value_and_grad(quiet_loss)(params, BATCH, None)
        updates, opt_state = tx.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        assert loss == pytest.approx(float(value), rel=1e-6)
    chex.assert_trees_all_close(state.params, params, rtol=1e-6)
    assert state.step == 3


def test_a_run_from_the_middle_goes_on_to_the_bit():
    step = make_train_step(loss_fn, ol.adam(0.1), report_every=4)
    state, losses = run(step, step.init(PARAMS, KEY, BATCH), 3)
    kept = jax.tree.map(jnp.array, state)
    end, after = run(step, state, 4)
    again, repeated = run(step, kept, 4)
    assert after == repeated
    chex.assert_trees_all_equal(end, again)
    assert len(set(losses)) == 3  # every step has a key of its own


@pytest.mark.parametrize("parts", [2, 8])
def test_a_batch_in_parts_gives_the_step_of_the_whole_batch(parts):
    whole, parted = (make_train_step(quiet_loss, ol.sgd(0.1), accumulate=n) for n in (1, parts))
    states = [run(s, s.init(PARAMS, KEY, BATCH), 3)[0] for s in (whole, parted)]
    chex.assert_trees_all_close(states[1].params, states[0].params, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(states[1].sums, states[0].sums, rtol=1e-4)


def test_metrics_are_means_since_the_last_report_and_rates_the_latest():
    rate = ol.schedules.linear(0.1, 0.0, 10)
    step = make_train_step(loss_fn, ol.sgd(rate), report_every=2)
    state, losses = run(step, step.init(PARAMS, KEY, BATCH), 2)
    row = reported(state.sums)
    assert row["loss"] == pytest.approx(np.mean(losses), rel=1e-6)
    assert row["learning_rate"] == pytest.approx(0.09)
    assert (row["steps"], row["bad_steps"]) == (2, 0)
    state, losses = run(step, state, 1)
    assert reported(state.sums)["loss"] == pytest.approx(losses[0], rel=1e-6)
    assert "mean_error" in row


def test_bad_steps_are_counted_and_the_first_bad_leaf_is_named():
    step = make_train_step(loss_fn, ol.sgd(0.1), report_every=10)
    state, _ = run(step, step.init(PARAMS, KEY, BATCH), 1)
    bad = {**BATCH, "y": BATCH["y"] * np.nan}
    state, _ = step.update(state, bad)
    assert reported(state.sums)["bad_steps"] == 1
    assert first_nonfinite(state.params) == "b"
    assert first_nonfinite(PARAMS) is None
    guarded = make_train_step(loss_fn, ol.guard(ol.sgd(0.1)), report_every=10)
    state, _ = guarded.update(guarded.init(PARAMS, KEY, BATCH), bad)
    assert first_nonfinite(state.params) is None
    assert reported(state.sums)["skipped"] == 1


def test_computing_in_bf16_keeps_float32_parameters():
    seen = []

    def spy(params, batch, key):
        seen.append({x.dtype.name for x in jax.tree.leaves((params, batch))})
        return quiet_loss(params, batch, key)

    step = make_train_step(spy, ol.adam(0.1), compute_dtype="bfloat16")
    state, _ = run(step, step.init(PARAMS, KEY, BATCH), 1)
    assert seen[-1] == {"bfloat16"}
    assert {x.dtype.name for x in jax.tree.leaves(state.params)} == {"float32"}


def test_statistics_of_batch_norms_are_carried_along():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return nn.Dense(1)(nn.BatchNorm(use_running_average=not train, momentum=0.5)(x))

    variables = Model().init(KEY, BATCH["x"], True)

    def loss(params, batch, key, statistics):
        y, new = Model().apply(
            {"params": params} | statistics, batch["x"], True, mutable=[*statistics]
        )
        return jnp.mean(y**2), {}, dict(new)

    step = make_train_step(loss, ol.sgd(0.1))
    statistics = {"batch_stats": variables["batch_stats"]}
    state = step.init(variables["params"], KEY, BATCH, statistics)
    state, _ = step.update(state, BATCH)
    mean = state.variables["batch_stats"]["BatchNorm_0"]["mean"]
    np.testing.assert_allclose(mean, BATCH["x"].mean(0) / 2, rtol=1e-5)


def test_a_bad_step_leaves_the_variables_as_they_were():
    def loss(params, batch, key, variables):
        return params["b"] * jnp.mean(batch["y"]), {}, {"mean": jnp.mean(batch["y"])}

    step = make_train_step(loss, ol.guard(ol.sgd(0.1)))
    state = step.init(PARAMS, KEY, BATCH, {"mean": np.float32(0)})
    state, _ = step.update(state, BATCH)
    state, _ = step.update(state, {**BATCH, "y": BATCH["y"] * np.nan})
    assert float(state.variables["mean"]) == np.mean(BATCH["y"])
    assert reported(state.sums)["bad_steps"] == 1


def test_statistics_of_nnx_are_not_taken_for_parameters():
    class Model(nnx.Module):
        def __init__(self, rngs):
            self.norm = nnx.BatchNorm(3, rngs=rngs)

    with pytest.raises(TypeError, match=r"'norm/mean' is a BatchStat, no parameter.*nnx\.split"):
        make_train_step(quiet_loss, ol.sgd(0.1)).init(nnx.state(Model(nnx.Rngs(0))), KEY, BATCH)


def test_an_nnx_model_trains():
    graph, params = nnx.split(nnx.Linear(3, 1, rngs=nnx.Rngs(0)))

    def loss(params, batch, key):
        return jnp.mean((nnx.merge(graph, params)(batch["x"])[:, 0] - batch["y"]) ** 2)

    step = make_train_step(loss, ol.adamw(0.1, where=ol.kernels))
    state, losses = run(step, step.init(params, KEY, BATCH), 20)
    assert losses[-1] < losses[0] / 2
    assert jax.tree.structure(state.params) == jax.tree.structure(params)


def test_links_that_want_the_loss_get_it():
    tx = optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(patience=1, factor=0.5))
    step = make_train_step(loss_fn, tx)
    with jax.numpy_dtype_promotion("standard"):  # Optax's own links need it
        state, _ = run(step, step.init(PARAMS, KEY, BATCH), 2)
    assert np.isfinite(state.opt_state[1].best_value)


def test_the_average_is_what_is_evaluated():
    step = make_train_step(quiet_loss, ol.average_params(ol.sgd(0.1), "swa"))
    state, _ = run(step, step.init(PARAMS, KEY, BATCH), 3)
    chex.assert_trees_all_close(state.evaluation_params(), state.opt_state.average)
    plain = make_train_step(quiet_loss, ol.sgd(0.1))
    state, _ = run(plain, plain.init(PARAMS, KEY, BATCH), 1)
    chex.assert_trees_all_equal(state.evaluation_params(), state.params)


@pytest.mark.parametrize(
    ("loss", "options", "error", "message"),
    [
        (lambda p, b, k: b["x"] @ p["w"], {}, TypeError, r"the loss must be one number, .* \(8,\)"),
        (lambda p, b, k: (p["b"], {"m": b["y"]}), {}, TypeError, "m must be one number"),
        (lambda p, b, k: (p["b"], {}, {}), {}, TypeError, "a tuple of 3"),
        (lambda p, b, k: (p["b"], {"loss": p["b"]}), {}, ValueError, "a metric called 'loss'"),
        (lambda p, b, k: None, {}, TypeError, "loss_fn returned None"),
        (quiet_loss, {"compute_dtype": "bf16"}, TypeError, "a floating type .* got 'bf16'"),
        (quiet_loss, {"compute_dtype": "int8"}, TypeError, "a floating type .* got 'int8'"),
        (quiet_loss, {"accumulate": 0}, ValueError, "accumulate must be a whole number >= 1"),
        (quiet_loss, {"accumulate": 3}, ValueError, "8 examples cannot be run in 3 equal parts"),
    ],
)
def test_losses_that_cannot_be_are_refused_before_the_first_step(loss, options, error, message):
    with pytest.raises(error, match=message):
        make_train_step(loss, ol.sgd(0.1), **options).init(PARAMS, KEY, BATCH)
