"""Every example is executed: docstrings, README, docs; in default settings, as users run them."""

import contextlib
import doctest
import importlib
import pathlib
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import pytest

import optlab

ROOT = pathlib.Path(__file__).parent.parent
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(autouse=True)
def as_users_run_it(tmp_path, monkeypatch):
    """Default promotion, an empty working directory, no window."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


# --- docstrings


def modules() -> Iterator[Any]:
    yield optlab
    for info in pkgutil.walk_packages(optlab.__path__, "optlab."):
        if not info.name.endswith("__main__"):
            yield importlib.import_module(info.name)


def examples() -> dict[str, doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = (test for module in modules() for test in finder.find(module))
    return {test.name: test for test in found if test.examples}


def failures(test: doctest.DocTest, namespace: dict[str, Any] | None = None) -> str:
    """What a run of the examples printed instead of what it should have; empty if all went well."""
    report: list[str] = []
    test.globs = {"__name__": "__main__"} if namespace is None else namespace
    doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append, clear_globs=False)
    return "".join(report)


EXAMPLES = examples()


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_of(name):
    report = failures(EXAMPLES[name])
    assert not report, report


def test_examples_were_found():
    assert {"optlab.core._chain.chain", "optlab.core._hyperparameters.replace"} <= set(EXAMPLES)


# --- Markdown


class Block(NamedTuple):
    line: int
    info: str
    code: str


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a Markdown text whose info string starts with `python`."""
    pattern = re.compile(
        r"^([ \t]*)```(python\b[^\n]*)\n(.*?)^\1```[ \t]*$", re.DOTALL | re.MULTILINE
    )
    return [
        Block(text.count("\n", 0, m.start(3)) + 1, m[2].strip(), textwrap.dedent(m[3]))
        for m in pattern.finditer(text)
    ]


def is_skipped(block: Block) -> bool:
    """Whether a block is marked as not to run; a mark without a reason is an error."""
    mark, _, reason = block.info.removeprefix("python").strip().partition(":")
    if mark and mark != "no-run":
        raise ValueError(f"line {block.line}: unknown mark {mark!r}; only no-run is known")
    if mark and not reason.strip():
        raise ValueError(f"line {block.line}: write the reason: ```python no-run: needs a GPU")
    return bool(mark)


def run_markdown(text: str, name: str) -> None:
    """Runs the blocks of a file, one after the other, in one namespace."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(text):
        if is_skipped(block):
            continue
        if block.code.lstrip().startswith(">>>"):
            parser = doctest.DocTestParser()
            test = parser.get_doctest(block.code, namespace, name, name, block.line - 1)
            if report := failures(test, namespace):
                raise AssertionError(report)
        else:  # the empty lines before it make line numbers in a traceback those of the file
            code = compile("\n" * (block.line - 1) + block.code, name, "exec")
            exec(code, namespace)


PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_of(page):
    with contextlib.redirect_stdout(None):
        run_markdown(page.read_text(), str(page))


# --- and each check can fail


def page(*sources: str, mark: str = "") -> str:
    return "# Title\n\n" + "\n\ntext\n\n".join(f"```python{mark}\n{s}\n```" for s in sources) + "\n"


def test_a_wrong_example_is_reported():
    parser = doctest.DocTestParser()
    right = parser.get_doctest(">>> 1 + 1\n2\n>>> print('a   b')\na b\n", {}, "right", None, 0)
    wrong = parser.get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0)
    assert failures(right) == ""
    assert "Expected:\n    3\nGot:\n    2" in failures(wrong)


def test_blocks_are_found_with_their_lines():
    found = blocks(
        page("a = 1", "b = 2") + "```bash\nrm\n```\n1. item\n   ```python\n   c = 3\n   ```\n"
    )
    assert [(b.line, b.code) for b in found] == [(4, "a = 1\n"), (10, "b = 2\n"), (17, "c = 3\n")]


def test_blocks_of_a_page_share_a_namespace():
    run_markdown(page("a = 1", "assert a == 1", ">>> a\n1"), "page")


@pytest.mark.parametrize("source", ["1 / 0", "assert False", ">>> 1\n2", "undefined", "x = ("])
def test_a_wrong_block_fails(source):
    with pytest.raises((ZeroDivisionError, AssertionError, NameError, SyntaxError)):
        run_markdown(page("a = 1", source), "page")


def test_the_traceback_names_the_line_of_the_page():
    with pytest.raises(ZeroDivisionError) as error:
        run_markdown(page("a = 1", "a = 2\n1 / 0"), "page.md")
    last = error.traceback[-1]
    assert (str(last.path), last.lineno + 1) == ("page.md", 11)


def test_a_block_is_skipped_only_with_a_reason():
    run_markdown(page("1 / 0", mark=" no-run: needs a GPU"), "page")
    for mark in (" no-run", " no-run:", " no-run: "):
        with pytest.raises(ValueError, match="line 4: write the reason"):
            run_markdown(page("1 / 0", mark=mark), "page")
    with pytest.raises(ValueError, match="unknown mark 'skip'"):
        run_markdown(page("1 / 0", mark=" skip"), "page")


def test_examples_run_under_default_promotion():
    assert jax.config.jax_numpy_dtype_promotion == "standard"
    assert jax.config.jax_numpy_rank_promotion == "allow"
