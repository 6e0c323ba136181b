"""Why a store does not fit a call, in words: hashes say nothing to a reader."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_TASK = (
    "computes something else or on other data than when the store was made (another loss, data, "
    "batch size ...)"
)
_OPTIMIZER = "computes something else than when the store was made"


def other_study(path: str, kept: Any, given: Any) -> str:
    """The error of a store of one study that is given for another."""
    kinds = _kind(kept), _kind(given)
    if None not in kinds and kinds[0] != kinds[1]:
        return (
            f"store: {path} is the store of a {kinds[0]}, this is a {kinds[1]}. Name another file."
        )
    found = "; ".join(_in_words(kept, given) if None not in kinds else _differences(kept, given))
    return (
        f"store: {path} belongs to another study: {found}. Name another file, or make the call "
        "that this one was made by."
    )


def _kind(study: Any) -> str | None:
    if isinstance(study, Mapping):
        if "fingerprint" in study:
            return "sweep"
        if "tasks" in study and "programs" in study:
            return "comparison"
    return None


def is_comparison(study: Any) -> bool:
    """Whether `compare` keeps this one."""
    return _kind(study) == "comparison"


def _in_words(kept: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    """Tasks and optimizers are hashes; that of an optimizer is of one point of the space and of the
    parameters of a task, so it differs where these do, which is said instead."""
    tasks = [one.get("tasks", {one.get("task"): one.get("fingerprint")}) for one in (kept, given)]
    programs = [one.get("programs", {"": one.get("optimizer")}) for one in (kept, given)]
    spaces = [one.get("optimizers", {"": one.get("space")}) for one in (kept, given)]
    if "task" in kept and {*tasks[0]} != {*tasks[1]}:
        yield f"the task is {kept['task']!r} there and {given.get('task')!r} here"
    else:
        for here, there, where in ((1, 0, "here"), (0, 1, "there")):
            for name in tasks[there]:
                if name not in tasks[here]:
                    yield f"the task {name!r} is missing {where}"
    for name in tasks[0]:
        if name in tasks[1] and tasks[0][name] != tasks[1][name]:
            yield f"the task {name!r} {_TASK}"
    for name, program in programs[0].items():
        same = tasks[0] == tasks[1] and spaces[0].get(name) == spaces[1].get(name)
        if same and program != programs[1].get(name, program):
            yield f"the optimizer {f'{name!r} ' if name else ''}{_OPTIMIZER}"
    said = {"task", "tasks", "fingerprint", "programs", "optimizer"}
    before, now = ({key: one[key] for key in one if key not in said} for one in (kept, given))
    yield from _differences(before, now)


def _differences(kept: Any, given: Any, name: str = "") -> Iterator[str]:
    if isinstance(kept, dict) and isinstance(given, dict):
        for key in sorted({*kept, *given}):
            inner = f"{name}.{key}" if name else key
            if key not in given:
                yield f"{inner} is {json.dumps(kept[key])} there and missing here"
            elif key not in kept:
                yield f"{inner} is missing there and {json.dumps(given[key])} here"
            else:
                yield from _differences(kept[key], given[key], inner)
    elif json.dumps(kept) != json.dumps(given):
        yield f"{name or 'it'} is {json.dumps(kept)} there and {json.dumps(given)} here"
