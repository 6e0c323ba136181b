"""Overfitting: told where validation gets worse and training better, and nowhere else."""

import json
import math

import hypothesis
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optlab as ol
from optlab.training import evaluator, fit, overfitting
from optlab.training.data import Arrays

RISING = [0.9, 0.7, 0.6, 0.7, 0.8, 0.9]


def rows_of(validation, training=None, name="validation_loss"):
    training = [1 / i for i in range(1, len(validation) + 1)] if training is None else training
    both = enumerate(zip(training, validation, strict=True), 1)
    return [{"step": 10 * i, "loss": loss, name: value} for i, (loss, value) in both]


def test_validation_that_rises_while_training_falls_is_overfitting():
    found = overfitting(rows_of(RISING))
    assert (found.best, found.best_step, found.last, found.last_step) == (0.6, 30, 0.9, 60)
    assert found.generalization_loss == pytest.approx(0.5)
    assert found.loss_now < found.loss_then
    assert "overfits since step 30: validation_loss was 0.6 there and is 0.9 at step 60" in str(
        found
    )


@pytest.mark.parametrize(
    ("validation", "training"),
    [
        ([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], None),  # still learning
        ([0.9, 0.6, 0.61, 0.62, 0.61, 0.62], None),  # within the threshold
        ([0.9, 0.6, 0.9, 0.61, 0.9, 0.61], None),  # noise: some are near the best
        ([0.9, 0.8, 0.7, 0.6, 0.8, 0.9], None),  # two evaluations behind the best
        (RISING, [0.9, 0.7, 0.6, 0.7, 0.8, 0.9]),  # diverging, not overfitting
        (RISING, [0.5] * 6),  # training does not fall either
        ([-0.9, -1.7, -2.6, -1.7, -1.8, -1.2], None),  # a log-density: its ratios say nothing
        ([0.9, 0.5, 0.0, 0.1, 0.2, 0.3], None),  # of nothing
        ([math.nan] * 6, None),
        ([], None),
    ],
)
def test_what_is_no_overfitting_is_not_told(validation, training):
    assert overfitting(rows_of(validation, training)) is None


def test_the_loss_judges_before_other_metrics_and_those_of_which_more_is_better_never():
    both = [{**row, "validation_error": 0.1} for row in rows_of(RISING, name="validation_accuracy")]
    assert overfitting(both) is None
    nll = [{**row, "validation_nll": v} for row, v in zip(both, RISING, strict=True)]
    assert overfitting(nll) is None  # validation_error is the first
    loss = [{**row, "validation_loss": v} for row, v in zip(both, RISING, strict=True)]
    assert overfitting(loss).metric == "validation_loss"


@hypothesis.given(st.lists(st.floats(0.01, 100), min_size=1, max_size=12), st.floats(1e-3, 1e3))
def test_it_depends_on_ratios_alone(validation, scale):
    ours = overfitting(rows_of(validation))
    theirs = overfitting(rows_of([scale * value for value in validation]), threshold=0.05)
    hypothesis.assume(all(abs(v / min(validation) - 1.05) > 1e-6 for v in validation))
    assert (ours is None) == (theirs is None)


def test_a_threshold_that_is_none_is_refused():
    with pytest.raises(ValueError, match="threshold must be above 0, got 0"):
        overfitting([], threshold=0)


def test_a_run_that_overfits_says_so_and_one_that_learns_does_not(tmp_path, capsys):
    draw = np.random.default_rng(0)

    def drawn(count, learnable):
        x = draw.normal(size=(count, 32)).astype(np.float32)
        y = x[:, 0] > 0 if learnable else draw.random(count) > 0.5
        return Arrays({"x": x, "y": y.astype(np.float32)})

    def losses(params, batch):
        return optax.sigmoid_binary_cross_entropy(batch["x"] @ params, batch["y"])

    def run(name, count, learnable):
        options = ol.training.RunOptions(
            steps=80, batch_size=16, log_every=10, eval_every=10, output=tmp_path / name
        )
        fit(
            lambda params, batch, key: losses(params, batch).mean(),
            jnp.zeros(32),
            ol.adam(0.1),
            options.batches(drawn(count, learnable)),
            options,
            evaluate=evaluator(lambda p, b: {"loss": losses(p, b)}, drawn(256, learnable), 64),
        )
        told = json.loads((tmp_path / name / "summary.json").read_text())["overfitting"]
        return told, capsys.readouterr().out

    told, said = run("noise", 16, False)
    assert told["best_step"] == 10
    assert told["last"] > 1.05 * told["best"]
    assert "training  overfits since step 10: validation_loss was" in said
    told, said = run("signal", 1024, True)
    assert told is None
    assert "overfits" not in said
