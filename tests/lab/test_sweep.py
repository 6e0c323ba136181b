"""`sweep`: many hyperparameters, one program, nothing lost."""

import os
import signal
import subprocess
import sys
import time

import chex
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optlab as ol
from optlab import lab
from optlab.lab import _engine, _halving, _store

RATES = {"learning_rate": lab.log_uniform(1e-3, 1.0)}


def valley(**changes):
    def value(params):
        return 0.5 * (10 * params[0] ** 2 + params[1] ** 2)

    fields = {
        "name": "valley",
        "init": lambda key: jnp.array([1.0, 1.0]),
        "loss": lambda params, batch, key: value(params),
        "batch": lambda key, step: (),
        "evaluate": lambda params: {"loss": value(params)},
        "steps": 30,
    }
    return lab.Task(**(fields | changes))


def sweep(task=None, make_tx=ol.sgd, space=RATES, **options):
    given = {"budget": 9, "progress": False, "evaluations": 10} | options
    return lab.sweep(valley() if task is None else task, make_tx, space, **given)


def assert_same(a, b):
    assert a.trials == b.trials
    for one, other in zip(a.outcomes, b.outcomes, strict=True):
        np.testing.assert_array_equal(one.losses, other.losses)
        chex.assert_trees_all_equal(dict(one.metrics), dict(other.metrics))
        assert one[:5] == other[:5]


class Dies(Exception):
    pass


@pytest.fixture
def dies_after(monkeypatch):
    """Makes the store fail at its n-th finished chunk, as if the process had ended there."""

    def arrange(chunks):
        left, add = [chunks], _store.Store.add_outcomes

        def failing(self, outcomes):
            if left[0] == 0:
                raise Dies
            left[0] -= 1
            add(self, outcomes)

        monkeypatch.setattr(_store.Store, "add_outcomes", failing)
        return lambda: monkeypatch.setattr(_store.Store, "add_outcomes", add)

    return arrange


@pytest.fixture
def trained(monkeypatch):
    """The (trial, seed) of every run that the engine is asked for."""
    found, train = [], _engine.Engine.train

    def recording(self, members, **options):
        found.extend((m.trial, m.seed) for m in members)
        return train(self, members, **options)

    monkeypatch.setattr(_engine.Engine, "train", recording)
    return found


def test_the_best_rate_is_near_that_of_theory():
    best = sweep(budget=16, seeds=2).best()
    assert 0.12 < best.hyperparameters["learning_rate"] < 0.2  # 2 / (10 + 1) is the best
    assert best.seeds == 2


def test_a_rate_beyond_two_over_the_curvature_diverges():
    results = sweep(space={"learning_rate": lab.grid([0.19, 0.21])}, budget=None, steps=60)
    assert [o.status for o in results.outcomes] == ["done", "diverged"]


def test_the_number_of_programs_does_not_depend_on_the_number_of_trials():
    counts = []
    for budget in (2, 8):
        traced = []

        def loss(params, batch, key, traced=traced):
            traced.append(1)
            return jnp.sum(params**2)

        sweep(valley(loss=loss, evaluate=None), ol.adam, budget=budget, seeds=2)
        counts.append(len(traced))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("dead", [0, 4, 8])
def test_a_study_that_was_cut_short_goes_on_and_repeats_no_finished_run(
    tmp_path, dies_after, trained, dead
):
    whole = sweep()
    trained.clear()
    recover = dies_after(dead)
    with pytest.raises(Dies):
        sweep(store=tmp_path / "study.db")
    recover()
    trained.clear()
    resumed = sweep(store=tmp_path / "study.db")
    assert len(trained) == 9 - dead
    assert_same(resumed, whole)


def test_a_finished_study_is_read_and_not_trained_again(tmp_path, trained):
    first = sweep(store=tmp_path / "study.db")
    trained.clear()
    assert_same(sweep(store=tmp_path / "study.db"), first)
    assert trained == []


def test_a_study_grows_by_a_larger_budget(tmp_path, trained):
    small = sweep(store=tmp_path / "study.db", budget=4)
    trained.clear()
    large = sweep(store=tmp_path / "study.db", budget=9)
    assert [trial for trial, _ in trained] == [4, 5, 6, 7, 8]
    assert large.trials[:4] == small.trials
    assert_same(large, sweep(budget=9))
    assert_same(sweep(store=tmp_path / "study.db", budget=4), small)


def test_halving_trains_the_better_third_three_times_as_long():
    whole, halved = sweep(), sweep(halving=3)
    steps = sorted(o.steps for o in halved.outcomes)
    assert steps == [3] * 6 + [9] * 2 + [30]
    winner = halved.best()
    assert halved.outcomes[winner.trial].status == "done"
    chex.assert_trees_all_equal(
        dict(halved.outcomes[winner.trial].metrics), dict(whole.outcomes[winner.trial].metrics)
    )
    early = [o.metrics["loss"][0] for o in whole.outcomes]
    went_on = {o.trial for o in halved.outcomes if o.steps > 3}
    assert went_on == set(np.argsort(early)[:3])


@pytest.mark.parametrize("dead", [5, 9, 11, 12])
def test_halving_that_was_cut_short_goes_on_to_the_same_end(tmp_path, dies_after, trained, dead):
    whole = sweep(halving=3)
    recover = dies_after(dead)
    with pytest.raises(Dies):
        sweep(halving=3, store=tmp_path / "study.db")
    recover()
    trained.clear()
    assert_same(sweep(halving=3, store=tmp_path / "study.db"), whole)
    assert len(trained) == 9 + 3 + 1 - dead


