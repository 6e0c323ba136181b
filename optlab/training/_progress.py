"""Progress on the screen: a bar in a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

import jax

Number = float | int | str

# What comes first, and how it is called; all else follows in the order of its first appearance.
_NAMES = {
    "loss": "loss",
    "learning_rate": "rate",
    "gradient_norm": "norm",
    "examples_per_second": "examples/s",
}
_EVERY = 0.1  # seconds between redrawn bars
_WIDTH = 100  # of what a plain line says
_BROKEN = (OSError, ValueError)  # a terminal that went away, was closed, or cannot show a letter


class Progress:
    """Shows how far a run is and what its latest row of metrics says.

    Args:
      title: in front of everything.
      first: of a row, the name that comes behind the loss.
      steps: of the whole run.
      lines: about how many plain lines a run prints where there is no terminal; 0: be silent,
        in a terminal too.
      process: the number of this process; only process 0 shows anything. None asks JAX.

    Special cases:
      A closed or broken output, a pipe whose reader has gone, a terminal without cursor movement
      or without Unicode never end a run: there are plain lines then, or none. So there are without
      rich.

    Example:
      >>> import optlab as ol
      >>> with ol.training.Progress("train", 100) as progress:
      ...     progress.show(100, {"loss": 0.25, "learning_rate": 1e-3})
      train  step 100/100  loss 0.25  rate 0.001
    """

    def __init__(
        self,
        title: str,
        steps: int,
        lines: int = 10,
        *,
        first: str = "",
        process: int | None = None,
    ):
        self._title, self._steps, self._lines = " ".join(title.split()), steps, lines
        shown = lines > 0 and (jax.process_index() if process is None else process) == 0
        self._out: Any = sys.stdout if shown else None
        self._bar = _bar(self._title, steps, self._out) if _moves(self._out) else None
        self._row: dict[str, Number] = {}
        self._first = first
        self._next, self._drawn = 0.0, -math.inf

    def __enter__(self) -> Progress:
        self._try(lambda bar: bar.start())
        return self

    def __exit__(self, *_: object) -> None:
        self._try(lambda bar: (bar.refresh(), bar.stop()))

    def show(self, step: int, row: Mapping[str, Number]) -> None:
        """Call as often as you like; a bar shows what a row does not have as it was, a line shows
        what is new since the line before."""
        if self._out is None:
            return
        self._row |= row
        last = step >= self._steps
        if self._bar is not None:
            said = note(self._row, self._first)
            self._bar.update(self._bar.task_ids[0], completed=step, note=said)
            if last or time.monotonic() >= self._drawn + _EVERY:
                self._drawn = time.monotonic()
                self._try(lambda bar: bar.refresh())
        elif step >= self._next or last:
            self._next = step + self._steps / self._lines
            width = len(str(self._steps))
            said = note(self._row, self._first, _WIDTH)
            self.say(f"{self._title}  step {step:>{width}}/{self._steps}  {said}")
            self._row = {}

    def say(self, text: str) -> None:
        """A line of its own, above the bar."""
        if self._bar is not None:
            self._try(lambda bar: bar.console.print(text, markup=False, highlight=False))
        elif self._out is not None:
            encoding = getattr(self._out, "encoding", None) or "utf-8"
            try:
                known = text.encode(encoding, "replace").decode(encoding)
                print(known.rstrip(), file=self._out, flush=True)
            except _BROKEN:
                self._out = None

    def _try(self, draw: Any) -> None:
        """Draws the bar; a terminal that fails is left alone from then on."""
        if self._bar is None:
            return
        try:
            draw(self._bar)
        except _BROKEN:
            bar, self._bar, self._out = self._bar, None, None
            with contextlib.suppress(*_BROKEN):
                bar.stop()


def note(row: Mapping[str, Number], first: str = "", width: int | None = None) -> str:
    """A row in one line: the loss, what matters most, what only one trainer has last.

    Args:
      row: `bad_steps` are left out where there are none.
      first: the name of what comes behind the loss.
      width: what does not fit into it is left out, and shown to be.

    Example:
      >>> from optlab.training._progress import note
      >>> note({"accuracy": 0.9, "examples_per_second": 51234.5, "loss": 2, "bad_steps": 0.0})
      'loss 2  examples/s 51,234  accuracy 0.9'
    """
    order = dict.fromkeys(["loss", first, *_NAMES, *row])
    names = [name for name in order if name in row and (name != "bad_steps" or row[name])]
    parts = [f"{_NAMES.get(name, name)} {_text(row[name])}" for name in names]
    said = "  ".join(parts)
    while width is not None and len(said) > width and len(parts) > 1:
        parts.pop()
        said = "  ".join([*parts, "..."])
    return said


def _text(value: Number) -> str:
    if isinstance(value, str):
        return " ".join(value.split())
    if math.isfinite(value) and 1e4 <= abs(value) < 1e12:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _moves(out: Any) -> bool:
    """Whether there is a terminal whose cursor moves and that knows the letters of a bar."""
    try:
        terminal = out is not None and out.isatty()
    except _BROKEN:  # closed
        return False
    encoding = (getattr(out, "encoding", None) or "").lower().replace("-", "")
    return terminal and encoding == "utf8" and os.environ.get("TERM") not in ("dumb", "unknown")


def _bar(title: str, steps: int, out: Any) -> Any:
    try:
        from rich import console, markup, progress, text
    except ImportError:  # a decoration: plain lines do as well
        return None

    class Bar(progress.Progress):
        """The note has lines of its own below the bar: a narrow terminal cuts nothing off."""

        def get_renderables(self) -> Any:
            yield self.make_tasks_table(self.tasks)
            for task in self.tasks:
                yield text.Text(task.fields["note"])

    bar = Bar(
        progress.TextColumn(markup.escape(title)),
        progress.BarColumn(bar_width=24),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        console=console.Console(file=out),
        auto_refresh=False,  # drawn by `show`: no thread that could fail by itself
    )
    bar.add_task(title, total=steps, note="")
    return bar
