"""What is wrong with a file, and which package a reader lacks."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

_SHOWN = 10


class DataError(ValueError):
    """A file or folder is missing, damaged, or not what a reader of this package expects.

    The message names the file, what was found and what is expected, in one line unless it lists
    several files.

    Example:
      >>> import optlab as ol
      >>> ol.training.data.idx("no such folder")
      Traceback (most recent call last):
          ...
      optlab.training.data._errors.DataError: no such folder: no such folder
    """


def listed(items: Sequence[str], shown: int = _SHOWN) -> str:
    """The first few of many, one a line."""
    lines = [f"  {item}" for item in items[:shown]]
    if len(items) > shown:
        lines.append(f"  and {len(items) - shown} more")
    return "\n".join(lines)


def extra(module: str, use: str, name: str = "examples", package: str | None = None) -> Any:
    """An optional package, or an error that says how to install it.

    Raises:
      ImportError: if it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        what = package or module.split(".")[0]
        raise ImportError(
            f'{use} needs {what}, which is not installed: pip install "optlab[{name}]"'
        ) from error
