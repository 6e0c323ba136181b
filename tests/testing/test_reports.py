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


def sized(rate=0.1, name=""):
    return sgd()


class Shelf:
    @staticmethod
    def sgd():
        return sgd()


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
    assert head == "sgd: 2 passed, 1 failed (1 capability), 1 not applicable"
    assert [row.split()[0] for row in rows] == list(FEW)
    for row, result in zip(rows, report.results, strict=True):
        kind_at = 2 + len("mismatched_trees[shape]") + 2
        assert row.index(f" {result.kind} ") + 1 == kind_at
        assert row.index(result.status) == kind_at + len("capability") + 2
    (note,) = [row for row in rows if "not applicable" in row]
    assert note.endswith("not applicable  it counts nothing")


def test_a_failure_says_what_was_done_what_came_out_and_what_was_expected(report):
    _, beyond, text = str(report).split("\n\n")
    assert "beyond what plain Optax promises" in beyond
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
    bound = functools.partial(sized, rate=jax.numpy.ones(()))
    for make, name in ((lambda: sgd(), "<lambda>"), (bound, "a partial of sized")):
        (failure,) = ol.testing.check_transformation(make, only=FEW).failures
        assert "make = ...  # fill in your factory: " in failure.reproduce
        assert f"{name} in test_reports, line " in failure.reproduce


def test_a_partial_is_written_out(capsys):
    make = functools.partial(sized, rate=0.5, name="it's")
    (failure,) = ol.testing.check_transformation(make, only=FEW).failures
    assert 'functools.partial(test_reports.sized, rate=0.5, name="it\'s")' in failure.reproduce
    exec(failure.reproduce, {})
    assert failure.found in capsys.readouterr().out.replace("\n  ", "\n")


def test_what_stands_in_a_class_is_imported_with_it():
    (failure,) = ol.testing.check_transformation(Shelf.sgd, only=FEW).failures
    assert "\nfrom test_reports import Shelf; make = Shelf.sgd\n" in failure.reproduce


def test_sharding_is_shown_again_on_eight_devices():
    make = lambda: ol.scale_by_learning_rate(lambda count: 1 / 0)  # noqa: E731
    (failure, _) = ol.testing.check_transformation(make, only="sharding").failures
    assert failure.reproduce.startswith('import os; os.environ["XLA_FLAGS"] = "--xla_force')
    assert failure.reproduce.splitlines()[1] == "import optlab as ol"


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


def test_a_kind_stands_for_its_clauses():
    kinds = {n: c.kind for n, c in ol.testing.clauses().items()}
    for kind in ("law", "capability"):
        chosen = transformation_clauses.chosen(only=kind)
        assert chosen == tuple(n for n in kinds if kinds[n] == kind)


def test_nothing_to_run_is_refused():
    with pytest.raises(ValueError, match="only is empty"):
        ol.testing.check_transformation(sgd, only=[])


def test_a_missing_extra_argument_is_told_once_with_the_remedy():
    with pytest.raises(TypeError, match=r"'value'\. Say needs=\['value'\], .* --need value"):
        ol.testing.check_transformation(value_sgd)


def test_an_extra_argument_that_cannot_be_given_is_told():
    def make():
        def update(gradient, state, params=None, *, temperature):
            return gradient, state

        return optax.GradientTransformationExtraArgs(lambda params: (), update)

    with pytest.raises(TypeError, match=r"'temperature'\. Only value, loss, .* bind others"):
        ol.testing.check_transformation(make)


def test_arguments_missing_elsewhere_are_left_to_the_clauses():
    def helper(*, scale):
        return scale

    def make():
        def update(gradient, state, params=None, **extra):
            return helper(), state

        return optax.GradientTransformationExtraArgs(lambda params: (), update)

    (failure,) = ol.testing.check_transformation(make, only="scan").failures
    assert "missing 1 required keyword-only argument: 'scale'" in failure.found


def test_an_error_is_traced_to_the_users_own_line():
    def make():
        def update(gradient, state, params=None, **extra):
            return optax.tree.norm(None + params["matrix"]), state

        return optax.GradientTransformationExtraArgs(lambda params: (), update)

    report = ol.testing.check_transformation(make, only=["scan", "strict_promotion"])
    first, second = (r.found.splitlines() for r in report.failures)
    assert first[0] == "did: took 3 steps with float32 parameters"
    assert second[0] == "did: ran 2 steps under strict promotion with float32 parameters"
    for found in (first, second):
        assert "test_reports.py" in found[2]
        assert found[2].endswith(
            'in update: return optax.tree.norm(None + params["matrix"]), state'
        )


@pytest.mark.parametrize(
    ("params", "error"), [({}, ValueError), ("abc", TypeError), ({"a": None}, ValueError)]
)
def test_parameters_that_are_none_are_refused(params, error):
    with pytest.raises(error, match="params must"):
        ol.testing.check_transformation(sgd, params=params)


def test_the_rate_may_be_called_lr():
    def make(lr=0.1):
        return sgd()

    report = ol.testing.check_transformation(make, only="bad_hyperparameters")
    assert "did: made it with lr=-1.0\n  got: no error\n  expected: a ValueError" in str(report)


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
    assert "mismatched_trees[shape]  capability  allowed         it sees no parameters" in str(
        report
    )


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


def test_an_allowance_without_brackets_holds_if_one_fails():
    both = ["mismatched_trees[shape]", "mismatched_trees[structure]"]
    assert allowed({"mismatched_trees": "it sees no parameters"}, only=both)
    pairs = ["update_dtype[float32,float32]", "update_dtype[bfloat16,float32]"]
    report = allowed({"update_dtype": "follows the gradient"}, only=pairs)
    assert [r.status for r in report.results] == ["passed", "allowed"]


def test_an_allowance_without_brackets_that_none_needs_fails_once():
    report = allowed({"huge": "who knows"}, only="huge")
    assert [r.status for r in report.results] == ["failed", "passed"]
    assert "all 2 that 'huge' stands for pass" in str(report)
    assert allowed({"huge": "who knows"}, only="huge[1e25]")  # the other one may need it


@pytest.mark.parametrize("allow", [["scan"], "scan", 3])
def test_allowances_without_reasons_are_refused(allow):
    with pytest.raises(TypeError, match="allow must map clauses to reasons"):
        allowed(allow)
