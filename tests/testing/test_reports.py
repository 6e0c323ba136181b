"""What a check says: table, JSON and truth value, errors, and how to see a failure again."""

from __future__ import annotations

import functools
import json

import jax
import optax
import pytest

import optlab as ol
from optlab.testing._clauses import transformation_clauses


def sgd():
    def update(gradient, state, params=None, **extra):
        return jax.tree.map(lambda g: -0.1 * g, gradient), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def value_sgd():
    """SGD times the value of the loss, which it squares, so that it overflows."""

    def update(gradient, state, params=None, *, value, **extra):
        return jax.tree.map(lambda g: -g * value * 1e38 * 1e38, gradient), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def jumping():
    return lambda count: jax.numpy.asarray(count, jax.numpy.float32)


def ones():
    return lambda key, shape, dtype: jax.numpy.ones(shape, dtype)


FEW = ("empty_tree", "mismatched_trees[shape]", "counter_saturation", "bare_array")


@pytest.fixture(scope="module")
def report():
    return ol.testing.check_transformation(sgd, only=FEW)


def test_a_report_is_true_only_if_no_clause_failed(report):
    assert not report
    assert ol.testing.check_transformation(sgd, only=["empty_tree", "counter_saturation"])
    assert report.counts() == {"passed": 2, "failed": 1, "not applicable": 1}
    assert [r.clause for r in report.failures] == ["mismatched_trees[shape]"]


def test_the_tables_columns_line_up(report):
    head, *rows = str(report).split("\n\n")[0].splitlines()
    assert head == "sgd: 2 passed, 1 failed, 1 not applicable"
    assert [row.split()[0] for row in rows] == list(FEW)
    for row, result in zip(rows, report.results, strict=True):
        assert row.index(result.status) == 2 + len("mismatched_trees[shape]") + 2
    (note,) = [row for row in rows if "not applicable" in row]
    assert note.endswith("not applicable  it counts nothing")


def test_a_failure_says_what_was_done_what_came_out_and_what_was_expected(report):
    _, text = str(report).split("\n\n")
    lines = text.splitlines()
    assert lines[0] == (
        "mismatched_trees[shape] (capability) failed: "
        + ol.testing.clauses()["mismatched_trees[shape]"].promise
    )
    assert [line.split(":")[0].strip() for line in lines[1:5]] == [
        "did", "got", "expected", "Reproduce",
    ]  # fmt: skip


def test_json_round_trips(report):
    stored = json.loads(json.dumps(report.to_json()))
    assert stored == report.to_json()
    assert stored["subject"] == "sgd"
    assert stored["passed"] is False
    assert ol.testing.Report(
        stored["subject"], tuple(ol.testing.Result(**r) for r in stored["results"])
    ) == report  # fmt: skip


CHECKS = {
    "a law": lambda: ol.testing.check_transformation(sgd, only=FEW),
    "with extra arguments": lambda: ol.testing.check_transformation(
        value_sgd, needs="value", only="bare_scalar"
    ),
    "a schedule": lambda: ol.testing.check_schedule(
        jumping, steps=8, high=4.0, monotone="increasing", joins=[3], only="schedule_range"
    ),
    "an initializer": lambda: ol.testing.check_initializer(
        ones, shape=(4, 6), variance=1.0, random=False, only="sample_variance"
    ),
}


@pytest.mark.parametrize("name", CHECKS)
def test_a_failure_ends_with_three_lines_that_show_it_again(name, capsys):
    (failure,) = CHECKS[name]().failures
    lines = failure.reproduce.splitlines()
    assert len(lines) == 3
    exec("\n".join(lines), {})
    assert failure.found in capsys.readouterr().out.replace("\n  ", "\n")
    assert str(CHECKS[name]()).endswith("\n".join(f"    {line}" for line in lines))


def test_what_cannot_be_imported_is_named_with_its_place():
    for make, name in ((lambda: sgd(), "<lambda>"), (functools.partial(sgd), "sgd")):
        (failure,) = ol.testing.check_transformation(make, only=FEW).failures
        assert "make = ...  # " in failure.reproduce
        assert f"{name} in test_reports, line " in failure.reproduce


def test_parameters_given_are_named():
    params = {"w": jax.numpy.ones(3)}
    (failure,) = ol.testing.check_transformation(sgd, params=params, only=FEW[1]).failures
    assert "(make, params=params, only='mismatched_trees[shape]')" in failure.reproduce


# Which clauses run.


