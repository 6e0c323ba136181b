"""The command line of a trainer: options from a dataclass, one-line errors, exit codes."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from signal import SIGTERM, Signals
from typing import Any, TypeVar

from optlab.core import checks
from optlab.training._checkpoints import DamageError, WriteError
from optlab.training._devices import start_processes
from optlab.training._manifest import MismatchError
from optlab.training.data._errors import DataError, extra

Config = TypeVar("Config")
Entry = TypeVar("Entry")

_USER, _DIVERGED, _INTERRUPTED = 2, 3, 130
_LARGEST = 2**31 - 1

# What tyro says, and how we say it.
_PLAIN_WORDS = (
    (
        r"no type matching (?:\{None\}\|)?(\S+) could be instantiated from \[(.*?)\].*",
        r"\1 expected, got \2",
    ),
    (r"invalid literal for int\(\) with base 10: (.*)", r"INT expected, got \1"),
    (r"could not convert string to float: (.*)", r"FLOAT expected, got \1"),
    (
        r"invalid choice (.*) for argument '(\S+)'\. Expected one of \((.*?),?\)",
        r"\2: one of \3 expected, got \1",
    ),
    (r"Missing value for argument '(\S+)'.*", r"\1: a value expected"),
    (r"Unrecognized options: ([^,]*).*", r"\1 is unknown"),
    (r"\bINT expected", "a whole number expected"),
    (r"\bFLOAT expected", "a number expected"),
    (r"\bTIME expected", "a time such as 90 (seconds), 5m or 1h30m expected"),
    (r"^Error parsing ", ""),
)


class UserError(Exception):
    """Something that the person at the keyboard can put right; the message is one line.

    Example:
      >>> import optlab as ol
      >>> raise ol.training.UserError("--steps: a whole number >= 1 expected, got 0")
      Traceback (most recent call last):
          ...
      optlab.training._console.UserError: --steps: a whole number >= 1 expected, got 0
    """


class Diverged(Exception):
    """The loss or a parameter is no longer finite; the message says where and what is kept.

    Example:
      >>> import optlab as ol
      >>> def program():
      ...     raise ol.training.Diverged("step 40: loss nan; the checkpoint of step 20 is kept")
      >>> ol.training.main("train", program)  # and the message on stderr
      3
    """


class Terminated(Exception):
    """The process was asked to end, and has saved what the same command goes on from.

    Attributes:
      signal: SIGTERM, or SIGINT for Ctrl-C.
      step: of the checkpoint; None if there is none.

    Example:
      >>> import signal, optlab as ol
      >>> print(ol.training.Terminated(signal.SIGTERM, 40))
      ended by SIGTERM, step 40 is saved; the same command goes on from there
    """

    def __init__(self, signal: int = SIGTERM, step: int | None = None):
        super().__init__(signal, step)
        self.signal, self.step = Signals(signal), step

    def __str__(self) -> str:
        if self.step is None:
            return f"ended by {self.signal.name}; nothing was saved"
        return (
            f"ended by {self.signal.name}, step {self.step} is saved; the same command goes on "
            "from there"
        )


def main(name: str, program: Callable[[], Any]) -> int:
    """Joins the other processes of a run, runs a program, says in one line what went wrong.

    Args:
      name: heads the line.
      program: called without arguments; what it returns is ignored.

    Returns:
      The exit code: 0; 2 after a `UserError`, a `DataError`, a checkpoint that does not fit, is
      damaged or cannot be written, or a missing extra; 3 after `Diverged`; 128 + the signal after
      `Terminated` (143 for SIGTERM, 130 for SIGINT); 130 after Ctrl-C.

    Special cases:
      Any other exception is a bug and is raised on. `--help` leaves through `SystemExit(0)`.

    Example:
      >>> import optlab as ol
      >>> ol.training.main("train", lambda: print("trained"))
      trained
      0
    """
    try:
        start_processes()
        program()
    except (UserError, WriteError) as error:
        said, code = _line(error), _USER
    except MismatchError as error:
        said, code = _line(error), _USER
        said += " On the command line: another --output, --resume never, or the options it had."
    except DamageError as error:
        said, code = _line(error), _USER
        if error.intact is not None:
            said += f" On the command line: --resume {error.intact}"
    except DataError as error:
        said, code = str(error), _USER  # one line, or several files below it
    except Diverged as error:
        said, code = _line(error), _DIVERGED
    except Terminated as error:
        said, code = _line(error), 128 + error.signal
    except KeyboardInterrupt:
        said, code = "interrupted", _INTERRUPTED
    except ImportError as error:
        if 'pip install "optlab[' not in str(error):  # not one of ours: a broken installation
            raise
        said, code = _line(error), _USER
    else:
        return 0
    print(f"{name}: {said}", file=sys.stderr)
    return code


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def require(*modules: str, name: str = "examples") -> None:
    """Says at once, and not after the training, which packages are missing.

    Args:
      modules: names to import: `"flax"`, `"sklearn"`.
      name: the extra of optlab that has them.

    Raises:
      UserError: naming every missing one, and the extra.

    Example:
      >>> import optlab as ol
      >>> ol.training.require("numpy", "no_such_package")
      Traceback (most recent call last):
          ...
      optlab.training._console.UserError: no_such_package is not installed: pip
      install "optlab[examples]"
    """
    missing = [module for module in modules if not _is_installed(module)]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise UserError(f'{", ".join(missing)} {verb} not installed: pip install "optlab[{name}]"')


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # a parent is missing; put into sys.modules by hand
        return module in sys.modules


def parse(config: type[Config], args: Sequence[str] | None = None) -> Config:
    """Fills a dataclass from the command line; help is in the docstrings of its fields.

    Args:
      config: a dataclass whose fields have types; those without a default must be given.
      args: the words of the command line; None: those of this process.

    Returns:
      An instance, checked by its `check()` if it has one.

    Raises:
      UserError: for whatever is wrong, in one line, where tyro has a box of several.
      SystemExit: with code 0, after `--help`.
      ImportError: without tyro.

    Example:
      >>> import dataclasses, optlab as ol
      >>> @dataclasses.dataclass
      ... class Config:
      ...     steps: int = 100
      >>> ol.training.parse(Config, ["--steps", "5"])
      Config(steps=5)
    """
    tyro = extra("tyro", "the command line")
    box = io.StringIO()
    words = sys.argv[1:] if args is None else args
    try:
        with contextlib.redirect_stderr(box), _unwrapped(words):
            found = tyro.cli(config, args=words, registry=_registry(tyro))
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UserError(f"{one_line(box.getvalue())}; see --help") from None
    check = getattr(found, "check", None)
    if callable(check):
        check()
    return found


def _registry(tyro: Any) -> Any:
    """Teaches tyro the types that bring a `from_text` and a `METAVAR` of their own."""
    registry = tyro.constructors.ConstructorRegistry()

    def rule(info: Any) -> Any:
        kind = info.type
        if not (isinstance(kind, type) and hasattr(kind, "from_text")):
            return None
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar=kind.METAVAR,
            instance_from_str=lambda words: kind.from_text(words[0]),
            is_instance=lambda value: isinstance(value, kind),
            str_from_instance=lambda value: [str(value)],
        )

    registry.primitive_rule(rule)
    return registry


@contextlib.contextmanager
def _unwrapped(words: Sequence[str]) -> Iterator[None]:
    """A long path in an error is not broken into lines; help keeps the width of the terminal."""
    if {"-h", "--help"} & set(words):
        yield
        return
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "10000"
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


def one_line(box: str) -> str:
    """The first paragraph of a message in a box, without frame and title; and what was meant."""
    rows = [row.strip("│╭╮╰╯ ") for row in box.splitlines()]
    paragraph: list[str] = []
    for row in rows[1:]:
        if row and not row.strip("─-"):
            if paragraph:
                break
        else:
            paragraph.append(row)
    text = " ".join(" ".join(paragraph or rows).split())
    for pattern, words in _PLAIN_WORDS:
        text = re.sub(pattern, words, text)
    meant = re.search(r"Perhaps you meant:\W*(--[\w-]+)", " ".join(rows))
    text = text.rstrip(". ")
    return f"{text} (did you mean {meant[1]}?)" if meant else text


def pick(option: str, name: str, table: Mapping[str, Entry]) -> Entry:
    """The entry of a table that an option names.

    Raises:
      UserError: for an unknown name, with the nearest ones.

    Example:
      >>> import optlab as ol
      >>> ol.training.pick("--optimizer", "adamv", {"adam": 1, "sgd": 2})
      Traceback (most recent call last):
          ...
      optlab.training._console.UserError: --optimizer: 'adamv' is unknown; did you mean 'adam'?
    """
    if name not in table:
        raise UserError(f"{option}: {name!r} is unknown; {checks.nearest(name, table)}")
    return table[name]


def option(field: str) -> str:
    """The spelling of a field on the command line: `batch_size` is `--batch-size`."""
    return "--" + field.replace("_", "-")


def check_whole(name: str, value: Any, low: int = 1, high: int = _LARGEST) -> None:
    """Raises a `UserError` for what is no whole number from low to high.

    Example:
      >>> import optlab as ol
      >>> ol.training.check_whole("--layers", 0, 1, 12)
      Traceback (most recent call last):
          ...
      optlab.training._console.UserError: --layers: a whole number from 1 to 12 expected, got 0
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not low <= value <= high:
        top = {_LARGEST: "2^31 - 1", 2**32 - 1: "2^32 - 1"}.get(high, high)
        raise UserError(f"{name}: a whole number from {low} to {top} expected, got {value!r}")


def check_number(name: str, value: Any, allowed: checks.Interval = checks.positive) -> None:
    """Raises a `UserError` for what is no finite number of an interval (of those > 0).

    Example:
      >>> import optlab as ol
      >>> ol.training.check_number("--learning-rate", -1.0)
      Traceback (most recent call last):
          ...
      optlab.training._console.UserError: --learning-rate: a number > 0 expected, got -1.0
    """
    try:
        allowed(name, name, value)
    except (TypeError, ValueError):
        raise UserError(f"{name}: {allowed} expected, got {value!r}") from None
