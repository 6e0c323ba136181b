"""Copies what can be read of a damaged store."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from optlab.lab._store import Store, StoreError, row_crc

_TABLES = ("notes", "trials", "outcomes", "states")


def recover(
    path: str | os.PathLike[str],
    new_path: str | os.PathLike[str],
    study: Mapping[str, Any] | None = None,
) -> dict[str, int]:
    """Copies every row of a damaged store whose checksum is right into a new store.

    Args:
      path: the damaged file; it is read only.
      new_path: the file to make.
      study: what the study is, should the file not say so any more.

    Returns:
      How many rows were copied, by table: notes, trials, outcomes, states. The sweep that made the
      store goes on from the new one and repeats the runs that were lost.

    Raises:
      FileExistsError: if new_path is there already.
      FileNotFoundError: if path is not.
      StoreError: if nothing can be read, or the study is unknown.

    Example:
      >>> import optlab as ol
      >>> with ol.lab.Store("study.db", {"task": "valley"}) as store:
      ...     store.add_trials([ol.lab.Trial(0, {"learning_rate": 0.1})])
      >>> ol.lab.recover("study.db", "again.db")
      {'notes': 1, 'trials': 1, 'outcomes': 0, 'states': 0}
    """
    if not os.path.exists(path):
        raise FileNotFoundError(f"recover: there is no file {os.fspath(path)}.")
    if os.path.exists(new_path):
        raise FileExistsError(f"recover: {os.fspath(new_path)} is there already; name a new file.")
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(sqlite3.connect(_copy(path, folder))) as db,
    ):
        db.text_factory = lambda text: text.decode(errors="replace")
        rows = {table: list(_rows(db, table)) for table in _TABLES}
    kept = {row[0]: row[1] for row in rows["notes"]}.get("study")
    if kept is None and study is None:
        raise StoreError(
            f"recover: {os.fspath(path)} does not say any more of which study it is, "
            f"{sum(map(len, rows.values()))} rows of it can be read; pass study={{...}}, what the "
            "store was made with."
        )
    with Store(new_path, json.loads(kept) if kept is not None else study) as store:
        with store.transaction():
            for table, found in rows.items():
                for row in found:
                    store.put(table, row)
        return {table: len(found) for table, found in rows.items()}


def _copy(path: str | os.PathLike[str], folder: str) -> str:
    """A copy that SQLite opens: with the journal of an interrupted write, and as long as the header
    says."""
    copy = os.path.join(folder, "store.db")
    shutil.copyfile(path, copy)
    if os.path.exists(f"{os.fspath(path)}-journal"):
        shutil.copyfile(f"{os.fspath(path)}-journal", f"{copy}-journal")
    with open(copy, "r+b") as file:
        header = file.read(100)
        size = int.from_bytes(header[16:18], "big")
        size = 65536 if size == 1 else size
        length = int.from_bytes(header[28:32], "big") * size
        present = os.path.getsize(copy)
        if header.startswith(b"SQLite format 3") and present < length <= 100 * present:
            file.truncate(length)
    return copy


def _rows(db: sqlite3.Connection, table: str) -> Iterator[tuple[Any, ...]]:
    """Every row that can be read and has the right checksum, without it."""
    ids = {*_ids(db, f"SELECT rowid FROM {table}")}
    ids |= {*_ids(db, f"SELECT rowid FROM {table} ORDER BY rowid DESC")}  # behind what is broken
    for rowid in sorted(ids):
        with contextlib.suppress(sqlite3.DatabaseError):
            row = db.execute(f"SELECT * FROM {table} WHERE rowid = ?", (rowid,)).fetchone()
            if row is not None and row_crc(row[:-1]) == row[-1]:
                yield row[:-1]


def _ids(db: sqlite3.Connection, query: str) -> Iterator[int]:
    with contextlib.suppress(sqlite3.DatabaseError):
        for (rowid,) in db.execute(query):
            yield rowid
