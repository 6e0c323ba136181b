"""The loop: the same numbers however often it is interrupted, and every end with its reason."""

from __future__ import annotations

import json
import os
import signal

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fit_cases import Options, comparable, evaluate, fitted, initial, loss_fn, source

import optlab as ol
from optlab.training import Checkpoints, Diverged, MismatchError, Terminated, UserError, read_rows

PNG = b"\x89PNG\r\n"


def signalled_at(step: int, number: int = signal.SIGTERM):
    def ask(at, row, state):
        if at == step:
            os.kill(os.getpid(), number)

    return [ask]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    return fitted(folder, evaluate=evaluate), folder


def test_it_learns_and_leaves_its_files(whole):
    run, folder = whole
    assert run.reason == "finished"
    assert int(run.state.step) == 12
    validation = [r["validation_loss"] for r in run.rows if "validation_loss" in r]
    assert validation[-1] < validation[0]
    names = {"checkpoints", "metrics.jsonl", "run.json", "summary.json", "curves.png"}
    assert names <= {entry.name for entry in folder.iterdir()}
    assert (folder / "curves.png").read_bytes().startswith(PNG)
    assert read_rows(folder / "metrics.jsonl") == run.rows
    assert [row["step"] for row in run.rows] == [3, 4, 6, 8, 9, 12]
    record = json.loads((folder / "run.json").read_text())
    assert record["options"]["seed"] == 0
    assert record["optimizer"].startswith("average_params(")
    assert len(record["data"]["sha256"]) == 64
    assert "jax" in record["versions"]


@pytest.mark.parametrize("k", [4, 8])
def test_steps_in_two_runs_are_those_of_one_to_the_bit(whole, tmp_path, k):
    fitted(tmp_path, evaluate=evaluate, steps=k)
    run = fitted(tmp_path, evaluate=evaluate)
    chex.assert_trees_all_equal(run.state._replace(key=0), whole[0].state._replace(key=0))
    expected = [row for row in comparable(whole[0].rows) if row["step"] > k]
    assert comparable(run.rows)[-len(expected) :] == expected


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_between_reports_it_saves_and_goes_on_to_the_bit(whole, tmp_path, number):
    with pytest.raises(Terminated, match=rf"by {number.name}, step 4 is saved; the same command"):
        fitted(tmp_path, evaluate=evaluate, callbacks=signalled_at(4, number), save_every=100)
    run = fitted(tmp_path, evaluate=evaluate)
    assert comparable(run.rows) == comparable(whole[0].rows)
    chex.assert_trees_all_equal(run.state.params, whole[0].state.params)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_finished_run_is_not_trained_again(whole, tmp_path):
    first = fitted(tmp_path, evaluate=evaluate)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    again = fitted(tmp_path, evaluate=evaluate)
    chex.assert_trees_all_equal(again.state.params, first.state.params)
    chex.assert_trees_all_equal(again.params, first.params)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    assert again.reason == "finished"


def test_a_loss_that_is_nan_ends_the_run_and_keeps_the_last_good_checkpoint(tmp_path):
    def loss(params, batch, key):
        value = jnp.mean(params["last"] ** 2) + 0 * jnp.sum(params["first"])
        return value * jnp.where(value < 0.03, jnp.nan, 1.0)

    with pytest.raises(
        Diverged,
        match=r"diverged by step \d+: loss .*, gradient norm .*, "
        r"learning rate 0\.1, .* the parameter at 'first' is not finite; "
        r"the checkpoint of step \d+ is kept",
    ) as error:
        fitted(tmp_path, tx=ol.sgd(0.1), loss=loss, steps=400, log_every=4, save_every=2)
    kept = int(str(error.value).split("checkpoint of step ")[1].split()[0])
    run = fitted(tmp_path, tx=ol.sgd(0.1), loss=loss, steps=kept)
    assert all(np.all(np.isfinite(p)) for p in jax.tree.leaves(run.state.params))


def test_bad_examples_behind_a_guard_do_not_end_the_run(tmp_path):
    run = fitted(tmp_path, bad=3, tx=ol.guard(ol.adam(1e-2)), steps=10)
    assert sum(row["bad_steps"] for row in run.rows) == 2  # two epochs of five steps
    assert run.rows[-1]["skipped"] == 2


def test_a_loss_that_explodes_ends_the_run(tmp_path):
    def loss(params, batch, key):
        return jnp.sum(params["last"] ** 2) + 0 * jnp.sum(params["first"])

    with pytest.raises(Diverged, match=r"all parameters are finite"):
        fitted(tmp_path, tx=ol.sgd(100.0), loss=loss, log_every=1)


