"""Examples in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from optlab.training.data._source import Batch, Source, digest_of


class Arrays(Source):
    """Arrays of equal length, one a field.

    They are not copied, and no longer to be changed: the digest is computed once.

    Args:
      fields: arrays by name, each with the number of examples in front.
      name: for messages.
      info: anything else to know about them.

    Raises:
      ValueError: for no field, no axis, different lengths.
      TypeError: for an array of objects.

    Example:
      >>> import numpy as np
      >>> import optlab as ol
      >>> source = ol.training.data.Arrays({"x": np.eye(3), "y": np.arange(3)}, name="corners")
      >>> source
      corners: 3 examples of x float64 3, y int64
      >>> source.gather([2, 0])["y"]
      array([2, 0])
      >>> source.digest()[:8]
      '57e8cde3'
    """

    in_memory = True

    def __init__(
        self,
        fields: Mapping[str, Any],
        name: str = "arrays",
        info: Mapping[str, Any] | None = None,
    ):
        self.name, self.info = name, dict(info or {})
        self._fields = {field: _frozen(name, field, value) for field, value in fields.items()}
        self._digest: str | None = None
        lengths = {field: len(value) for field, value in self._fields.items()}
        if not lengths:
            raise ValueError(f"{name}: at least one field is needed.")
        if len(set(lengths.values())) > 1:
            raise ValueError(f"{name}: the fields must have equal lengths, got {lengths}.")
        self._length = next(iter(lengths.values()))

    def __len__(self) -> int:
        return self._length

    def gather(self, indices: Any) -> Batch:
        chosen = self.check(indices)
        return {field: value[chosen] for field, value in self._fields.items()}

    def column(self, field: str) -> np.ndarray:
        if field not in self._fields:
            return super().column(field)  # the error
        return self._fields[field]

    def digest(self) -> str:
        if self._digest is None:
            parts = [part for field in sorted(self._fields) for part in (field, self.column(field))]
            self._digest = digest_of("arrays", *parts)
        return self._digest


def _frozen(name: str, field: str, value: Any) -> np.ndarray:
    array = np.asarray(value).view()
    if array.dtype.kind not in "biufcV":  # V: bfloat16 and its kin
        raise TypeError(
            f"{name}: field {field!r} must be an array of numbers, got {array.dtype}. Encode text "
            "as integers."
        )
    if array.ndim == 0:
        raise ValueError(f"{name}: field {field!r} must have the examples in front, got a scalar.")
    array.flags.writeable = False
    return array
