"""Dimensions and spaces: what they draw, what they keep, what they refuse."""

import json
import math
import re

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

import optlab as ol
from optlab import lab
from optlab.lab._dimensions import dimension_from_dict

PLACES = st.floats(0, 1, exclude_max=True)


def make_tx(learning_rate, momentum=0.9, *, nesterov=False):
    return learning_rate, momentum, nesterov


# --- dimensions


@hypothesis.given(PLACES, st.floats(1e-30, 1e30), st.floats(1.001, 1e6))
def test_log_uniform_stays_in_its_range(u, low, ratio):
    value = lab.log_uniform(low, low * ratio).at(u)
    assert low <= value <= low * ratio


@hypothesis.given(PLACES, st.floats(-1e30, 1e30), st.floats(0.001, 1e30))
def test_uniform_stays_in_its_range(u, low, width):
    hypothesis.assume(low < low + width)
    assert low <= lab.uniform(low, low + width).at(u) <= low + width


@pytest.mark.parametrize("log", [False, True])
def test_integers_draw_every_value_and_no_other(log):
    dimension = lab.integers(1, 6, log=log)
    drawn = [dimension.at(u) for u in np.linspace(0, 1, 10_000, endpoint=False)]
    assert set(drawn) == {1, 2, 3, 4, 5, 6}
    assert all(type(value) is int for value in drawn)
    shares = [drawn.count(value) / len(drawn) for value in range(1, 7)]
    if log:  # value k owns what rounds to it: log((k + 1/2) / (k - 1/2)) of log(13)
        expected = [math.log((k + 0.5) / (k - 0.5)) / math.log(13) for k in range(1, 7)]
    else:
        expected = [1 / 6] * 6
    np.testing.assert_allclose(shares, expected, atol=2e-3)


def test_log_uniform_gives_every_decade_its_equal_share():
    drawn = np.array([lab.log_uniform(1e-4, 1).at(u) for u in np.linspace(0, 0.999999, 4001)])
    counts, _ = np.histogram(drawn, bins=[1e-4, 1e-3, 1e-2, 1e-1, 1])
    np.testing.assert_allclose(counts / len(drawn), 0.25, atol=1e-3)


def test_a_list_is_drawn_evenly_and_grids_are_sorted():
    assert [lab.choice(["a", "b", "c"]).at(u) for u in (0, 0.34, 0.99)] == ["a", "b", "c"]
    assert lab.grid([3, 1, 2.5]).values == (1, 2.5, 3)


def test_numpy_scalars_become_plain_numbers():
    values = lab.grid(np.float32([0.5, 0.25])).values
    assert values == (0.25, 0.5)
    assert all(type(value) is float for value in values)


@pytest.mark.parametrize("u", [-0.1, 1.0, math.nan])
@pytest.mark.parametrize(
    "dimension",
    [lab.uniform(0, 1), lab.log_uniform(1, 2), lab.integers(0, 3), lab.choice([1, 2])],
)
def test_a_place_outside_the_unit_interval_is_refused(dimension, u):
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        dimension.at(u)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lab.log_uniform(0, 1), "low must be > 0, got 0.0"),
        (lambda: lab.log_uniform(-1, 1), "low must be > 0"),
        (lambda: lab.log_uniform(1, 0.1), "low=1.0, high=0.1; swap them"),
        (lambda: lab.uniform(1, 1), "keep it fixed"),
        (lambda: lab.uniform(0, math.inf), "high must be finite, got inf"),
        (lambda: lab.uniform(math.nan, 1), "low must be finite, got nan"),
        (lambda: lab.integers(5, 2), "swap them"),
        (lambda: lab.integers(0.5, 2), "whole number"),
        (lambda: lab.integers(0, 4, log=True), "must be >= 1 where log=True, got 0"),
        (lambda: lab.choice([]), "at least one value"),
        (lambda: lab.grid([0.1, 0.2, 0.1]), "got 0.1 more than once"),
        (lambda: lab.grid([0.1, math.nan]), "finite"),
        (lambda: lab.choice([1, True]), "got True more than once"),
    ],
)
def test_values_that_make_no_dimension_are_refused(make, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lab.uniform("0", 1), "low must be a number, got '0'"),
        (lambda: lab.uniform(False, True), "low must be a number, got False"),
        (lambda: lab.choice("adam"), r"choice\(\[...\]\)"),
        (lambda: lab.choice(3), "must be a list"),
        (lambda: lab.choice([math.cos]), "Let make_tx turn a name into the object"),
        (lambda: lab.grid(["a"]), "use choice"),
        (lambda: lab.integers(1, 3, log=1), "True or False"),
    ],
)
def test_kinds_that_make_no_dimension_are_refused(make, message):
    with pytest.raises(TypeError, match=message):
        make()


