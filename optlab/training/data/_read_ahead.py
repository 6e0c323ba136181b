"""Reading ahead, in threads of grain, where gathering has to wait for files."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from optlab.core import checks
from optlab.training.data._errors import extra
from optlab.training.data._source import Batch, Source

_WITHOUT_END = 2**62


def read(
    batch: Callable[[int], Batch],
    source: Source,
    start: int,
    stop: int | None,
    prefetch: int,
    threads: int,
) -> Iterator[Batch]:
    """A generator of `batch(start)`, `batch(start + 1)` ...; of a source in memory a plain loop."""
    checks.count("iterate", "prefetch", prefetch)
    checks.positive_count("iterate", "threads", threads)
    steps = range(start, _WITHOUT_END if stop is None else stop)
    if source.in_memory or prefetch == 0:
        return (batch(step) for step in steps)
    grain = extra("grain", "reading ahead (or choose prefetch=0)")
    return _ahead(grain, batch, steps, max(prefetch, threads), threads)


def _ahead(grain, batch, steps: range, buffer: int, threads: int) -> Iterator[Batch]:
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=buffer)
    dataset = grain.MapDataset.range(steps.start, steps.stop).map(lambda step: batch(int(step)))
    iterator = iter(dataset.to_iter_dataset(options))
    try:
        yield from iterator
    finally:
        iterator.close()  # its threads end with it
