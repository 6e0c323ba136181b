"""Batches as a function of the step: what a run reads depends on nothing else.

So the position of a run in its data is its step, and a run that goes on from step k reads what an
uninterrupted one would have read.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np

from optlab.core import checks
from optlab.training.data._errors import DataError
from optlab.training.data._order import permutation
from optlab.training.data._processes import as_step, process_part
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
      DataError: for a batch larger than the data.
      ValueError: for one that the processes cannot share equally.

    Example:
      >>> import numpy as np
      >>> import optlab as ol
      >>> source = ol.training.data.Arrays({"x": np.arange(10)})
      >>> batches = ol.training.data.Batches(source, 4, seed=0)
      >>> batches.steps_per_epoch
      2
      >>> [batches[step]["x"].tolist() for step in range(3)]
      [[2, 6, 5, 8], [1, 9, 3, 7], [3, 4, 9, 7]]
      >>> [batch["x"].tolist() for batch in batches.iterate(start=1, stop=3)]
      [[1, 9, 3, 7], [3, 4, 9, 7]]
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
            raise DataError(
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
        return as_step(step) // self.steps_per_epoch

    def indices(self, step: int) -> np.ndarray:
        """The numbers of the examples of a step, over all processes."""
        epoch, position = divmod(as_step(step), self.steps_per_epoch)
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
        as_step(start)
        if stop is not None and as_step(stop) < start:
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
