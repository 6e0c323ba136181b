"""How a population is computed: the loop, the width of a chunk, how many chunks at a time."""

from __future__ import annotations

import dataclasses
from typing import Literal

from optlab.core import checks


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """A way to compute many runs. Width, loop and workers change speed; width also rounding.

    Attributes:
      loop: "scan", the steps between two evaluations in one program, or "python", a program a step.
      width: runs at a time in one program, by `jax.vmap`; 1 computes each alone, to the bit as if
        it were the only one. More pays where a step is too small for the device.
      workers: chunks at a time: threads on a CPU, devices elsewhere.
      reason: why, for the reader.

    Raises:
      ValueError: for another loop, or counts < 1.

    Example:
      >>> import optlab as ol
      >>> ol.lab.Plan(width=4).workers
      1
    """

    loop: Literal["scan", "python"] = "scan"
    width: int = 1
    workers: int = 1
    reason: str = "as asked"

    def __post_init__(self):
        if self.loop not in ("scan", "python"):
            raise ValueError(f'Plan: loop must be "scan" or "python", got {self.loop!r}.')
        checks.positive_count("Plan", "width", self.width)
        checks.positive_count("Plan", "workers", self.workers)

    def __str__(self) -> str:
        runs = "one run" if self.width == 1 else f"{self.width} runs"
        loop = "a program a segment" if self.loop == "scan" else "a program a step"
        places = "" if self.workers == 1 else f", {self.workers} chunks at a time"
        return f"{runs} at a time, {loop}{places} ({self.reason})"
