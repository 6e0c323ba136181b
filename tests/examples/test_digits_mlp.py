"""The digits example: that it trains, compares fairly, fails visibly, and rejects bad input."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import digits_mlp
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from digits_files import write_digits
from digits_mlp import INITIALIZERS, OPTIMIZERS, Config
from trainer_cases import FILES, check_refused, check_resume, check_same_params, rows

import optlab as ol
from optlab.training import read_npz

SCRIPT = Path(digits_mlp.__file__)
PNG = b"\x89PNG\r\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("mnist"))


@pytest.fixture
def run(folder, tmp_path, capsys):
    """Runs the program on the small data; gives its exit code, its output, and the folder."""

    def run(*args, output=tmp_path / "out"):
        common = ["--data-dir", str(folder), "--output", str(output), "--batch-size", "50"]
        code = digits_mlp.main([*common, *args])
        printed = capsys.readouterr()
        assert (printed.err == "") == (code == 0), printed.err
        return code, printed.out if code == 0 else printed.err, output

    return run


def last_accuracy(text: str) -> float:
    match = re.fullmatch(r"test accuracy: (\d\.\d{4})", text.splitlines()[-1])
    assert match, text.splitlines()[-1]
    return float(match[1])


@pytest.mark.slow
def test_one_command_trains_to_97_percent_and_a_second_one_says_it_again(tmp_path):
    output = tmp_path / "runs" / "digits"
    command = [sys.executable, "-W", "error", str(SCRIPT), "--output", str(output)]

    def said():
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout

    text = said()
    assert last_accuracy(text) >= 0.97
    assert "scale_by_learning_rate(" in text  # the sentence
    assert "hidden_0/kernel  64x256" in text  # who updates what
    assert "precision  recall" in text
    reported = rows(output)
    assert last_accuracy(said()) == last_accuracy(text)
    assert rows(output) == reported


def test_a_run_leaves_its_results(run):
    code, text, output = run("--steps", "60", "--learning-rate", "0.02", "--eval-every", "20")
    assert code == 0
    names = {path.name for path in output.iterdir()}
    assert names == FILES | {"params.npz", "test.json", "confusion.png"}
    found = json.loads((output / "test.json").read_text())
    assert np.sum(found["confusion"]) == 60
    assert found["accuracy"] == pytest.approx(last_accuracy(text), abs=1e-4)
    for name in ("curves.png", "confusion.png"):
        assert (output / name).read_bytes().startswith(PNG)
    record = json.loads((output / "run.json").read_text())
    assert record["trainer"] == "digits_mlp"
    assert record["options"]["learning_rate"] == 0.02


def test_saved_parameters_are_the_best_ones_and_give_the_accuracy_printed(run, folder):
    _, text, output = run("--steps", "60", "--learning-rate", "0.02", "--eval-every", "20")
    saved = read_npz(output / "params.npz")
    _, validation, test = digits_mlp.load(Config(data_dir=folder))

    def answers(part):
        x = part.column("image").reshape(len(part), -1)
        for layer in ("hidden_0", "hidden_1", "head"):
            x = x @ saved[f"{layer}/kernel"] + saved[f"{layer}/bias"]
            x = np.maximum(x, 0) if layer != "head" else x
        return x

    hits = answers(test).argmax(1) == test.column("label")
    assert np.mean(hits) == pytest.approx(last_accuracy(text), abs=1e-4)
    logits = answers(validation)
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(40), validation.column("label")]
    least = min(r["validation_loss"] for r in rows(output) if "validation_loss" in r)
    assert np.mean(losses) == pytest.approx(least, rel=1e-3, abs=1e-6)


def test_a_run_that_was_ended_goes_on_to_the_bit(folder, tmp_path, monkeypatch, capsys):
    whole = ["--data-dir", str(folder), "--batch-size", "50", "--steps", "10", "--log-every", "2"]
    whole += ["--eval-every", "4", "--save-every", "3"]
    check_resume(digits_mlp.main, whole, tmp_path, 6, monkeypatch, capsys)


def test_a_finished_run_says_its_result_again_and_trains_no_more(run):
    _, text, output = run("--steps", "6")
    before = (output / "metrics.jsonl").read_bytes()
    _, again, _ = run("--steps", "6")
    assert f"{output}: finished at step 6\n" in again
    assert last_accuracy(again) == last_accuracy(text)
    assert (output / "metrics.jsonl").read_bytes() == before


def test_the_sentence_is_adamw_on_kernels_behind_a_clip():
    key = jax.random.key(0)
    params = {"Dense_0": {"kernel": jax.random.normal(key, (4, 3)), "bias": jnp.ones(3)}}
    recipe = ol.chain(
        ol.clip_by_global_norm(1.0), ol.adamw(0.1, weight_decay=1e-4, where=ol.kernels)
    )

    def trajectory(tx):
        theta, state = params, tx.init(params)
        for _ in range(3):
            updates, state = tx.update(jax.tree.map(jnp.sin, theta), state, theta)
            theta = optax.apply_updates(theta, updates)
        return theta

    for ours, theirs in zip(
        jax.tree.leaves(trajectory(digits_mlp.adamw(0.1))),
        jax.tree.leaves(trajectory(recipe)),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_comparison_gives_each_optimizer_a_folder_the_same_start_and_the_same_minibatches(run):
    names = ["sgd", "adamw"]
    code, text, output = run("--compare", ",".join(names), "--steps", "5", "--log-every", "1")
    assert code == 0
    reported = {name: rows(output / name) for name in names}
    assert len({found[0]["loss"] for found in reported.values()}) == 1
    assert len({found[-1]["loss"] for found in reported.values()}) == 2
    assert (output / "comparison.png").read_bytes().startswith(PNG)
    lines = text.split("best first")[1].splitlines()[1:3]
    assert {line.split()[0] for line in lines} == set(names)
    best = lines[0].split()[0]
    assert last_accuracy(text) == pytest.approx(
        json.loads((output / best / "test.json").read_text())["accuracy"], abs=1e-4
    )
    losses = {n: min(r.get("validation_loss", 9) for r in reported[n]) for n in names}
    shown = {line.split()[0]: float(line.split()[2]) for line in lines}
    assert shown == {n: pytest.approx(losses[n], abs=1e-4) for n in names}


@pytest.mark.slow
def test_a_seed_reproduces_a_run_bit_for_bit(run, tmp_path):
    one, two, other = (tmp_path / name for name in ("one", "two", "other"))
    for output, seed in ((one, "0"), (two, "0"), (other, "1")):
        run("--steps", "4", "--seed", seed, "--log-every", "1", output=output)
    check_same_params(one, two)
    assert rows(one) == rows(two)
    assert rows(one)[0]["loss"] != rows(other)[0]["loss"]


def test_zero_initialisation_fails_visibly_and_says_why(run):
    code, text, _ = run("--init", "zeros", "--steps", "30")
    assert code == 0
    assert last_accuracy(text) <= 0.2
    flat = " ".join(text.split())
    assert "adamw FAILED" in flat
    assert "the 256 units of hidden_0 all have the same weights (distinct columns: 1)" in flat
    assert "norm at this kernel: 0)" in flat


def test_divergence_is_exit_code_3(run):
    args = ["--optimizer", "sgd", "--learning-rate", "1e38", "--steps", "20", "--log-every", "2"]
    code, text, _ = run(*args, "--warmup", "0")
    assert code == 3
    assert "diverged by step" in text
    assert "Lower the learning rate" in text


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_clips_records_and_steps(name):
    tx = digits_mlp.optimizer(Config(steps=20, optimizer=name))
    params = {"Dense_0": {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}}
    gradient = jax.tree.map(lambda leaf: 10 * leaf, params)
    updates, state = jax.jit(tx.update)(gradient, tx.init(params), params)
    assert all(bool((leaf < 0).all()) for leaf in jax.tree.leaves(updates))
    recorded = ol.read(state)
    (bound,) = (v for k, v in ol.hyperparameters(tx).items() if k.endswith("/max_norm"))
    assert bound == 1.0
    assert recorded["norm"] == pytest.approx(10 * 8**0.5)
    assert recorded["learning_rate"] == pytest.approx(OPTIMIZERS[name][0] / 2)  # warms up in two


@pytest.mark.parametrize("name", INITIALIZERS)
def test_every_initializer_makes_kernels(name):
    kernel = np.asarray(INITIALIZERS[name](jax.random.key(0), (20, 16), jnp.float32))
    assert np.isfinite(kernel).all()
    distinct = np.unique(kernel, axis=1).shape[1]
    assert (distinct == 1) == (name in ("zeros", "constant"))


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("--learning-rate -1", "--learning-rate: a number > 0 expected, got -1.0"),
        ("--learning-rate nan", "--learning-rate: a number > 0 expected, got nan"),
        ("--learning-rate abc", "--learning-rate: a number expected, got 'abc'"),
        ("--batch-size 0", "--batch-size: a whole number from 1 to 2^31 - 1 expected, got 0"),
        ("--batch-size 201", "batch_size=201"),
        ("--batch-size 1.5", "--batch-size: a whole number expected, got '1.5'"),
        ("--warmup 30 --steps 20", "--warmup: a whole number from 0 to 20 expected, got 30"),
        ("--steps 0", "--steps: a whole number from 1"),
        ("--seed -1", "--seed: a whole number from 0"),
        ("--optimizer adamm", "did you mean 'adam' or 'adamw'?"),
        ("--optimizer what", "known: adadelta, adagrad"),
        ("--compare sgd,adamm", "--compare: 'adamm' is unknown"),
        ("--compare sgd,sgd", "names an optimizer twice"),
        ("--compare sgd,", "--compare: '' is unknown"),
        ("--init hee", "did you mean 'he'?"),
        ("--data-dir nowhere", "nowhere"),
        ("--colour red", "--colour is unknown"),
        ("--output /dev/null/results", "cannot write to /dev/null/results: Not a directory"),
    ],
)
def test_a_bad_value_is_one_clear_line_and_exit_code_2(folder, tmp_path, capsys, args, words):
    output = tmp_path / "out"
    common = ["--data-dir", str(folder), "--output", str(output)]
    check_refused(digits_mlp.main, [*common, *args.split()], words, "digits_mlp.py", capsys)
    assert not output.exists()


def test_too_few_images_for_three_parts_are_refused(tmp_path, capsys):
    few = write_digits(tmp_path / "few", train=2, test=2)
    args = ["--data-dir", str(few), "--output", str(tmp_path / "out")]
    check_refused(digits_mlp.main, args, "too few for a part", "digits_mlp.py", capsys)


def test_another_optimizer_in_the_folder_of_a_run_is_refused_by_name(run):
    run("--steps", "2")
    code, text, _ = run("--steps", "2", "--optimizer", "sgd")
    assert code == 2
    line = text.splitlines()[-1]
    assert "optimizer: ..." in line
    assert "accumulate_moments(" in line
    assert line.count(" in the checkpoint, ") >= 2
    assert "or the options it had" in line
    assert len(line) < 900


def test_help_names_every_choice(capsys):
    with pytest.raises(SystemExit) as stop:
        digits_mlp.main(["--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert ", ".join(OPTIMIZERS) in text
    assert ", ".join(INITIALIZERS) in text
    for field in dataclasses.fields(Config):
        assert f"--{field.name.replace('_', '-')}" in text