def test_without_progress_it_ends_and_gives_the_best_parameters(tmp_path):
    values = iter([3.0, 1.0, 2.0, float("nan"), 5.0, 0.0])
    seen = []

    def judge(params):
        seen.append(jax.tree.map(np.array, params))
        return {"loss": next(values)}

    run = fitted(tmp_path, evaluate=judge, steps=100, eval_every=5, patience=3)
    assert run.reason == "no improvement"
    assert int(run.state.step) == 25
    chex.assert_trees_all_equal(run.params, seen[1])
    assert float(run.state.best) == 1.0
    again = fitted(tmp_path, evaluate=judge, steps=100, eval_every=5, patience=3)
    assert (again.reason, int(again.state.step)) == ("no improvement", 25)
    chex.assert_trees_all_equal(again.params, seen[1])


def test_more_can_be_better(tmp_path):
    values = iter([0.1, 0.9, 0.5])
    run = fitted(
        tmp_path,
        evaluate=lambda params: {"accuracy": next(values)},
        monitor="accuracy",
        mode="max",
    )
    assert float(run.state.best) == np.float32(0.9)


def test_the_time_limit_ends_a_run_that_can_go_on(whole, tmp_path):
    run = fitted(tmp_path, evaluate=evaluate, time_limit=1e-9)
    assert run.reason == "time limit"
    assert int(run.state.step) == 1
    run = fitted(tmp_path, evaluate=evaluate)
    chex.assert_trees_all_equal(run.state.params, whole[0].state.params)


def test_a_callback_can_end_the_run(tmp_path):
    run = fitted(tmp_path, callbacks=[lambda step, row, state: step >= 6])
    assert (run.reason, int(run.state.step)) == ("callback", 6)


def test_another_seed_or_batch_or_data_is_no_resume(tmp_path):
    fitted(tmp_path, steps=2)
    with pytest.raises(UserError, match=r"--seed: the run in .* began with 0, now it is 1"):
        fitted(tmp_path, seed=1)
    with pytest.raises(UserError, match=r"--batch-size: .* began with 8, now it is 4"):
        fitted(tmp_path, batch_size=4)
    with pytest.raises(UserError, match="the data: "):
        fitted(tmp_path, bad=1)
    with pytest.raises(UserError, match=r"--resume must: .* has no checkpoint"):
        fitted(tmp_path / "new", resume="must")


def test_beginning_anew_moves_the_old_run_aside(tmp_path, capsys):
    fitted(tmp_path, steps=3)
    fitted(tmp_path, steps=3, seed=1, resume="never")
    assert "is now in" in capsys.readouterr().out
    rows = read_rows(tmp_path / "metrics.jsonl")
    old = read_rows(tmp_path / "earlier-1" / "metrics.jsonl")
    assert rows[0]["loss"] != old[0]["loss"]


@pytest.mark.parametrize("other", [{"width": 8}, {"tx": ol.lion(1e-3)}])
def test_a_checkpoint_of_something_else_is_refused_and_left_as_it_was(tmp_path, other):
    fitted(tmp_path, steps=4)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(MismatchError, match=r"first|average"):
        fitted(tmp_path, **other)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == before


def test_eight_devices_give_the_losses_of_one(whole, tmp_path):
    tx = ol.average_params(ol.adam(3e-2), ema=0.5)
    run = fitted(tmp_path, tx=tx, evaluate=evaluate, mesh="data=8")
    for row, expected in zip(comparable(run.rows), comparable(whole[0].rows), strict=True):
        assert row == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("other", [None, pytest.param("data=2", marks=pytest.mark.slow)])
def test_a_checkpoint_of_eight_devices_goes_on_with_fewer(tmp_path, other):
    one = fitted(tmp_path / "one", steps=8)
    fitted(tmp_path / "many", steps=4, mesh="data=8")
    many = fitted(tmp_path / "many", steps=8, mesh=other)
    chex.assert_trees_all_close(many.state.params, one.state.params, rtol=1e-4)
    back = fitted(tmp_path / "many", steps=9, mesh="data=4")
    assert int(back.state.step) == 9


def test_the_device_is_waited_for_once_a_report(tmp_path, monkeypatch):
    waits = []
    real = jax.device_get
    monkeypatch.setattr(jax, "device_get", lambda x: waits.append(1) or real(x))
    fitted(tmp_path, steps=50, log_every=10, save_every=1000)
    assert len(waits) <= 5 + 3  # reports, and the end


