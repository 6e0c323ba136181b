"""A profile of a few steps of a run."""

from __future__ import annotations

from pathlib import Path

import jax


class Profile:
    """Traces five steps, behind the first ten, with JAX's profiler; in a `with` block.

    Args:
      folder: for the trace; None for no profile.
      start, stop: the first step of the run, and its last.
    """

    def __init__(self, folder: Path | None, start: int, stop: int):
        self.folder, self.is_running = folder, False
        self.first = max(start + 1, min(start + 10, stop - 5))
        self.last = min(self.first + 5, stop)

    def passed(self, step: int, result: jax.Array) -> None:
        """Call behind each step, with an array that it computes."""
        if self.folder is None or step not in (self.first, self.last):
            return
        result.block_until_ready()  # no step before the first, and all of the last
        if step == self.last:
            self._stop()
        else:
            self.is_running = True
            jax.profiler.start_trace(str(self.folder))

    def _stop(self) -> None:
        if self.is_running:
            self.is_running = False
            jax.profiler.stop_trace()

    def __enter__(self) -> Profile:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
