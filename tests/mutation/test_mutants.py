"""The mutation check itself: mutants are what they say, and the page knows every file."""

import ast
import difflib
import re

import mutants
import mutation_faults
import mutation_guards as guards
import mutation_reasons
import mutation_report as report
import pytest

FILES = mutants.files()
by_file = pytest.mark.parametrize("file", FILES)


def source_of(file):
    return (mutants.ROOT / file).read_text(encoding="utf-8")


def made(source, operator=None):
    found = mutants.candidates("file.py", source)
    return {m.apply(source).strip() for m in found if operator in (None, m.operator)}


def test_every_transform_and_recipe_is_mutated():
    found = {
        path.relative_to(mutants.ROOT).as_posix()
        for package in ("transforms", "optimizers")
        for path in (mutants.ROOT / "optlab" / package).iterdir()
        if path.suffix == ".py" and path.name != "__init__.py"
    }
    assert set(FILES) == found


@by_file
def test_every_mutant_parses_and_differs_from_the_source_and_from_the_others(file):
    source = source_of(file)
    chosen = mutants.selected(file)
    trees = [ast.dump(ast.parse(m.apply(source))) for m in chosen]
    assert len({*trees, ast.dump(ast.parse(source))}) == len(trees) + 1
    assert len({m.key for m in chosen}) == len(chosen)


@by_file
def test_a_mutant_changes_one_place(file):
    source = source_of(file)
    for mutant in mutants.selected(file):
        assert source.encode()[mutant.start : mutant.end].decode() == mutant.before
        assert mutant.apply(source).count(mutant.after) >= 1


@by_file
def test_a_transform_has_ten_mutants_or_all_there_are(file):
    chosen = mutants.selected(file)
    if "transforms" in file:
        trees = set()
        proposed = mutants.candidates(file, source_of(file)) if len(chosen) < 10 else []
        everything = [m for m in proposed if mutants._is_new(m, source_of(file), trees)]
        assert len(chosen) >= min(10, len(everything))
    assert chosen


def test_the_choice_is_the_same_every_time_and_spread_over_the_lines():
    file = "optlab/transforms/_accumulate_moments.py"
    chosen = mutants.selected(file)
    mutants.selected.cache_clear()
    assert chosen == mutants.selected(file)
    assert len({m.line for m in chosen}) >= 10
    assert len({m.operator for m in chosen}) >= 10


def test_comments_and_docstrings_do_not_change_the_keys_of_mutants():
    plain = "def f(x):\n    return x + 1\n"
    told = '"""Words."""\n\n\ndef f(x):\n    """More."""\n    # and more\n    return x + 1\n'
    keys = [{m.key for m in mutants.candidates("f.py", source)} for source in (plain, told)]
    assert keys[0] == keys[1] != set()


def test_texts_annotations_and_imports_are_left_alone():
    source = '''
"""1 + 1"""
from a import b1
Number: int = "1 < 2"

def f(x: int | None, b1: tuple[1]) -> list[0]:
    """A < b."""
    raise ValueError(f"{x + 1} is not {x * 2}" + "!" * 1)
'''
    assert made(source) == set()


