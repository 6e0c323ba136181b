"""What `compare` is given, checked before anything runs: optimizers, tasks, spaces of one size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from optlab.core import checks
from optlab.lab import _population, _statistics
from optlab.lab._runs import require_task, steps_of
from optlab.lab._space import Space, check_space
from optlab.lab._task import Task

# Volumes further apart than this factor are remarked on.
COMPARABLE = 2.0


def named_optimizers(given: Any) -> dict[str, Callable[..., Any]]:
    """By name; from a dict, or pairs, of which no name may come twice."""
    if not isinstance(given, Mapping) and (
        isinstance(given, str) or not isinstance(given, Iterable)
    ):
        raise TypeError(
            f'compare: optimizers must be a dict, {{"adam": make_adam, ...}}, got {given!r}.'
        )
    pairs = list(given.items()) if isinstance(given, Mapping) else list(given)
    if any(not isinstance(pair, tuple | list) or len(pair) != 2 for pair in pairs):
        raise TypeError(
            'compare: optimizers must be a dict, {"adam": make_adam, ...}, or pairs of a name and '
            f"a function, got {given!r}."
        )
    for name, make_tx in pairs:
        if not isinstance(name, str) or not name.strip():
            raise TypeError(f"compare: names of optimizers are strings, got {name!r}.")
        if not callable(make_tx):
            raise TypeError(
                f"compare: optimizer {name!r} must be a function of hyperparameters that returns a "
                f"transformation, got {type(make_tx).__name__}. Write `lambda learning_rate: ...`."
            )
    names = [name for name, _ in pairs]
    _all_different("optimizers", names)
    if len(names) < 2:
        raise ValueError(
            f"compare: needs at least 2 optimizers, got {len(names)}; to tune one, use sweep."
        )
    return dict(pairs)


def listed_tasks(given: Task | Iterable[Task], steps: int | None) -> list[tuple[Task, int]]:
    """Tasks with the steps that runs on them make."""
    one: Any = given
    tasks: list[Any] = [one]
    if isinstance(one, Iterable) and not isinstance(one, Task | str):
        tasks = list(one)
    if not tasks:
        raise ValueError("compare: needs a task, got none.")
    for task in tasks:
        require_task("compare", task)
    _all_different("tasks", [task.name for task in tasks])
    return [(task, steps_of("compare", task, steps)) for task in tasks]


def named_spaces(space: Any, optimizers: Mapping[str, Callable[..., Any]]) -> dict[str, Space]:
    """What to search for each optimizer, checked against its function."""
    return {
        name: _searched(name, given, optimizers[name])
        for name, given in _by_name(space, list(optimizers)).items()
    }


def _by_name(space: Any, names: Sequence[str]) -> dict[str, Any]:
    if not isinstance(space, Mapping):
        if isinstance(space, Space):
            return dict.fromkeys(names, space)
        raise TypeError(
            "compare: space must be a dict of hyperparameters, or one by optimizer of such dicts, "
            f"got {space!r}."
        )
    inner = [key for key, value in space.items() if isinstance(value, Mapping | Space)]
    if not inner:
        return dict.fromkeys(names, space)
    if len(inner) < len(space):
        other = next(key for key in space if key not in inner)
        raise TypeError(
            f"compare: space mixes a space by optimizer ({inner[0]!r}) with a hyperparameter "
            f"({other!r}); give one dict of hyperparameters for all, or one for each optimizer."
        )
    for key in inner:
        if key not in names:
            raise ValueError(
                f"compare: space has an entry for {key!r}, which is no optimizer here; "
                f"{checks.nearest(str(key), names)}"
            )
    missing = [name for name in names if name not in inner]
    if missing:
        raise ValueError(
            f"compare: space has no entry for {', '.join(map(repr, missing))}; each optimizer "
            "needs its own, or one dict of hyperparameters serves all."
        )
    return {name: space[name] for name in names}


def _searched(name: str, given: Any, make_tx: Callable[..., Any]) -> Space:
    checked = check_space(given, make_tx, owner=f"compare, optimizer {name!r}")
    if not checked.dimensions:
        raise ValueError(
            f"compare: the space of {name!r} holds constants only, so its trials would all be the "
            "same and its budget unlike that of others; give it a dimension: log_uniform(1e-4, 1)."
        )
    _population.transformations(make_tx, [checked.middle])  # refuses what is no transformation
    return checked


def volume(space: Space) -> tuple[str, float]:
    """The size of a space in words, and its log10, of decades, ranges and numbers of values."""
    words, log = [], 0.0
    for name, dimension in space.dimensions.items():
        if dimension.values is not None and not dimension.log:
            size, what = float(len(dimension.values)), f"{len(dimension.values)} values"
        elif dimension.log:
            low, high = ends(dimension)
            size = math.log10(high / low)
            what = "1 decade" if f"{size:.3g}" == "1" else f"{size:.3g} decades"
        else:
            low, high = ends(dimension)
            size = high - low
            what = f"{low:g} to {high:g}"
        words.append(f"{what} of {name}")
        log += math.log10(size)
    return " x ".join(words), log


def ends(dimension: Any) -> tuple[float, float]:
    """The bounds of a range."""
    return float(dimension.low), float(dimension.high)


def remarks(spaces: Mapping[str, Space], trials: int) -> list[str]:
    """What about the spaces a reader of the comparison should know."""
    sizes = {name: volume(space) for name, space in spaces.items()}
    logs = [log for _, log in sizes.values()]
    found = []
    if (
        max(logs) - min(logs) > math.log10(COMPARABLE)
        or len({len(space.dimensions) for space in spaces.values()}) > 1
    ):
        texts = "; ".join(f"{name}: {text}" for name, (text, _) in sizes.items())
        found.append(
            f"The search spaces differ in size, so {trials} trials search some more thoroughly "
            f"than others: {texts}."
        )
    for name, space in spaces.items():
        if space.size is not None and space.size < trials:
            found.append(
                f"The space of {name} has {space.size} points, fewer than its {trials} trials: "
                "some of them are repeated."
            )
    return found


def too_little(
    trials: int, studies: int, finalists: int, comparisons: int, level: float
) -> list[str]:
    """A remark where no data could show a difference after correction for all comparisons."""
    p = _statistics.smallest_p(trials, studies, finalists)
    if p * comparisons <= level:
        return []
    return [
        f"So little can show no difference: with trials={trials}, studies={studies} and "
        f"finalists={finalists} no p-value is below {p:.2g}; a level of {level:g} for "
        f"{comparisons} comparison{'s' * (comparisons != 1)} needs {level / comparisons:.2g}. Use "
        "more studies."
    ]


def _all_different(what: str, names: Sequence[str]) -> None:
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise ValueError(
            f"compare: {what} must have different names, got {twice[0]!r} more than once."
        )
