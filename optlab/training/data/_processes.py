"""Arguments of batches: the part of a process, and the step."""

from __future__ import annotations

from optlab.core import checks


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


def as_step(value: int) -> int:
    """A number of a batch."""
    return checks.count("data", "step", value)
