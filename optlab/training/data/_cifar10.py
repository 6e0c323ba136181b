"""CIFAR-10, from its binary or its Python archive, packed or unpacked."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from optlab.training.data._arrays import Arrays
from optlab.training.data._errors import DataError
from optlab.training.data._files import read_file, read_head
from optlab.training.data._pickled import Refused, read_pickled
from optlab.training.data._source import Source

_CLASSES = ("airplane", "automobile", "bird", "cat", "deer")
_CLASSES += ("dog", "frog", "horse", "ship", "truck")
_PIXELS = 3 * 32 * 32
_RECORD = 1 + _PIXELS
_MAX_BYTES = 1 << 28  # of a batch; the largest of the real ones has 31 MB
_MAX_MEMBERS = 1000
_BATCH = re.compile(r"(data_batch_\d+|test_batch)(\.bin)?")


class _File(NamedTuple):
    where: str
    content: bytes


def cifar10(path: str | os.PathLike[str]) -> dict[str, Source]:
    """CIFAR-10 from `cifar-10-binary.tar.gz`, `cifar-10-python.tar.gz`, or the folder in them.

    Archives are read in memory, never unpacked. The Python archive holds pickles; their values are
    read without unpickling, so that no code of the file can run.

    Args:
      path: the archive (`.tar`, compressed or not), or a folder with `data_batch_1.bin` ... and
        `test_batch.bin`, or the same without `.bin`. The number of training batches, and of images
        in each, may differ from the original's 5 and 10000.

    Returns:
      `train` and `test`, with fields `image` (uint8, 32 x 32 x 3) and `label` (int32, 0 to 9).
      `info["classes"]`: their names.

    Raises:
      DataError: for a file that is missing, damaged, or that holds anything but images.

    Example:
      >>> import pathlib
      >>> import optlab as ol
      >>> for name in ("data_batch_1", "test_batch"):
      ...     _ = pathlib.Path(f"{name}.bin").write_bytes((bytes([7]) + bytes(3072)) * 2)
      >>> ol.training.data.cifar10(".")["train"]
      train of .: 2 examples of image uint8 32x32x3, label int32

    Source:
      A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """
    root = Path(path)
    if not root.exists():
        raise DataError(f"{root}: no such file or folder")
    files: dict[str, _File] = {}
    for name, file in _folder(root) if root.is_dir() else _archive(root):
        if name in files:
            raise DataError(f"{root}: has {name} twice")
        files[name] = file
    binary = {name.endswith(".bin") for name in files}
    if len(binary) > 1:
        raise DataError(f"{root}: has batches of both the binary and the Python form; keep one")
    ending = ".bin" if binary == {True} else ""
    train = sorted(
        (name for name in files if name.startswith("data")),
        key=lambda name: int(re.sub(r"\D", "", name)),
    )
    if not train or f"test_batch{ending}" not in files:
        raise DataError(
            f"{root}: data_batch_1 ... and test_batch are expected, with .bin or without; found "
            f"{', '.join(sorted(files)) or 'neither'}"
        )
    parts = {"train": [files[name] for name in train], "test": [files[f"test_batch{ending}"]]}
    return {part: _read_part(root, part, found) for part, found in parts.items()}


def _read_part(root: Path, part: str, files: list[_File]) -> Source:
    binary = [_read_binary(f) if f.where.endswith(".bin") else _read_python(f) for f in files]
    labels = np.concatenate([labels for labels, _ in binary]).astype(np.int32)
    pixels = np.concatenate([pixels for _, pixels in binary])
    images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return Arrays(
        {"image": np.ascontiguousarray(images), "label": labels},
        name=f"{part} of {root}",
        info={"classes": _CLASSES},
    )


def _read_binary(file: _File) -> tuple[np.ndarray, np.ndarray]:
    size = len(file.content)
    if not size or size % _RECORD:
        raise DataError(
            f"{file.where}: has {size} bytes; a multiple of {_RECORD} (a label and 32 x 32 x 3 "
            "pixels) is expected"
        )
    records = np.frombuffer(file.content, np.uint8).reshape(-1, _RECORD)
    return _checked(file, records[:, 0]), records[:, 1:]


def _read_python(file: _File) -> tuple[np.ndarray, np.ndarray]:
    try:
        values = read_pickled(file.content)
    except Refused as error:
        raise DataError(
            f"{file.where}: holds {error}; only images and labels are read from it"
            if not str(error).startswith("damaged")
            else f"{file.where}: {error}"
        ) from None
    missing = [key for key in ("data", "labels") if key not in values]
    if missing:
        found = ", ".join(map(repr, values)) or "nothing"
        raise DataError(f"{file.where}: has no {missing[0]!r}; it has {found}")
    pixels, labels = values["data"], values["labels"]
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != _PIXELS:
        raise DataError(f"{file.where}: 'data' must be rows of {_PIXELS} bytes")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise DataError(f"{file.where}: 'labels' must be a list of whole numbers")
    if len(labels) != len(pixels) or not labels:
        raise DataError(f"{file.where}: has {len(pixels)} images but {len(labels)} labels")
    return _checked(file, np.array(labels)), pixels


def _checked(file: _File, labels: np.ndarray) -> np.ndarray:
    wrong = np.flatnonzero((labels < 0) | (labels > 9))
    if len(wrong):
        raise DataError(f"{file.where}: label {labels[wrong[0]]} of image {wrong[0]}; 0 to 9 exist")
    return labels


def _folder(root: Path) -> Iterator[tuple[str, _File]]:
    for file in sorted(root.iterdir()):
        if _BATCH.fullmatch(file.name):
            yield file.name, _File(str(file), read_file(file, _MAX_BYTES))


def _unpacked(path: Path) -> IO[bytes]:
    """What a compressed file holds, as a stream that checks it; by its contents, not its name."""
    head = read_head(path, 6)
    openers = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
    return next((o for magic, o in openers.items() if head.startswith(magic)), open)(path, "rb")


def _archive(path: Path) -> Iterator[tuple[str, _File]]:
    """The batches among the members, whose folder does not matter: none is written anywhere."""
    try:
        with _unpacked(path) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            for number, member in enumerate(archive):
                if number >= _MAX_MEMBERS or member.size > _MAX_BYTES:
                    raise DataError(
                        f"{path}: {member.name!r} has {member.size} bytes and is member {number}; "
                        f"{_MAX_BYTES} bytes and {_MAX_MEMBERS} members are the most CIFAR-10 needs"
                    )
                name = member.name.rpartition("/")[2]
                if not _BATCH.fullmatch(name):
                    continue
                content = archive.extractfile(member) if member.isreg() else None
                if content is None:
                    raise DataError(f"{path}: {member.name!r} is no regular file")
                yield name, _File(f"{path}:{member.name}", content.read())
            for _ in range(_MAX_MEMBERS):  # the checksum comes last
                if not stream.read(1 << 16):
                    break
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: is no tar archive, or a damaged one: {error}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
