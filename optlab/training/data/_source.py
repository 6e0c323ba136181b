"""What a source of examples is: random access, many at a time, with a fingerprint."""

from __future__ import annotations

import abc
import hashlib
from typing import Any

import numpy as np

Batch = dict[str, np.ndarray]
_CHUNK = 1024


class Source(abc.ABC):
    """Examples by their number: `gather([5, 2])` is a batch of examples 5 and 2.

    A reader of another format subclasses this and writes `__len__`, `gather` and `digest`.

    Attributes:
      name: for messages.
      info: what else is known, such as `info["classes"]`; a reader says what it puts there.
      in_memory: whether gathering is so cheap that reading ahead would only cost.

    Example:
      >>> import hashlib
      >>> import numpy as np
      >>> import optlab as ol
      >>> class Squares(ol.training.data.Source):
      ...     name = "squares"
      ...     def __len__(self):
      ...         return 10
      ...     def gather(self, indices):
      ...         return {"x": self.check(indices).astype(np.float32) ** 2}
      ...     def digest(self):
      ...         return hashlib.sha256(b"squares of 0 .. 9").hexdigest()
      >>> Squares()
      squares: 10 examples of x float32
      >>> Squares().subset([3, 4]).gather([1])
      {'x': array([16.], dtype=float32)}
    """

    name: str = "source"
    info: dict[str, Any] = {}  # noqa: RUF012 - never written to; an instance has its own
    in_memory: bool = False

    @abc.abstractmethod
    def __len__(self) -> int:
        """The number of examples."""

    @abc.abstractmethod
    def gather(self, indices: Any) -> Batch:
        """The examples of these numbers, stacked: every array is `len(indices)` long.

        It must be safe to call from several threads, and an empty list of indices gives arrays of
        length 0 with the right shape and dtype.
        """

    @abc.abstractmethod
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the examples as gathered; the same on every machine."""

    def subset(self, indices: Any) -> Source:
        """A view of some examples, in the order given."""
        return Subset(self, indices)

    def column(self, field: str) -> np.ndarray:
        """One field of all examples; readers override it where that spares decoding the rest.

        Raises:
          ValueError: if there is no such field.
        """
        empty = self.gather(np.zeros(0, np.int64))
        if field not in empty:
            raise ValueError(f"{self.name} has no field {field!r}; it has {', '.join(empty)}.")
        chunks = [
            self.gather(np.arange(start, min(start + _CHUNK, len(self))))[field]
            for start in range(0, len(self), _CHUNK)
        ]
        return np.concatenate([empty[field], *chunks])

    def check(self, indices: Any) -> np.ndarray:
        """The indices as an int64 vector.

        Raises:
          TypeError: unless they are whole numbers.
          IndexError: if one is negative or too large.
        """
        array = np.asarray(indices)
        if array.size == 0:
            array = array.astype(np.int64)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise TypeError(
                f"{self.name}: indices must be a vector of whole numbers, got "
                f"{array.dtype} of shape {array.shape}."
            )
        if array.size and (array.min() < 0 or array.max() >= len(self)):
            wrong = array[(array < 0) | (array >= len(self))][0]
            raise IndexError(
                f"{self.name}: index {wrong} is outside 0 .. {len(self) - 1}"
                if len(self)
                else f"{self.name} is empty, there is no index {wrong}"
            )
        return array.astype(np.int64)

    def __repr__(self) -> str:
        fields = ", ".join(
            " ".join(filter(None, [name, str(value.dtype), "x".join(map(str, value.shape[1:]))]))
            for name, value in self.gather(np.zeros(0, np.int64)).items()
        )
        return f"{self.name}: {len(self)} example{'s' * (len(self) != 1)} of {fields}"


class Subset(Source):
    """Some examples of another source; of a subset, of that subset's source."""

    def __init__(self, source: Source, indices: Any, name: str | None = None):
        chosen = source.check(indices)
        if isinstance(source, Subset):
            source, chosen = source._source, source._indices[chosen]
        self._source, self._indices = source, chosen
        self.name = name or source.name
        self.info, self.in_memory = source.info, source.in_memory

    def __len__(self) -> int:
        return len(self._indices)

    def gather(self, indices: Any) -> Batch:
        return self._source.gather(self._indices[self.check(indices)])

    def digest(self) -> str:
        return digest_of("subset", self._source.digest(), self._indices)

    def column(self, field: str) -> np.ndarray:
        return self._source.column(field)[self._indices]


def digest_of(*parts: str | bytes | np.ndarray) -> str:
    """SHA-256 of parts, each with its kind and length in front, arrays in little-endian order."""
    state = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            part = np.ascontiguousarray(part.astype(part.dtype.newbyteorder("<"), copy=False))
            head = f"array {part.dtype.str} {part.shape}"
            body = part.reshape(-1).view(np.uint8).data if part.size else b""
        else:
            body = part.encode() if isinstance(part, str) else part
            head = f"bytes {len(body)}"
        state.update(f"{head}\n".encode())
        state.update(body)
    return state.hexdigest()


def require_source(owner: str, value: Any) -> Source:
    """The value, if it is a source.

    Raises:
      TypeError: otherwise.
    """
    if isinstance(value, Source):
        return value
    raise TypeError(
        f"{owner}: source must be a Source, got {value!r} of type {type(value).__name__}. "
        "Wrap arrays in Arrays({...}), and subclass Source for other data."
    )
