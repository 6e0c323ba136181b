"""What the examples share at the command line: options, one-line errors, progress."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

_PACKAGES = ("flax", "matplotlib", "rich", "sklearn", "tyro")
_MISSING = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
if _MISSING:  # examples import this file first: said at once, not after the training
    sys.exit(f"{', '.join(_MISSING)} not installed. Please: pip install 'optlab[examples]'")

Config = TypeVar("Config")

# What a parser says, and how we say it.
_PLAIN_WORDS = (
    (
        r"no type matching (?:\{None\}\|)?(\S+) could be instantiated from \[(.*?)\].*",
        r"\1 expected, got \2",
    ),
    (r"invalid literal for int\(\) with base 10: (.*)", r"a whole number expected, got \1"),
    (r"could not convert string to float: (.*)", r"a number expected, got \1"),
    (r"\bFLOAT expected", "a number expected"),
    (r"^Error parsing ", ""),
)


class UserError(Exception):
    """Something that the person at the keyboard can put right; the message is one line."""


def run(name: str, program: Callable[[], None]) -> int:
    """Runs a program; returns its exit code: 0, 2 after a `UserError`, 130 if interrupted."""
    try:
        program()
    except UserError as error:
        message, code = " ".join(str(error).split()), 2
    except KeyboardInterrupt:
        message, code = "interrupted; nothing was written", 130
    else:
        return 0
    print(f"{name}: {message}", file=sys.stderr)
    return code


def parse(config: type[Config], args: Sequence[str] | None) -> Config:
    """Fills a dataclass from the command line.

    tyro explains a mistake in a box of several lines; here it becomes one.
    """
    import tyro

    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(config, args=args)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UserError(f"{one_line(box.getvalue())}; see --help") from None


def one_line(box: str) -> str:
    """The first paragraph of a message in a box, without its frame and title."""
    rows = [row.strip("│╭╮╰╯ ") for row in box.splitlines()]
    paragraph = []
    for row in rows[1:]:
        if row and not row.strip("─"):
            break
        paragraph.append(row)
    text = " ".join(" ".join(paragraph or rows).split())
    for pattern, words in _PLAIN_WORDS:
        text = re.sub(pattern, words, text)
    return text.rstrip(". ")


def pick(option: str, name: str, table: dict[str, Any]) -> Any:
    """The entry of a table, or an error that names the nearest entries."""
    from optlab.core import checks

    if name not in table:
        raise UserError(f"{option}: {name!r} is unknown; {checks.nearest(name, table)}")
    return table[name]


class Progress:
    """A bar in a terminal; elsewhere a plain line about so many times."""

    def __init__(self, title: str, steps: int, lines: int = 10):
        self._title, self._steps, self._lines, self._next = title, steps, lines, 0
        self._bar = _bar(title, steps) if sys.stdout.isatty() else None

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def show(self, step: int, note: str) -> None:
        """Call as often as you like."""
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=step, note=note)
        elif step >= self._next or step >= self._steps:
            self._next = step + self._steps / self._lines
            print(
                f"{self._title}  step {step:>{len(str(self._steps))}}/{self._steps}  {note}",
                flush=True,
            )


def _bar(title: str, steps: int) -> Any:
    from rich import progress

    bar = progress.Progress(
        progress.TextColumn(title),
        progress.BarColumn(bar_width=24),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[note]}"),
        progress.TimeElapsedColumn(),
    )
    bar.add_task(title, total=steps, note="")
    return bar
