"""What the rows of a run say: a summary, a table, and curves as PNG.

A row is what a line of metrics.jsonl holds. Its names: `step`; `loss`, `learning_rate`,
`gradient_norm` and whatever else is of training; `validation_...` for what an evaluation found;
`examples_per_second`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from optlab.core import Better, better
from optlab.training import _curves

VALIDATION = _curves.VALIDATION

Rows = Sequence[Mapping[str, Any]]


def curves(rows: Rows, title: str) -> bytes:
    """Draws a run: a panel for the loss, for each other metric, learning rate and gradient norm.

    Args:
      rows: of the run, in any order.
      title: above all panels.

    Returns:
      A PNG. What was reported in training is grey, with a smooth line through it where there are
      many points; what an evaluation found is dashed, with its best value marked where the name
      says which is better. Where values first were not finite, a line says so.

    Raises:
      ImportError: without matplotlib.

    Special cases:
      No rows, one row, NaN and constants are drawn as what they are. More than nine panels: the
      names of the others are below them.

    Example:
      >>> import optlab as ol
      >>> rows = [{"step": i, "loss": 1 / i} for i in range(1, 20)]
      >>> ol.training.curves(rows, "an example")[:4]
      b'\\x89PNG'
    """
    return _curves.draw(rows, title, {name: better(name) for name in _names(rows)})


def summary(
    rows: Rows,
    *,
    reason: str,
    seconds: float | None = None,
    directions: Mapping[str, Better] | None = None,
) -> dict[str, Any]:
    """A run in a dozen numbers, for summary.json.

    Args:
      rows: of the run, in order.
      reason: why it ended.
      seconds: how long it took; None: not said.
      directions: `"min"` or `"max"` for metrics whose name does not tell what is better.

    Returns:
      `steps`, `reason`, `seconds`, `examples_per_second` (the median of what was reported),
      `final` (the last value of every number), and `best`: for each `validation_...` metric
      `{"value", "step"}`, the earliest of equal ones. What is not known is left out of `best`,
      and None elsewhere.

    Example:
      >>> import optlab as ol
      >>> rows = [
      ...     {"step": 10, "loss": 0.9, "validation_accuracy": 0.8},
      ...     {"step": 20, "loss": 0.7, "validation_accuracy": 0.7},
      ... ]
      >>> found = ol.training.summary(rows, reason="finished")
      >>> found["steps"], found["final"]["loss"], found["best"]["validation_accuracy"]
      (20, 0.7, {'value': 0.8, 'step': 10})
    """
    directions = dict(directions or {})
    final, best = {}, {}
    for name in _names(rows):
        steps, values = _curves.series(rows, name)
        final[name] = float(values[-1])
        if name.startswith(VALIDATION) and np.isfinite(values).any():
            direction = directions.get(name) or better(name)
            if direction:
                i = _curves.best_index(values, direction)
                best[name] = {"value": float(values[i]), "step": int(steps[i])}
    speeds = _curves.series(rows, "examples_per_second")[1]
    speeds = speeds[np.isfinite(speeds)]
    return {
        "steps": max((int(row["step"]) for row in rows), default=0),
        "reason": reason,
        "seconds": seconds,
        "examples_per_second": float(np.median(speeds)) if speeds.size else None,
        "final": final,
        "best": best,
    }


def _names(rows: Rows) -> list[str]:
    """Of all that is a number, in the order of first appearance."""
    names = {name: None for row in rows for name, value in row.items() if _curves.is_number(value)}
    names.pop("step", None)
    return list(names)


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    """Columns of text; the first to the left, the others to the right.

    Args:
      head: names of the columns.
      rows: cells; numbers are shown with four digits, None and NaN as a dash.

    Raises:
      ValueError: for a row that is longer or shorter than the head.

    Example:
      >>> import optlab as ol
      >>> print(ol.training.table(["run", "accuracy"], [["adam", 0.98765], ["sgd", None]]))
      run   accuracy
      adam    0.9877
      sgd          -
    """
    lines = [[_cell(value) for value in line] for line in (head, *rows)]
    for line in lines:
        if len(line) != len(lines[0]):
            raise ValueError(
                f"table: every row must have {len(lines[0])} cells like the head, got {line}."
            )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, float):  # NumPy's float64 too
        return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.4g}"
    return " ".join(str(value).split())
