"""Handwritten digits, split and standardised: scikit-learn's, or MNIST from its files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import _idx
import numpy as np
from _console import UserError


class Images(NamedTuple):
    """pixels: float32 (n, pixels), standardised. labels: int32 (n,)."""

    pixels: np.ndarray
    labels: np.ndarray


class Data(NamedTuple):
    """mean, deviation: of the training pixels, which standardise all."""

    name: str
    train: Images
    validation: Images
    test: Images
    mean: float
    deviation: float


def load(folder: Path | None, seed: int) -> Data:
    """MNIST from its four files in `folder`, or scikit-learn's digits."""
    if folder is None:
        from sklearn.datasets import load_digits  # takes seconds to import

        pixels, labels = load_digits(return_X_y=True)
        parts = split(labels, (0.7, 0.15, 0.15), seed)
        name, sets = "scikit-learn's digits", [(pixels[part], labels[part]) for part in parts]
    else:
        pixels, labels = _idx.read_images_and_labels(folder, "train")
        test = _idx.read_images_and_labels(folder, "t10k")
        if pixels.shape[1:] != test[0].shape[1:]:
            raise UserError(
                f"{folder}: training images are {pixels.shape[1:]}, test images "
                f"{test[0].shape[1:]}; they belong to different sets"
            )
        parts = split(labels, (5 / 6, 1 / 6), seed)
        name, sets = str(folder), [*((pixels[part], labels[part]) for part in parts), test]
    if not all(len(labels) for _, labels in sets):
        raise UserError(f"{name}: too few images for a training, a validation and a test set")
    mean, deviation = float(sets[0][0].mean()), float(sets[0][0].std()) or 1.0
    parts = [standardise(*part, mean, deviation) for part in sets]
    return Data(name, *parts, mean, deviation)


def split(labels: np.ndarray, shares: Sequence[float], seed: int) -> list[np.ndarray]:
    """Indices of disjoint parts; each class is divided in the same proportions."""
    rng = np.random.default_rng(seed)
    parts: list[list[np.ndarray]] = [[] for _ in shares]
    for digit in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == digit))
        cuts = np.round(np.cumsum(shares)[:-1] * len(members)).astype(int)
        for part, chunk in zip(parts, np.split(members, cuts), strict=True):
            part.append(chunk)
    return [np.concatenate(part) for part in parts]


def standardise(pixels: np.ndarray, labels: np.ndarray, mean: float, deviation: float) -> Images:
    flat = pixels.reshape(len(pixels), -1)
    return Images(((flat - mean) / deviation).astype(np.float32), labels.astype(np.int32))


def minibatches(images: Images, size: int, seed: int, epoch: int) -> Iterator[Images]:
    """An epoch in an order of its own, without the incomplete last minibatch."""
    order = np.random.default_rng((seed, epoch)).permutation(len(images.labels))
    for start in range(0, len(order) - size + 1, size):
        chosen = order[start : start + size]
        yield Images(images.pixels[chosen], images.labels[chosen])
