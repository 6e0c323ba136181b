"""IDX files, which MNIST and its relatives come in.

A file is: two zero bytes, a type (8 is unsigned byte), the number of dimensions, each dimension as
a big-endian 32-bit integer, then the bytes.
"""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path

import numpy as np

from optlab.training.data._arrays import Arrays
from optlab.training.data._errors import DataError
from optlab.training.data._files import folder_at, read_declared
from optlab.training.data._source import Source

_UNSIGNED_BYTE = 8


def idx(folder: str | os.PathLike[str]) -> dict[str, Source]:
    """MNIST, Fashion-MNIST and the like from their four files, each gzipped or not.

    They are `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, and the same with `t10k`; `.gz`
    may follow.

    Args:
      folder: where they are.

    Returns:
      `train` and `test`, with fields `image` (uint8, rows x columns x 1) and `label` (int32, from
      0). `info["classes"]`: the labels as text, up to the largest.

    Raises:
      DataError: for a file that is missing, damaged, of another kind or another set.

    Example:
      >>> import pathlib
      >>> import numpy as np
      >>> import optlab as ol
      >>> for part, count in (("train", 3), ("t10k", 2)):
      ...     images, labels = np.zeros((count, 4, 4), np.uint8), np.zeros(count, np.uint8)
      ...     for values, kind in ((images, "images-idx3"), (labels, "labels-idx1")):
      ...         header = bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">u4").tobytes()
      ...         _ = pathlib.Path(f"{part}-{kind}-ubyte").write_bytes(header + values.tobytes())
      >>> ol.training.data.idx(".")["train"]
      train of .: 3 examples of image uint8 4x4x1, label int32

    Source:
      Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", 1998.
    """
    root = folder_at(folder)
    parts = {"train": _read_part(root, "train"), "test": _read_part(root, "t10k")}
    (train, labels), (test, test_labels) = parts.values()
    if train.shape[1:] != test.shape[1:]:
        raise DataError(
            f"{root}: training images are {_times(train.shape[1:])}, test images "
            f"{_times(test.shape[1:])}; they belong to different sets"
        )
    classes = tuple(map(str, range(int(max(labels.max(), test_labels.max())) + 1)))
    return {
        part: Arrays(
            {"image": images[..., None], "label": digits.astype(np.int32)},
            name=f"{part} of {root}",
            info={"classes": classes},
        )
        for part, (images, digits) in parts.items()
    }


def _read_part(root: Path, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    image_file = _find(root, f"{prefix}-images-idx3-ubyte")
    label_file = _find(root, f"{prefix}-labels-idx1-ubyte")
    images, labels = read_idx(image_file, 3), read_idx(label_file, 1)
    if len(images) != len(labels):
        raise DataError(
            f"{image_file} has {len(images)} images but {label_file} has {len(labels)} labels; "
            "they belong to different sets"
        )
    return images, labels


def read_idx(file: Path, dimensions: int) -> np.ndarray:
    """One file of unsigned bytes, with so many dimensions, none of them zero."""
    start = 4 + 4 * dimensions
    magic = bytes((0, 0, _UNSIGNED_BYTE, dimensions))

    def shape_of(head: bytes) -> tuple[int, ...]:
        if head[:4] != magic:
            raise DataError(
                f"{file}: starts with {head[:4].hex(' ') or 'nothing'}; an IDX file of bytes with "
                f"{dimensions} dimension{'s' * (dimensions > 1)} starts with {magic.hex(' ')}"
            )
        if len(head) < start:
            raise DataError(f"{file}: ends within its header, after {len(head)} bytes")
        shape = struct.unpack(f">{dimensions}I", head[4:])
        if not math.prod(shape):
            raise DataError(f"{file}: is empty, its header promises {_times(shape)} bytes")
        return shape

    data = read_declared(file, start, lambda head: math.prod(shape_of(head)))
    shape = shape_of(data[:start])
    found, size = len(data) - start, math.prod(shape)
    if found != size:
        kind = (
            f"truncated, its header promises {_times(shape)} = {size} bytes, {found} follow"
            if found < size
            else f"too long, more than the {_times(shape)} = {size} bytes of its header follow"
        )
        raise DataError(f"{file}: {kind}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _find(root: Path, name: str) -> Path:
    try:
        present = os.listdir(root)
    except OSError as error:
        raise DataError(f"{root}: cannot be listed: {error.strerror}") from None
    for candidate in (name, f"{name}.gz"):
        if candidate in present:
            return root / candidate
    raise DataError(f"{root}: has neither {name} nor {name}.gz")


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
