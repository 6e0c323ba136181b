"""Disjoint parts of a source, the same in every run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from optlab.core import checks
from optlab.training.data._order import permutation
from optlab.training.data._source import Source, Subset, require_source

_TAG = 1  # keeps these permutations apart from those of the epochs


def split(
    source: Source, fractions: Sequence[float], seed: int = 0, stratify: str | None = None
) -> list[Source]:
    """Divides the examples at random into parts that do not overlap and leave nothing out.

    Args:
      source: the examples.
      fractions: the share of each part; positive, with sum 1.
      seed: a whole number >= 0. The parts depend on it and on the number of examples only, and on
        the field of `stratify`.
      stratify: a field of classes that are to have the same shares in each part.

    Returns:
      One source a fraction, its examples in their original order.

    Raises:
      ValueError: for fractions as above, or a part without examples.

    Example:
      >>> import numpy as np
      >>> import optlab as ol
      >>> source = ol.training.data.Arrays({"label": np.repeat([0, 1], 50)}, name="coins")
      >>> train, test = ol.training.data.split(source, (0.9, 0.1), seed=0, stratify="label")
      >>> len(train), test.column("label")
      (90, array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1]))
    """
    require_source("split", source)
    for i, fraction in enumerate(fractions):
        checks.Interval(0.0, 1.0, "(]")("split", f"fractions[{i}]", fraction)
    if not fractions or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"split: fractions must sum to 1, got {tuple(fractions)}.")
    parts: list[list[np.ndarray]] = [[] for _ in fractions]
    for members in _groups(source, seed, stratify):
        cuts = np.round(np.cumsum(fractions)[:-1] * len(members)).astype(int)
        for part, chunk in zip(parts, np.split(members, cuts), strict=True):
            part.append(chunk)
    indices = [np.sort(np.concatenate(part)) for part in parts]
    for fraction, chosen in zip(fractions, indices, strict=True):
        if not len(chosen):
            raise ValueError(
                f"split: {source.name} has {len(source)} examples, too few for a part of {fraction}"
            )
    return [Subset(source, chosen) for chosen in indices]


def folds(
    source: Source, count: int, seed: int = 0, stratify: str | None = None
) -> list[tuple[Source, Source]]:
    """Cross-validation: each example is in the validation part of exactly one fold.

    Args:
      source: the examples.
      count: folds, >= 2; their sizes differ by one at most (by one a class, if stratified).
      seed, stratify: as of `split`.

    Returns:
      A pair (train, validation) for each fold.

    Raises:
      ValueError: if there are fewer examples than folds.

    Example:
      >>> import numpy as np
      >>> import optlab as ol
      >>> source = ol.training.data.Arrays({"x": np.arange(6)})
      >>> [len(validation) for _, validation in ol.training.data.folds(source, 3)]
      [2, 2, 2]
    """
    require_source("folds", source)
    checks.Interval(2, np.inf, "[)", integer=True)("folds", "count", count)
    if len(source) < count:
        raise ValueError(f"folds: {source.name} has {len(source)} examples, fewer than {count}.")
    order = np.concatenate(list(_groups(source, seed, stratify)))
    fold = np.empty(len(source), np.int64)
    fold[order] = np.arange(len(source)) % count
    everything = np.arange(len(source))
    return [
        (Subset(source, everything[fold != i]), Subset(source, everything[fold == i]))
        for i in range(count)
    ]


def _groups(source: Source, seed: int, stratify: str | None) -> Iterator[np.ndarray]:
    """Indices in random order, class by class."""
    order = permutation(len(source), _TAG, seed)
    if stratify is None:
        yield order
        return
    labels = source.column(stratify)
    if labels.ndim != 1 or labels.dtype.kind not in "biu":
        raise ValueError(
            f"stratify must name a field of integer classes; {stratify!r} of {source.name} is "
            f"{labels.dtype} of shape {labels.shape}."
        )
    for label in np.unique(labels):
        yield order[labels[order] == label]
