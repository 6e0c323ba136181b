"""Data sets that the `datasets` library has saved to disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from optlab.training.data._errors import DataError, extra
from optlab.training.data._files import digest_file, folder_at, relative_name, walk
from optlab.training.data._source import Batch, Source, digest_of

_INT32 = np.iinfo(np.int32)


class _Saved(Source):
    """A `datasets.Dataset`, whose rows are memory-mapped."""

    def __init__(self, name: str, dataset: Any, root: Path, fields: tuple[str, ...]):
        self.name, self.info = name, {"columns": tuple(dataset.column_names)}
        self._dataset, self._root, self._fields = dataset, root, fields
        self._digest: str | None = None
        first = self._rows([0]) if len(self) else {}
        self._empty = {field: values[:0] for field, values in first.items()}

    def __len__(self) -> int:
        return len(self._dataset)

    def gather(self, indices: Any) -> Batch:
        chosen = self.check(indices)
        return self._rows(chosen.tolist()) if len(chosen) else dict(self._empty)

    def _rows(self, indices: list[int]) -> Batch:
        rows = self._dataset[indices]
        return {field: _stacked(self.name, field, rows[field]) for field in self._fields}

    def digest(self) -> str:
        if self._digest is None:
            files = [file for file in walk(self._root) if file.suffix == ".arrow"]
            parts = [part for f in files for part in (relative_name(f, self._root), digest_file(f))]
            self._digest = digest_of("datasets", " ".join(self._fields), *parts)
        return self._digest


def huggingface(
    path: str | os.PathLike[str], fields: Sequence[str] | None = None
) -> dict[str, Source]:
    """What `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote; nothing is downloaded.

    Args:
      path: the folder.
      fields: columns to read, of numbers, or of lists or images of one shape; by default all.

    Returns:
      A source a split, by its name; a lone data set is `train`. Real numbers come as float32, whole
      ones as int32, bytes and images as uint8. `info["columns"]`: all there are.

    Raises:
      DataError: for a folder of something else, a column that is missing, of text, or of different
        shapes.
      ImportError: without `datasets`.

    Example:
      >>> import optlab as ol
      >>> ol.training.data.huggingface("no such folder")["train"]
      Traceback (most recent call last):
          ...
      optlab.training.data._errors.DataError: no such folder: no such folder
    """
    root = folder_at(path)
    library = extra("datasets", "huggingface", "datasets")
    try:
        loaded = library.load_from_disk(str(root))
    except (FileNotFoundError, ValueError) as error:
        raise DataError(f"{root}: holds no saved data set: {error}") from None
    parts = dict(loaded) if isinstance(loaded, dict) else {"train": loaded}
    found = {}
    for part, dataset in parts.items():
        chosen = tuple(dataset.column_names if fields is None else fields)
        if lacking := [field for field in chosen if field not in dataset.column_names]:
            raise DataError(
                f"{root}: {part} has no column {lacking[0]!r}; it has "
                f"{', '.join(dataset.column_names)}"
            )
        where = root / part if isinstance(loaded, dict) else root
        found[part] = _Saved(f"{part} of {root}", dataset, where, chosen)
    return found


def _stacked(name: str, field: str, values: Any) -> np.ndarray:
    """The rows of a column as one array of numbers."""
    try:
        array = np.stack([np.asarray(value) for value in values])
    except ValueError:
        raise DataError(
            f"{name}: column {field!r} has rows of different shapes; resize or pad them before "
            "saving, or choose other fields"
        ) from None
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"{name}: column {field!r} holds {array.dtype}, not numbers; encode it before saving, "
            "or choose other fields"
        )
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    if array.dtype.kind in "iu" and array.dtype.itemsize > 4:
        if array.size and (array.min() < _INT32.min or array.max() > _INT32.max):
            raise DataError(f"{name}: column {field!r} has whole numbers beyond 32 bits")
        return array.astype(np.int32)
    return array
