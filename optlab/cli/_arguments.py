"""What commands share: how tasks, optimizers and ranges are named, and one line for mistakes."""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import importlib.util
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import optlab as ol

TASK = "a built-in task (digits_mlp, quadratic ...), or package.module:task"
OPTIMIZER = "a recipe (adamw, sgd ...), or package.module:factory"
SPACE = """\
hyperparameters, as NAME=VALUES:
  learning_rate=log:1e-4..1      any number between, equal ratios equally likely
  b1=uniform:0.5..0.99           any number between
  depth=integers:1..8            whole numbers
  weight_decay=0,0.01,0.1        one of these
  momentum=0.9                   always this
"""


PICTURES = (".png", ".pdf", ".svg", ".jpg")


class Unusable(Exception):
    """Arguments that cannot be used; the message is one line."""


@contextlib.contextmanager
def spoken() -> Iterator[None]:
    """Turns errors of optlab's own checks into `Unusable`; those of other code keep their trace."""
    home = os.path.dirname(os.path.abspath(ol.__file__))
    try:
        yield
    except (ValueError, TypeError, OSError, ImportError, ol.lab.StoreError) as error:
        frames = traceback.extract_tb(error.__traceback__)
        if not os.path.abspath(frames[-1].filename).startswith(home):
            raise
        raise Unusable(one_line(error)) from error


def one_line(error: BaseException) -> str:
    # JAX's own note, below a rule, is of tracebacks.
    notes = [n for n in getattr(error, "__notes__", ()) if not n.startswith("-----")]
    return " ".join(" ".join([str(error), *notes]).split())


