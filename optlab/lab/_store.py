"""A file that keeps a study: what a killed process had finished is there when it starts again.

SQLite in its most careful mode: every `add_...` is one transaction, on the disk before the call
returns, there as a whole or not at all. Arrays are raw bytes with their dtype and shape, never
pickles; each row has a CRC-32 of all its values, so that damage is told and not computed with.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from optlab.lab._bytes import pack, unpack
from optlab.lab._outcome import Outcome, Trial
from optlab.lab._store_refusal import other_study

_APPLICATION = 0x6F70746C  # "optl", in SQLite's header: this file is one of ours
_VERSION = 1
_SCHEMA = """
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE trials (
    number INTEGER PRIMARY KEY, hyperparameters TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE outcomes (
    trial INTEGER, seed INTEGER, status TEXT NOT NULL, steps INTEGER NOT NULL,
    diverged_at INTEGER, seconds REAL NOT NULL, arrays BLOB NOT NULL, crc INTEGER NOT NULL,
    PRIMARY KEY (trial, seed));
CREATE TABLE states (
    rung INTEGER, trial INTEGER, seed INTEGER, place INTEGER, count INTEGER NOT NULL,
    array BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (rung, trial, seed, place));
"""
State = Sequence[np.ndarray]


class StoreError(RuntimeError):
    """A store that cannot be used: damaged, in use, no store at all. It was not written to.

    Example:
      >>> import optlab as ol
      >>> with ol.lab.Store("study.db", {}):
      ...     try:
      ...         ol.lab.Store("study.db", {})
      ...     except ol.lab.StoreError as error:
      ...         "in use" in str(error)
      True
    """


class Store:
    """A study in a file, from which the same study goes on.

    While it is open no other process can open it; a process that dies leaves it free. Close it, or
    use it as a context manager.

    Args:
      path: of the file; it is made if it is not there.
      study: what the study is, JSON-able: task, space, steps, seeds ... None takes what the file
        says, which must exist.

    Raises:
      ValueError: if the file belongs to a study that differs; the message says in what.
      TypeError: for a study that is not JSON-able.
      FileNotFoundError: if its folder does not exist, or the file, where study is None.
      StoreError: if the file is damaged, in use by another process, or something else.

    Special cases:
      `Store` is safe to use from several threads. Keep the file on a local disk: network file
      systems often lock wrongly.

    Example:
      >>> import optlab as ol
      >>> with ol.lab.Store("study.db", {"task": "valley", "steps": 300}) as store:
      ...     store.add_trials([ol.lab.Trial(0, {"learning_rate": 0.1})])
      >>> with ol.lab.Store("study.db", {"task": "valley", "steps": 300}) as store:
      ...     store.trials()
      [Trial(number=0, hyperparameters={'learning_rate': 0.1})]
    """

    def __init__(self, path: str | os.PathLike[str], study: Mapping[str, Any] | None = None):
        self.path = os.fspath(path)
        given = None if study is None else _json("study", study, sort=True)
        folder = os.path.dirname(os.path.abspath(self.path))
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"store: the folder {folder} does not exist; make it first.")
        if os.path.isdir(self.path):
            raise IsADirectoryError(f"store: {self.path} is a folder; name a file in it.")
        if study is None and not os.path.exists(self.path):
            raise FileNotFoundError(f"store: there is no file {self.path}.")
        self._lock, self._depth = threading.RLock(), 0
        with self._speaking():
            self._db = sqlite3.connect(
                self.path, isolation_level=None, timeout=1.0, check_same_thread=False
            )
            self._db.text_factory = lambda text: text.decode(errors="replace")  # then the CRC tells
        try:
            self._open(given)
        except BaseException:
            self._db.close()
            raise

    # --- what is kept

    @property
    def study(self) -> dict[str, Any]:
        """What the study is."""
        return json.loads(self._note("study") or "null")

    @property
    def plan(self) -> Any:
        """What `set_plan` was given, or None."""
        return json.loads(self._note("plan") or "null")

    def set_plan(self, plan: Any) -> None:
        """Keeps how runs are computed, JSON-able, so that a study goes on in the same way."""
        self._set_note("plan", _json("plan", plan))

    def add_trials(self, trials: Iterable[Trial]) -> None:
        """Keeps trials; a number that is there already must have the same hyperparameters."""
        rows = [(int(t.number), _json("hyperparameters", t.hyperparameters)) for t in trials]
        with self.transaction():
            for number, text in rows:
                old = self._rows("SELECT hyperparameters FROM trials WHERE number = ?", number)
                if old and json.loads(old[0][0]) != json.loads(text):
                    raise ValueError(
                        f"store: trial {number} of {self.path} is {old[0][0]}, now it is {text}; "
                        "a trial keeps its hyperparameters. Use another file."
                    )
                self.put("trials", (number, text))

    def trials(self) -> list[Trial]:
        """All trials, by number."""
        rows = self._checked("trials", "SELECT * FROM trials ORDER BY number")
        return [Trial(number, json.loads(text)) for number, text in rows]

    def add_outcomes(self, outcomes: Iterable[Outcome]) -> None:
        """Keeps runs; a run of the same trial and seed is replaced, as when it went on."""
        rows = [_outcome_row(outcome) for outcome in outcomes]
        with self.transaction():
            for row in rows:
                self.put("outcomes", row)

    def outcomes(self) -> list[Outcome]:
        """All runs, by trial and seed."""
        rows = self._checked("outcomes", "SELECT * FROM outcomes ORDER BY trial, seed")
        return [_outcome(row) for row in rows]

    def save_states(self, rung: int, states: Mapping[tuple[int, int], State]) -> None:
        """Keeps the arrays a run goes on from, by (trial, seed), for successive halving."""
        rows = [
            (int(rung), int(trial), int(seed), place, len(arrays), pack({"": array}))
            for (trial, seed), arrays in states.items()
            for place, array in enumerate(arrays)
        ]
        with self.transaction():
            for trial, seed in states:
                where = "DELETE FROM states WHERE rung = ? AND trial = ? AND seed = ?"
                self._db.execute(where, (int(rung), int(trial), int(seed)))
            for row in rows:
                self.put("states", row)

    def states(self, rung: int) -> dict[tuple[int, int], list[np.ndarray]]:
        """What `save_states` was given for this rung."""
        query = "SELECT * FROM states WHERE rung = ? ORDER BY trial, seed, place"
        found: dict[tuple[int, int], list[np.ndarray]] = {}
        counts: dict[tuple[int, int], int] = {}
        for _, trial, seed, place, count, array in self._checked("states", query, rung):
            arrays = found.setdefault((trial, seed), [])
            counts[trial, seed] = count
            if place == len(arrays):
                arrays.append(unpack(array)[""])
        for key, count in counts.items():
            if len(found[key]) != count:
                raise self._damaged(f"an array of the state of trial {key[0]} is missing")
        return found

    def drop_states(self, before: int) -> None:
        """Forgets the states of the rungs below this one."""
        with self.transaction():
            self._db.execute("DELETE FROM states WHERE rung < ?", (int(before),))

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """What is added inside is kept as a whole, or not at all if an exception leaves it."""
        with self._lock, self._speaking():
            if self._depth == 0:
                self._db.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
                if self._depth == 1:
                    self._db.execute("COMMIT")
            except BaseException:
                if self._depth == 1 and self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            finally:
                self._depth -= 1

    def close(self) -> None:
        """Frees the file."""
        self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    # --- inside

    def _open(self, given: str | None) -> None:
        with self._speaking():
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("BEGIN EXCLUSIVE")  # kept until the connection closes
            self._db.execute("COMMIT")
            fresh = not self._rows("SELECT 1 FROM sqlite_master LIMIT 1")
            if fresh and given is not None:  # an empty file, too: one killed as it was made
                self._create(given)
                return
            if self._rows("PRAGMA application_id")[0][0] != _APPLICATION:
                raise StoreError(
                    f"store: {self.path} is no store of a study. It was left as it is; name "
                    "another file."
                )
            version = self._rows("PRAGMA user_version")[0][0]
            if version != _VERSION:
                raise StoreError(
                    f"store: {self.path} has format {version}, this version of optlab reads "
                    f"{_VERSION}. Use the version that wrote it, or another file."
                )
            pages, size = (self._rows(f"PRAGMA page_{name}")[0][0] for name in ("count", "size"))
            if os.path.getsize(self.path) < pages * size:
                raise self._damaged("the end of the file is missing")
            problems = [row[0] for row in self._rows("PRAGMA integrity_check(3)")]
            if problems != ["ok"]:
                raise self._damaged("; ".join(problems))
        kept = self._note("study")
        if kept is None:
            raise self._damaged("it does not say of which study it is")
        if given is not None and given != kept:
            raise ValueError(other_study(self.path, json.loads(kept), json.loads(given)))

    def _create(self, study: str) -> None:
        with self.transaction():
            self._db.execute(f"PRAGMA application_id = {_APPLICATION}")
            self._db.execute(f"PRAGMA user_version = {_VERSION}")
            for statement in _SCHEMA.split(";")[:-1]:
                self._db.execute(statement)
            self.put("notes", ("study", study))

    def _note(self, name: str) -> str | None:
        found = self._checked("notes", "SELECT * FROM notes WHERE name = ?", name)
        return found[0][1] if found else None

    def _set_note(self, name: str, text: str) -> None:
        with self.transaction():
            self.put("notes", (name, text))

    def put(self, table: str, row: tuple[Any, ...]) -> None:
        """One row of a table, with its checksum."""
        places = ", ".join("?" * (len(row) + 1))
        self._db.execute(f"INSERT OR REPLACE INTO {table} VALUES ({places})", (*row, row_crc(row)))

    def _rows(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        with self._lock, self._speaking():
            return self._db.execute(query, arguments).fetchall()

    def _checked(self, table: str, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        rows = self._rows(query, *arguments)
        for *row, crc in rows:
            if row_crc(row) != crc:
                raise self._damaged(f"the checksum of a row of {table} is wrong, {row[:2]}")
        return [tuple(row[:-1]) for row in rows]

    @contextlib.contextmanager
    def _speaking(self) -> Iterator[None]:
        """SQLite's errors, with what to do about them."""
        try:
            yield
        except sqlite3.ProgrammingError as error:
            raise StoreError(f"store: {self.path}: {error}.") from error
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise StoreError(
                    f"store: {self.path} is in use by another process (or another sweep of this "
                    "one). Wait for it, or name another file; to look into it meanwhile, copy it."
                ) from error
            if "malformed" in str(error):
                raise self._damaged(str(error)) from error
            raise StoreError(f"store: {self.path}: {error}.") from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, what: str) -> StoreError:
        return StoreError(
            f"store: {self.path} is damaged or no store ({what}). Nothing was written to it. Move "
            "it away to start anew, or copy what can be read of it: "
            'ol.lab.recover(path, "new.db").'
        )


