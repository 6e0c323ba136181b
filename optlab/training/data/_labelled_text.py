"""Snippets of text as bytes, each with the class it is from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from optlab.core import checks
from optlab.training.data._arrays import Arrays
from optlab.training.data._errors import DataError
from optlab.training.data._files import read_file
from optlab.training.data._source import Source
from optlab.training.data._text import Paths, Without, files_of, library_files

_PACKAGES = ("asyncio", "email", "encodings", "idlelib", "json", "tkinter", "unittest", "xml")
_PARTS = ("train", "validation")


def labelled_text(
    classes: Mapping[str, Paths],
    length: int,
    *,
    validation: float = 0.2,
    suffixes: Sequence[str] = (".txt", ".md", ".rst"),
    without: Without = (),
) -> dict[str, Source]:
    """Snippets that do not overlap, each from one file; validation takes the end of each class.

    Args:
      classes: for each class its folder, file, or list of files, as of `text_bytes`.
      length: bytes of a snippet; what is left at the end of a file is left out.
      validation: share of each class's snippets, in (0, 1).
      suffixes: of the files in a folder.
      without: folders in them whose files are not taken.

    Returns:
      `train` and `validation`, with fields `bytes` (uint8, length) and `label` (int32, by the order
      of `classes`). `info["classes"]`: their names.

    Raises:
      DataError: for missing files, or a class with fewer than two snippets.

    Example:
      >>> import pathlib
      >>> import optlab as ol
      >>> for name, word in (("cats", "meow "), ("dogs", "wuff ")):
      ...     _ = pathlib.Path(f"{name}.txt").write_text(word * 20)
      >>> parts = ol.training.data.labelled_text({"cat": "cats.txt", "dog": "dogs.txt"}, length=10)
      >>> parts["train"]
      train of labelled_text: 16 examples of bytes uint8 10, label int32
    """
    chosen = {
        name: [read_file(file) for _, file in files_of(paths, suffixes, without)]
        for name, paths in classes.items()
    }
    return _snippets("labelled_text", chosen, length, validation)


def standard_library_packages(
    length: int, *, packages: Sequence[str] = _PACKAGES, validation: float = 0.2
) -> dict[str, Source]:
    """Snippets of this Python's own source, labelled by the package they are from.

    Args:
      length, validation: as of `labelled_text`.
      packages: folders of the standard library.

    Returns:
      As `labelled_text`.

    Raises:
      DataError: for a package that this Python does not have as source.

    Example:
      >>> import optlab as ol
      >>> parts = ol.training.data.standard_library_packages(64, packages=("json", "email"))
      >>> parts["train"].info["classes"]
      ('json', 'email')
    """
    found: dict[str, list[bytes]] = {package: [] for package in packages}
    for name, file in library_files():
        package = name.partition("/")[0]
        if package in found:
            found[package].append(read_file(file))
    return _snippets("standard_library_packages", found, length, validation)


def _snippets(
    owner: str, classes: Mapping[str, list[bytes]], length: int, validation: float
) -> dict[str, Source]:
    length = checks.positive_count(owner, "length", length)
    share = checks.Interval(0.0, 1.0, "()")(owner, "validation", validation)
    if len(classes) < 2:
        raise DataError(f"{owner}: at least two classes are needed, got {list(classes)}")
    parts: dict[str, list[np.ndarray]] = {part: [] for part in _PARTS}
    labels: dict[str, list[np.ndarray]] = {part: [] for part in _PARTS}
    for label, (name, texts) in enumerate(classes.items()):
        whole = b"".join(text[: len(text) // length * length] for text in texts)
        snippets = np.frombuffer(whole, np.uint8).reshape(-1, length)
        if len(snippets) < 2:
            raise DataError(
                f"{owner}: class {name!r} has {sum(map(len, texts))} bytes in {len(texts)} files, "
                f"fewer than two snippets of {length}"
            )
        cut = min(max(round((1 - share) * len(snippets)), 1), len(snippets) - 1)
        for part, chunk in zip(_PARTS, (snippets[:cut], snippets[cut:]), strict=True):
            parts[part].append(chunk)
            labels[part].append(np.full(len(chunk), label, np.int32))
    return {
        part: Arrays(
            {"bytes": np.concatenate(parts[part]), "label": np.concatenate(labels[part])},
            name=f"{part} of {owner}",
            info={"classes": tuple(classes)},
        )
        for part in _PARTS
    }
