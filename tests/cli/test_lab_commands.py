"""`optlab sweep`, `compare`, `lr-range`, `inspect`, `schedule`: as in a shell."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
import subprocess
import sys

import jax.numpy as jnp
import pytest

import optlab as ol
from optlab import cli
from optlab.lab.tasks import _digits_data

MODULE = """
import dataclasses
import os
import signal
import traceback
import jax.numpy as jnp
import numpy as np
import optax
import optlab as ol

def task():
    return ol.lab.Task(
        name="bowl", init=lambda key: jnp.ones(2), loss=lambda p, batch, key: jnp.sum(p**2),
        batch=lambda key, step: (), steps=8, target=0.5,
    )

def interrupted():
    def loss(p, batch, key):
        if any("lower" in frame.name for frame in traceback.extract_stack()):
            os.kill(os.getpid(), signal.SIGINT)
        return jnp.sum(p**2)

    return dataclasses.replace(TASK, loss=loss)

TASK = task()
other = dataclasses.replace(TASK, name="other bowl")
plain = optax.sgd

def broken(learning_rate):
    raise ValueError("of mine")

def descent(learning_rate):
    return ol.sgd(learning_rate)

def number():
    return 3

def network():
    import flax.linen as nn
    import jax
    model = nn.Sequential([nn.Dense(8), nn.relu, nn.Dense(3)])
    batch = jax.random.normal(jax.random.key(0), (16, 4))
    return model, model.init(jax.random.key(1), batch)["params"], batch

SCHEDULE = ol.schedules.cosine(1.0, steps=10)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    return tmp_path


@pytest.fixture
def optlab(capsys):
    def run(line):
        code = cli.main(line.split())
        return code, *capsys.readouterr()

    return run


def png(path):
    return path.read_bytes()[:4] == b"\x89PNG"


def test_a_sweep_prints_the_best_and_leaves_what_is_asked_for(optlab, folder):
    code, out, err = optlab(
        "sweep mine:task sgd learning_rate=log:1e-3..0.4 --budget 4 --seeds 2 --quiet "
        "--csv runs.csv --plot rates.png --store study.db"
    )
    assert (code, err) == (0, "")
    assert out.startswith("bowl: 4 trials, 2 seeds each, 8 steps")
    with open("runs.csv") as file:
        assert len(list(csv.DictReader(file))) == 8
    assert png(folder / "rates.png")
    assert (folder / "study.db").exists()


def test_a_sweep_speaks_json(optlab):
    code, out, _ = optlab("sweep mine:TASK mine:plain learning_rate=0.1,0.2 --quiet --json")
    found = json.loads(out)
    assert code == 0
    assert [row["learning_rate"] for row in found["rows"]] == [0.1, 0.2]


def test_a_sweep_without_quiet_shows_its_progress_apart_from_its_result(optlab):
    _, out, err = optlab("sweep mine:task sgd learning_rate=0.1,0.2 --json")
    json.loads(out)
    assert "bowl: 100%" in err