def test_only_runs_each_clause_once_in_the_order_given():
    report = ol.testing.check_transformation(sgd, only=["scan", "bare_array", "scan"])
    assert [r.clause for r in report.results] == ["scan", "bare_array"]


def test_a_name_without_brackets_stands_for_all_of_its_kind():
    report = ol.testing.check_transformation(sgd, only="mismatched_trees")
    assert {r.clause for r in report.results} == {
        f"mismatched_trees[{kind}]" for kind in ("shape", "structure", "state")
    }


def test_properties_run_only_where_claimed():
    properties = {n for n, c in ol.testing.clauses().items() if c.kind == "property"}
    chosen = transformation_clauses.chosen(claims="odd")
    assert set(chosen) == set(ol.testing.clauses()) - properties | {"odd"}


@pytest.mark.parametrize("argument", ["only", "claims"])
def test_an_unknown_clause_is_refused_with_the_nearest(argument):
    with pytest.raises(ValueError, match="no clause 'scann'; did you mean 'scan'"):
        ol.testing.check_transformation(sgd, **{argument: ["scann"]})


def test_an_unknown_extra_argument_is_refused():
    with pytest.raises(ValueError, match="needs: no extra argument 'vale'; did you mean 'value'"):
        ol.testing.check_transformation(sgd, needs=["vale"])


# Allowances.


def allowed(allow, only="mismatched_trees[shape]"):
    return ol.testing.check_transformation(sgd, allow=allow, only=only)


def test_an_allowed_clause_may_fail_and_shows_its_reason():
    report = allowed({"mismatched_trees[shape]": "it sees no parameters"})
    assert report
    assert report.counts() == {"allowed": 1}
    assert "mismatched_trees[shape]  allowed         it sees no parameters" in str(report)


@pytest.mark.parametrize("reason", ["", "  ", None, 3])
def test_an_allowance_needs_a_reason(reason):
    with pytest.raises(ValueError, match=r"allow\['scan'\] needs a reason in words, got"):
        allowed({"scan": reason})


def test_an_allowance_of_an_unknown_clause_is_refused():
    with pytest.raises(ValueError, match="no clause 'mismatched_tree'; did you mean"):
        allowed({"mismatched_tree": "why not"})


def test_an_allowance_that_is_not_needed_fails():
    report = allowed({"empty_tree": "it is empty"}, only="empty_tree")
    assert not report
    text = str(report)
    for words in ("allowed it to fail: it is empty", "it passes", "not needed"):
        assert words in text
    assert "Reproduce" not in text


def test_an_allowance_without_brackets_covers_all_and_tells_which_pass():
    both = ["mismatched_trees[shape]", "mismatched_trees[structure]"]
    assert allowed({"mismatched_trees": "it sees no parameters"}, only=both)
    pairs = ["update_dtype[float32,float32]", "update_dtype[bfloat16,float32]"]
    report = allowed({"update_dtype": "follows the gradient"}, only=pairs)
    assert [r.status for r in report.results] == ["failed", "allowed"]
    assert "'update_dtype' allows all its brackets: name those that fail" in str(report)


# Factories.


@pytest.mark.parametrize(
    ("make_tx", "words"),
    [
        (sgd(), ["must be a factory", "lambda: optlab.adam(1e-3)"]),
        (ol.sgd(0.1), ["must be a factory", "chain(", "lambda: optlab.adam(1e-3)"]),
        (None, ["must be a factory", "None"]),
        (lambda: None, ["must return a gradient transformation", "<lambda>() returned None"]),
        (lambda: (1, 2), ["an object with init and update", "returned (1, 2)"]),
        (ol.adam, ["without arguments", "adam() raised TypeError", "learning_rate"]),
        (lambda: 1 / 0, ["<lambda>() raised ZeroDivisionError: division by zero"]),
    ],
)
def test_what_makes_no_transformation_is_refused(make_tx, words):
    with pytest.raises(TypeError, match="make_tx ") as error:
        ol.testing.check_transformation(make_tx)
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_a_class_can_be_the_factory():
    class Still:
        def init(self, params):
            return ()

        def update(self, gradient, state, params=None, **extra):
            return gradient, state

    assert ol.testing.check_transformation(Still, only="bare_array")


def test_an_unknown_direction_of_a_schedule_is_refused():
    with pytest.raises(ValueError, match="'increasing' or 'decreasing', got 'up'"):
        ol.testing.check_schedule(jumping, steps=8, monotone="up")
