"""Logs of who rated what, and when."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from optlab.training.data._arrays import Arrays
from optlab.training.data._delimited import read_text
from optlab.training.data._errors import DataError, listed
from optlab.training.data._source import Source, Subset, require_source
from optlab.training.data._table import parse_number, sorted_names

_SEPARATORS = ("::", "\t", ",", ";")
_COLUMNS = "user, item, rating, timestamp"


def ratings(path: str | os.PathLike[str], separator: str | None = None) -> Source:
    """A log of `user,item,rating,timestamp`, one rating a line.

    A first line whose last name begins with `time` or `date` is a header.

    Args:
      path: the file, UTF-8.
      separator: by default the one of `::`, tab, `,`, `;` that the first line has.

    Returns:
      A source with `user` and `item` (int32 codes, by sorted name), `rating` (float32), and
      `timestamp` (int64), in the order of the file. `info`: `users` and `items`, names by code.

    Raises:
      DataError: naming the lines that are something else.

    Example:
      >>> import pathlib
      >>> import optlab as ol
      >>> _ = pathlib.Path("log.dat").write_text("7::40::5::100\\n9::40::3::50\\n7::31::4::90\\n")
      >>> log = ol.training.data.ratings("log.dat")
      >>> log
      log.dat: 3 examples of user int32, item int32, rating float32, timestamp int64
      >>> log.column("item"), log.info["items"]
      (array([1, 1, 0], dtype=int32), ('31', '40'))

    Source:
      The format is MovieLens's: F. Harper, J. Konstan, "The MovieLens Datasets", 2015.
    """
    file = Path(path)
    lines = [
        (number, line) for number, line in enumerate(read_text(file).split("\n"), 1) if line.strip()
    ]
    if not lines:
        raise DataError(f"{file}: is empty, lines of {_COLUMNS} are expected")
    between = separator or next((s for s in _SEPARATORS if s in lines[0][1]), ",")
    rows = [(number, _cells(line, between)) for number, line in lines]
    if _is_header(rows[0][1]):
        rows = rows[1:]
        if not rows:
            raise DataError(f"{file}: has a header and no ratings")
    bad = [f"line {number}: {wrong}" for number, cells in rows if (wrong := _wrong(cells))]
    if bad:
        raise DataError(
            f"{file}: {len(bad)} bad line{'s' * (len(bad) > 1)}; {_COLUMNS} separated by "
            f"{between!r} are expected\n{listed(bad)}"
        )
    users, user_names = _codes([cells[0] for _, cells in rows])
    items, item_names = _codes([cells[1] for _, cells in rows])
    fields = {
        "user": users,
        "item": items,
        "rating": np.array([float(cells[2]) for _, cells in rows], np.float32),
        "timestamp": np.array([int(cells[3]) for _, cells in rows], np.int64),
    }
    return Arrays(fields, name=str(file), info={"users": user_names, "items": item_names})


def leave_last_out(log: Source) -> dict[str, Source]:
    """For each user, the last rating tests, the one before validates, and the others train.

    Users with fewer than three ratings only train. Of equal timestamps, the later in the source is
    the last.

    Args:
      log: fields `user` and `timestamp`, as of `ratings`.

    Returns:
      `train`, `validation`, `test`, each in the order of the source.

    Raises:
      DataError: if no user has three ratings.

    Example:
      >>> import numpy as np
      >>> import optlab as ol
      >>> fields = {"user": np.array([0, 1, 0, 0, 1]), "timestamp": np.array([30, 1, 10, 20, 2])}
      >>> parts = ol.training.data.leave_last_out(ol.training.data.Arrays(fields))
      >>> {part: source.column("timestamp").tolist() for part, source in parts.items()}
      {'train': [1, 10, 2], 'validation': [20], 'test': [30]}
    """
    users = require_source("leave_last_out", log).column("user")
    order = np.lexsort((np.arange(len(log)), log.column("timestamp"), users))
    sorted_users = users[order]
    starts = np.searchsorted(sorted_users, sorted_users, side="left")
    ends = np.searchsorted(sorted_users, sorted_users, side="right")
    from_last = ends - 1 - np.arange(len(log))
    enough = ends - starts >= 3
    if not enough.any():
        raise DataError(f"{log.name}: no user has three ratings, nothing is left to train on")
    test, validation = enough & (from_last == 0), enough & (from_last == 1)
    parts = {"train": ~test & ~validation, "validation": validation, "test": test}
    return {
        part: Subset(log, np.sort(order[chosen]), name=f"{part} of {log.name}")
        for part, chosen in parts.items()
    }


def _cells(line: str, separator: str) -> list[str]:
    return [cell.strip().strip('"') for cell in line.split(separator)]


def _is_header(cells: list[str]) -> bool:
    """A name where the timestamp belongs: `timestamp`, `time`, `date`."""
    return len(cells) == 4 and cells[3].lower().startswith(("time", "date"))


def _wrong(cells: list[str]) -> str | None:
    if len(cells) != 4:
        return f"{len(cells)} cells instead of 4"
    user, item, rating, timestamp = cells
    if not user or not item:
        return "no user" if not user else "no item"
    if parse_number(rating) is None:
        return f"the rating {rating!r} is no finite number"
    digits = timestamp.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 18):
        return f"the timestamp {timestamp!r} is no whole number"
    return None


def _codes(names: list[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    known = sorted_names(set(names))
    code = {name: i for i, name in enumerate(known)}
    return np.array([code[name] for name in names], np.int32), tuple(known)
