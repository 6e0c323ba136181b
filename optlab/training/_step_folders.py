"""The folder of a run's checkpoints: one folder a step, named by its number.

A step's folder appears under its name by one rename, when all is written, and leaves it by one
rename before anything of it is deleted: what has a number for a name is whole. Others there:

    300.orbax-checkpoint-tmp   being written, or left by a process that was killed
    300.deleting               being deleted
    300.damaged-1              set aside: found damaged; never touched again
    300.replaced-1             set aside: the run went on from an earlier step
"""

from __future__ import annotations

import json
import pathlib
import shutil
from typing import Any

from optlab.training._manifest import Manifest

STATE, MANIFEST = "state", "manifest"


class StepFolders:
    """Attributes: root: the folder; need not exist."""

    def __init__(self, root: Any):
        self.root = pathlib.Path(root).expanduser().absolute()
        for parent in (self.root, *self.root.parents):
            if parent.exists() and not parent.is_dir():
                raise NotADirectoryError(
                    f"checkpoints go into a folder, but {parent} is a file; name another folder"
                )

    def steps(self) -> list[int]:
        """Complete checkpoints, in order."""
        if not self.root.exists():
            return []
        names = (path.name for path in self.root.iterdir() if path.is_dir())
        return sorted(int(name) for name in names if name.isdecimal() and str(int(name)) == name)

    def of(self, step: int) -> pathlib.Path:
        """The folder of a step."""
        return self.root / str(step)

    def manifest(self, step: int) -> Manifest:
        """What stands beside the arrays of a step.

        Raises:
          ValueError: naming the file, if it is missing or damaged.
        """
        path = self.of(step) / MANIFEST / "metadata"
        try:
            return Manifest.parse(json.loads(path.read_bytes()))
        except (FileNotFoundError, ValueError) as error:
            reason = "is missing" if isinstance(error, OSError) else f"cannot be read: {error}"
            raise ValueError(f"{MANIFEST}/metadata {reason}") from error

    def metric(self, step: int) -> float | None:
        """Of a step, for comparing: None if it has none, or is NaN.

        Raises:
          ValueError: if the manifest is damaged.
        """
        value = self.manifest(step).metric
        return None if value is None or value != value else value

    def set_aside(self, step: int, why: str) -> pathlib.Path:
        """Gives a step's folder another name, under which nothing ever touches it."""
        number = 1
        while (aside := self.root / f"{step}.{why}-{number}").exists():
            number += 1
        return self.of(step).rename(aside)

    def prune(self, keep: int) -> None:
        """Takes their names from all steps but the last few, the best, and unreadable ones."""
        steps = self.steps()
        metrics: dict[int, float] = {}
        kept = set(steps[-keep:])
        for step in steps:
            try:
                if (value := self.metric(step)) is not None:
                    metrics[step] = value
            except ValueError:
                kept.add(step)  # damaged: may be the best, and is evidence
        if metrics:
            kept.add(best_of(metrics))
        for step in set(steps) - kept:
            self.of(step).rename(self.root / f"{step}.deleting")

    def sweep(self) -> None:
        """Deletes what `prune` took the name from; what cannot be deleted now may be later."""
        for path in self.root.glob("*.deleting"):
            shutil.rmtree(path, ignore_errors=True)


def best_of(metrics: dict[int, float]) -> int:
    """The step with the highest metric; the latest of equals.

    Example:
      >>> from optlab.training._step_folders import best_of
      >>> best_of({100: 0.5, 200: 0.7, 300: 0.7})
      300
    """
    return max(metrics, key=lambda step: (metrics[step], step))
