"""A report as text of at most 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

_WIDTH = 100
_ROWS = 24


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, the first column to the left and the others to the right."""
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for row in [header, *rows]:
        first, *rest = zip(row, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(text.rjust(width) for text, width in rest)]
        lines.append("  ".join(cells).rstrip())
    return [lines[0], "-" * len(lines[0]), *lines[1:]]


def shortened(rows: list[Any], most: int = _ROWS) -> list[Any]:
    """The first and last rows, with None between them if any are left out."""
    if len(rows) <= most:
        return rows
    return [*rows[: most // 2], None, *rows[-(most - most // 2) :]]


def number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2g}" if abs(value) < 1000 else f"{value:.1e}"


def percent(value: float) -> str:
    return "-" if value == 0 else f"{value:.0%}"


def paragraph(text: str, indent: str = "", first: str | None = None) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def clipped(text: str, most: int = 26) -> str:
    """The end of a long name, which tells more than its beginning."""
    return text if len(text) <= most else "…" + text[1 - most :]


def layer_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    header = (
        "layer", "follows", "w²·fan_in", "pre std", "signal", "post std", "dead", "sat.",
        "gradient", "upd/w",
    )  # fmt: skip
    lines = []
    for row in shortened(list(rows)):
        if row is None:
            lines.append(("...",) + ("",) * (len(header) - 1))
            continue
        lines.append(
            (
                clipped(row["layer"]),
                "-" if row["activation"] == "none" else row["activation"][:10],
                *(number(row[k]) for k in ("kernel_scale", "pre_std", "signal", "post_std")),
                percent(row["dead"]),
                percent(row["saturated"]),
                number(row["gradient"]),
                number(row["update_ratio"]),
            )
        )
    return table(header, lines)


def candidate_table(rows: Sequence[dict[str, Any]], layers: int) -> list[str]:
    header = (
        "candidate", "seeds", "signal", "gradient", "lives", "variety", "dead", "sat.", "cond.",
        "score",
    )  # fmt: skip
    lines = []
    for row in rows:
        depth = min(row["signal_depth"], row["gradient_depth"])
        lines.append(
            (
                row["candidate"],
                str(row["seeds"]),
                number(row["signal"]),
                number(row["gradient"]),
                f"{depth}/{layers}",
                number(row["variety"]),
                percent(row["dead"]),
                percent(row["saturated"]),
                number(row["condition"]),
                f"{row['score']:.2f}",
            )
        )
    return table(header, lines)
