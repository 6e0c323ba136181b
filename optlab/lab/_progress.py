"""A bar of the steps that runs have made, on standard error."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def steps_bar(name: str, total: int | None, *, show: bool) -> Iterator[Callable[[int], None]]:
    """Gives a function to call with the number of steps made, from any thread.

    Args:
      name: shown in front.
      total: of the steps, where it is known.
      show: whether to show it.
    """
    if not show:
        yield lambda steps: None
        return
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise ImportError(
            'the progress bar needs tqdm: pip install "optlab[lab]"; or pass progress=False.'
        ) from error
    lock = threading.Lock()
    with tqdm(total=total, desc=name, unit="step", unit_scale=True, mininterval=0.5) as bar:

        def advanced(steps: int) -> None:
            with lock:
                bar.update(steps)

        yield advanced
