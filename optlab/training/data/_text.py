"""Text as bytes: no vocabulary, no unknown words, 256 classes."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from optlab.core import checks
from optlab.training.data._errors import DataError
from optlab.training.data._files import file_at, folder_at, read_file, relative_name, walk
from optlab.training.data._source import Batch, Source, digest_of

SEPARATOR = b"\0"  # between files: rare in text, so that a model learns where one ends
_NOT_LIBRARY = frozenset(("site-packages", "dist-packages", "test", "tests", "idle_test"))
_SUFFIXES = (".txt", ".md", ".rst")

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
Without = Iterable[str | os.PathLike[str]]


class _Windows(Source):
    """Windows of `length + 1` bytes, `stride` apart."""

    in_memory = True

    def __init__(self, name: str, content: np.ndarray, length: int, stride: int, info: dict):
        self.name, self.info = name, info
        self._content, self._length, self._stride = content, length, stride
        self._digest: str | None = None

    def __len__(self) -> int:
        return max(0, (len(self._content) - self._length - 1) // self._stride + 1)

    def gather(self, indices) -> Batch:
        starts = self.check(indices) * self._stride
        return {"bytes": self._content[starts[:, None] + np.arange(self._length + 1)]}

    def digest(self) -> str:
        if self._digest is None:
            form = f"{self._length} {self._stride}"
            self._digest = digest_of("windows", form, self._content)
        return self._digest


def text_bytes(
    paths: Paths,
    length: int,
    *,
    stride: int | None = None,
    validation: float = 0.1,
    suffixes: Sequence[str] = _SUFFIXES,
    without: Without = (),
) -> dict[str, Source]:
    """Files as bytes, for language models.

    The files are joined, with a zero byte after each. The last share of the bytes is the
    validation part; no window reaches from one part into the other.

    Args:
      paths: a folder, a file, or a list of files, whose order counts. Of a folder all files with
        one of the `suffixes` are taken, those in its folders too, sorted by path.
      length: bytes a model reads at once, >= 1. A window has one more: `bytes[:, :-1]` predicts
        `bytes[:, 1:]`.
      stride: bytes from one window to the next; by default `length`, so that each byte is
        predicted once an epoch. With 1, every place begins a window.
      validation: its share of the bytes, in [0, 1); 0 makes no such part.
      suffixes: of the files in a folder, in any case.
      without: folders in it whose files are not taken, such as what a run wrote there.

    Returns:
      `train` and `validation`, with the field `bytes` (uint8, length + 1). `info`: `files`, the
      paths; `size`, bytes of both parts. A rest that fills no window is left out.

    Raises:
      DataError: for missing, empty or too few files, or a link that leads out of the folder.

    Example:
      >>> import pathlib
      >>> import optlab as ol
      >>> _ = pathlib.Path("song.txt").write_text("la" * 50)
      >>> parts = ol.training.data.text_bytes("song.txt", length=8)
      >>> parts["train"], len(parts["validation"])
      (train of song.txt: 11 examples of bytes uint8 9, 1)
      >>> bytes(parts["train"].gather([0])["bytes"])
      b'lalalalal'
    """
    files = files_of(paths, suffixes, without)
    name = str(paths) if isinstance(paths, str | os.PathLike) else f"{len(files)} files"
    return _parts("text_bytes", name, files, length, stride, validation)


def standard_library(
    length: int, *, stride: int | None = None, validation: float = 0.1
) -> dict[str, Source]:
    """The source of this Python's own standard library, without its tests: about 13 MB.

    It differs between versions of Python, and so does the digest.

    Args:
      length, stride, validation: as of `text_bytes`.

    Returns:
      `train` and `validation`, as of `text_bytes`.

    Raises:
      DataError: if this Python comes without its source.

    Example:
      >>> import optlab as ol
      >>> parts = ol.training.data.standard_library(length=128)
      >>> parts["train"]
      train of the standard library: ... examples of bytes uint8 129
    """
    files = library_files()
    return _parts("standard_library", "the standard library", files, length, stride, validation)


def library_files() -> list[tuple[str, Path]]:
    """Names below the library's folder, and files, sorted."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = [
        (name, file)
        for file in root.rglob("*.py")
        if not _NOT_LIBRARY & set((name := file.relative_to(root).as_posix()).split("/"))
    ]
    if not files:
        raise DataError(f"{root}: this Python comes without the source of its library")
    return sorted(files)


def files_of(
    paths: Paths, suffixes: Sequence[str], without: Without = ()
) -> list[tuple[str, Path]]:
    """Names and files, in the order that counts."""
    if not isinstance(paths, str | os.PathLike):
        files = [file_at(path) for path in paths]
        if not files:
            raise DataError("text_bytes: no files are given")
        return [(str(file), file) for file in files]
    if not Path(paths).exists():
        raise DataError(f"{paths}: no such file or folder")
    if Path(paths).is_file():
        return [(str(paths), Path(paths))]
    root, endings = folder_at(paths), _endings(suffixes)
    left_out = [Path(folder).resolve() for folder in without]
    files = [
        (relative_name(file, root), file)
        for file in walk(root)
        if not any(file.resolve().is_relative_to(folder) for folder in left_out)
    ]
    chosen = [(name, file) for name, file in files if file.suffix.lower() in endings]
    if not chosen:
        raise DataError(
            f"{root}: none of its {len(files)} files ends in {', '.join(sorted(endings))}; choose "
            "other suffixes"
        )
    return chosen


def _endings(suffixes: Iterable[str]) -> set[str]:
    if isinstance(suffixes, str):
        raise TypeError(f"suffixes must be a list such as ['.txt'], got {suffixes!r}.")
    return {f".{suffix.lower().lstrip('.')}" for suffix in suffixes}


def _parts(
    owner: str,
    name: str,
    files: list[tuple[str, Path]],
    length: int,
    stride: int | None,
    validation: float,
) -> dict[str, Source]:
    length = checks.positive_count(owner, "length", length)
    step = checks.positive_count(owner, "stride", length if stride is None else stride)
    share = checks.Interval(0.0, 1.0, "[)")(owner, "validation", validation)
    content = np.frombuffer(b"".join(read_file(file) + SEPARATOR for _, file in files), np.uint8)
    if len(content) == len(files):
        raise DataError(f"{name}: {len(files)} files without a byte")
    cut = len(content) - round(share * len(content))
    info = {"files": tuple(name for name, _ in files), "size": len(content)}
    shares = {"train": content[:cut]} | ({"validation": content[cut:]} if share else {})
    parts: dict[str, Source] = {
        part: _Windows(f"{part} of {name}", chunk, length, step, info)
        for part, chunk in shares.items()
    }
    for part, source in parts.items():
        if not len(source):
            raise DataError(
                f"{source.name}: {len(shares[part])} bytes are fewer than one window of "
                f"{length + 1}; choose a smaller length"
            )
    return parts