# --- spaces


def checked(space, function=make_tx):
    return lab.check_space(space, function)


def test_a_space_is_split_into_what_is_searched_and_what_is_fixed():
    space = checked({"nesterov": True, "learning_rate": lab.log_uniform(0.01, 1)})
    assert list(space.dimensions) == ["learning_rate"]
    assert space.constants == {"nesterov": True}
    assert space.size is None
    assert space.at([0.0]) == {"learning_rate": 0.01, "nesterov": True}
    assert checked(space) == space


def test_the_points_of_a_grid_are_all_different_and_complete():
    space = checked(
        {
            "learning_rate": lab.grid([0.1, 1]),
            "momentum": lab.integers(0, 2),
            "nesterov": lab.choice([False, True]),
        }
    )
    points = [tuple(space.point(i).values()) for i in range(space.size)]
    assert space.size == len(set(points)) == 12
    assert points[:3] == [(0.1, 0, False), (0.1, 0, True), (0.1, 1, False)]
    with pytest.raises(IndexError):
        space.point(12)


def test_a_space_of_constants_has_one_point():
    space = checked({"learning_rate": 0.1})
    assert space.size == 1
    assert space.point(0) == space.at([]) == {"learning_rate": 0.1}


def test_a_space_survives_json():
    space = checked(
        {"learning_rate": lab.log_uniform(0.01, 1), "momentum": lab.grid([0.0, 0.9]), "nesterov": 1}
    )
    data = space.to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["learning_rate"] == {"kind": "log_uniform", "low": 0.01, "high": 1.0}
    assert data["momentum"] == {"kind": "grid", "values": [0.0, 0.9]}


@pytest.mark.parametrize(
    "dimension",
    [
        lab.log_uniform(1e-5, 0.3),
        lab.uniform(-1, 1),
        lab.integers(1, 9, log=True),
        lab.choice(["a", None, True]),
        lab.grid([1, 2.5]),
    ],
)
def test_a_dimension_comes_back_from_json(dimension):
    assert dimension_from_dict(json.loads(json.dumps(dimension.to_dict()))) == dimension


def test_any_name_fits_a_function_that_takes_all():
    assert checked({"anything": 1}, lambda **kwargs: kwargs).constants == {"anything": 1}


@pytest.mark.parametrize(
    ("space", "function", "message"),
    [
        ({}, make_tx, "the space is empty"),
        ({"learning_rat": 1}, make_tx, "no argument 'learning_rat'; did you mean 'learning_rate'"),
        ({"momentum": 0.5}, make_tx, "make_tx needs 'learning_rate'"),
        ({"x": 1}, lambda x, /: x, "by position only"),
    ],
)
def test_a_space_that_does_not_fit_is_refused(space, function, message):
    with pytest.raises(ValueError, match=message):
        checked(space, function)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"momentum": lab.uniform(0.5, 1.2)}, r"with momentum=1.1999\d*, which its uniform"),
        ({"momentum": lab.uniform(-0.2, 0.9)}, r"with momentum=-0.1999\d*, which its uniform"),
        ({"momentum": lab.grid([0.0, 0.5, 1.5])}, "with momentum=1.5, which its grid"),
        ({"momentum": lab.choice([1.5, 0.4, 0.5])}, "with momentum=1.5, which its choice"),
        ({"momentum": lab.choice([0.5, 1.5, 0.4])}, "in the middle of the space, .*momentum=1.5"),
        ({"momentum": 7.0}, "in the middle of the space, with .*, momentum=7.0"),
    ],
)
def test_values_that_make_tx_refuses_are_met_before_any_is_drawn(space, message):
    space = {"learning_rate": lab.log_uniform(0.01, 1), **space}
    with pytest.raises(ValueError, match="sgd: momentum must be a number in") as caught:
        checked(space, ol.sgd)
    assert re.search(f"sweep tried make_tx {message}", *caught.value.__notes__)


def test_the_ends_of_a_range_that_are_hardly_drawn_are_not_asked_for():
    space = checked({"learning_rate": 0.1, "momentum": lab.uniform(0, 1)}, ol.sgd)
    assert space.at([1 - 2**-24])["momentum"] < 1


@pytest.mark.parametrize(
    ("space", "function", "message"),
    [
        ([0.1, 0.2], make_tx, "space must be a dict"),
        ({"learning_rate": [0.1, 1]}, make_tx, "may mean several things"),
        ({"learning_rate": math.cos}, make_tx, "learning_rate in the space must be a number"),
        ({1: 0.1}, make_tx, "names in a space are strings"),
        ({"learning_rate": 0.1}, "adam", "make_tx must be a function"),
    ],
)
def test_kinds_that_make_no_space_are_refused(space, function, message):
    with pytest.raises(TypeError, match=message):
        checked(space, function)
