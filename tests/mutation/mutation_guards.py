"""Which tests guard a file: stages, the fastest and nearest first.

A stage that fails kills the mutant, and the rest is not run. What follows from names is derived:
the public functions of a transform's file give its rows in `test_every_transform_*` and in the
contract, and the recipes that call them give its rows of the parity suite.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]

# The test modules of a transform that are not called `test_<file>.py`.
OWN_TESTS = {
    "_adadelta": ("test_scale_by_adadelta",),
    "_decay": ("test_decayed_weights",),
    "_freeze": ("test_route", "test_route_inside"),
    "_learning_rate": ("test_scale_by_learning_rate",),
    "_route": ("test_route", "test_route_inside"),
    "_sharding": ("test_state_sharding",),
    "_second_moments": ("test_second_moments", "test_accumulate_moments"),
    "_sign": ("test_sign_links",),
}


@dataclasses.dataclass(frozen=True)
class Stage:
    """A run of pytest.

    Attributes:
      name: what the table calls it.
      arguments: for pytest.
      only: regular expression that a test's name must contain.
      slow: whether these tests are outside of the default suite.
    """

    name: str
    arguments: tuple[str, ...]
    only: str = ""
    slow: bool = False


NAMES = (
    "own tests",
    "errors",
    "contract",
    "examples",
    "parity",
    "recipes",
    "laws",
    "neighbours",
    "core",
    "every transform (slow)",
    "whole contract (slow)",
)


def stages(file: str) -> list[Stage]:
    """The tests that guard a file of `mutants.files()`."""
    path = Path(file)
    is_transform = path.parent.name == "transforms"
    names = public(file) or reached_through(file)
    used = recipes_with(names) if is_transform else names
    rows = _brackets(names)
    contract = ("tests/contract/test_contract.py",)
    found = []
    if is_transform:
        own, others = own_tests(path.stem), neighbours((*names, *used), own_tests(path.stem))
        found += [Stage("own tests", own)] if own else [Stage("neighbours", others)]
        found += [Stage("errors", ("tests/transforms/test_every_transform_errors.py",), rows)]
    parity = Stage("parity", ("tests/parity/test_parity.py",), rf"\[({'|'.join(used)})[(\]]")
    found += [parity] if used and not is_transform else []
    found += [
        Stage("contract", contract, rows),
        Stage("examples", ("tests/test_docs.py",), rf"\.{path.stem}\."),
    ]
    found += [parity] if used and is_transform else []
    others_rows = _brackets(tuple(name for name in _all_recipes() if name not in used))
    recipes = Stage("recipes", ("tests/optimizers",), rf"^(?!.*{others_rows})")
    found += [recipes] if used else []
    found += [Stage("laws", ("tests/properties",))]
    if is_transform and own and others:
        found += [Stage("neighbours", others)]
    found += [Stage("core", ("tests/core",))]
    if is_transform:
        every = [f"tests/transforms/test_every_transform_{kind}.py" for kind in _KINDS]
        found += [Stage("every transform (slow)", (*every, "-m", "slow"), rows, slow=True)]
    found += [Stage("whole contract (slow)", (*contract, "-m", "slow"), rows, slow=True)]
    return found


_KINDS = ("values", "hyperparameters", "symmetry", "signature", "sharding")


def own_tests(stem: str) -> tuple[str, ...]:
    """`test_<file>.py`, or what `OWN_TESTS` says."""
    modules = OWN_TESTS.get(stem, (f"test{stem}",))
    paths = [f"tests/transforms/{module}.py" for module in modules]
    return tuple(path for path in paths if (ROOT / path).exists())


def neighbours(names: tuple[str, ...], own: tuple[str, ...]) -> tuple[str, ...]:
    """The other tests of transforms and of storages that use one of the functions."""
    word = re.compile(rf"\b({'|'.join(names)})\b")
    found = []
    for folder in ("transforms", "storage"):
        for path in sorted((ROOT / "tests" / folder).glob("test_*.py")):
            if "test_every_" not in path.name and word.search(path.read_text(encoding="utf-8")):
                found.append(path.relative_to(ROOT).as_posix())
    return tuple(path for path in found if path not in own)


def _brackets(names: tuple[str, ...]) -> str:
    if not names:
        return "(?!)"  # nothing
    return rf"\[(.*[^\w])?({'|'.join(names)})\b"


@functools.cache
def public(file: str) -> tuple[str, ...]:
    """The public functions that a file defines."""
    path = ROOT / file
    functions = (n.name for n in _tree(path).body if isinstance(n, ast.FunctionDef))
    exported = _imported(path.parent / "__init__.py")
    return tuple(name for name in functions if name in exported)


@functools.cache
def reached_through(file: str) -> tuple[str, ...]:
    """The public functions of the files beside it that import a file without any."""
    path = ROOT / file
    found = []
    for other in sorted(path.parent.glob("_[a-z]*.py")):
        if path.stem in _imported(other):
            found += public(other.relative_to(ROOT).as_posix())
    return tuple(found)


def _imported(path: Path) -> set[str]:
    """The names that a file imports, and the last parts of the modules it imports from."""
    found = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ImportFrom):
            found |= {name.name for name in node.names} | {(node.module or "").split(".")[-1]}
    return found


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def _all_recipes() -> tuple[str, ...]:
    paths = sorted((ROOT / "optlab" / "optimizers").glob("_[a-z]*.py"))
    return tuple(name for path in paths for name in public(path.relative_to(ROOT).as_posix()))


@functools.cache
def recipes_with(names: tuple[str, ...]) -> tuple[str, ...]:
    """The recipes that call one of the functions."""
    found = []
    for path in sorted((ROOT / "optlab" / "optimizers").glob("_[a-z]*.py")):
        called = {n.func.id for n in ast.walk(_tree(path)) if _calls_name(n)}
        if called & set(names):
            found += public(f"optlab/optimizers/{path.name}")
    return tuple(found)


def _calls_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
