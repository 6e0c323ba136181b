"""Files and folders, read with bounds and named in errors."""

from __future__ import annotations

import gzip
import hashlib
import os
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from optlab.training.data._errors import DataError

_CHUNK = 1 << 20
_DEFLATE_RATIO = 1040  # a byte of a deflate stream stands for 1032 at most


def folder_at(path: str | os.PathLike[str]) -> Path:
    """The folder.

    Raises:
      DataError: if there is none.
    """
    folder = Path(path)
    if not folder.exists():
        raise DataError(f"{folder}: no such folder")
    if not folder.is_dir():
        raise DataError(f"{folder}: is a file, a folder is expected")
    return folder


def file_at(path: str | os.PathLike[str]) -> Path:
    """The file, a regular one: a pipe or a device would block.

    Raises:
      DataError: if there is none.
    """
    file = Path(path)
    if not file.exists():
        raise DataError(f"{file}: no such file")
    if not file.is_file():
        kind = "a folder" if file.is_dir() else "no regular file"
        raise DataError(f"{file}: is {kind}, a file is expected")
    return file


def read_file(file: Path, limit: int | None = None) -> bytes:
    """The contents.

    Raises:
      DataError: if they cannot be read, or are more than `limit` bytes.
    """
    try:
        with open(file_at(file), "rb") as stream:
            data = stream.read(-1 if limit is None else limit + 1)
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from None
    if limit is not None and len(data) > limit:
        raise DataError(f"{file}: is larger than the {limit} bytes expected")
    return data


def is_gzip(file: Path) -> bool:
    """By its contents, not its name."""
    return read_head(file, 2) == b"\x1f\x8b"


def read_head(file: Path, count: int) -> bytes:
    """The first bytes."""
    try:
        with open(file_at(file), "rb") as stream:
            return stream.read(count)
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from None


def read_declared(file: Path, header: int, size_of: Callable[[bytes], int]) -> bytes:
    """A file, gzipped or not, whose header says how much follows; no more than that is read.

    Args:
      file: the file.
      header: bytes of the header; the file may be shorter.
      size_of: from the header, the bytes that should follow.

    Returns:
      The header and what follows, at most one byte longer than declared.
    """
    packed = is_gzip(file)
    try:
        with gzip.open(file, "rb") if packed else open(file, "rb") as stream:
            head = stream.read(header)
            size = size_of(head)
            most = file.stat().st_size * (_DEFLATE_RATIO if packed else 1)
            if size > most:  # before memory is taken for it
                raise DataError(
                    f"{file}: truncated, its header promises {size} bytes, which a file of "
                    f"{file.stat().st_size} bytes cannot hold"
                )
            parts, missing = [head], size + 1
            while missing and (part := stream.read(min(missing, _CHUNK))):
                parts.append(part)
                missing -= len(part)
    except EOFError:
        raise DataError(f"{file}: truncated, the gzip stream ends early") from None
    except (zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{file}: damaged gzip stream: {error}") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from None
    return b"".join(parts)


def relative_name(file: Path, root: Path) -> str:
    """The path below the root with `/`, composed: the same on every system."""
    return unicodedata.normalize("NFC", file.relative_to(root).as_posix())


def walk(root: Path, folder: Path | None = None) -> Iterator[Path]:
    """All files below a folder that lie within the root, hidden ones too, sorted.

    Raises:
      DataError: for a link that leads out of the root, or to a folder (its files would count
        twice, or without end).
    """
    inside = root.resolve()
    try:
        entries = sorted(
            os.scandir(folder or root), key=lambda entry: unicodedata.normalize("NFC", entry.name)
        )
    except OSError as error:
        raise DataError(f"{folder or root}: cannot be listed: {error.strerror}") from None
    for entry in entries:
        path = Path(entry.path)
        if entry.is_symlink():
            try:
                target = path.resolve()
            except (OSError, RuntimeError):  # links in a circle
                raise DataError(f"{path}: is a link that leads nowhere") from None
            if not target.is_relative_to(inside):
                raise DataError(f"{path}: is a link to {target}, outside {root}; links must stay")
            if target.is_dir():
                raise DataError(f"{path}: is a link to the folder {target}; put it there itself")
            yield path
        elif entry.is_dir(follow_symlinks=False):
            yield from walk(root, path)
        else:
            yield path


def digest_file(file: Path) -> bytes:
    """SHA-256 of the contents.

    Raises:
      DataError: if they cannot be read.
    """
    try:
        with open(file_at(file), "rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from None
