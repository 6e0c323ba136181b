"""Small data sets in MNIST's format, and the ways such files go wrong."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np


def idx(array: np.ndarray) -> bytes:
    array = np.asarray(array, np.uint8)
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return head + array.tobytes()


def images_of(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """5 x 4 images that show which of ten classes they belong to, under noise."""
    patterns = np.random.default_rng(0).integers(0, 200, (10, 5, 4))
    noise = np.random.default_rng(seed).integers(0, 55, (len(labels), 5, 4))
    return (patterns[labels] + noise).astype(np.uint8)


def write_digits(folder: Path, train: int = 240, test: int = 60, zipped: bool = False) -> Path:
    folder.mkdir(exist_ok=True)
    for prefix, size in (("train", train), ("t10k", test)):
        labels = np.arange(size) % 10
        for name, array in (
            ("images-idx3-ubyte", images_of(labels, size)),
            ("labels-idx1-ubyte", labels),
        ):
            data = idx(array)
            file = folder / f"{prefix}-{name}{'.gz' if zipped else ''}"
            file.write_bytes(gzip.compress(data) if zipped else data)
    return folder


_IMAGES = idx(np.zeros((3, 5, 4)))
_LABELS = idx(np.zeros(3))

# What is wrong: file, its contents, and words that the message must have.
DAMAGE = {
    "labels in place of images": ("train-images-idx3-ubyte", _LABELS, "starts with 00 00 08 01"),
    "images in place of labels": ("train-labels-idx1-ubyte", _IMAGES, "starts with 00 00 08 03"),
    "floats": ("train-images-idx3-ubyte", b"\0\0\x0d\x03" + _IMAGES[4:], "00 00 0d 03"),
    "text": ("train-images-idx3-ubyte", b"<html>not found</html>", "starts with 3c 68"),
    "nothing": ("train-images-idx3-ubyte", b"", "starts with nothing"),
    "half a header": ("train-images-idx3-ubyte", _IMAGES[:10], "ends within its header"),
    "truncated": ("train-images-idx3-ubyte", _IMAGES[:-7], "truncated"),
    "too long": ("train-images-idx3-ubyte", _IMAGES + b"\0", "too long"),
    "no images": ("train-images-idx3-ubyte", idx(np.zeros((0, 5, 4))), "is empty"),
    "huge": ("train-images-idx3-ubyte", _IMAGES[:4] + b"\xff" * 12 + b"\0", "truncated"),
    "truncated gzip": ("t10k-labels-idx1-ubyte", gzip.compress(_LABELS)[:-9], "truncated"),
    "damaged gzip": (
        "t10k-labels-idx1-ubyte",
        gzip.compress(_LABELS)[:12] + b"\xff\xff\xff" + gzip.compress(_LABELS)[15:],
        "damaged gzip",
    ),
    "fewer labels": ("train-labels-idx1-ubyte", _LABELS, "240 images"),
    "letters": ("train-labels-idx1-ubyte", idx(np.arange(240) % 26), "label 10 at index 10"),
    "another size": ("t10k-images-idx3-ubyte", idx(np.zeros((60, 7, 7))), "(7, 7)"),
}
