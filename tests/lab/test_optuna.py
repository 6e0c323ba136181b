"""Optuna's samplers: they learn, go on after an interruption, and share a study."""

import math
import subprocess
import sys

import jax.numpy as jnp
import pytest

import optlab as ol
from optlab import lab
from optlab.lab._samplers import make_sampler

pytest.importorskip("optuna")
pytest.importorskip("cmaes")

SPACE = {
    "rate": lab.log_uniform(1e-5, 1),
    "momentum": lab.uniform(0, 1),
    "power": lab.grid([0.5, 1, 2]),
    "count": lab.integers(1, 5),
    "fixed": "x",
}
CASES = ["tpe", "cmaes"]
WITH_CHOICE = {**SPACE, "nesterov": lab.choice([True, False, None])}


def start(method, space=SPACE, budget=40, seed=0, mode="min", **rest):
    checked = lab.check_space(space, lambda **kwargs: kwargs)
    return make_sampler(
        lab.optuna_sampler(method, **rest), checked, budget=budget, seed=seed, mode=mode
    )


def value(trial):
    """Best near a rate of 1e-2 and a momentum of 0.9; diverges at large rates."""
    if trial["rate"] > 0.3:
        return None
    return (math.log10(trial["rate"]) + 2) ** 2 + (trial["momentum"] - 0.9) ** 2


def search(sampler, budget, sign=1.0):
    """Populations of (hyperparameters, value)."""
    made = []
    while (left := budget - sum(map(len, made))) > 0:
        asked = sampler.ask(min(sampler.population, left))
        made.append([(t, None if value(t) is None else sign * value(t)) for t in asked])
        sampler.tell(made[-1])
    return made


@pytest.mark.parametrize("method", CASES)
@pytest.mark.parametrize(("mode", "sign"), [("min", 1), ("max", -1)])
def test_the_search_learns_from_what_it_is_told(method, mode, sign):
    made = search(start(method, mode=mode, budget=48), 48, sign)
    rates = [[abs(math.log10(t["rate"]) + 2) for t, _ in population] for population in made]
    first, last = (sum(map(sum, part)) / sum(map(len, part)) for part in (rates[:2], rates[-2:]))
    assert last < 0.75 * first


@pytest.mark.parametrize("method", CASES)
def test_every_trial_is_a_point_of_the_space(method):
    for trial, _ in (pair for population in search(start(method), 20) for pair in population):
        assert list(trial) == list(SPACE)
        assert 1e-5 <= trial["rate"] <= 1
        assert trial["power"] in (0.5, 1, 2)
        assert type(trial["count"]) is int
        assert 1 <= trial["count"] <= 5
        assert trial["fixed"] == "x"


def test_tpe_searches_choices_too():
    asked = start("tpe", WITH_CHOICE).ask(20)
    assert {trial["nesterov"] for trial in asked} == {True, False, None}


@pytest.mark.parametrize("method", CASES)
def test_a_study_made_again_from_its_trials_goes_on_as_it_would_have(method):
    whole = search(start(method), 40)
    for stop in (1, 3):
        again = start(method)
        for population in whole[:stop]:
            again.repeat(population)
        trials = [t for t, _ in whole[stop]]
        assert again.ask(len(trials)) == trials


def test_trials_that_the_sampler_would_not_propose_again_count_all_the_same():
    for method in CASES:
        strange = [({**start(method).ask(1)[0], "rate": r}, 1.0) for r in (0.1, 0.2)]
        sampler = start(method)
        sampler.repeat(strange)
        search(sampler, 8)


def test_the_seed_decides():
    asked = [start("tpe", seed=seed).ask(3) for seed in (0, 0, 1)]
    assert asked[0] == asked[1] != asked[2]


def test_when_all_diverge_the_search_goes_on():
    for method in CASES:
        sampler = start(method)
        for _ in range(4):
            sampler.tell([(trial, None) for trial in sampler.ask(8)])


class Dies(Exception):
    pass


