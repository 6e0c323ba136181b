"""Reads the IDX files that MNIST and its relatives come in, plain or gzipped, and checks them.

A file is: two zero bytes, a type (8 is unsigned byte), the number of dimensions, each dimension as
a big-endian 32-bit integer, then the bytes. http://yann.lecun.com/exdb/mnist describes it.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from _console import UserError

_UNSIGNED_BYTE = 8
_GZIP = b"\x1f\x8b"


def read_images_and_labels(folder: Path, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    """`PREFIX-images-idx3-ubyte` and `PREFIX-labels-idx1-ubyte`, each with or without `.gz`.

    Returns:
      uint8 images of shape (n, rows, columns) and labels of shape (n,), each in 0 .. 9.

    Raises:
      UserError: for a folder or file that is missing, unreadable, damaged or something else.
    """
    image_file = _find(folder, f"{prefix}-images-idx3-ubyte")
    label_file = _find(folder, f"{prefix}-labels-idx1-ubyte")
    images, labels = read_idx(image_file, dimensions=3), read_idx(label_file, dimensions=1)
    if len(images) != len(labels):
        raise UserError(
            f"{image_file} has {len(images)} images but {label_file} has {len(labels)} labels; "
            "they belong to different sets"
        )
    if labels.max() > 9:
        where = int(np.argmax(labels > 9))
        raise UserError(f"{label_file}: label {labels[where]} at index {where}; 0 to 9 expected")
    return images, labels


def read_idx(file: Path, dimensions: int) -> np.ndarray:
    """One file of unsigned bytes, with so many dimensions, none of them zero."""
    data = _read(file)
    magic = bytes((0, 0, _UNSIGNED_BYTE, dimensions))
    if data[:4] != magic:
        raise UserError(
            f"{file}: starts with {data[:4].hex(' ') or 'nothing'}; an IDX file of bytes with "
            f"{dimensions} dimension{'s' if dimensions > 1 else ''} starts with {magic.hex(' ')}"
        )
    start = 4 + 4 * dimensions
    if len(data) < start:
        raise UserError(f"{file}: ends within its header, after {len(data)} bytes")
    shape = struct.unpack(f">{dimensions}I", data[4:start])
    size = math.prod(shape)
    text = " x ".join(map(str, shape))
    if size == 0:
        raise UserError(f"{file}: is empty, its header promises {text} bytes")
    if len(data) - start != size:
        kind = "truncated" if len(data) - start < size else "too long"
        raise UserError(
            f"{file}: {kind}, its header promises {text} = {size} bytes, {len(data) - start} follow"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _find(folder: Path, name: str) -> Path:
    try:
        present = os.listdir(folder)
    except OSError as error:
        raise UserError(f"--data-dir: cannot list {folder}: {error.strerror}") from None
    for candidate in (name, f"{name}.gz"):
        if candidate in present:
            return folder / candidate
    raise UserError(f"--data-dir: {folder} has neither {name} nor {name}.gz")


def _read(file: Path) -> bytes:
    """The contents; what they are, not the name, says whether they are gzipped."""
    try:
        data = file.read_bytes()
        return gzip.decompress(data) if data[:2] == _GZIP else data
    except EOFError:
        raise UserError(f"{file}: truncated, the gzip stream ends early") from None
    except (zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{file}: damaged gzip stream: {error}") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None