@pytest.mark.parametrize(
    ("operator", "before", "after"),
    [
        ("arithmetic", "a + b", "a - b"),
        ("arithmetic", "a * b", "a / b"),
        ("power dropped", "a**2", "a"),
        ("comparison", "a < b", "a <= b"),
        ("comparison reversed", "a < b", "a > b"),
        ("comparison", "a is not b", "a is b"),
        ("and, or", "a and b", "a or b"),
        ("not dropped", "not a", "a"),
        ("branches swapped", "a if b else c", "c if b else a"),
        ("sign", "-a", "a"),
        ("constant", "0", "1"),
        ("constant", "2", "3"),
        ("constant", "True", "False"),
        ("constant", "1e-8", "1e-07"),
        ("default", "f(default=0.9)", "f(default=0.45)"),
        ("where swapped", "where(a, b, c)", "where(a, c, b)"),
        ("where dropped", "where(a, b, c)", "(b)"),
        ("cast dropped", "a.astype(b)", "a"),
        ("dtype", "widest(a)", "jnp.float32"),
        ("count", "increment(a)", "a"),
        ("unsafe", "safe_divide(a, b)", "(a / b)"),
        ("division reversed", "safe_divide(a, b)", "(b / a)"),
        ("call dropped", "n.saturate(a)", "(a)"),
        ("call renamed", "jnp.maximum(a, b)", "jnp.minimum(a, b)"),
        ("call renamed", "complement(a, b)", "scalar(a, b)"),
        ("call renamed", "map(n.zeros_like, a)", "map(jnp.ones_like, a)"),
        ("eps moved", "sqrt(v) + e", "sqrt(v + e)"),
        ("eps moved", "sqrt(v + e)", "(sqrt(v) + e)"),
        ("arguments swapped", "f(a, b)", "f(b, a)"),
        ("argument dropped", "f(a=a, b=b)", "f(b=b)"),
        ("link dropped", "chain(f(), g())", "chain(g())"),
        ("links swapped", "chain(f(), g())", "chain(g(), f())"),
        ("check dropped", "f(a)", "pass"),
    ],
)
def test_operator(operator, before, after):
    assert after in made(before, operator)


@pytest.mark.parametrize(
    ("operator", "before", "after"),
    [
        ("name", "lambda b1, b2: b1", "lambda b1, b2: b2"),
        ("name", "(s.first, s.second)", "(s.second, s.second)"),
        ("negated", "lambda a: a + 1", "lambda a: -(a + 1)"),
        ("guard dropped", "if a:\n    raise E", "if False:\n    raise E"),
        ("condition negated", "if a:\n    b", "if not (a):\n    b"),
        ("filter dropped", "[x for x in a if x]", "[x for x in a if True]"),
        (
            "state kept",
            "def update(u, state):\n    return u, State(u)",
            "def update(u, state):\n    return u, state",
        ),
    ],
)
def test_operator_on_statements_and_names(operator, before, after):
    assert after in made(before, operator)


def test_names_are_swapped_only_for_names_that_exist():
    assert made("lambda b1: b1", "name") == set()
    assert made("s.first", "name") == set()


def test_what_only_raises_or_never_does_is_not_tried():
    assert made("scalar(self.b1, u.dtype)", "arguments swapped") == set()
    assert made("zip(a, b, strict=True)", "constant") == set()


def test_faults_by_hand_still_find_their_texts():
    for file, faults in mutation_faults.FAULTS.items():
        assert file in FILES
        for name, before, _ in faults:
            assert source_of(file).count(before) == 1, f"adapt {name!r} in mutation_faults.py"


@by_file
def test_the_modules_that_guard_a_file_exist(file):
    stages = guards.stages(file)
    for stage in stages:
        assert stage.name in guards.NAMES
        assert re.compile(stage.only)
        for argument in stage.arguments:
            assert not argument.startswith("tests") or (mutants.ROOT / argument).exists(), argument
    assert sum(not stage.slow for stage in stages) >= 3


def test_recipes_guard_the_transforms_they_use():
    assert "nadam" in guards.recipes_with(("look_ahead",))
    assert guards.recipes_with(("accumulate_momentum",)) == ("lars", "rmsprop", "sgd")


def test_reasons_belong_to_mutants_that_are_made():
    keys = {m.key for file in FILES for m in mutants.selected(file)}
    assert set(mutation_reasons.REASONS) <= keys


def test_the_page_lists_exactly_the_files():
    listed = re.findall(r"^\| `(\S+\.py)` ", report.PATH.read_text(encoding="utf-8"), re.MULTILINE)
    assert listed == [file.removeprefix("optlab/") for file in FILES], (
        "Run `python tests/mutation/run.py`."
    )


@pytest.mark.slow
def test_every_mutant_has_a_verdict_and_the_page_shows_it():
    chosen = {file: mutants.selected(file) for file in FILES}
    known = report.verdicts()
    missing = [m.key for group in chosen.values() for m in group if m.key not in known]
    assert not missing, "Run `python tests/mutation/run.py`."
    page, now = report.PATH.read_text(encoding="utf-8"), report.text(chosen, known)
    assert page == now, "\n".join(difflib.unified_diff(page.splitlines(), now.splitlines()))
