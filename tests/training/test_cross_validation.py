"""Cross-validation: who is in which fold, what is reported, what is refused."""

import json
import math

import numpy as np
import pytest

from optlab.training._console import UserError
from optlab.training._cross_validation import CrossValidation, cross_validate


def splits(count, **arguments):
    seen = []

    def run(train, validation, fold):
        seen.append((train, validation))
        assert fold == len(seen) - 1
        return {"size": len(validation)}

    cross_validate(run, count, **arguments)
    return seen


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"stratify": np.arange(23) % 3},
        {"groups": np.arange(23) // 3},
        {"stratify": np.arange(23) % 2, "groups": np.arange(23) // 2},
    ],
    ids=lambda a: "+".join(a) or "plain",
)
def test_every_row_is_judged_once_and_never_by_a_model_that_saw_it(arguments):
    seen = splits(23, folds=4, **arguments)
    assert len(seen) == 4
    assert sorted(np.concatenate([v for _, v in seen])) == list(range(23))
    for train, validation in seen:
        assert sorted([*train, *validation]) == list(range(23))
        for part in (train, validation):
            assert part.dtype == np.int64
            assert (np.diff(part) > 0).all()
        if "groups" in arguments:
            assert not set(arguments["groups"][train]) & set(arguments["groups"][validation])


def test_a_seed_gives_the_same_folds_and_another_one_others():
    for arguments in ({}, {"groups": np.arange(30) // 3}, {"stratify": np.arange(30) % 2}):
        first, again, other = (
            [v.tolist() for _, v in splits(30, seed=s, **arguments)] for s in (1, 1, 2)
        )
        assert first == again
        assert first != other


def test_stratified_folds_have_their_share_of_each_class():
    labels = np.array(["rare"] * 10 + ["common"] * 40)
    for _, validation in splits(50, folds=5, stratify=labels):
        assert (labels[validation] == "rare").sum() == 2
        assert len(validation) == 10


def test_the_means_and_spreads_are_those_of_the_folds():
    values = [0.5, 0.75, 1.0]
    result = cross_validate(lambda t, v, fold: {"a": values[fold], "b": 1}, 9, folds=3)
    assert result.rows == tuple({"a": v, "b": 1.0} for v in values)
    assert result.mean == {"a": 0.75, "b": 1.0}
    assert result.std == {"a": 0.25, "b": 0.0}
    assert result.names == ("a", "b")


def test_it_prints_as_a_table():
    result = CrossValidation(
        ({"loss": 0.25, "long name": 1e-7}, {"loss": math.nan, "long name": 12345.678})
    )
    lines = str(result).splitlines()
    assert lines[0].split() == ["metric", "mean", "std", "fold", "0", "fold", "1"]
    assert lines[1].split() == ["loss", "nan", "nan", "0.2500", "nan"]
    assert lines[2].split()[-2:] == ["1.000e-07", "1.235e+04"]
    assert len({len(line) for line in lines}) == 1


def test_it_becomes_json_without_nan():
    result = CrossValidation(({"a": 1.0, "b": math.nan}, {"a": 2.0, "b": math.inf}))
    stored = json.loads(result.to_json(), parse_constant=lambda c: pytest.fail(c))
    assert stored["folds"] == 2
    assert stored["mean"] == {"a": 1.5, "b": None}
    assert stored["rows"] == [{"a": 1.0, "b": None}, {"a": 2.0, "b": None}]


def test_folds_that_share_a_folder_are_told_to_have_their_own():
    def run(train, validation, fold):
        if fold:
            raise UserError("the data: the run in runs/x began with others")
        return {"loss": 1.0}

    with pytest.raises(UserError) as caught:
        cross_validate(run, 10, folds=2)
    assert "an output folder of its own, such as output=folder / 'fold-1'" in "".join(
        caught.value.__notes__
    )


def test_what_a_fold_raises_is_raised_on_and_says_which_fold():
    def run(train, validation, fold):
        if fold == 2:
            raise FloatingPointError("loss is NaN")
        return {"a": 1.0}

    with pytest.raises(FloatingPointError, match="loss is NaN") as caught:
        cross_validate(run, 10)
    (note,) = caught.value.__notes__
    assert "fold 2 of 0 ... 4" in note
    assert "8 rows to train on and 2 to judge" in note


@pytest.mark.parametrize(
    ("run", "error", "message"),
    [
        (lambda t, v, f: None, TypeError, "dict of numbers, got None"),
        (lambda t, v, f: {}, TypeError, "dict of numbers"),
        (lambda t, v, f: {"a": "high"}, TypeError, "'high' of type str for 'a'"),
        (lambda t, v, f: {"a": np.ones(2)}, TypeError, "for 'a'"),
        (lambda t, v, f: {"a" if f else "b": 1.0}, ValueError, r"\['a'\], but \['b'\] in fold 0"),
    ],
)
def test_a_run_that_gives_no_row_is_refused(run, error, message):
    with pytest.raises(error, match=message):
        cross_validate(run, 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 4, "folds": 5}, "at most the number of rows, 4, got 5"),
        ({"count": 4, "folds": 1}, "at least 2"),
        ({"count": 0}, "count must be"),
        ({"count": 10, "folds": 2.5}, "folds must be a whole number"),
        ({"count": 10, "seed": -1}, "seed must be"),
        (
            {"count": 10, "stratify": ["a"] * 8 + ["b"] * 2},
            "the class 'b' has 2 rows, fewer than 5 folds",
        ),
        ({"count": 10, "stratify": [0] * 9}, r"stratify must hold one label per row.*\(9,\)"),
        ({"count": 10, "groups": [0] * 4 + [1] * 6}, "5 folds need as many groups, got 2"),
        ({"count": 10, "groups": [0.0] * 9 + [math.nan]}, "1 labels in groups are NaN"),
    ],
)
def test_folds_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        cross_validate(lambda t, v, f: pytest.fail("must not run"), **arguments)
