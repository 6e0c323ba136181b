"""A user's test file of three lines: one pytest test a clause; TestCases and chex's variants."""

from __future__ import annotations

import unittest

import chex
import jax
import pytest

import optlab as ol
from optlab.testing._clauses import ONE_DEVICE

USERS_FILE = """
import optax
import optlab as ol

def make(): return optax.sgd(0.1)

@ol.testing.conforms(make, only=["scan", "mismatched_trees[shape]", "counter_saturation"])
def test_sgd(): pass

@ol.testing.conforms(make, claims=["odd"])
def test_collected(): pass

@ol.testing.conforms(make, only="mismatched_trees[shape]",
                     allow={"mismatched_trees": "it sees no parameters"})
def test_allowed(): pass

@ol.testing.conforms(make, only="mismatched_trees",
                     allow={"mismatched_trees": "it sees no parameters"})
def test_family(): pass

@ol.testing.conforms(make, only="empty_tree", allow={"empty_tree": "it is empty"})
def test_not_needed(): pass

@ol.testing.conforms(make, only="empty_tree")
def test_body(tmp_path, clause, other=3):
    assert clause == "empty_tree" and tmp_path.exists() and other == 3
    raise KeyError(7)
"""


class Recorder:
    """A pytest plugin: what was collected, and how each test ended with which text."""

    def __init__(self):
        self.collected, self.outcomes, self.texts = [], {}, {}

    def pytest_collection_modifyitems(self, items):
        self.collected = [item.name for item in items]
        items[:] = [item for item in items if not item.name.startswith("test_collected")]

    def pytest_runtest_logreport(self, report):
        if report.when == "call":
            name = report.nodeid.split("::")[1]
            self.outcomes[name], self.texts[name] = report.outcome, str(report.longrepr)


@pytest.fixture(scope="module")
def users(tmp_path_factory):
    """A user's test file, run by a pytest of its own."""
    folder, recorder = tmp_path_factory.mktemp("users"), Recorder()
    (folder / "test_users.py").write_text(USERS_FILE)
    options = ["-p", "no:terminal", "-p", "no:cacheprovider", f"--rootdir={folder}"]
    pytest.main([*options, str(folder)], plugins=[recorder])
    return recorder


def test_every_clause_is_a_test_of_its_name(users):
    laws = [n for n, c in ol.testing.clauses().items() if c.kind != "property"]
    expected = {f"test_collected[{n}]" for n in [*laws, "odd"]}
    assert {n for n in users.collected if n.startswith("test_collected")} == expected


def test_a_clause_that_is_kept_passes(users):
    assert users.outcomes["test_sgd[scan]"] == "passed"


def test_what_does_not_apply_is_skipped_with_the_reason(users):
    assert users.outcomes["test_sgd[counter_saturation]"] == "skipped"
    assert "not applicable: it counts nothing" in users.texts["test_sgd[counter_saturation]"]


def test_a_failing_clause_is_reported_with_its_text_alone(users):
    name = "test_sgd[mismatched_trees[shape]]"
    assert users.outcomes[name] == "failed"
    text = users.texts[name].splitlines()
    assert text[0] == "make: 1 failed (1 capability)"
    assert "  did: gave updates with one more axis than the parameters" in text
    assert "  expected: an error that names what differs" in text
    assert text[-3:] == [
        "    import optlab as ol",
        "    from test_users import make",
        "    print(ol.testing.check_transformation(make, only='mismatched_trees[shape]'))",
    ]


def test_an_allowed_clause_is_skipped_with_its_reason(users):
    name = "test_allowed[mismatched_trees[shape]]"
    assert users.outcomes[name] == "skipped"
    assert "allowed: it sees no parameters" in users.texts[name]


def test_an_allowance_of_several_fails_none_of_them(users):
    ended = [users.outcomes[name] for name in users.outcomes if name.startswith("test_family")]
    assert len(ended) == 3
    assert "failed" not in ended


def test_an_allowance_that_is_not_needed_fails(users):
    assert users.outcomes["test_not_needed[empty_tree]"] == "failed"
    assert "no allowance that is not needed" in users.texts["test_not_needed[empty_tree]"]


def test_the_body_runs_and_gets_its_fixtures_and_the_clause(users):
    assert users.outcomes["test_body[empty_tree]"] == "failed"
    assert "KeyError: 7" in users.texts["test_body[empty_tree]"]


@pytest.mark.parametrize("options", [{"claims": ["leaf_locl"]}, {"only": "leaf_locl"},
                                     {"allow": {"leaf_locl": "why not"}}])  # fmt: skip
