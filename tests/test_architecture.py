"""The architecture, read from the source: layers, cycles, foreign imports, sizes, docstrings.

The checkers are functions of sources, so each is shown to fail on a small wrong one as well as to
pass on optlab.
"""

import ast
import fnmatch
import importlib
import inspect
import pathlib
import re
import subprocess
import sys
import types
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pytest

import optlab

ROOT = pathlib.Path(optlab.__file__).parent
LAYERS = (
    {"core"},
    {"initializers", "schedules", "storage", "selectors"},
    {"transforms"},
    {"optimizers"},
    {"lab", "training", "testing"},
    {"cli"},
)
FIRST_LAYER_WITH_EXTRAS = 4
DEPENDENCIES = {"jax", "jaxlib", "numpy", "optax", "optlab"}
LAZY_ANYWHERE = {"matplotlib"}  # plots; never at the top of a file
MAX_LINES = 400


# --- reading sources


class Import(NamedTuple):
    module: str
    name: str | None
    line: int
    lazy: bool


def read_package(root: pathlib.Path = ROOT) -> dict[str, str]:
    """Source by module name."""
    sources = {}
    for path in sorted(root.rglob("*.py")):
        parts = (root.name, *path.relative_to(root).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        sources[name] = path.read_text()
    return sources


def is_package(module: str, sources: Mapping[str, str]) -> bool:
    return any(other.startswith(f"{module}.") for other in sources)


def imports(module: str, sources: Mapping[str, str]) -> list[Import]:
    """Every import of a module, those inside functions included, with relative ones resolved."""
    found = []

    def visit(node: ast.AST, lazy: bool) -> None:
        for child in ast.iter_child_nodes(node):
            inner = lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            if isinstance(child, ast.Import):
                found.extend(Import(a.name, None, child.lineno, lazy) for a in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                if child.level:
                    up = child.level - is_package(module, sources)
                    parent = module.split(".")[: len(module.split(".")) - up]
                    base = ".".join([*parent, *filter(None, [base])])
                found.extend(Import(base, a.name, child.lineno, lazy) for a in child.names)
            visit(child, inner)

    visit(ast.parse(sources[module]), False)
    return found


def target(item: Import, sources: Mapping[str, str]) -> str:
    """The module an import reads: `from optlab.core import _checks` reads `optlab.core._checks`."""
    whole = f"{item.module}.{item.name}"
    return whole if whole in sources else item.module


def part(module: str) -> str | None:
    """`"core"` for `optlab.core._checks`; None for optlab itself."""
    pieces = module.split(".")
    return pieces[1] if len(pieces) > 1 else None


def layer(name: str | None) -> int | None:
    return next((i for i, names in enumerate(LAYERS) if name in names), None)


# --- the rules; each yields what is wrong


def unknown_parts(sources: Mapping[str, str]) -> Iterator[str]:
    for name in sorted({part(module) for module in sources} - {None}):
        if layer(name) is None:
            yield f"optlab.{name} belongs to no layer; add it to LAYERS"


def upward_imports(sources: Mapping[str, str]) -> Iterator[str]:
    for module in sources:
        here = part(module)
        for item in imports(module, sources):
            there = target(item, sources)
            if there.split(".")[0] != "optlab" or here is None or part(there) == here:
                continue
            place = f"{module}:{item.line}"
            own, other = layer(here), layer(part(there))
            if part(there) is None:
                if own != len(LAYERS) - 1:
                    yield f"{place} imports optlab itself, which imports everything"
            elif own is None or other is None or other > own:
                yield f"{place} imports {there}, which is above it"
            elif other == own:
                yield f"{place} imports {there}, its sibling in layer {own}"


def private_imports(sources: Mapping[str, str]) -> Iterator[str]:
    """Files of another package are its own affair, and so are the insides of JAX and Optax."""
    for module in sources:
        for item in imports(module, sources):
            there = target(item, sources)
            pieces = [*item.module.split("."), *([item.name] if item.name else [])]
            if "_src" in pieces:
                yield f"{module}:{item.line} imports {'.'.join(pieces)}, which is private"
            elif (
                there.startswith("optlab.")
                and part(there) != part(module)
                and any(piece.startswith("_") for piece in pieces)
            ):
                yield f"{module}:{item.line} imports {'.'.join(pieces)}; use the package"
        for node in ast.walk(ast.parse(sources[module])):
            if isinstance(node, ast.Attribute) and node.attr == "_src":
                yield f"{module}:{node.lineno} uses {ast.unparse(node)}, which is private"


def cycles(sources: Mapping[str, str]) -> Iterator[str]:
    graph = {
        module: {target(item, sources) for item in imports(module, sources)} & set(sources)
        for module in sources
    }
    done: set[str] = set()

    def visit(module: str, trail: list[str]) -> Iterator[str]:
        if module in trail:
            yield " -> ".join([*trail[trail.index(module) :], module])
        elif module not in done:
            for other in sorted(graph[module]):
                yield from visit(other, [*trail, module])
            done.add(module)

    for module in sources:
        yield from visit(module, [])


def foreign_imports(sources: Mapping[str, str]) -> Iterator[str]:
    for module in sources:
        own = layer(part(module))
        for item in imports(module, sources):
            top = item.module.split(".")[0]
            if top in DEPENDENCIES or top in sys.stdlib_module_names:
                continue
            place = f"{module}:{item.line}"
            if top in LAZY_ANYWHERE:
                if not item.lazy:
                    yield f"{place} imports {top} at the top; import it where it is used"
            elif own is None or own < FIRST_LAYER_WITH_EXTRAS:
                yield f"{place} imports {top}, an extra; only lab, training and testing may"


def long_files(sources: Mapping[str, str]) -> Iterator[str]:
    for module, source in sources.items():
        if (lines := len(source.splitlines())) > MAX_LINES:
            yield f"{module} has {lines} lines, more than {MAX_LINES}"


def missing_maps(sources: Mapping[str, str]) -> Iterator[str]:
    """Every file says what it is; every package opens with a map of its files.

    A map may abbreviate: `_clauses_*`, or `_clauses_values, _usage` for `_clauses_usage`.
    """
    for module, source in sources.items():
        text = ast.get_docstring(ast.parse(source))
        if not text:
            yield f"{module} has no docstring"
        elif is_package(module, sources) and module != "optlab":
            files = [m.rpartition(".")[2] for m in sources if m.rpartition(".")[0] == module]
            words = text.replace(",", " ").replace("`", " ").split()
            for file in files:
                patterns = [f"*{word}" for word in words if word.startswith("_") or word == file]
                if not any(fnmatch.fnmatchcase(file, pattern) for pattern in patterns):
                    yield f"the map in {module} does not mention {file}"


def missing_exports(module: types.ModuleType) -> Iterator[str]:
    names = getattr(module, "__all__", None)
    if names is None:
        yield f"{module.__name__} has no __all__"
        return
    for name in names:
        if not hasattr(module, name):
            yield f"{module.__name__}.__all__ lists {name}, which does not exist"
    for name in {name for name in names if list(names).count(name) > 1}:
        yield f"{module.__name__}.__all__ lists {name} twice"


def missing_examples(module: types.ModuleType) -> Iterator[str]:
    """Public functions and classes show how to call them; modules are namespaces."""
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name, None)
        if not (inspect.isfunction(value) or inspect.isclass(value)):
            continue
        text = inspect.getdoc(value) if value.__doc__ else None
        if not text:
            yield f"{module.__name__}.{name} has no docstring"
        elif "Example:" not in text or ">>>" not in text:
            yield f"{module.__name__}.{name} has no Example in its docstring"


# --- optlab keeps them


SOURCES = read_package()
PACKAGES = [module for module in SOURCES if is_package(module, SOURCES)]


@pytest.mark.parametrize(
    "rule",
    [
        unknown_parts,
        upward_imports,
        private_imports,
        cycles,
        foreign_imports,
        long_files,
        missing_maps,
    ],
    ids=lambda rule: rule.__name__,
)
def test_the_sources_of_optlab_keep_the_rule(rule):
    assert list(rule(SOURCES)) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_exported_name_exists(package):
    assert list(missing_exports(importlib.import_module(package))) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_function_and_class_has_an_example(package):
    assert list(missing_examples(importlib.import_module(package))) == []


def test_importing_optlab_imports_no_extra():
    code = (
        "import sys, jax, optax; before = set(sys.modules); import optlab; "
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    loaded = set(subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert "optlab" in loaded
    assert loaded - set(sys.stdlib_module_names) <= DEPENDENCIES


# --- and each rule can fail

DOC = '"""A file."""\n'


def package(**files: str) -> dict[str, str]:
    """Sources by path with double underscores for dots: `core___a` is optlab.core._a."""
    sources = {"optlab": DOC}
    for name, source in files.items():
        head, _, tail = name.partition("__")
        sources.setdefault(f"optlab.{head}", DOC)
        sources[f"optlab.{head}.{tail}" if tail else f"optlab.{head}"] = source
    return sources


@pytest.mark.parametrize(
    ("rule", "files", "message"),
    [
        (unknown_parts, {"extras": ""}, "optlab.extras belongs to no layer"),
        (upward_imports, {"core___a": "from optlab.transforms import x"}, "_a:1 .*above it"),
        (upward_imports, {"core___a": "import optlab.transforms._x"}, "above it"),
        (upward_imports, {"core___a": "def f():\n    from optlab import lab"}, "_a:2 imports"),
        (upward_imports, {"core___a": "from ..schedules import x"}, "optlab.schedules, which is"),
        (upward_imports, {"core": "from ._a import x", "core___a": "from ._b import y"}, None),
        (upward_imports, {"schedules___a": "from optlab.selectors import x"}, "its sibling"),
        (
            upward_imports,
            {"lab": "from optlab import training", "training": ""},
            "sibling in layer",
        ),
        (upward_imports, {"transforms___a": "import optlab as ol"}, "imports optlab itself"),
        (upward_imports, {"transforms___a": "from optlab import adam"}, "imports optlab itself"),
        (upward_imports, {"transforms___a": "from optlab.core import x"}, None),
        (upward_imports, {"core___a": "from optlab.core import _b", "core___b": ""}, None),
        (upward_imports, {"core___a": "from . import _b", "core___b": ""}, None),
        (upward_imports, {"cli": "import optlab as ol\nfrom optlab import lab", "lab": ""}, None),
        (private_imports, {"core": "from optax._src import base"}, "optax._src.base.* private"),
        (private_imports, {"core": "def f():\n  import jax._src.core"}, "core:2 .* private"),
        (private_imports, {"core": "import jax\nx = jax._src.core"}, "uses jax._src"),
        (
            private_imports,
            {"core___a": "", "transforms": "from optlab.core import _a"},
            "use the package",
        ),
        (
            private_imports,
            {"core___a": "", "transforms": "from optlab.core._a import x"},
            "use the package",
        ),
        (private_imports, {"core___a": "", "core": "from optlab.core._a import x"}, None),
        (cycles, {"core___a": "from . import _b", "core___b": "from . import _a"}, "_a -> .*_b"),
        (cycles, {"core___a": "from optlab.core import f"}, None),
        (
            cycles,
            {
                "core": "from optlab.core import _a",
                "core___a": "def f():\n from optlab.core import g",
            },
            "optlab.core -> optlab.core._a -> optlab.core",
        ),
        (cycles, {"core___a": "from . import _b", "core___b": "import jax"}, None),
        (foreign_imports, {"core": "import flax"}, "flax, an extra"),
        (foreign_imports, {"optimizers": "def f():\n    from torch import nn"}, "torch, an extra"),
        (foreign_imports, {"lab": "import optuna"}, None),
        (foreign_imports, {"lab": "import matplotlib.pyplot as plt"}, "at the top"),
        (foreign_imports, {"schedules": "def f():\n    import matplotlib.pyplot"}, None),
        (foreign_imports, {"core": "import jax.numpy, math, numpy, optax"}, None),
        (long_files, {"core": DOC + "\n" * 400}, "401 lines"),
        (long_files, {"core": DOC + "\n" * 399}, None),
        (missing_maps, {"core": "x = 1"}, "optlab.core has no docstring"),
        (missing_maps, {"core": '"""_a first"""', "core___a": DOC, "core___b": DOC}, "mention _b"),
        (missing_maps, {"core": '"""_a, _b"""', "core___a": DOC, "core___b": DOC}, None),
        (missing_maps, {"core": '"""_a_*"""', "core___a_x": DOC, "core___b": DOC}, "mention _b"),
    ],
)
def test_the_rule_finds_the_fault(rule, files, message):
    found = list(rule(package(**files)))
    if message is None:
        assert found == []
    else:
        assert len(found) == 1
        assert re.search(message, found[0])


def example_of_nothing():
    """What it does, and no more."""


class Documented:
    """Does something.

    Example:
      >>> Documented()
    """


class Child(Documented):
    pass


def test_the_rules_for_exports_find_the_fault():
    module = types.ModuleType("module")
    assert list(missing_exports(module)) == ["module has no __all__"]
    module.__all__ = ["example_of_nothing", "Documented", "absent", "namespace", "Child", "Child"]
    module.example_of_nothing, module.Documented = example_of_nothing, Documented
    module.Child, module.namespace = Child, types.ModuleType("namespace")
    assert list(missing_exports(module)) == [
        "module.__all__ lists absent, which does not exist",
        "module.__all__ lists Child twice",
    ]
    module.__all__ = module.__all__[:-1]
    assert list(missing_examples(module)) == [
        "module.example_of_nothing has no Example in its docstring",
        "module.Child has no docstring",
    ]


def test_the_sources_read_are_those_of_optlab():
    assert "optlab" in SOURCES
    assert {"optlab.core", "optlab.core._records", "optlab.transforms"} <= set(SOURCES)
    assert {"optlab", "optlab.core", "optlab.transforms"} <= set(PACKAGES)
