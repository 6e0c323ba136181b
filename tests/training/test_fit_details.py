"""What a run does besides: compiles once, computes in bfloat16, goes on with other metrics."""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fit_cases import evaluate, fitted, loss_fn, predicted, source

import optlab as ol
from optlab.training import _fit, _orbax_checkpoints, read_rows


def squared(params, batch):
    return {"loss": (predicted(params, batch["x"]) - batch["y"]) ** 2}


def test_a_step_is_compiled_once_whatever_comes_between(tmp_path, monkeypatch):
    made = []

    def make(*args, **options):
        made.append(ol.training.make_train_step(*args, **options))
        return made[-1]

    monkeypatch.setattr(_fit, "make_train_step", make)
    fitted(tmp_path, evaluate=evaluate, tx=ol.adam(3e-2), steps=9)
    fitted(tmp_path, evaluate=evaluate, tx=ol.adam(3e-2))
    assert [step.update._cache_size() for step in made] == [1, 1]


def test_evaluations_and_results_are_whole_on_one_device(tmp_path):
    tx, seen = ol.average_params(ol.adam(3e-2), ema=0.5), []

    def judged(params):
        seen.append(params)
        return evaluate(params)

    run = fitted(tmp_path, tx=tx, evaluate=judged, mesh="data=8", steps=4)
    for leaf in jax.tree.leaves((run.params, seen)):
        assert len(leaf.devices()) == 1


def test_bfloat16_computes_the_loss_and_not_the_parameters(tmp_path):
    kinds = set()

    def loss(params, batch, key):
        kinds.update(leaf.dtype.name for leaf in jax.tree.leaves((params, batch)))
        return squared(params, batch)["loss"].mean().astype(jnp.float32)

    run = fitted(tmp_path, loss=loss, bf16=True, steps=40, tx=ol.adam(3e-2))
    assert kinds == {"bfloat16"}
    assert {leaf.dtype.name for leaf in jax.tree.leaves(run.state.params)} == {"float32"}
    assert run.rows[-1]["loss"] < run.rows[0]["loss"] / 2


def test_a_loss_may_report_other_metrics_when_the_run_goes_on(tmp_path, capsys):
    def more(params, batch, key):
        value, metrics = loss_fn(params, batch, key)
        return value, {"other": metrics["mean_error"]}

    options = {"evaluate": evaluate, "save_every": 4, "log_every": 3}
    whole = fitted(tmp_path / "whole", **options)
    fitted(tmp_path / "run", **options, steps=4)
    again = fitted(tmp_path / "run", **options, loss=more, progress_lines=1)
    assert "the means of metrics start anew (mean_error, other)" in capsys.readouterr().out
    np.testing.assert_array_equal(again.state.params["last"], whole.state.params["last"])
    rows = {row["step"]: row for row in read_rows(tmp_path / "run" / "metrics.jsonl")}
    for row in whole.rows:
        if row["step"] > 6 and "mean_error" in row:  # 6 has the mean of steps 5 and 6 alone
            assert rows[row["step"]]["other"] == row["mean_error"]


def test_the_best_of_a_run_may_have_reported_other_metrics(tmp_path):
    values = iter([1.0, 2.0, 3.0])
    options = {"evaluate": lambda params: {"loss": next(values)}, "save_every": 4}
    first = fitted(tmp_path, **options, steps=4)

    def fewer(params, batch, key):
        return loss_fn(params, batch, key)[0]

    again = fitted(tmp_path, **options, loss=fewer)
    np.testing.assert_array_equal(again.params["last"], first.params["last"])


def test_a_misspelt_monitor_is_named_before_the_first_step(tmp_path):
    judged = ol.training.evaluator(squared, source(), 8)
    with pytest.raises(ValueError, match=r"monitor='losss' is none of what .* gives: loss"):
        fitted(tmp_path, evaluate=judged, monitor="losss")
    assert not list(tmp_path.rglob("metrics.jsonl"))
    fitted(tmp_path, evaluate=judged, monitor="validation_loss", steps=4)


def test_a_checkpoint_that_does_not_fit_is_one_short_line_with_a_way_out(tmp_path, capsys):
    def run(tx):
        return lambda: fitted(tmp_path, evaluate=evaluate, tx=tx, steps=4)

    parts = [ol.clip_by_global_norm(1.0), ol.scale(1.0), ol.clip_by_global_norm(2.0)]
    assert ol.training.main("train", run(ol.chain(*parts, ol.adam(1e-2)))) == 0
    capsys.readouterr()
    assert ol.training.main("train", run(ol.chain(*parts, ol.lion(1e-2)))) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert len(said) < 800
    assert "leaves differ" in said
    assert "optimizer: ..." in said
    assert "another --output, --resume never, or the options it had" in said


def test_late_calls_of_tensorstore_are_not_told_and_all_else_is(monkeypatch):
    class Found:
        def __init__(self, error, of=None):
            self.exc_value, self.object = error, of

    told, closed = [], RuntimeError("Event loop is closed")
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    before = sys.unraisablehook
    _orbax_checkpoints._deaf_to_threads()()
    assert sys.unraisablehook is before
    _orbax_checkpoints._deaf_to_threads()
    other = [Found(RuntimeError("else")), Found(closed, of="something"), Found(OSError("closed"))]
    for found in [Found(closed), *other]:
        sys.unraisablehook(found)
    assert told == other