def test_a_sweep_in_which_all_diverge_gives_1(optlab):
    code, out, err = optlab("sweep mine:task sgd learning_rate=1e3,1e4 --steps 40 --quiet")
    assert code == 1
    assert err.startswith("optlab: every trial has a run that diverged")
    assert err.count("\n") == 1
    assert "diverged" in out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=0.1", 0.1),
        ("a=None", None),
        ("a=cosine", "cosine"),
        ("a=1,2", ol.lab.grid([1, 2])),
        ("a=True,False", ol.lab.choice([True, False])),
        ("a=log:1e-4..1", ol.lab.log_uniform(1e-4, 1)),
        ("a=uniform:0..1", ol.lab.uniform(0, 1)),
        ("a=integers:1..8", ol.lab.integers(1, 8)),
    ],
)
def test_a_space_is_written_as_names_and_values(text, expected):
    from optlab.cli import _arguments

    assert _arguments.space([text]) == {"a": expected}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sweep digits_ml sgd learning_rate=1", "there is no task 'digits_ml'; did you mean"),
        ("sweep quadratic adamm learning_rate=1", "there is no optimizer 'adamm'; did you mean"),
        ("sweep mine:number sgd learning_rate=1", "mine:number is no task: it is int"),
        ("sweep mine:task sgd learning_rate", "'learning_rate' is not of the form NAME=VALUE"),
        ("sweep mine:task sgd learning_rate=1 learning_rate=2", "'learning_rate' is given twice"),
        ("sweep mine:task sgd learning_rate=1..2", "is of no kind; write log:1..2 or uniform:1..2"),
        ("sweep mine:task sgd learning_rate=lg:1..2", "learning_rate=lg:1..2 is no range"),
        ("sweep mine:task sgd learning_rate=log:1..0", "log_uniform: low must be"),
        ("sweep mine:task sgd learning_rate=log:1..2", "budget must say how many trials"),
        ("sweep mine:task sgd rate=1", "takes no argument 'rate'"),
        ("sweep mine:task sgd learning_rate=-1", "learning_rate must be a number >= 0, got -1"),
        ("sweep mine:task sgd learning_rate=1 --steps 0", "steps must be"),
        ("sweep mine:task sgd learning_rate=1 --store no/s.db", "the folder .*no does not exist"),
        ("sweep mine:task sgd learning_rate=1 --plot no/a.png", "the folder .*no does not exist"),
        ("sweep mine:task sgd learning_rate=1 --plot a.xyz", "the name must end in .png, .pdf"),
        ("sweep mine:task sgd learning_rate=1 --csv no/a.csv", "the folder .*no does not exist"),
        ("sweep mine:task sgd learning_rate=1 --csv .", "cannot be written to"),
        ("compare mine:task sgd adam learning_rate=0.1 --html no/a.html", "no does not exist"),
        ("lr-range mine:task sgd --plot no/a.png", "no does not exist"),
        ("inspect mine:network --plot no/a.png", "no does not exist"),
        ("schedule cosine init_value=1 steps=9 --plot a.doc", "the name must end in"),
        ("compare mine:task sgd learning_rate=0.1", "needs at least 2 optimizers"),
        ("compare mine:task sgd sgd learning_rate=0.1", "an optimizer is named twice"),
        ("compare mine:task sgd adam adm.b1=0.1", "'adm.b1=0.1' is for no optimizer here"),
        ("lr-range mine:task sgd learning_rate=0.1", "is what lr-range looks for: leave it out"),
        ("inspect mine:number", "mine:number returns int; it must return a transformation, or"),
        ("inspect adamw lr=1", "adamw has no argument 'lr'; did you mean 'learning_rate'"),
        (
            "inspect adamw learning_rat=1",
            "no argument 'learning_rat'; did you mean",
        ),
        ("inspect sgd learning_rate=1 foo=1", "sgd has no argument 'foo'; known: .*momentum"),
        ("inspect adamw", "adamw: missing a required argument: 'learning_rate'"),
        ("inspect adamw learning_rate=1 --plot a.png", "--plot is for networks"),
        ("schedule cosin", "there is no schedule 'cosin'; did you mean 'cosine'"),
        ("schedule cosine init_value=1", "cosine: missing a required argument: 'steps'"),
        ("schedule cosine init_value=1 steps=9 --points 1", "--points >= 2"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(optlab, line, message):
    if line.startswith("sweep"):
        line += " --quiet"
    code, _, err = optlab(line)
    assert code == 2
    assert err.count("\n") == 1
    assert err.startswith("optlab: ")
    assert re.search(message, err), err


def test_a_schedule_is_shown_to_its_end_with_its_peak(optlab):
    line = "schedule warmup_cosine peak_value=0.5 steps=1000 warmup_steps=50 --json"
    found = json.loads(optlab(line)[1])
    assert found["count"] == [0, 50, *range(100, 1001, 100)]
    assert max(found["value"]) > 0.499


def test_what_is_interrupted_says_how_many_runs_are_kept(optlab, monkeypatch):
    optlab("sweep mine:task sgd learning_rate=0.1,0.2 --store s.db --quiet")

    def interrupted(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(ol.lab, "sweep", interrupted)
    code, _, err = optlab("sweep mine:task sgd learning_rate=0.1,0.2,0.3 --store s.db --quiet")
    assert code == 130
    assert "s.db has the 2 runs that were finished" in err


def test_ctrl_c_while_compiling_ends_the_process_with_130():
    command = [sys.executable, "-m", "optlab.cli", "sweep", "mine:interrupted", "sgd"]
    command += ["learning_rate=0.1,0.2", "--quiet"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (130, "optlab: interrupted\n")


@pytest.fixture
def lacks(monkeypatch):
    """Makes a library one that is not installed."""
    find = importlib.util.find_spec

    def hide(library):
        hidden = lambda name, *rest: None if name == library else find(name, *rest)  # noqa: E731
        monkeypatch.setattr(importlib.util, "find_spec", hidden)

    return hide


@pytest.mark.parametrize(
    "line",
    [
        "sweep mine:task sgd learning_rate=0.1,0.2 --plot a.png",
        "compare mine:task sgd adam learning_rate=0.1,0.2 --html a.html",
        "lr-range mine:task sgd --plot a.png",
    ],
)
def test_a_library_that_plots_need_is_missed_before_anything_is_trained(optlab, lacks, line):
    lacks("matplotlib")
    code, out, err = optlab(line)
    assert (code, out) == (2, "")
    assert 'needs matplotlib, which is not installed: pip install "optlab[plot]"' in err


def test_a_library_that_a_built_in_task_needs_is_named_in_a_line(optlab, lacks):
    lacks("sklearn")
    _digits_data._table.cache_clear()  # other tests have read it
    code, _, err = optlab("sweep digits_mlp sgd learning_rate=0.1,0.2")
    assert code == 2
    assert err.count("\n") == 1
    assert "The digits come with scikit-learn, which is not installed." in err


def test_a_reader_who_leaves_early_is_no_error(folder):
    command = [sys.executable, "-m", "optlab.cli", "schedule", "cosine", "init_value=1"]
    command += ["steps=100000", "--points", "20000"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_plots_leave_no_figure_open(optlab):
    from matplotlib import pyplot

    open_before = pyplot.get_fignums()
    optlab("schedule cosine init_value=1 steps=9 --plot a.png")
    assert pyplot.get_fignums() == open_before


def test_an_error_of_the_users_own_code_keeps_its_trace():
    with pytest.raises(ValueError, match="of mine"):
        cli.main(["sweep", "mine:task", "mine:broken", "learning_rate=0.1", "--quiet"])


def test_compare_tells_who_is_better_and_writes_a_report(optlab, folder):
    code, out, err = optlab(
        "compare mine:task sgd fast:mine:descent learning_rate=log:1e-3..0.02 "
        "fast.learning_rate=log:0.1..0.4 --trials 4 --seeds 2 --studies 2 --quiet --html r.html"
    )
    assert (code, err) == (0, "")
    assert "fast" in out
    assert "<html" in (folder / "r.html").read_text().lower()


@pytest.mark.parametrize(
    ("tasks", "files"),
    [("mine:task", ["p.png"]), ("mine:task,mine:other", ["p-bowl.png", "p-other_bowl.png"])],
)
def test_compare_draws_every_task_and_names_the_files(optlab, folder, tasks, files):
    code, out, _ = optlab(
        f"compare {tasks} sgd mine:descent learning_rate=log:1e-3..0.02 --trials 2 --seeds 1 "
        "--studies 1 --quiet --plot p.png"
    )
    assert code == 0
    assert sorted(path.name for path in folder.glob("*.png")) == files
    assert all(png(folder / name) for name in files)
    assert re.findall(r"^plot: (.*)$", out, re.MULTILINE) == (files if len(files) > 1 else [])


def test_lr_range_suggests_a_rate(optlab, folder):
    code, out, err = optlab("lr-range mine:task sgd --quiet --plot r.png --seeds 2")
    assert (code, err) == (0, "")
    assert png(folder / "r.png")
    code, out, _ = optlab("lr-range mine:task sgd momentum=0.5 --quiet --json --seeds 2")
    assert 1e-3 < json.loads(out)["suggestion"] < 1


def test_inspect_prints_a_chain_link_by_link(optlab):
    code, out, err = optlab("inspect adamw learning_rate=1e-3 --task mine:task")
    assert (code, err) == (0, "")
    assert "accumulate_moments" in out
    lines = dict(line.split() for line in out.partition("hyperparameters:")[2].splitlines() if line)
    assert lines["accumulate_moments/b2"] == "0.999"
    assert lines["scale_by_learning_rate/learning_rate"] == "0.001"
    found = json.loads(optlab("inspect adamw learning_rate=1e-3 --task mine:task --json")[1])
    assert found["hyperparameters"]["scale_by_learning_rate/learning_rate"] == 1e-3


def test_inspect_prints_a_network_at_its_start(optlab, folder):
    code, out, err = optlab("inspect mine:network --plot n.png")
    assert (code, err) == (0, "")
    assert "layers_0" in out
    assert png(folder / "n.png")


def test_a_schedule_is_printed_as_it_is(optlab, folder):
    code, out, err = optlab("schedule mine:SCHEDULE --json --steps 10 --points 3 --plot s.png")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["count"] == [0, 5, 10]
    expected = [float(ol.schedules.cosine(1.0, steps=10)(jnp.int32(i))) for i in found["count"]]
    assert found["value"] == expected
    assert png(folder / "s.png")
    _, out, _ = optlab("schedule cosine init_value=1 steps=100")
    assert out.splitlines()[0] == repr(ol.schedules.cosine(1.0, steps=100))
