"""Handwritten digits, 1797 images of 8 x 8, as scikit-learn ships them."""

from __future__ import annotations

import functools
import importlib.util
import pathlib
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

_EVERY = 5
_FILE = pathlib.PurePath("datasets", "data", "digits.csv.gz")

Split = dict[str, jax.Array]


def digits() -> tuple[Split, Split]:
    """Training and validation data: `image` float32[n, 64] in [-1, 1], `label` int32[n].

    Every fifth image is for validation (359), the others for training (1438). Images follow each
    other by writer, so both parts have the same writers and the same share of every digit.

    Raises:
      ImportError: where scikit-learn is not installed.
    """
    images, labels = _table()
    images = (images / 8 - 1).astype(np.float32)
    held_out = np.arange(len(labels)) % _EVERY == _EVERY - 1

    def part(rows: np.ndarray) -> Split:
        return {"image": jnp.asarray(images[rows]), "label": jnp.asarray(labels[rows])}

    return part(~held_out), part(held_out)


@functools.cache
def _table() -> tuple[np.ndarray, np.ndarray]:
    """Its file is read without importing scikit-learn, which takes seconds."""
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise ImportError(
            "The digits come with scikit-learn, which is not installed. "
            'pip install "optlab[examples]" brings it.'
        )
    file = pathlib.Path(package.origin).parent / _FILE
    if file.exists():
        table = np.loadtxt(file, delimiter=",")
        return table[:, :-1], table[:, -1].astype(np.int32)
    from sklearn.datasets import load_digits

    images, labels = cast(Any, load_digits(return_X_y=True))
    return images, labels.astype(np.int32)