def _outcome_row(outcome: Outcome) -> tuple[Any, ...]:
    arrays = {"losses": outcome.losses, "evaluated": outcome.evaluated}
    arrays |= {f"metrics.{name}": value for name, value in outcome.metrics.items()}
    diverged_at = None if outcome.diverged_at is None else int(outcome.diverged_at)
    numbers = (int(outcome.steps), diverged_at, float(outcome.seconds))
    return (int(outcome.trial), int(outcome.seed), str(outcome.status), *numbers, pack(arrays))


def _outcome(row: tuple[Any, ...]) -> Outcome:
    trial, seed, status, steps, diverged_at, seconds, packed = row
    arrays = unpack(packed)
    losses, evaluated = arrays.pop("losses"), arrays.pop("evaluated")
    metrics = {name.removeprefix("metrics."): value for name, value in arrays.items()}
    return Outcome(trial, seed, status, steps, diverged_at, losses, evaluated, metrics, seconds)


def row_crc(row: Iterable[Any]) -> int:
    """Of all the values of a row."""
    crc = 0
    for value in row:  # with lengths, so that bytes cannot move from one value to the next
        data = value if isinstance(value, bytes) else repr(value).encode()
        crc = zlib.crc32(data, zlib.crc32(b"%d:" % len(data), crc))
    return crc


def _json(what: str, value: Any, sort: bool = False) -> str:
    if isinstance(value, Mapping):
        value = dict(value)
    try:
        return json.dumps(value, sort_keys=sort)
    except TypeError as error:
        raise TypeError(f"store: {what} must be JSON-able, got {value!r}: {error}.") from error
