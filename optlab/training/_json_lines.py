"""metrics.jsonl: the rows of a run, whole however it ends."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from optlab.training._console import UserError
from optlab.training._files import plain

Number = float | int | str
METRICS = "metrics.jsonl"
_FIRST = ("loss", "learning_rate", "gradient_norm")  # behind the step; then the rest, as given


class JsonLines:
    """One JSON object a row, appended to a file: `{"step": 20, "loss": 0.5}`.

    Args:
      path: of the file; its folder is made if it is missing.
      from_step: the step the run goes on from. Later rows, and a last line that was torn when its
        process died, are dropped, so that the file of a resumed run has the rows of one that was
        never interrupted. 0: the run begins, and so does the file.

    Raises:
      UserError: if the file cannot be written (disk full: the rows before stay whole), or a line
        in its midst is no row.

    Special cases:
      NaN and infinities, which JSON does not know, become null. A row is in the file after `flush`
      even if the process is killed; after `close` even if the power fails.

    Example:
      >>> import tempfile, pathlib, optlab as ol
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder, "metrics.jsonl")
      ...     writer = ol.training.JsonLines(path)
      ...     writer.write(20, {"loss": 0.5, "gradient_norm": float("inf")})
      ...     writer.close()
      ...     print(path.read_text(), end="")
      {"step": 20, "loss": 0.5, "gradient_norm": null}
    """

    def __init__(self, path: str | os.PathLike[str], *, from_step: int = 0):
        self._path, self._waiting = Path(path), bytearray()
        self._file: int | None = None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.exists():
                _keep_until(self._path, from_step)
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise self._problem(error) from None

    def write(self, step: int, row: Mapping[str, Number]) -> None:
        if self._file is None:
            raise ValueError(f"JsonLines: {self._path} is closed.")
        values = checked(row)
        first = {name: values[name] for name in _FIRST if name in values}
        whole = {"step": int(step), **first, **values}
        self._waiting += json.dumps(plain(whole), allow_nan=False).encode() + b"\n"

    def flush(self) -> None:
        if self._file is None or not self._waiting:
            return
        before = os.fstat(self._file).st_size
        left = memoryview(bytes(self._waiting))
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError as error:
            os.ftruncate(self._file, before)  # no torn line in the midst of a file
            raise self._problem(error) from None
        self._waiting.clear()

    def close(self) -> None:
        if self._file is None:
            return
        try:
            self.flush()
            os.fsync(self._file)
        except OSError as error:
            raise self._problem(error) from None
        finally:
            os.close(self._file)
            self._file = None

    def _problem(self, error: OSError) -> UserError:
        return UserError(f"cannot write {self._path}: {error.strerror}")


def read_rows(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl, those of a run that still writes too.

    Returns:
      A dict for each line; null, which stands for what is not finite, is NaN. A last line that is
      not whole is left out.

    Raises:
      UserError: if the file cannot be read, or another line is no row, naming it.

    Example:
      >>> import pathlib, tempfile, optlab as ol
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder, "metrics.jsonl")
      ...     _ = path.write_text('{"step": 20, "loss": null}\\n{"step": 40, "lo')
      ...     ol.training.read_rows(path)
      [{'step': 20, 'loss': nan}]
    """
    try:
        contents = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    return [
        {name: math.nan if value is None else value for name, value in row.items()}
        for row in (_row(path, i, line) for i, line in enumerate(_whole_lines(contents)))
    ]


def _whole_lines(contents: bytes) -> list[bytes]:
    """Without a last line that does not end."""
    return contents.split(b"\n")[:-1]


def _row(path: Any, index: int, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
        if type(row["step"]) is int:
            return row
    except (ValueError, TypeError, KeyError):
        pass
    raise UserError(
        f"{path}: line {index + 1} is no row of metrics: {line[:40]!r}; move the file away, or "
        "take the line out"
    )


def _keep_until(path: Path, step: int) -> None:
    """Leaves the rows up to a step, byte for byte; a kill in between leaves the old file."""
    contents = path.read_bytes()
    kept = b""
    if step > 0:
        lines = _whole_lines(contents)
        rows = [_row(path, i, line) for i, line in enumerate(lines)]
        kept = b"".join(
            line + b"\n" for line, row in zip(lines, rows, strict=True) if row["step"] <= step
        )
    if kept == contents:
        return
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as file:
            file.write(kept)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def checked(row: Mapping[str, Any]) -> dict[str, Number]:
    """Values as Python's own; waits for those that a device still computes.

    Raises:
      ValueError: for the name `step`. TypeError: for what is neither a number nor text.
    """
    if "step" in row:
        raise ValueError("a row must not have the name 'step': it is given beside it.")
    return {str(name): _number(name, value) for name, value in row.items()}


def _number(name: str, value: Any) -> Number:
    if isinstance(value, str | bool | int):
        return value
    array = np.asarray(value)
    if array.shape == () and (array.dtype.kind in "biuf" or array.dtype.name == "bfloat16"):
        return array.item()
    raise TypeError(
        f"a row must hold numbers and text, got {value!r} of type {type(value).__name__} for "
        f"{name!r}."
    )
