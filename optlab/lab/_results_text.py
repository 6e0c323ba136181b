"""Results as they print: the best few trials, and what became of the others."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

from optlab.lab._ranking import why_none_is_good

_SHOWN = 5


def text(results: Any) -> str:
    """What `print(results)` shows."""
    return "\n".join([_headline(results), *_best_few(results), *_footnotes(results)])


def _headline(results: Any) -> str:
    ranking = results.ranking()
    seeds = max((ranked.seeds for ranked in ranking), default=0)
    steps = max((ranked.steps for ranked in ranking), default=0)
    took = "" if math.isnan(results.seconds) else f", {results.seconds:.3g} s"
    return (
        f"{results.task_name}: {_count(len(ranking), 'trial')}, {_count(seeds, 'seed')} each, "
        f"{_count(steps, 'step')}{took}"
    )


def _best_few(results: Any) -> Iterable[str]:
    good = [ranked for ranked in results.ranking() if ranked.status != "diverged"][:_SHOWN]
    if not good:
        if not results.ranking():
            return ["no runs yet"]
        return [f"{why_none_is_good(results.outcomes, results.metric)}."]
    several = any(ranked.seeds > 1 for ranked in good)
    stopped = any(ranked.status == "stopped" for ranked in good)
    extra = [*(["std"] if several else []), *(["steps"] if stopped else [])]
    header = ["trial", results.metric, *extra, *results.hyperparameters]
    lines = [
        [r.trial, r.value, *(getattr(r, name) for name in extra)]
        + [r.hyperparameters.get(name) for name in results.hyperparameters]
        for r in good
    ]
    better = "less" if results.mode == "min" else "more"
    target = "" if results.target is None else f", target {results.target:.4g}"
    title = f"{results.metric} at the end, {better} is better{target}:"
    return [title, *_columns([header, *[list(map(_shown, line)) for line in lines]])]


def _footnotes(results: Any) -> Iterable[str]:
    counts = Counter(ranked.status for ranked in results.ranking())
    left = len(results.ranking()) - _SHOWN - counts["diverged"]
    if left > 0:
        yield f"  and {left} more"
    if results.target is not None and results.ranking():
        missed = {row["trial"] for row in results.rows if row["steps_to_target"] is None}
        missed |= {ranked.trial for ranked in results.ranking() if ranked.status == "diverged"}
        reached = len(results.ranking()) - len(missed)
        who = f"{reached} of {_count(len(results.ranking()), 'trial')}" if reached else "no trial"
        yield f"{who} reached the target at some evaluation, with every seed"
    if counts["stopped"]:
        yield f"{counts['stopped']} stopped early"
    diverged = {o.trial for o in results.outcomes if o.status == "diverged"}
    if diverged:
        yield f"{len(diverged)} diverged"
    if counts["diverged"] > len(diverged):
        lost = counts["diverged"] - len(diverged)
        yield f"{lost} ended with a value of {results.metric} that is not finite"
    waiting = len(results.trials) - len(results.ranking())
    if waiting:
        yield f"{waiting} not run"
    if results.plan:
        yield f"plan: {results.plan}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _columns(lines: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  " + "  ".join(map(str.rjust, line, widths)) for line in lines]
