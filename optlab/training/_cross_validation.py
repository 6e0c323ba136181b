"""k-fold cross-validation of anything that trains on some rows and judges others."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from optlab.core import checks
from optlab.training._console import UserError
from optlab.training.metrics._inputs import scikit_learn

Run = Callable[[np.ndarray, np.ndarray, int], Mapping[str, float]]


@dataclasses.dataclass(frozen=True)
class CrossValidation:
    """What `cross_validate` found; prints as a table.

    Attributes:
      rows: for each fold, in order, its metrics.

    Example:
      >>> import optlab as ol
      >>> result = ol.training.CrossValidation(({"accuracy": 0.8}, {"accuracy": 0.9}))
      >>> result
      metric      mean      std   fold 0   fold 1
      accuracy  0.8500  0.07071   0.8000   0.9000
    """

    rows: tuple[dict[str, float], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics, in the order of the first fold."""
        return tuple(self.rows[0])

    @property
    def mean(self) -> dict[str, float]:
        """Of each metric, over the folds; NaN if one of them is."""
        return {name: float(np.mean(values)) for name, values in self._columns()}

    @property
    def std(self) -> dict[str, float]:
        """Sample standard deviation over the folds (divided by folds - 1)."""
        return {name: float(np.std(values, ddof=1)) for name, values in self._columns()}

    def to_json(self) -> str:
        """`{"folds": ..., "mean": ..., "std": ..., "rows": [...]}`; what is not finite is null."""
        content = {"mean": self.mean, "std": self.std, "rows": list(self.rows)}
        return json.dumps({"folds": len(self.rows), **_plain(content)}, allow_nan=False)

    def _columns(self) -> list[tuple[str, list[float]]]:
        return [(name, [row[name] for row in self.rows]) for name in self.names]

    def __repr__(self) -> str:
        mean, std = self.mean, self.std
        table = [["metric", "mean", "std", *(f"fold {i}" for i in range(len(self.rows)))]]
        for name, values in self._columns():
            table.append([name, *(f"{v:#.4g}" for v in (mean[name], std[name], *values))])
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = []
        for first, *others in table:
            cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
            lines.append("  ".join([first.ljust(widths[0]), *cells]))
        return "\n".join(lines)


def cross_validate(
    run: Run,
    count: int,
    *,
    folds: int = 5,
    seed: int = 0,
    stratify: Any = None,
    groups: Any = None,
) -> CrossValidation:
    """Trains on all folds but one and judges on that one, for each fold in turn.

    Args:
      run: `(train_indices, validation_indices, fold) -> {metric: number}`; trains a model anew on
        the rows of the first, judges it on those of the second. Indices are sorted int64 arrays.
      count: how many rows there are.
      folds: 2 ... count.
      seed: shuffles the rows (or the groups) before they are dealt out.
      stratify: (count,) class labels, each at least `folds` times: every fold gets its share of
        each class.
      groups: (count,) labels, at least `folds` different ones: rows of a group (a patient, a
        speaker) stay together. With `stratify`, as near to its shares as the groups allow.

    Returns:
      A `CrossValidation`.

    Raises:
      ValueError: for more folds than rows or groups, a class with fewer rows than folds, labels of
        another length, folds whose metrics have different names. TypeError: if `run` gives
        anything but a dict of numbers.
      ModuleNotFoundError: without scikit-learn.

    Special cases:
      What a fold raises is raised on, of its own type, with a note saying which fold it was.
      The folds of a seed are the same on every machine.

    Example:
      >>> import numpy as np, optlab as ol
      >>> y = np.arange(10.0)
      >>> def run(train, validation, fold):
      ...     return {"mae": np.abs(y[validation] - y[train].mean()).mean()}
      >>> ol.training.cross_validate(run, 10, folds=2)
      metric   mean     std  fold 0  fold 1
      mae     2.440  0.5657   2.840   2.040
    """
    checks.positive_count("cross_validate", "count", count)
    folds = checks.positive_count("cross_validate", "folds", folds)
    seed = checks.count("cross_validate", "seed", seed)
    if not 2 <= folds <= count:
        raise ValueError(
            f"cross_validate: folds must be at least 2 and at most the number of rows, {count}, "
            f"got {folds}."
        )
    rows: list[dict[str, float]] = []
    for fold, (train, validation) in enumerate(_split(count, folds, seed, stratify, groups)):
        try:
            metrics = _numbers(run(train, validation, fold))
            if rows and metrics.keys() != rows[0].keys():
                raise ValueError(
                    f"cross_validate: run gave the metrics {sorted(metrics)}, but "
                    f"{sorted(rows[0])} in fold 0; give the same in every fold."
                )
        except Exception as error:
            error.add_note(
                f"This was in fold {fold} of 0 ... {folds - 1} of the cross-validation, with "
                f"{len(train)} rows to train on and {len(validation)} to judge."
            )
            if fold and isinstance(error, UserError):  # it may have found the run of another fold
                error.add_note(
                    "Each fold needs an output folder of its own, such as output=folder / "
                    f"'fold-{fold}'."
                )
            raise
        rows.append(metrics)
    return CrossValidation(tuple(rows))


