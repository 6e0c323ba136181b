"""Batches as a function of the step: what a run reads depends on nothing else.

So the position of a run in its data is its step, and a run that goes on from step k reads what an
uninterrupted one would have read.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np

from optlab.core import checks
from optlab.training.data._order import permutation
from optlab.training.data._read_ahead import read
from optlab.training.data._source import Batch, Source, require_source

_TAG = 0  # keeps these permutations apart from those of split
_KEPT_EPOCHS = 3  # of threads that read ahead across the end of an epoch


class Batches:
    """`batches[step]`, for every step from 0 on, epoch after epoch.

    Epoch e = step // steps_per_epoch visits the examples in a permutation of its own that follows
    from (seed, e). A process receives one contiguous part of each global batch: joined in the order
    of the processes, they are the same batch whatever their number.

    Args:
      source: the examples.
      batch_size: examples of a step, over all processes; at most `len(source)`.
      seed: a whole number >= 0.
      shuffle: False visits the examples in their order, in every epoch.
      drop_remainder: leave out the examples of an epoch that do not fill a batch (others in each
        epoch); otherwise its last batch is smaller, and a jitted step compiles once more.
      process_index, process_count: which part of each batch, as `jax.process_index()` says.

    Attributes:
      steps_per_epoch: batches of an epoch.

    Raises:
      ValueError: for a batch larger than the data, or that the processes cannot share equally.

    Example:
      >>> import numpy as np
      >>> import optlab as ol
      >>> source = ol.training.data.Arrays({"x": np.arange(10)})
      >>> batches = ol.training.data.Batches(source, 4, seed=0)
      >>> batches.steps_per_epoch
      2
      >>> [batches[step]["x"].tolist() for step in range(3)]
      [[0, 8, 9, 3], [7, 5, 1, 2], [4, 7, 8, 6]]
      >>> [batch["x"].tolist() for batch in batches.iterate(start=1, stop=3)]
      [[7, 5, 1, 2], [4, 7, 8, 6]]
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        drop_remainder: bool = True,
        process_index: int = 0,
        process_count: int = 1,
    ):
        self.source = require_source("Batches", source)
        batch_size = checks.positive_count("Batches", "batch_size", batch_size)
        self.batch_size = batch_size
        self.seed = checks.count("Batches", "seed", seed)
        self.shuffle = checks.boolean("Batches", "shuffle", shuffle)
        self.drop_remainder = checks.boolean("Batches", "drop_remainder", drop_remainder)
        self._part = process_part("Batches", batch_size, process_index, process_count)
        length = len(source)
        if batch_size > length:
            raise ValueError(
                f"Batches: batch_size={batch_size} is larger than the data: {source.name} has "
                f"{length} examples. Choose batch_size <= {length}."
            )
        rest = length % batch_size
        if not drop_remainder and rest % process_count:
            raise ValueError(
                f"Batches: the last batch of an epoch has {rest} examples, which {process_count} "
                "processes cannot share equally. Choose drop_remainder=True or another batch_size."
            )
        self.steps_per_epoch = length // batch_size + (rest > 0 and not drop_remainder)
        self._orders: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return (
            f"Batches of {self.batch_size}, {self.steps_per_epoch} an epoch, "
            f"{f'seed {self.seed}' if self.shuffle else 'in order'}, from {self.source!r}"
        )

    def epoch(self, step: int) -> int:
        """Which epoch a step belongs to, from 0."""
        return _step(step) // self.steps_per_epoch

    def indices(self, step: int) -> np.ndarray:
        """The numbers of the examples of a step, over all processes."""
        epoch, position = divmod(_step(step), self.steps_per_epoch)
        start = position * self.batch_size
        return self._order(epoch)[start : start + self.batch_size]

    def __getitem__(self, step: int) -> Batch:
        """The part of the step's batch that belongs to this process."""
        indices = self.indices(step)
        index, count = self._part
        each = len(indices) // count
        return self.source.gather(indices[index * each : (index + 1) * each])

    def __iter__(self) -> Iterator[Batch]:
        return self.iterate()

    def iterate(
        self, start: int = 0, stop: int | None = None, *, prefetch: int = 2, threads: int = 1
    ) -> Iterator[Batch]:
        """`self[start]`, `self[start + 1]` ... without end, or up to `stop`, which is left out.

        Args:
          start, stop: steps.
          prefetch: batches to read ahead, in other threads, where the source is not in memory;
            0 reads only when asked.
          threads: of reading; each reads a batch at a time.

        Raises:
          ImportError: if reading ahead is wanted and grain is not installed.
        """
        _step(start)
        if stop is not None and _step(stop) < start:
            raise ValueError(f"iterate: stop must be >= start, got {stop} < {start}.")
        return read(self.__getitem__, self.source, start, stop, prefetch, threads)

    def _order(self, epoch: int) -> np.ndarray:
        if not self.shuffle:
            epoch = 0  # all are the same
        with self._lock:
            if epoch not in self._orders:
                while len(self._orders) >= _KEPT_EPOCHS:
                    del self._orders[next(iter(self._orders))]
                length = len(self.source)
                order = permutation(length, _TAG, self.seed, epoch)
                self._orders[epoch] = order if self.shuffle else np.arange(length)
            return self._orders[epoch]


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
        if _step(number) >= len(self):
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


def process_part(owner: str, batch_size: int, index: int, count: int) -> tuple[int, int]:
    """Which part of how many."""
    checks.positive_count(owner, "process_count", count)
    checks.Interval(0, count, "[)", integer=True)(owner, "process_index", index)
    if batch_size % count:
        raise ValueError(
            f"{owner}: batch_size={batch_size} counts the examples of all processes and must be a "
            f"multiple of process_count={count}."
        )
    return index, count


def _step(value: int) -> int:
    return checks.count("data", "step", value)