def test_a_smoke_run_stays_in_a_folder_of_its_own(tmp_path):
    for _ in range(2):
        run = fitted(tmp_path, evaluate=evaluate, steps=10**6, smoke=True)
        assert int(run.state.step) == 6
    assert {entry.name for entry in tmp_path.iterdir()} == {"smoke"}


def test_a_profile_is_written(tmp_path):
    fitted(tmp_path, profile=True)
    assert any((tmp_path / "profile").rglob("*.xplane.pb"))


def test_any_optax_transformation_trains(tmp_path):
    with jax.numpy_dtype_promotion("standard"):
        run = fitted(tmp_path, tx=optax.adamw(1e-2), steps=3)
    assert run.rows[-1]["loss"] > 0
    assert jax.tree.structure(run.params) == jax.tree.structure(initial())


def test_what_is_monitored_must_be_there(tmp_path):
    with pytest.raises(ValueError, match=r"monitor='accuracy' is none of what .* gives: loss"):
        fitted(tmp_path, evaluate=evaluate, monitor="accuracy")
    with pytest.raises(ValueError, match="mode must be 'min' or 'max'"):
        fitted(tmp_path, evaluate=evaluate, mode="least")


def test_a_damaged_checkpoint_is_named_and_an_earlier_one_goes_on(whole, tmp_path, capsys):
    fitted(tmp_path, evaluate=evaluate, steps=8)
    for file in (tmp_path / "checkpoints" / "8" / "state").rglob("d/*"):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(bytes(content))
    code = ol.training.main("train", lambda: fitted(tmp_path, evaluate=evaluate))
    said = capsys.readouterr().err
    assert code == 2
    assert said.startswith("train: ")
    assert said.endswith("--resume 4\n")
    run = fitted(tmp_path, evaluate=evaluate, resume="4")
    chex.assert_trees_all_equal(run.state.params, whole[0].state.params)
    assert comparable(run.rows) == comparable(whole[0].rows)
    with pytest.raises(UserError, match=r"--resume 5: .* has checkpoints of steps 4, .*12"):
        fitted(tmp_path, evaluate=evaluate, resume="5")


def test_however_a_run_ends_its_curves_and_reason_are_there(tmp_path):
    with pytest.raises(Terminated):
        fitted(tmp_path, callbacks=signalled_at(3))
    found = json.loads((tmp_path / "summary.json").read_text())
    assert found["reason"].startswith("ended by SIGTERM, step 3 is saved")
    assert found["seconds"] > 0
    assert (tmp_path / "curves.png").read_bytes().startswith(PNG)


def test_a_second_call_says_whence_it_goes_on_and_that_the_optimizer_changed(tmp_path, capsys):
    fitted(tmp_path, tx=ol.sgd(0.1), steps=3)
    fitted(tmp_path, tx=ol.sgd(0.2), steps=4, progress_lines=1)
    fitted(tmp_path, tx=ol.sgd(0.2), steps=4, progress_lines=1)
    said = [line for line in capsys.readouterr().out.splitlines() if str(tmp_path) in line]
    assert said[0].endswith("goes on from step 3; the optimizer is another than it was")
    assert said[1].endswith("finished at step 4")


def test_batches_that_end_too_early_are_an_error_and_lose_nothing(tmp_path):
    class Short:
        def iterate(self, start, stop):
            return iter([source().gather(np.arange(8))] * (5 - start))

    options = Options(output=tmp_path)
    with pytest.raises(ValueError, match=r"ended behind step 5; it must give a batch for every"):
        ol.training.fit(loss_fn, initial(), ol.sgd(0.1), Short(), options, progress_lines=0)
    assert Checkpoints(tmp_path / "checkpoints").latest() == 5


def test_mistakes_are_named_before_anything_is_written(tmp_path):
    with pytest.raises(TypeError, match=r"batches must have iterate.*got Arrays.*options.batches"):
        ol.training.fit(loss_fn, initial(), ol.sgd(0.1), source(), Options(output=tmp_path))
    with pytest.raises(UserError, match="--patience: there is no evaluation"):
        fitted(tmp_path, patience=3)
    with pytest.raises(TypeError, match="expected a gradient transformation"):
        fitted(tmp_path, tx=1e-2)
    assert not list(tmp_path.iterdir())


def test_a_broken_record_is_named(tmp_path):
    fitted(tmp_path, steps=2)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UserError, match=r"run\.json: .*put it right, or move it away"):
        fitted(tmp_path)


def test_what_is_monitored_may_be_called_as_it_is_reported(tmp_path):
    run = fitted(tmp_path, evaluate=evaluate, monitor="validation_loss", steps=4)
    assert float(run.state.best) == np.float32(run.rows[-1]["validation_loss"])
