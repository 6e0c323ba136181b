"""Tables of numbers and categories, from CSV."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from optlab.core import checks
from optlab.training.data._arrays import Arrays
from optlab.training.data._delimited import Row, read_rows
from optlab.training.data._errors import DataError, listed
from optlab.training.data._source import Source

_MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "?")
_POLICIES = checks.one_of("error", "drop", "fill")


def table(
    path: str | os.PathLike[str],
    target: str,
    *,
    categorical: Sequence[str] = (),
    ignore: Sequence[str] = (),
    missing: str = "error",
    missing_values: Sequence[str] = _MISSING,
    delimiter: str = ",",
    like: Source | None = None,
) -> Source:
    """A CSV file with a header: numeric columns as features, categories as codes.

    Numbers are not standardised here, since that takes the training part alone: see `Standardizer`.

    Args:
      path: the file, UTF-8.
      target: the column to predict. If it is in `categorical` it becomes `label`, else `target`.
      categorical: columns of categories. Codes count from 0 in sorted order, of numbers if all
        are.
      ignore: columns to leave out.
      missing: what a missing value does. `"error"`: it is one. `"drop"`: its row is left out.
        `"fill"`: in a numeric column it becomes NaN, which `Standardizer` replaces by the training
        mean; in a categorical column a category of its own. In the target it is always an error,
        unless dropped.
      missing_values: how it is written.
      delimiter: one character.
      like: another table, whose columns and categories count: a test file beside a training file.

    Returns:
      A source with `features` (float32, n) if there are numeric columns, `categories` (int32, m)
      if there are categorical ones, and `label` (int32) or `target` (float32). `info`: `columns`
      of the features; `categories`, names by column; `classes` of the label; `dropped` rows.

    Raises:
      DataError: naming line and column of what is no number, missing, or an unknown category.

    Example:
      >>> import pathlib
      >>> import optlab as ol
      >>> text = "age,city,paid\\n31,Rome,yes\\n58,Oslo,no\\n45,Rome,no\\n"
      >>> _ = pathlib.Path("customers.csv").write_text(text)
      >>> source = ol.training.data.table("customers.csv", "paid", categorical=["city", "paid"])
      >>> source
      customers.csv: 3 examples of features float32 1, categories int32 1, label int32
      >>> source.info["categories"], source.column("categories")[:, 0]
      ({'city': ('Oslo', 'Rome')}, array([1, 0, 1], dtype=int32))
    """
    file = Path(path)
    _POLICIES("table", "missing", missing)
    if not isinstance(delimiter, str) or len(delimiter) != 1:
        raise ValueError(f"table: delimiter must be one character, got {delimiter!r}.")
    rows = list(read_rows(file, delimiter))
    header = _header(file, rows, [target, *categorical, *ignore], delimiter)
    body = rows[1:]
    if not body:
        raise DataError(f"{file}: has a header and no rows")
    if ragged := [row for row in body if len(row[1]) != len(header)]:
        line, cells = ragged[0]
        raise DataError(
            f"{file}: line {line} has {len(cells)} cells, the header has {len(header)}"
            + (f"; {len(ragged)} such rows" if len(ragged) > 1 else "")
        )
    columns = [name for name in header if name != target and name not in ignore]
    numeric = [name for name in columns if name not in categorical]
    groups = [name for name in columns if name in categorical]
    if not columns:
        raise DataError(f"{file}: has no column beside the target {target!r}")
    if like is not None:
        numeric, groups = _as_in(file, like, numeric, groups)
    body, dropped = _without_missing(
        file, body, header, [*columns, target], target, missing, set(missing_values)
    )
    reader = _Columns(
        file,
        header,
        body,
        set(missing_values),
        _vocabularies(file, like, target in categorical, target),
    )
    fields: dict[str, np.ndarray] = {}
    if numeric:
        fields["features"] = np.stack([reader.numbers(name) for name in numeric], 1)
    if groups:
        fields["categories"] = np.stack([reader.codes(name) for name in groups], 1)
    if target in categorical:
        fields["label"] = reader.codes(target)
    else:
        fields["target"] = reader.numbers(target)
    names = {name: reader.vocabularies[name] for name in groups}
    info: dict[str, Any] = {"columns": tuple(numeric), "categories": names, "dropped": dropped}
    if target in categorical:
        info["classes"] = reader.vocabularies[target]
    return Arrays(fields, name=str(file), info=info)


def _header(file: Path, rows: list[Row], needed: Iterable[str], delimiter: str) -> list[str]:
    if not rows:
        raise DataError(f"{file}: is empty, a header is expected")
    header = rows[0][1]
    if twice := [name for i, name in enumerate(header) if name in header[:i]]:
        raise DataError(f"{file}: column {twice[0]!r} appears twice in the header")
    for name in needed:
        if name not in header:
            raise DataError(
                f"{file}: has no column {name!r}; {checks.nearest(name, header)} "
                f"The delimiter is {delimiter!r}."
            )
    return header


def _without_missing(
    file: Path,
    body: list[Row],
    header: list[str],
    used: list[str],
    target: str,
    policy: str,
    marks: set[str],
) -> tuple[list[Row], int]:
    """The rows to keep, and how many were dropped."""
    places = [(name, header.index(name)) for name in used]
    if policy == "fill":
        places = [(target, header.index(target))]
    lacking = {
        line: [name for name, place in places if cells[place] in marks] for line, cells in body
    }
    if policy == "drop":
        kept = [row for row in body if not lacking[row[0]]]
        if not kept:
            raise DataError(f"{file}: every row has a missing value")
        return kept, len(body) - len(kept)
    found = [f"line {line}, column {name!r}" for line, names in lacking.items() for name in names]
    if found:
        hint = "" if policy == "fill" else ', or choose missing="drop" or "fill"'
        raise DataError(
            f"{file}: {len(found)} missing value{'s' * (len(found) > 1)}; mend the file{hint}\n"
            f"{listed(found)}"
        )
    return body, 0


def _as_in(
    file: Path, like: Source, numeric: list[str], groups: list[str]
) -> tuple[list[str], list[str]]:
    """The columns in the order of the other table, which must be the same."""
    order = list(like.info["columns"]), list(like.info["categories"])
    for kind, here, there in zip(("numeric", "categorical"), (numeric, groups), order, strict=True):
        if set(here) != set(there):
            raise DataError(f"{file}: has the {kind} columns {here}, {like.name} has {there}")
    return order


def _vocabularies(
    file: Path, like: Source | None, has_label: bool, target: str
) -> dict[str, tuple[str | None, ...]]:
    """The categories of the other table; those of its label are its classes."""
    if like is None:
        return {}
    known = dict(like.info["categories"])
    if has_label:
        if "classes" not in like.info:
            raise DataError(f"{file}: has a categorical target, {like.name} has none")
        known[target] = like.info["classes"]
    return known


class _Columns:
    """Cells of a table by column, as numbers or codes."""

    def __init__(self, file, header, body, marks, vocabularies):
        self.file, self.header, self.body, self.marks = file, header, body, marks
        self.vocabularies = vocabularies
        self.given = frozenset(vocabularies)

    def cells(self, name: str) -> list[tuple[int, str]]:
        place = self.header.index(name)
        return [(line, cells[place]) for line, cells in self.body]

    def numbers(self, name: str) -> np.ndarray:
        return np.array([self.number(name, *cell) for cell in self.cells(name)], np.float32)

    def number(self, name: str, line: int, cell: str) -> float:
        if cell in self.marks:
            return math.nan
        value = parse_number(cell)
        if value is None:
            raise DataError(
                f"{self.file}: line {line}, column {name!r}: {cell!r} is no finite number (float32)"
                f"; if the column holds categories, name it in categorical"
            )
        return value

    def codes(self, name: str) -> np.ndarray:
        cells = [(line, None if cell in self.marks else cell) for line, cell in self.cells(name)]
        if name not in self.given:
            known = {cell for _, cell in cells if cell is not None}
            missing = (None,) if any(cell is None for _, cell in cells) else ()
            self.vocabularies[name] = (*sorted_names(known), *missing)
        code = {value: i for i, value in enumerate(self.vocabularies[name])}
        for line, cell in cells:
            if cell not in code:
                raise DataError(
                    f"{self.file}: line {line}, column {name!r}: the category "
                    f"{'missing' if cell is None else repr(cell)} is not in the other table"
                )
        return np.array([code[cell] for _, cell in cells], np.int32)


def parse_number(cell: str) -> float | None:
    """A finite number of float32 in plain digits; None for anything else."""
    if "_" in cell or not cell.isascii():
        return None
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if abs(value) <= float(np.finfo(np.float32).max) else None


def sorted_names(names: Iterable[str]) -> list[str]:
    """By value if all are whole numbers, else by text."""
    names = list(names)
    if all(name.isascii() and name.lstrip("-").isdecimal() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)
