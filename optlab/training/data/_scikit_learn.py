"""The data sets that come with scikit-learn: no download, real measurements."""

from __future__ import annotations

from typing import Any

import numpy as np

from optlab.core import checks
from optlab.training.data._arrays import Arrays
from optlab.training.data._errors import extra
from optlab.training.data._source import Source


def digits() -> Source:
    """1797 handwritten digits: `image` (float32, 8 x 8 x 1, in [0, 1]) and `label` (int32, 0-9).

    Raises:
      ImportError: without scikit-learn.

    Example:
      >>> import optlab as ol
      >>> ol.training.data.digits()
      digits: 1797 examples of image float32 8x8x1, label int32

    Source:
      E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998.
    """
    bunch = _sets("digits").load_digits()
    fields = {
        "image": (bunch.images / 16).astype(np.float32)[..., None],
        "label": bunch.target.astype(np.int32),
    }
    return Arrays(fields, name="digits", info={"classes": tuple(map(str, range(10)))})


def breast_cancer() -> Source:
    """569 tumours: `features` (float32, 30) and `label` (int32, 0 malignant, 1 benign).

    `info`: `columns`, `classes`. The measurements have different scales: see `Standardizer`.

    Raises:
      ImportError: without scikit-learn.

    Example:
      >>> import optlab as ol
      >>> ol.training.data.breast_cancer()
      breast_cancer: 569 examples of features float32 30, label int32

    Source:
      W. Wolberg, O. Mangasarian, N. Street, W. Street, "Breast Cancer Wisconsin (Diagnostic)",
      UCI, 1993.
    """
    return _table("breast_cancer")


def wine() -> Source:
    """178 wines of three growers: `features` (float32, 13 analyses) and `label` (int32).

    `info`: `columns`, `classes`.

    Raises:
      ImportError: without scikit-learn.

    Example:
      >>> import optlab as ol
      >>> ol.training.data.wine()
      wine: 178 examples of features float32 13, label int32

    Source:
      S. Aeberhard, M. Forina, "Wine", UCI, 1992.
    """
    return _table("wine")


def iris() -> Source:
    """150 flowers of three species: `features` (float32, 4 lengths in cm) and `label` (int32).

    `info`: `columns`, `classes`.

    Raises:
      ImportError: without scikit-learn.

    Example:
      >>> import optlab as ol
      >>> ol.training.data.iris().info["classes"]
      ('setosa', 'versicolor', 'virginica')

    Source:
      R. Fisher, "The use of multiple measurements in taxonomic problems", 1936.
    """
    return _table("iris")


def diabetes() -> Source:
    """442 patients: `features` (float32, 10) and `target` (float32, progression, 25 .. 346).

    The features come centred, and scaled to a sum of squares of 1 over all patients. `info`:
    `columns`.

    Raises:
      ImportError: without scikit-learn.

    Example:
      >>> import optlab as ol
      >>> ol.training.data.diabetes()
      diabetes: 442 examples of features float32 10, target float32

    Source:
      B. Efron, T. Hastie, I. Johnstone, R. Tibshirani, "Least Angle Regression", 2004.
    """
    bunch = _sets("diabetes").load_diabetes()
    fields = {
        "features": bunch.data.astype(np.float32),
        "target": bunch.target.astype(np.float32),
    }
    return Arrays(fields, name="diabetes", info={"columns": tuple(bunch.feature_names)})


def photograph_patches(size: int = 32, stride: int | None = None) -> Source:
    """Square patches of two photographs: `image` (float32, size x size x 3, in [0, 1]) and `label`.

    Args:
      size: of a patch, in pixels; 1 to 427.
      stride: between patches, in pixels; by default `size`, so that none overlap. With less, a
        random split has shared pixels in its parts.

    Returns:
      Patches row by row; the label is 0 for the temple, 1 for the flower. `info["classes"]`.

    Raises:
      ImportError: without scikit-learn or Pillow.

    Example:
      >>> import optlab as ol
      >>> ol.training.data.photograph_patches(64)
      photograph_patches: 120 examples of image float32 64x64x3, label int32

    Source:
      The photographs china.jpg and flower.jpg of scikit-learn, CC BY.
    """
    checks.Interval(1, 427, integer=True)("photograph_patches", "size", size)
    step = checks.positive_count("photograph_patches", "stride", size if stride is None else stride)
    extra("PIL", "photograph_patches", package="Pillow")
    patches, labels = [], []
    photographs = _sets("photograph_patches").load_sample_images().images
    for label, photograph in enumerate(photographs):
        views = np.lib.stride_tricks.sliding_window_view(photograph, (size, size), axis=(0, 1))
        found = views[::step, ::step].transpose(0, 1, 3, 4, 2).reshape(-1, size, size, 3)
        patches.append(found.astype(np.float32) / np.float32(255))
        labels.append(np.full(len(found), label, np.int32))
    return Arrays(
        {"image": np.concatenate(patches), "label": np.concatenate(labels)},
        name="photograph_patches",
        info={"classes": ("china", "flower")},
    )


def _table(name: str) -> Source:
    bunch = getattr(_sets(name), f"load_{name}")()
    fields = {"features": bunch.data.astype(np.float32), "label": bunch.target.astype(np.int32)}
    info = {
        "columns": tuple(map(str, bunch.feature_names)),
        "classes": tuple(map(str, bunch.target_names)),
    }
    return Arrays(fields, name=name, info=info)


def _sets(name: str) -> Any:
    return extra("sklearn.datasets", name, package="scikit-learn")
