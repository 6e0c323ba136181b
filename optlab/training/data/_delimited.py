"""Rows of delimited text, each with its line number."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from optlab.training.data._errors import DataError
from optlab.training.data._files import read_file

Row = tuple[int, list[str]]


def read_text(file: Path) -> str:
    """A file of UTF-8, with or without a byte order mark.

    Raises:
      DataError: naming the line that is not.
    """
    data = read_file(file)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{file}: line {line} is not UTF-8 (byte {data[error.start]:#04x}); convert it first"
        ) from None


def read_rows(file: Path, delimiter: str) -> Iterator[Row]:
    """The number of a row's last line, and its cells without surrounding blanks.

    Empty lines are left out.
    """
    reader = csv.reader(io.StringIO(read_text(file), newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells) or len(cells) > 1:
                yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise DataError(f"{file}: line {reader.line_num}: {error}") from None
