"""Samplers: what they propose, how a longer study begins, what they refuse."""

import numpy as np
import pytest

from optlab import lab
from optlab.lab._samplers import make_sampler

SEQUENCES = ["random", "sobol", "halton"]


def space(**dimensions):
    dimensions = dimensions or {"a": lab.uniform(0, 1), "b": lab.log_uniform(1e-3, 1)}
    return lab.check_space(dimensions, lambda **kwargs: kwargs)


LISTS = {"a": lab.grid([1, 2, 3]), "b": lab.choice(["x", "y"])}


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_longer_study_begins_with_the_trials_of_a_shorter_one(name):
    whole = make_sampler(name, space(), budget=50, seed=3).ask(50)
    pieces = make_sampler(name, space(), budget=20, seed=3)
    assert [trial for n in (1, 4, 0, 7, 21) for trial in pieces.ask(n)] == whole[:33]


@pytest.mark.parametrize("name", SEQUENCES)
def test_another_seed_gives_other_trials(name):
    asked = [make_sampler(name, space(), budget=4, seed=seed).ask(4) for seed in (0, 0, 1)]
    assert asked[0] == asked[1] != asked[2]


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_sampler_made_again_goes_on_where_the_other_stopped(name):
    first = make_sampler(name, space(), budget=12)
    asked = first.ask(7)
    again = make_sampler(name, space(), budget=12)
    again.repeat([(hyperparameters, None) for hyperparameters in asked])
    assert again.ask(5) == first.ask(5)


@pytest.mark.parametrize("name", ["sobol", "halton"])
def test_quasi_random_points_leave_no_decade_out(name):
    asked = make_sampler(name, space(), budget=16).ask(16)
    for key, edges in (("a", [0, 0.25, 0.5, 0.75, 1]), ("b", np.geomspace(1e-3, 1, 5))):
        counts, _ = np.histogram([trial[key] for trial in asked], edges)
        assert counts.min() >= 3


def test_a_grid_is_every_point_once_and_then_nothing():
    grid = make_sampler(None, space(**LISTS))
    asked = grid.ask(4) + grid.ask(4)
    assert (grid.name, grid.budget, len(asked)) == ("grid", 6, 6)
    assert {(trial["a"], trial["b"]) for trial in asked} == {
        (a, b) for a in (1, 2, 3) for b in ("x", "y")
    }
    assert grid.ask(1) == []


def test_what_is_chosen_where_nothing_is_said():
    assert make_sampler(None, space(**LISTS)).name == "grid"
    assert make_sampler(None, space(**LISTS), budget=3).name == "sobol"
    assert make_sampler(None, space(), budget=3).name == "sobol"
    assert make_sampler(None, space(a=1.0)).ask(2) == [{"a": 1.0}]


def test_constants_are_part_of_every_trial():
    asked = make_sampler("random", space(a=lab.uniform(0, 1), c="fixed"), budget=3).ask(3)
    assert {trial["c"] for trial in asked} == {"fixed"}


@pytest.mark.parametrize(
    ("sampler", "dimensions", "budget", "message"),
    [
        ("grid", {}, None, "a is a range of real numbers"),
        ("grid", LISTS, 5, "the grid has 6 points, budget is 5"),
        (None, {}, None, "budget must say how many"),
        ("sobol", {}, 0, "budget must be a whole number >= 1, got 0"),
        ("sobel", {}, 3, "did you mean 'sobol'"),
        ("sobol", {"a": 1}, 3, "nothing to search"),
    ],
)
def test_what_does_not_fit_is_refused(sampler, dimensions, budget, message):
    with pytest.raises(ValueError, match=message):
        make_sampler(sampler, space(**dimensions), budget=budget)


def test_what_is_no_sampler_is_refused():
    with pytest.raises(TypeError, match=r"or optuna_sampler\(...\), got 3"):
        make_sampler(3, space(), budget=3)