@pytest.mark.parametrize("method", CASES)
def test_a_sweep_cut_short_in_a_population_goes_on_as_if_nothing_had_been(
    tmp_path, monkeypatch, method
):
    valley = lab.Task(
        name="valley",
        init=lambda key: jnp.array([1.0, 1.0]),
        loss=lambda params, batch, key: 5 * params[0] ** 2 + params[1] ** 2,
        batch=lambda key, step: (),
        steps=4,
    )

    def sweep(path):
        return lab.sweep(
            valley,
            ol.sgd,
            {"learning_rate": lab.log_uniform(1e-3, 1.0), "momentum": lab.uniform(0, 0.9)},
            budget=12,
            sampler=lab.optuna_sampler(method, population=4),
            evaluations=2,
            plan="exact",
            store=path,
            progress=False,
        )

    whole = sweep(tmp_path / "whole.db")
    left, add = [6], lab.Store.add_outcomes

    def failing(self, outcomes):
        if left[0] == 0:
            raise Dies
        left[0] -= 1
        add(self, outcomes)

    monkeypatch.setattr(lab.Store, "add_outcomes", failing)
    with pytest.raises(Dies):
        sweep(tmp_path / "cut.db")
    monkeypatch.undo()
    cut = lab.load(tmp_path / "cut.db", valley)
    assert len(cut.outcomes) == 6
    assert cut.trials == whole.trials[:8]
    resumed = sweep(tmp_path / "cut.db")
    assert resumed.trials == whole.trials
    assert resumed.history == whole.history


# --- shared studies


@pytest.mark.parametrize("kind", ["journal", "database"])
def test_samplers_with_one_storage_share_a_study(tmp_path, kind):
    storage = {
        "journal": tmp_path / "study.log",
        "database": f"sqlite:///{tmp_path / 'study.db'}",
    }[kind]
    one, other = (start("tpe", storage=storage, population=4) for _ in range(2))
    asked = one.ask(4) + other.ask(4)
    assert len({trial["rate"] for trial in asked}) == 8
    one.tell([(trial, value(trial)) for trial in asked[:4]])
    other.tell([(trial, value(trial)) for trial in asked[4:]])
    states = [trial.state.name for trial in one._study.get_trials()]
    assert states == ["COMPLETE"] * 8


def test_a_shared_study_is_told_once_what_an_interrupted_process_had_asked(tmp_path):
    storage = tmp_path / "study.log"
    first = start("tpe", storage=storage, population=4)
    told = [(trial, value(trial)) for trial in first.ask(4)]
    first.tell(told)
    waiting = [(trial, value(trial)) for trial in first.ask(4)]
    again = start("tpe", storage=storage, population=4)
    again.repeat(told)
    again.repeat(waiting)
    states = [trial.state.name for trial in again._study.get_trials()]
    assert states == ["COMPLETE"] * 8


def test_a_storage_with_a_study_of_another_space_is_refused(tmp_path):
    start("tpe", storage=tmp_path / "study.log")
    other = {**SPACE, "rate": lab.log_uniform(1e-4, 1)}
    for space, mode in ((other, "min"), (SPACE, "max")):
        with pytest.raises(ValueError, match=r"study 'optlab' .* name another: study_name"):
            start("tpe", space, mode=mode, storage=tmp_path / "study.log")
    start("tpe", other, storage=tmp_path / "study.log", study_name="two")


# --- what is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lab.optuna_sampler("tp"), "did you mean 'tpe'"),
        (lambda: lab.optuna_sampler("tpe", population=0), "population must be a whole number >= 1"),
        (lambda: start("cmaes", WITH_CHOICE), "nesterov is a choice"),
        (lambda: start("cmaes", {"rate": SPACE["rate"]}), "needs two dimensions at least"),
        (lambda: start("tpe").tell([({"rate": 3.0}, 1.0)]), "was told, but not asked for"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("method", "missing", "message"),
    [("tpe", "optuna", r'install "optlab\[lab\]"'), ("gp", "torch", "needs torch, which is not")],
)
def test_what_is_not_installed_is_named(monkeypatch, method, missing, message):
    if missing == "torch":
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    else:
        monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=message):
        start(method)


def test_optuna_is_not_imported_until_a_study_starts():
    code = "import sys; from optlab import lab; lab.optuna_sampler('tpe'); "
    code += "sys.exit('optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_the_gaussian_process_learns_and_goes_on():
    pytest.importorskip("torch")
    made = search(start("gp"), 20)
    assert min(v for _, v in made[-1] if v is not None) < 0.3
    again = start("gp")
    for population in made[:2]:
        again.repeat(population)
    assert again.ask(4) == [t for t, _ in made[2]]