def test_an_unknown_clause_is_refused_where_it_is_written(options):
    with pytest.raises(ValueError, match="no clause 'leaf_locl'; did you mean 'leaf_local'"):
        ol.testing.conforms(lambda: ol.sgd(0.1), **options)


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ([ol.sgd(0.1)], {}, "make_tx must be a factory"),
        ([lambda: ol.sgd(0.1)], {"need": "loss"}, "no option 'need'; did you mean 'needs'"),
    ],
)
def test_bad_arguments_are_refused_where_they_are_written(arguments, options, words):
    with pytest.raises(TypeError, match=words):
        ol.testing.conforms(*arguments, **options)


def test_without_a_factory_it_is_refused():
    with pytest.raises(TypeError, match=r"before the test test_mine: @conforms\(make_tx\)"):

        @ol.testing.conforms
        def test_mine():
            pass


def test_one_device_says_how_to_get_eight():
    assert "XLA_FLAGS=--xla_force_host_platform_device_count=8" in ONE_DEVICE
    assert "conftest.py" in ONE_DEVICE


def failing():
    return ol.chain(ol.scale_by_learning_rate(lambda count: 0.1))


class TestMethods:
    """A plain class: a test a clause, as for functions."""

    seen: list[str] = []  # noqa: RUF012

    @ol.testing.conforms(lambda: ol.sgd(0.1), only=["empty_tree", "without_params"])
    def test_sgd(self, clause):
        self.seen.append(clause)

    def test_ran_for_each_clause(self):
        assert self.seen == ["empty_tree", "without_params"]


class InATestCase(unittest.TestCase):
    __test__ = False  # run below

    @ol.testing.conforms(lambda: ol.sgd(0.1), only=["empty_tree", "without_params"])
    def test_sgd(self):
        """Kept."""

    @ol.testing.conforms(failing, only=["empty_tree", "stored_as_json"])
    def test_failing(self):
        raise NotImplementedError("the body of a test that fails is not run")


def outcome(case):
    result = unittest.TestResult()
    case.run(result)
    return result


def test_a_testcase_checks_all_clauses_in_one_test():
    assert outcome(InATestCase("test_sgd")).wasSuccessful()
    assert InATestCase.test_sgd.__doc__ == "Kept."


def test_a_testcase_fails_with_the_report():
    ((_, text),) = outcome(InATestCase("test_failing")).failures
    assert "failing: 1 passed, 1 failed (1 capability)" in text
    assert "stored_as_json (capability) failed: " in text
    assert "NotImplementedError" not in text


VARIANTS = [
    "with_jit",
    "without_jit",
    "with_device",
    "without_device",
    pytest.param("with_pmap", marks=pytest.mark.slow),  # it compiles every step for 8 devices
]


class WithChex(chex.TestCase):
    __test__ = False  # run below
    seen: list[object] = []  # noqa: RUF012

    @chex.all_variants
    @ol.testing.conforms(lambda: ol.sgd(0.1), only="bare_scalar")
    def test_sgd(self):
        self.seen.append(self.variant.type)


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_chex_variants_check_update_through_them(variant):
    before = len(WithChex.seen)
    result = outcome(WithChex(f"test_sgd__{variant}"))
    assert result.wasSuccessful(), result.errors + result.failures
    assert [str(x) for x in WithChex.seen[before:]] == [f"_{variant}"]


def test_a_variant_wraps_update():
    calls = []

    def variant(update):
        def wrapped(*arguments):
            calls.append(len(arguments))
            return jax.jit(update)(*arguments)

        return wrapped

    make = lambda: ol.sgd(0.1)  # noqa: E731
    report = ol.testing.check_transformation(make, only="bare_scalar", variant=variant)
    assert report
    assert calls == [3, 3]  # the clause takes two steps, of gradient, state and parameters


def test_a_variant_that_breaks_the_update_fails():
    ran = jax.numpy.asarray(float("nan"))

    def variant(update):
        return lambda g, s, p: (jax.tree.map(lambda x: x * ran, update(g, s, p)[0]), s)

    make = lambda: ol.sgd(0.1)  # noqa: E731
    assert not ol.testing.check_transformation(make, only="bare_scalar", variant=variant)


def test_without_pytest_it_says_so(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pytest", None)
    with pytest.raises(ImportError, match="conforms needs pytest: pip install"):
        ol.testing.conforms(lambda: ol.sgd(0.1))
