"""All examples once, in their order, for evaluation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from optlab.core import checks
from optlab.training.data._processes import as_step, process_part
from optlab.training.data._read_ahead import read
from optlab.training.data._source import Batch, Source, require_source


class InOrder:
    """All examples once, in their order, in batches of one size; what `in_order` returns."""

    def __init__(
        self, source: Source, batch_size: int, process_index: int, process_count: int
    ) -> None:
        self.source = require_source("in_order", source)
        self.batch_size = checks.positive_count("in_order", "batch_size", batch_size)
        self._part = process_part("in_order", self.batch_size, process_index, process_count)
        if not len(source):
            raise ValueError(f"in_order: {source.name} has no examples.")
        if "valid" in source.gather([]):
            raise ValueError(f"in_order: {source.name} has a field 'valid' already; rename it.")

    def __len__(self) -> int:
        return -(-len(self.source) // self.batch_size)

    def __getitem__(self, number: int) -> Batch:
        if as_step(number) >= len(self):
            raise IndexError(f"in_order: there are {len(self)} batches, no number {number}.")
        index, count = self._part
        each = self.batch_size // count
        start = number * self.batch_size + index * each
        places = np.arange(start, start + each)
        batch = self.source.gather(places % len(self.source))
        return {**batch, "valid": places < len(self.source)}

    def __iter__(self) -> Iterator[Batch]:
        return self.iterate()

    def iterate(self, *, prefetch: int = 2, threads: int = 1) -> Iterator[Batch]:
        """The batches, read ahead as `Batches.iterate` does."""
        return read(self.__getitem__, self.source, 0, len(self), prefetch, threads)


def in_order(
    source: Source, batch_size: int, *, process_index: int = 0, process_count: int = 1
) -> InOrder:
    """For evaluation: every example once, and every batch of the same shape.

    The last batch is filled up with examples from the beginning; the boolean field `valid` is False
    for these. A mean over the data is `sum(values * valid) / sum(valid)` over all batches and
    processes.

    Args:
      source: the examples, at least one.
      batch_size: over all processes; may be larger than the data.
      process_index, process_count: which part of each batch.

    Returns:
      An object with a length, to iterate over or to index, as often as wanted.

    Raises:
      ValueError: without examples, or if the processes cannot share a batch equally.

    Example:
      >>> import numpy as np
      >>> import optlab as ol
      >>> source = ol.training.data.Arrays({"x": np.arange(5)})
      >>> for batch in ol.training.data.in_order(source, 3):
      ...     print(batch["x"], batch["valid"])
      [0 1 2] [ True  True  True]
      [3 4 0] [ True  True False]
    """
    return InOrder(source, batch_size, process_index, process_count)