def _split(count: int, folds: int, seed: int, stratify: Any, groups: Any) -> Any:
    """Sorted (train, validation) indices of each fold."""
    selection = scikit_learn("model_selection")
    shuffled: dict[str, Any] = {"shuffle": True, "random_state": seed}
    labels = None if stratify is None else _codes("stratify", stratify, count)
    if labels is not None:
        _require_rows(stratify, labels, folds)
    if groups is not None:
        groups = _codes("groups", groups, count)
        many = int(groups.max()) + 1
        if many < folds:
            raise ValueError(
                f"cross_validate: {folds} folds need as many groups, got {many} different ones."
            )
        # Not every scikit-learn shuffles groups; new numbers for them change who goes first.
        groups = np.random.default_rng(seed).permutation(many)[groups]
        if labels is None:
            splitter = selection.GroupKFold(folds)
        else:
            splitter = selection.StratifiedGroupKFold(folds, **shuffled)
    elif labels is not None:
        splitter = selection.StratifiedKFold(folds, **shuffled)
    else:
        splitter = selection.KFold(folds, **shuffled)
    return splitter.split(np.zeros((count, 1)), labels, groups)


def _codes(name: str, values: Any, count: int) -> np.ndarray:
    """Labels of any kind as numbers 0, 1, ..."""
    array = np.asarray(values)
    if array.shape != (count,):
        raise ValueError(
            f"cross_validate: {name} must hold one label per row, shape ({count},), got "
            f"{array.shape}."
        )
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError(f"cross_validate: {int(np.isnan(array).sum())} labels in {name} are NaN.")
    return np.unique(array, return_inverse=True)[1]


def _require_rows(stratify: Any, labels: np.ndarray, folds: int) -> None:
    counts = np.bincount(labels)
    if counts.min() < folds:
        smallest = np.unique(np.asarray(stratify))[counts.argmin()]
        raise ValueError(
            f"cross_validate: the class {smallest.item()!r} has {counts.min()} rows, fewer than "
            f"{folds} folds. Use fewer folds, or leave stratify out."
        )


def _numbers(metrics: Any) -> dict[str, float]:
    if not isinstance(metrics, Mapping) or not metrics:
        raise TypeError(
            f"cross_validate: run must return a dict of numbers, got {metrics!r} of type "
            f"{type(metrics).__name__}."
        )
    numbers = {}
    for name, value in metrics.items():
        array = np.asarray(value)
        if array.shape != () or array.dtype.kind not in "biuf":
            raise TypeError(
                f"cross_validate: run must return a dict of numbers, got {value!r} of type "
                f"{type(value).__name__} for {name!r}."
            )
        numbers[str(name)] = float(array)
    return numbers


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if math.isfinite(value) else None
