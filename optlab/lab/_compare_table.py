"""A comparison as text."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

from optlab.lab import _compare_inputs
from optlab.lab._compare_findings import Findings, Scored
from optlab.lab._ranking import why_none_is_good

HEADS = (
    "optimizer",
    "score",
    "steps to target",
    "reached",
    "time to target",
    "a step",
    "state",
    "good rates",
    "diverged",
    "better than",
)


def table(comparison: Findings) -> str:
    """All of it: tables, verdicts, protocol, notes."""
    parts = []
    for task in comparison.tasks:
        lines = [HEADS, *cells(comparison, task)]
        parts.append(
            "\n".join([headline(comparison, task), *_columns(lines), *shown(comparison, task)])
        )
    if len(comparison.tasks) > 1:
        parts.append("\n".join(["Over all tasks", *shown(comparison, None)]))
    paragraphs = [protocol(comparison), *notes(comparison)]
    parts.append("\n".join(textwrap.fill(paragraph, 100) for paragraph in paragraphs))
    return "\n\n".join(parts)


def headline(comparison: Findings, task: str) -> str:
    """What a table is about."""
    judge = comparison.judge(task)
    wanted = "less" if judge.mode == "min" else "more"
    target = "no target" if judge.target is None else f"target {number(judge.target)}"
    return f"{task}: {judge.metric} after {judge.steps} steps ({wanted} is better), {target}"


def cells(comparison: Findings, task: str) -> list[tuple[str, ...]]:
    """The rows of a task, as text."""
    found = []
    for row in comparison.rows:
        if row["task"] != task:
            continue
        name = row["optimizer"]
        faster = row["faster_than"]
        better = listed(row["better_than"]) or "-"
        if faster:
            better += f"; faster: {listed(faster)}"
        has_target = row["target"] is not None
        width = row["learning_rate_decades"]
        found.append(
            (
                name,
                scored(comparison.score(task, name)),
                scored(comparison.score(task, name, "steps"), "never") if has_target else "-",
                f"{row['reached']}/{row['test_runs']}" if has_target else "-",
                seconds(row["seconds_to_target"]) if has_target else "-",
                seconds(row["step_seconds"]),
                f"{row['state_bytes']:.3g} B",
                "-" if width is None else f"{width:.2g} decades",
                f"{row['diverged_trials']}/{row['trials']}",
                better,
            )
        )
    return found


def shown(comparison: Findings, task: str | None) -> list[str]:
    """Which differences are shown, in sentences."""
    found = []
    for measure, word in (("metric", "better than"), ("steps", "faster to the target than")):
        judged = comparison.tasks if task is None else [task]
        if measure == "steps" and all(comparison.judge(t).target is None for t in judged):
            continue
        for name in comparison.optimizers if task is None else comparison.order(task):
            others = comparison.better_than(name, task=task, measure=measure)  # type: ignore[arg-type]
            if others:
                found.append(f"  {name} is {word} {listed(others)}")
    what = "scores" if comparison.tuned_for == "metric" else "steps to the target"
    names = list(comparison.optimizers)
    alike = {
        a: [b for b in names[i + 1 :] if not comparison.separated(a, b, task=task)]
        for i, a in enumerate(names)
    }
    if all(len(others) == len(names) - 1 - i for i, others in enumerate(alike.values())):
        return [*found, f"  no difference of {what} shown"]
    pairs = "; ".join(f"{a} from {listed(others)}" for a, others in alike.items() if others)
    return [*found, *([f"  no difference of {what} shown: {pairs}"] if pairs else [])]


def protocol(comparison: Findings) -> str:
    """How it was done, in a paragraph."""
    many = len(comparison.tasks) > 1
    count = len(comparison.optimizers) * (len(comparison.optimizers) - 1) // 2
    family = count * len(comparison.tasks)
    goal = "final metric" if comparison.tuned_for == "metric" else "steps to the target"
    return (
        f"Each optimizer had {_count(comparison.trials, 'trial')} of its own in each of "
        f"{_count(comparison.studies, 'study', 'studies')}, tuned for the {goal} on "
        f"{_count(comparison.tuning_seeds, 'seed')}; the best {comparison.finalists} ran on "
        f"{_count(comparison.seeds, 'other seed')}. A score is the median over studies of the "
        f"winner's median over these seeds{_worse_middle(comparison)}, with its "
        f"{1 - comparison.level:.0%} interval under other draws of trials and seeds. A difference "
        "is shown where the exchange test says so at "
        f"a level of {comparison.level:.0%}"
        + (f" for all {family} comparisons together" if family > 1 else "")
        + (f" ({count} over all tasks)" if many else "")
        + f", and one is better in at least {1 - comparison.level / 2:.1%} of resampled studies"
        ". Time to target counts one compilation. Good rates: decades of "
        f"the learning rate that keep {1 - comparison.tolerance:.0%} of the best improvement."
    )


def _worse_middle(comparison: Findings) -> str:
    """What a median is where it is not the middle one."""
    even = comparison.seeds % 2 == 0 or comparison.studies % 2 == 0
    return " (of an even number the worse of the two middle ones)" if even else ""


def notes(comparison: Findings) -> list[str]:
    """What a reader should know."""
    found = [f"Note: {note}" for note in comparison.notes]
    for task in comparison.tasks:
        rows = [row for row in comparison.rows if row["task"] == task]
        lost: dict[str, list[str]] = {}
        for name in [row["optimizer"] for row in rows if row["diverged_trials"] == row["trials"]]:
            entry = comparison.entries[task, name]
            runs = [run for one in entry.tunings for few in one.tuned for run in few]
            lost.setdefault(why_none_is_good(runs, entry.judge.metric), []).append(name)
        for why, names in lost.items():
            found.append(f"Note: on {task}, {listed(names)}: {why}.")
        if rows[0]["target"] is not None and not any(row["reached"] for row in rows):
            found.append(
                f"Note: on {task}, no winner reached the target {number(rows[0]['target'])}; "
                "train longer, or look at wider spaces."
            )
    return found


def spaces(comparison: Findings) -> list[tuple[str, str]]:
    """What was searched for each optimizer."""
    task = comparison.tasks[0]
    return [
        (name, _compare_inputs.volume(comparison.entries[task, name].space)[0])
        for name in comparison.optimizers
    ]


def scored(score: Scored, infinite: str = "failed") -> str:
    """A score with its interval."""
    value, low, high = (number(v, infinite) for v in score)
    return f"{value} [{low}, {high}]"


def number(value: float | None, infinite: str = "failed") -> str:
    """With four digits that mean something."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.4g}" if math.isfinite(value) else infinite


def seconds(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "-"
    if math.isinf(value):
        return "never"
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-6:.3g} µs"


def listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def _count(n: int, noun: str, plural: str | None = None) -> str:
    return f"{n} {noun if n == 1 else plural or noun + 's'}"


def _columns(lines: Sequence[Sequence[Any]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