@pytest.mark.parametrize(
    ("trials", "factor", "boundaries", "expected"),
    [
        (9, None, [10, 20, 30], [(30, 9)]),
        (9, 3, range(3, 31, 3), [(3, 9), (9, 3), (30, 1)]),
        (4, 2, range(1, 9), [(2, 4), (4, 2), (8, 1)]),
        (100, 2, [5, 10], [(5, 100), (10, 50)]),
        (5, 3, range(1, 28), [(9, 5), (27, 1)]),
    ],
)
def test_rungs_end_at_evaluations_and_keep_one_in_so_many(trials, factor, boundaries, expected):
    assert _halving.rungs(trials, factor, list(boundaries)) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": valley(steps=None)}, "valley does not say how many steps"),
        ({"seeds": []}, r"seeds must be different whole numbers >= 0, got \[\]"),
        ({"seeds": [1, 1]}, r"got \[1, 1\]"),
        ({"seeds": 0}, "seeds must be"),
        ({"halving": 1}, "halving must be >= 2"),
        ({"halving": 10}, "halving=10 stops nothing among 9 trials of 30 steps"),
        ({"plan": "fast"}, '"auto", "exact" or a Plan'),
        ({"space": {}}, "space is empty"),
        ({"space": {"rate": 0.1}}, "takes no argument 'rate'"),
        ({"space": {"learning_rate": lab.uniform(-1, 0)}}, "learning_rate must be"),
    ],
)
def test_mistakes_are_told_before_anything_runs(options, message, tmp_path, trained):
    with pytest.raises(ValueError, match=message):
        sweep(**options)
    assert trained == []


def test_a_store_of_another_task_is_refused(tmp_path):
    sweep(store=tmp_path / "study.db", budget=2)
    other = valley(loss=lambda params, batch, key: jnp.sum(params**2))
    words = r"another study: the task 'valley' computes .* \(another loss, data, .*\)\. Name"
    with pytest.raises(ValueError, match=words) as error:
        sweep(other, store=tmp_path / "study.db", budget=2)
    assert "fingerprint" not in str(error.value)
    named = valley(name="hill")
    with pytest.raises(ValueError, match=r"the task is 'valley' there and 'hill' here\. Name"):
        sweep(named, store=tmp_path / "study.db", budget=2)


def test_a_store_of_another_space_names_the_space_and_not_the_optimizer(tmp_path):
    sweep(store=tmp_path / "study.db", budget=2)
    space = {"learning_rate": lab.log_uniform(1e-4, 3e-2)}
    with pytest.raises(ValueError, match=r"study: space\.") as error:
        sweep(space=space, store=tmp_path / "study.db", budget=2)
    assert "optimizer" not in str(error.value)


@pytest.mark.parametrize(
    "make_tx",
    [
        lambda learning_rate: ol.sgd(learning_rate, momentum=0.9),
        lambda learning_rate: ol.chain(ol.clip_by_norm(2.0), ol.sgd(learning_rate)),
        lambda learning_rate: optax.sgd(2 * learning_rate),
    ],
    ids=["momentum", "clipped", "optax"],
)
def test_a_store_of_another_optimizer_is_refused(tmp_path, make_tx):
    def clipped(learning_rate):
        return ol.chain(ol.clip_by_norm(1.0), ol.sgd(learning_rate))

    for first in (clipped, lambda learning_rate: optax.sgd(learning_rate)):
        path = tmp_path / f"{id(first)}.db"
        kept = sweep(make_tx=first, store=path, budget=2)
        assert_same(sweep(make_tx=first, store=path, budget=2), kept)
        with pytest.raises(
            ValueError, match="another study: the optimizer computes something else"
        ):
            sweep(make_tx=make_tx, store=path, budget=2)


def test_when_all_diverge_the_results_are_there_and_say_so():
    results = sweep(space={"learning_rate": lab.grid([5.0, 9.0])}, budget=None, steps=100)
    assert {o.status for o in results.outcomes} == {"diverged"}
    with pytest.raises(ValueError, match="every trial has a run that diverged"):
        results.best()


@pytest.mark.parametrize("evaluations", [1, 20])
def test_rates_that_are_far_too_large_are_not_laid_on_the_data(evaluations):
    space = {"learning_rate": lab.grid([5.0, 9.0, 50.0])}
    results = sweep(space=space, budget=None, steps=300, seeds=2, evaluations=evaluations)
    with pytest.raises(ValueError, match="search smaller learning rates"):
        results.best()
    assert "batch" not in repr(results)


STUDY = """
import sys, time
sys.path.insert(0, {here!r})
import test_sweep
from optlab.lab import _store

add = _store.Store.add_outcomes
def telling(self, outcomes):
    time.sleep(0.05)
    add(self, outcomes)
    print("kept", flush=True)  # all but: the transaction around it ends next
_store.Store.add_outcomes = telling
test_sweep.long_sweep(store={store!r})
"""


def long_sweep(**options):
    return sweep(valley(steps=1000), budget=40, **options)


@pytest.mark.slow
def test_a_killed_study_repeats_at_most_the_chunks_that_were_running(tmp_path, trained):
    path, rng = tmp_path / "study.db", np.random.default_rng(0)
    code = STUDY.format(here=os.path.dirname(__file__), store=str(path))
    told = 0
    for _ in range(5):
        command = [sys.executable, "-c", code]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for _ in range(rng.integers(1, 6)):
                told += process.stdout.readline() == "kept\n"
            time.sleep(rng.uniform(0, 0.3))
            process.send_signal(signal.SIGKILL)
            told += process.stdout.read().count("kept\n")
        with _store.Store(path) as store:
            kept = len(store.outcomes())
        assert told - 1 <= kept <= told
        told = kept
    trained.clear()
    resumed = long_sweep(store=path)
    assert 5 <= told == 40 - len(trained)
    assert_same(resumed, long_sweep())
