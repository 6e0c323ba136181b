"""Orbax: writes and reads the arrays of checkpoints. No other file knows it.

Its v0 `CheckpointManager` writes in the background into a folder of another name and renames it
when all is there, in one process or many. Reading names every array, so nothing else is ever read,
least of all a pickle.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

from optlab.training._step_folders import MANIFEST, STATE
from optlab.training.data._errors import extra

_PARTICULARS = (  # paths below the folder that the message names anyway, numbers of open files
    r' in OCDBT database at local file "[^"]*"',
    r'Failed writing: "[^"]*": Failed to write \d+ bytes to file \d+: ',
    r" \[os_error_code='\d+'\]",
)
_LOGGER = logging.getLogger("absl")


class Writer:
    """Attributes: step: the one being written; None if there is none."""

    def __init__(self, folder: Any):
        ocp = _orbax()
        self.step: int | None = None
        self._manager = ocp.CheckpointManager(
            folder,
            options=ocp.CheckpointManagerOptions(
                cleanup_tmp_directories=True,
                lightweight_initialize=True,  # reads nothing of what may be damaged
                preservation_policy=ocp.checkpoint_managers.LatestN(None),
            ),
        )
        _LOGGER.addFilter(_is_news)
        self._undo = _deaf_to_threads()

    def start(self, step: int, arrays: dict[str, Any], manifest: dict[str, Any]) -> None:
        """Returns when Orbax has copied the arrays, or holds them so that donation copies."""
        args = _orbax().args
        items = {STATE: args.StandardSave(arrays), MANIFEST: args.JsonSave(manifest)}
        if not self._manager.save(step, args=args.Composite(**items)):
            raise RuntimeError("Orbax skipped it")
        self.step = step

    def finish(self) -> None:
        """Returns when the step has its name; raises what went wrong in the background."""
        self._manager.wait_until_finished()
        self.step = None

    def close(self) -> None:
        """Ends Orbax's threads."""
        self._manager.close()
        if self.step is None:  # else threads that fail as well may still be about to say so
            _LOGGER.removeFilter(_is_news)
            self._undo()


def read(folder: Any, targets: dict[str, Any], *, partial: bool) -> dict[str, Any]:
    """The arrays named, of a step's folder, placed as the targets are."""
    ocp = _orbax()
    args = ocp.args.PyTreeRestore(
        item=targets,
        restore_args=ocp.checkpoint_utils.construct_restore_args(targets),
        partial_restore=partial,
    )
    undo = _deaf_to_threads()
    with _quiet(), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        found = reader.restore(folder / STATE, args=args)
    undo()
    return found


def reason(error: Exception) -> str:
    """The first line of an error, without TensorStore's own particulars.

    Example:
      >>> from optlab.training._orbax_checkpoints import reason
      >>> reason(ValueError("NOT_FOUND: a.zarray [tensorstore_spec='...']"))
      'NOT_FOUND: a.zarray'
    """
    text = str(error).strip() or type(error).__name__
    text = text.splitlines()[0].split(" [tensorstore_spec=")[0].split(" [source locations=")[0]
    for particular in _PARTICULARS:
        text = re.sub(particular, "", text)
    return text.rstrip(".")


def _orbax() -> Any:
    return extra("orbax.checkpoint", "a checkpoint", name="flax", package="orbax-checkpoint")


def _is_news(record: logging.LogRecord) -> bool:
    """Orbax logs the traces of what it raises as well; who gets the error needs it once."""
    return not (record.exc_info and "orbax" in record.pathname)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    known = _is_news in _LOGGER.filters
    _LOGGER.addFilter(_is_news)
    try:
        yield
    finally:
        if not known:
            _LOGGER.removeFilter(_is_news)


def _deaf_to_threads() -> Callable[[], None]:
    """From now on, Python does not tell of threads that call a loop that has closed; the undoing.

    TensorStore's do, behind an array that cannot be read or written, for as long as others are
    under way: what failed is not undone.
    """
    before = sys.unraisablehook
    if getattr(before, "knows_threads", False):
        return lambda: None

    def hook(found: Any) -> None:
        error = found.exc_value
        late = isinstance(error, RuntimeError) and str(error) == "Event loop is closed"
        if not (late and found.object is None):
            before(found)

    def undo() -> None:
        if sys.unraisablehook is hook:
            sys.unraisablehook = before

    hook.knows_threads = True
    sys.unraisablehook = hook
    return undo
