"""A small data set in MNIST's format."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np


def write_digits(folder: Path, train: int = 240, test: int = 60) -> Path:
    """5 x 4 images that show which of ten classes they belong to, under noise."""
    folder.mkdir(exist_ok=True)
    patterns = np.random.default_rng(0).integers(0, 200, (10, 5, 4))
    for prefix, size in (("train", train), ("t10k", test)):
        labels = np.arange(size) % 10
        images = patterns[labels] + np.random.default_rng(size).integers(0, 55, (size, 5, 4))
        for name, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
            head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            (folder / f"{prefix}-{name}").write_bytes(head + array.astype(np.uint8).tobytes())
    return folder
