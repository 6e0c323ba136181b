"""Results from a store: those of the sweep, and of one that was cut short."""

import sqlite3

import pytest

import optlab as ol
from optlab import lab

SPACE = {"learning_rate": lab.log_uniform(0.01, 0.1), "momentum": 0.5}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "runs.db"
    task = lab.tasks.quadratic()
    results = lab.sweep(
        task, ol.sgd, SPACE, steps=10, budget=3, seeds=2, store=path, progress=False, plan="exact"
    )
    return task, path, results


def test_a_store_gives_the_results_of_its_sweep(swept):
    task, path, results = swept
    found = lab.load(path, task)
    assert found.rows == results.rows
    assert found.history == results.history
    assert found.space == results.space
    assert (found.metric, found.mode, found.target) == (task.metric, task.mode, task.target)


def test_a_sweep_cut_short_gives_what_it_had(swept, tmp_path):
    task, path, _ = swept
    shorter = tmp_path / "shorter.db"
    shorter.write_bytes(path.read_bytes())
    with sqlite3.connect(shorter) as db:
        db.execute("DELETE FROM outcomes WHERE trial = 2")
    db.close()
    found = lab.load(shorter, task)
    assert [row["trial"] for row in found.rows] == [0, 0, 1, 1]
    assert "1 not run" in repr(found)


def test_a_store_of_another_task_is_refused(swept):
    _, path, _ = swept
    with pytest.raises(ValueError, match=r"is of the task 'quadratic'.*'rosenbrock'"):
        lab.load(path, lab.tasks.rosenbrock())
