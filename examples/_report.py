"""What a training run leaves behind: tables, and files that are written all or none."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _console import UserError

import optlab as ol


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of text; the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (head, *rows)
    )


def comparison_table(runs: Sequence[tuple[Any, float]]) -> str:
    """A line for each run and its test accuracy."""
    head = (
        "optimizer",
        "peak rate",
        "best epoch",
        "validation loss",
        "accuracy",
        "test",
        "seconds",
    )
    rows = [
        (
            run.name,
            f"{run.peak:g}",
            f"{run.best_at}",
            f"{-run.score[1]:.4f}",
            f"{run.score[0]:.4f}",
            f"{test:.4f}",
            f"{run.seconds:.1f}",
        )
        for run, test in runs
    ]
    return table(head, rows)


def print_failure(run: Any, reasons: Sequence[str]) -> None:
    if reasons:
        print(f"\n{run.name} FAILED: validation accuracy {run.score[0]:.4f} (guessing: 0.1)")
    for reason in reasons:
        print(textwrap.fill(reason, 98, initial_indent="  ", subsequent_indent="    "))


def print_classes(labels: np.ndarray, said: np.ndarray, classes: int) -> np.ndarray:
    """Precision, recall and F1 of each class; prints and returns the confusion matrix."""
    from sklearn.metrics import classification_report, confusion_matrix  # slow to import

    names = range(classes)
    confusion = confusion_matrix(labels, said, labels=names)
    print(classification_report(labels, said, labels=names, digits=4, zero_division=0.0))
    print("rows: digit shown; columns: digit said")
    print(table(["", *map(str, names)], [[f"{i}", *map(str, confusion[i])] for i in names]))
    return confusion


def summary(run: Any, test_accuracy: float) -> dict[str, Any]:
    """A run for metrics.json; `ol.from_dict` makes the optimizer of it again."""
    return {
        "name": run.name,
        "optimizer": ol.to_dict(run.tx),
        "best_epoch": run.best_at,
        "validation_accuracy": run.score[0],
        "test_accuracy": float(test_accuracy),
        "seconds": run.seconds,
        "history": run.history,
    }


def npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def as_json(value: Mapping[str, Any]) -> bytes:
    """One line a key. NaN and infinities, which JSON does not know, become null."""
    lines = (
        f"{json.dumps(key)}: {json.dumps(_plain(item), allow_nan=False)}"
        for key, item in value.items()
    )
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def check_writable(folder: Path) -> None:
    """Tries, before the training, whether `folder` can be made and written; leaves no trace."""
    parent = folder
    try:
        while not parent.exists():
            parent = parent.parent
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise UserError(f"--output: cannot write to {folder}: {error.strerror}") from None


def write_all(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes each file beside its place, then moves all of them there."""
    beside = {name: folder / f".{name}.{os.getpid()}.part" for name in files}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, contents in files.items():
            beside[name].write_bytes(contents)
        for name in files:
            if (folder / name).is_dir():
                raise IsADirectoryError(errno.EISDIR, f"{name} is a folder")
        for name, part in beside.items():
            part.replace(folder / name)
    except OSError as error:
        raise UserError(f"--output: cannot write to {folder}: {error.strerror}") from None
    finally:
        for part in beside.values():
            part.unlink(missing_ok=True)
