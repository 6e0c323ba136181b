"""Features of mean 0 and deviation 1, by the training part's measure."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from optlab.training.data._arrays import Arrays
from optlab.training.data._source import Source, require_source


@dataclasses.dataclass(frozen=True)
class Standardizer:
    """(x - mean) / deviation, for each feature or channel (the last axis); NaN becomes 0, the mean.

    Fit it on the training part and apply it to all parts: statistics of the others must not reach
    the model.

    Attributes:
      field: the field it changes.
      mean, deviation: one number a feature; a constant feature keeps a deviation of 1.

    Example:
      >>> import numpy as np
      >>> import optlab as ol
      >>> train = ol.training.data.Arrays({"features": np.float32([[1, 5], [3, 5], [np.nan, 5]])})
      >>> standardizer = ol.training.data.Standardizer.fit(train)
      >>> standardizer
      Standardizer(field='features', mean=(2.0, 5.0), deviation=(1.0, 1.0))
      >>> standardizer(train).column("features").tolist()
      [[-1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]
    """

    field: str
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def fit(cls, train: Source, field: str = "features") -> Standardizer:
        """Measures a source.

        Raises:
          ValueError: for a field that is no array of finite numbers or NaN, or nothing but NaN.
        """
        values = require_source("Standardizer.fit", train).column(field)
        if values.ndim < 2 or values.dtype.kind not in "biuf" or not len(values):
            raise ValueError(
                f"Standardizer: field {field!r} of {train.name} must hold vectors of numbers, got "
                f"{values.dtype} of shape {values.shape}."
            )
        rows = values.reshape(-1, values.shape[-1]).astype(np.float64)
        if np.isinf(rows).any():
            raise ValueError(f"Standardizer: field {field!r} of {train.name} has infinite values.")
        known = ~np.isnan(rows)
        counts = known.sum(0)
        if not counts.all():
            raise ValueError(
                f"Standardizer: feature {int(np.argmin(counts))} of {train.name} has no value that "
                "is not missing; leave it out."
            )
        mean = np.where(known, rows, 0).sum(0) / counts
        centred = np.where(known, rows - mean, 0)
        deviation = np.sqrt((centred**2).sum(0) / counts)
        deviation[deviation <= 1e-12 * np.abs(mean)] = 1.0  # constant, but for rounding
        return cls(field, tuple(mean.tolist()), tuple(deviation.tolist()))

    def __call__(self, source: Source) -> Source:
        """The source with the field standardised, as float32, in memory.

        Raises:
          ValueError: for another number of features.
        """
        fields: dict[str, Any] = {
            name: source.column(name) for name in require_source("Standardizer", source).gather([])
        }
        values = source.column(self.field)
        if values.shape[-1] != len(self.mean):
            raise ValueError(
                f"Standardizer: {source.name} has {values.shape[-1]} features in {self.field!r}, "
                f"it was fitted on {len(self.mean)}."
            )
        scaled = (values.astype(np.float64) - np.array(self.mean)) / np.array(self.deviation)
        fields[self.field] = np.where(np.isnan(scaled), 0, scaled).astype(np.float32)
        return Arrays(fields, name=source.name, info=source.info)
