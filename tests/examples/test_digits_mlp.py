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
from _digits import load
from digits_files import write_digits
from digits_mlp import INITIALIZERS, OPTIMIZERS, Config

import optlab as ol

SCRIPT = Path(digits_mlp.__file__)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("mnist"))


@pytest.fixture(scope="module")
def data(folder):
    return load(folder, seed=0)


@pytest.fixture
def run(folder, tmp_path, capsys):
    """Runs the program on the small data; gives its exit code, its output, and the folder."""

    def run(*args):
        output = tmp_path / "out"
        code = digits_mlp.main(
            ["--data-dir", str(folder), "--output", str(output), "--batch-size", "50", *args]
        )
        printed = capsys.readouterr()
        assert (printed.err == "") == (code == 0)
        return code, printed.out if code == 0 else printed.err, output

    return run


def last_accuracy(text: str) -> float:
    match = re.fullmatch(r"test accuracy: (\d\.\d{4})", text.splitlines()[-1])
    assert match, text.splitlines()[-1]
    return float(match[1])


def test_one_command_trains_to_97_percent_and_leaves_its_results(tmp_path):
    output = tmp_path / "runs" / "digits"
    command = [sys.executable, "-W", "error", str(SCRIPT), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert last_accuracy(done.stdout) >= 0.97
    assert "scale_by_learning_rate(" in done.stdout  # the sentence
    assert "Dense_0/kernel  64x256" in done.stdout  # who updates what
    assert "precision    recall  f1-score" in done.stdout
    assert sorted(p.name for p in output.iterdir()) == ["curves.png", "metrics.json", "params.npz"]
    metrics = json.loads((output / "metrics.json").read_text())
    assert np.sum(metrics["test"]["confusion"]) == 269
    history = metrics["runs"][0]["history"]
    assert len(history["loss"]) == len(history["learning_rate"]) == 1500
    assert max(history["learning_rate"]) == pytest.approx(2e-3)
    with np.load(output / "params.npz") as params:
        assert params["Dense_0/kernel"].shape == (64, 256)


def test_saved_parameters_are_the_best_ones_and_give_the_accuracy_printed(run, data):
    code, text, output = run("--steps", "60", "--learning-rate", "0.02")
    assert code == 0
    with np.load(output / "params.npz") as saved:
        x = data.test.pixels
        for layer in range(3):
            x = x @ saved[f"Dense_{layer}/kernel"] + saved[f"Dense_{layer}/bias"]
            x = np.maximum(x, 0) if layer < 2 else x
    assert np.mean(np.argmax(x, axis=1) == data.test.labels) == pytest.approx(
        last_accuracy(text), abs=1e-4
    )
    history = json.loads((output / "metrics.json").read_text())["runs"][0]["history"]
    best = json.loads((output / "metrics.json").read_text())["runs"][0]["best_epoch"]
    assert history["validation_accuracy"][best] == max(history["validation_accuracy"])


def test_metrics_hold_the_optimizer_as_data(run):
    _, _, output = run("--steps", "2")
    stored = json.loads((output / "metrics.json").read_text())["runs"][0]["optimizer"]
    tx = ol.from_dict(stored)
    assert tx == digits_mlp.build("adamw", Config(steps=2))[0]


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


def test_comparison_gives_each_optimizer_the_same_start_and_the_same_minibatches(run):
    names = ["sgd", "adam", "adamw"]
    code, text, output = run("--compare", ",".join(names), "--steps", "5")
    assert code == 0
    metrics = json.loads((output / "metrics.json").read_text())
    assert [entry["name"] for entry in metrics["runs"]] == names
    for key in ("loss", "validation_loss"):
        first = [entry["history"][key][0] for entry in metrics["runs"]]
        assert len(set(first)) == 1, f"{key} before any update differs: {first}"
    assert len({entry["history"]["loss"][-1] for entry in metrics["runs"]}) == 3
    best = max(
        metrics["runs"],
        key=lambda r: (r["validation_accuracy"], -r["history"]["validation_loss"][r["best_epoch"]]),
    )
    assert metrics["best"] == best["name"]
    assert last_accuracy(text) == pytest.approx(best["test_accuracy"], abs=1e-4)
    table = text.split("best on validation first\n")[1].splitlines()
    assert {line.split()[0] for line in table[1:4]} == set(names)
    assert table[1].split()[0] == best["name"]


def test_a_seed_reproduces_a_run_bit_for_bit(data):
    config = Config(steps=4, batch_size=50)
    first, again = (digits_mlp.train("adamw", config, data) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first.last, again.last)
    np.testing.assert_array_equal(first.history["loss"], again.history["loss"])
    other = digits_mlp.train("adamw", dataclasses.replace(config, seed=1), data)
    assert other.history["validation_loss"][0] != first.history["validation_loss"][0]


def test_zero_initialisation_fails_visibly_and_says_why(run):
    code, text, _ = run("--init", "zeros", "--steps", "30")
    assert code == 0
    assert last_accuracy(text) <= 0.2
    flat = " ".join(text.split())
    assert "adamw FAILED" in flat
    assert "the 256 units of Dense_0 all have the same weights (distinct columns: 1)" in flat
    assert "norm at this kernel: 0)" in flat


def test_divergence_is_reported_and_the_best_parameters_survive_it(run):
    code, text, output = run("--optimizer", "sgd", "--learning-rate", "1e38", "--steps", "20")
    assert code == 0
    assert "the learning rate is too large" in " ".join(text.split())
    with np.load(output / "params.npz") as params:
        assert all(np.isfinite(params[name]).all() for name in params)
    json.loads((output / "metrics.json").read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_clips_records_and_steps(name):
    tx, peak = digits_mlp.build(name, Config(steps=20))
    params = {"Dense_0": {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}}
    gradient = jax.tree.map(lambda leaf: 10 * leaf, params)
    updates, state = jax.jit(tx.update)(gradient, tx.init(params), params)
    assert all(bool((leaf < 0).all()) for leaf in jax.tree.leaves(updates))
    recorded = ol.read(state)
    (bound,) = (v for k, v in ol.hyperparameters(tx).items() if k.endswith("/max_norm"))
    assert bound == 1.0
    assert recorded["norm"] == pytest.approx(10 * 8**0.5)
    assert recorded["learning_rate"] == pytest.approx(peak / 2)  # two updates of warm-up


@pytest.mark.parametrize("name", INITIALIZERS)
def test_every_initializer_starts_a_network(name):
    model = digits_mlp.MLP(INITIALIZERS[name])
    params = model.init(jax.random.key(0), jnp.zeros((1, 20)))["params"]
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(params))
    distinct = np.unique(np.asarray(params["Dense_0"]["kernel"]), axis=1).shape[1]
    assert (distinct == 1) == (name in ("zeros", "constant"))


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("--learning-rate -1", "a finite number > 0 expected, got -1.0"),
        ("--learning-rate nan", "a finite number > 0 expected, got nan"),
        ("--learning-rate inf", "a finite number > 0 expected, got inf"),
        ("--learning-rate abc", "--learning-rate: a number expected, got 'abc'"),
        ("--batch-size 0", "from 1 to 2^31 - 1 expected, got 0"),
        ("--batch-size 201", "201 is more than the 200 training images"),
        ("--batch-size 1.5", "--batch-size: a whole number expected, got '1.5'"),
        ("--steps 0", "--steps: a whole number from 1"),
        ("--steps -3", "--steps: a whole number from 1"),
        ("--steps", "Missing value for argument '--steps'"),
        ("--seed -1", "--seed: a whole number from 0"),
        ("--optimizer adamm", "did you mean 'adam' or 'adamw'?"),
        ("--optimizer what", "known: adadelta, adagrad"),
        ("--compare sgd,adamm", "--compare: 'adamm' is unknown"),
        ("--compare sgd,sgd", "names an optimizer twice"),
        ("--compare sgd,", "--compare: '' is unknown"),
        ("--init hee", "did you mean 'he'?"),
        ("--data-dir nowhere", "cannot list nowhere: No such file"),
        ("--colour red", "Unrecognized options: --colour, red"),
        ("--output /dev/null/results", "cannot write to /dev/null/results: Not a directory"),
    ],
)
def test_a_bad_value_is_one_clear_line_and_exit_code_2(run, args, words):
    code, text, output = run(*args.split())
    assert code == 2
    assert text.count("\n") == 1
    assert text.startswith("digits_mlp.py: ")
    assert words in text
    assert not output.exists()


def test_help_names_every_choice(capsys):
    with pytest.raises(SystemExit) as stop:
        digits_mlp.main(["--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert ", ".join(OPTIMIZERS) in text
    assert ", ".join(INITIALIZERS) in text
    for field in dataclasses.fields(Config):
        assert f"--{field.name.replace('_', '-')}" in text


def test_an_interrupted_run_says_so_and_writes_nothing(run, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(digits_mlp, "train", interrupt)
    code, text, output = run()
    assert code == 130
    assert text == "digits_mlp.py: interrupted; nothing was written\n"
    assert not output.exists()
