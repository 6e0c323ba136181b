"""What a run says of itself, and whether the run in its folder is the same one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optlab.training._checkpoints import Checkpoints, DamageError
from optlab.training._console import UserError
from optlab.training._options import RunOptions
from optlab.training._state import TrainState
from optlab.training._versions import versions

NAME = "run.json"


def record_of(
    options: RunOptions, tx: Any, batches: Any, config: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Options, optimizer, data and versions, for `run.json` and every checkpoint."""
    source = getattr(batches, "source", None)
    return {
        "options": options.to_json(),
        "optimizer": repr(tx),
        "data": None if source is None else {"name": source.name, "sha256": source.digest()},
        "versions": versions(),
        **(config or {}),
    }


def resumed_step(options: RunOptions, checkpoints: Checkpoints, record: Mapping[str, Any]) -> int:
    """The step of the checkpoint to go on from; 0 for a new run.

    Raises:
      UserError: if there must be a run and is none, or it drew other numbers or read other data.
    """
    steps = checkpoints.steps()
    asked = int(options.resume) if options.resume.isdecimal() else max(steps, default=0)
    if asked not in steps:
        if options.resume in ("auto", "never"):
            return 0
        there = f"checkpoints of steps {', '.join(map(str, steps))}" if steps else "no checkpoint"
        raise UserError(f"--resume {options.resume}: {options.output} has {there}")
    path = options.output / NAME
    try:
        old = json.loads(path.read_text()) if path.exists() else {}
    except ValueError as error:
        raise UserError(f"{path}: {error}; put it right, or move it away") from None
    compared = [
        (f"--{name.replace('_', '-')}", old["options"].get(name), record["options"][name])
        for name in ("seed", "batch_size")
        if "options" in old
    ]
    if "data" in old:
        compared.append(("the data", old["data"], record["data"]))
    for name, was, now in compared:
        if was != now:
            raise UserError(
                f"{name}: the run in {options.output} began with {was}, now it is {now}; go on "
                "with what it was, choose another --output, or start anew with --resume never"
            )
    return asked


def with_own_sums(
    checkpoints: Checkpoints, like: TrainState, step: int, *, best: bool = False
) -> tuple[TrainState, str]:
    """A state restored, and what there is to say about it.

    What a loss reports may change while a run pauses: sums of other names than those saved start
    anew. They are no part of what is trained.
    """
    try:
        leaves = checkpoints.manifest(step).leaves
    except DamageError:
        leaves = {}  # `restore` says it, and what is intact
    names = {path.removeprefix("sums/") for path in leaves if path.startswith("sums/")}
    if not names or names == like.sums.keys():
        return checkpoints.restore(like, None if best else step, best=best), ""
    some = next(iter(like.sums.values()))
    asked = like._replace(sums=dict.fromkeys(names, some))
    state = checkpoints.restore(asked, None if best else step, best=best)
    changed = ", ".join(sorted(names ^ like.sums.keys()))
    return state._replace(sums=like.sums), f"; the means of metrics start anew ({changed})"


def set_aside(output: Path) -> Path | None:
    """Moves what a run left in its folder into a folder `earlier-1` (2, ...) there.

    Returns:
      That folder; None if there was no run.
    """
    if not (output / "checkpoints").exists() and not (output / NAME).exists():
        return None
    number = 1
    while (aside := output / f"earlier-{number}").exists():
        number += 1
    found = [entry for entry in output.iterdir() if not entry.name.startswith("earlier-")]
    aside.mkdir()
    for entry in found:
        entry.rename(aside / entry.name)
    return aside