def load(spec: str, what: str = "factory") -> Any:
    """What `package.module:name` names."""
    module_name, colon, name = spec.partition(":")
    if not (module_name and colon and name):
        raise Unusable(f"{spec!r} is not of the form package.module:{what}")
    if module_name.endswith(".py") or not re.fullmatch(r"\w+(\.\w+)*", module_name):
        module = re.sub(r"[/\\]+", ".", module_name.removesuffix(".py")).strip(".")
        raise Unusable(f"{module_name!r} names a file; name the module: {module}:{name}")
    if "" not in sys.path:
        sys.path.insert(0, "")  # a module of the folder one stands in
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # the module's own code may raise anything
        text = f"{type(error).__name__}: {one_line(error)}"
        raise Unusable(f"cannot import {module_name!r}: {text}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise Unusable(f"{module_name!r} has no {name!r}")
        found = getattr(found, part)
    return found


def load_callable(spec: str) -> Callable[..., Any]:
    found = load(spec)
    if not callable(found):
        raise Unusable(f"{spec} is no factory: {type(found).__name__} cannot be called")
    return found


def task(spec: str) -> ol.lab.Task:
    """A built-in task by its name, or one of the user's."""
    if ":" not in spec:
        with spoken():  # some need scikit-learn
            return _named(spec, ol.lab.tasks, "task")()
    found = load(spec, "task")
    made = found() if callable(found) else found
    if not isinstance(made, ol.lab.Task):
        raise Unusable(f"{spec} is no task: it is {type(made).__name__}, not optlab.lab.Task")
    return made


def optimizer(spec: str) -> Callable[..., Any]:
    """A recipe by its name, or a factory of the user's."""
    return load_callable(spec) if ":" in spec else _named(spec, ol.optimizers, "optimizer")


def _named(name: str, package: Any, what: str) -> Any:
    if name not in package.__all__:
        nearest = ol.core.checks.nearest(name, package.__all__)
        raise Unusable(f"there is no {what} {name!r}; {nearest} Yours: package.module:{what}")
    return getattr(package, name)


def assignments(texts: Sequence[str]) -> dict[str, str]:
    """`NAME=TEXT` by name."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name.strip() and equals and value.strip()):
            raise Unusable(f"{text!r} is not of the form NAME=VALUE")
        if name in found:
            raise Unusable(f"{name!r} is given twice")
        found[name.strip()] = value.strip()
    return found


def values(texts: Sequence[str]) -> dict[str, Any]:
    """`NAME=VALUE` by name: numbers, True, False, None, or text."""
    return {name: value(text) for name, text in assignments(texts).items()}


def space(texts: Sequence[str]) -> dict[str, Any]:
    """A space of `NAME=VALUES`, see `SPACE`."""
    with spoken():
        return {name: _dimension(name, text) for name, text in assignments(texts).items()}


def _dimension(name: str, text: str) -> Any:
    kind, colon, ends = text.partition(":")
    if colon:
        kinds = {"log": ol.lab.log_uniform, "uniform": ol.lab.uniform, "integers": ol.lab.integers}
        low, dots, high = ends.partition("..")
        if kind not in kinds or not dots:
            raise Unusable(
                f"{name}={text} is no range; write log:LOW..HIGH, uniform:LOW..HIGH or "
                "integers:LOW..HIGH"
            )
        return kinds[kind](value(low), value(high))
    if ".." in text:
        raise Unusable(f"{name}={text} is of no kind; write log:{text} or uniform:{text}")
    if "," in text:
        listed = [value(part) for part in text.split(",") if part.strip()]
        numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in listed)
        return ol.lab.grid(listed) if numbers else ol.lab.choice(listed)
    return value(text)


def value(text: str) -> Any:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        return text.strip()


def one(make: Callable[..., Any], texts: Sequence[str], what: str) -> Any:
    """What a factory makes of `NAME=VALUE`s."""
    given = values(texts)
    _check_names(make, given, what)
    with spoken():
        try:
            inspect.signature(make).bind(**given)
        except TypeError as error:
            raise Unusable(f"{what}: {one_line(error)}") from error
        return make(**given)


def _check_names(make: Callable[..., Any], given: dict[str, Any], what: str) -> None:
    """Names that the factory does not have, before those that it misses."""
    parameters = inspect.signature(make).parameters
    if any(x.kind is x.VAR_KEYWORD for x in parameters.values()):
        return
    for name in given:
        if name not in parameters:
            short = [x for x in parameters if name == "".join(part[:1] for part in x.split("_"))]
            nearest = ol.core.checks.nearest(name, parameters)
            said = f"did you mean {short[0]!r}?" if short else nearest
            raise Unusable(f"{what} has no argument {name!r}; {said}")


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Options of all commands that train."""
    parser.add_argument("--steps", type=int, help="updates a run makes (default: the task's own)")
    parser.add_argument("--seed", type=int, default=0, help="another one draws anew (default: 0)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--plot", metavar="FILE", help="draw it: .png, .pdf or .svg")


def draw(plot: Callable[[], Any], path: str) -> None:
    """Draws without a screen, into a file; its name says the format."""
    with spoken():
        import matplotlib.pyplot  # `check_outputs` has looked for it

        matplotlib.use("Agg")
        axes = plot()
        figure = np.ravel(np.asarray(axes, object))[0].figure
        try:
            figure.savefig(path)
        except (OSError, ValueError) as error:
            raise Unusable(f"cannot write the plot to {path}: {one_line(error)}") from error
        finally:
            matplotlib.pyplot.close(figure)


def check_outputs(options: argparse.Namespace, *names: str) -> None:
    """Refuses files that cannot be written, before hours are spent on what should be in them."""
    for name in names:
        path = getattr(options, name)
        if path is None:
            continue
        folder = os.path.dirname(os.path.abspath(path))
        if not os.path.isdir(folder):
            raise Unusable(f"--{name} {path}: the folder {folder} does not exist; make it first")
        if not os.access(path if os.path.exists(path) else folder, os.W_OK) or os.path.isdir(path):
            raise Unusable(f"--{name} {path}: this cannot be written to; name another file")
        if name in ("plot", "html") and importlib.util.find_spec("matplotlib") is None:
            raise Unusable(
                f'--{name} needs matplotlib, which is not installed: pip install "optlab[plot]"'
            )
        if name == "plot" and os.path.splitext(path)[1].lower() not in PICTURES:
            raise Unusable(f"--plot {path}: the name must end in {', '.join(PICTURES)}")
