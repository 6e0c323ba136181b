"""The recommendation: which candidate, why, and what initialisation alone cannot do."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping
from typing import Any

from optlab.lab.init._candidates import GIVEN, Candidate
from optlab.lab.init._findings import SEE, Finding, Start, describe_start
from optlab.lab.init._summary import Summary, best_candidate

_STILL_ALIKE = 0.1
_STILL_LOST = 30.0  # a factor, over the whole depth
_LARGE_UPDATE = 0.1
_WORTH = 0.5  # of the given start's loss, for a second choice to be named


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """What to do.

    Attributes:
      name: of the candidate; "as given" if none is clearly better.
      formula: of it, in words.
      reason: one sentence.
      rules: `{path: initializer}` for `initializers.reinitialize`, or None where data or pairs of
        units are needed: use `InitReport.apply`.
      before, after: the numbers of the parameters given, and the worst draw of the candidate.
      also: what to do besides.
    """

    name: str
    formula: str
    reason: str
    rules: Mapping[Hashable, Any] | None
    before: Summary
    after: Summary
    also: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join([self.reason, *self.also])


def recommend(
    candidates: list[Candidate],
    summaries: Mapping[str, Summary],
    start: Start,
    findings: list[Finding],
    update_ratio: float | None,
) -> Recommendation:
    """Picks the candidate whose worst draw loses least."""
    name = best_candidate({x: s.score for x, s in summaries.items()}, GIVEN)
    chosen = next(x for x in candidates if x.name == name)
    after = summaries[name]
    also = list(_also(start, after, findings, name, update_ratio))
    if name == GIVEN:
        reason = (
            f"Keep what you have ({describe_start(start)}): no candidate keeps signal and gradient "
            "clearly better."
        )
    else:
        before = start.summary
        cause = next((x.cause for x in findings if x.cause), "")
        reason = (
            f"{describe_start(start)}{cause}: use {name} ({chosen.formula}). Over the depth the "
            f"signal is multiplied by {after.signal:.2g} instead of {before.signal:.2g}, the "
            f"gradient by {after.gradient:.2g} instead of {before.gradient:.2g}."
        )
        simple = _simplest(candidates, summaries, start)
        if chosen.rules is None and simple is not None:
            also.insert(0, f"By rule alone, {simple.name} ({simple.formula}) comes next.")
    return Recommendation(
        name, chosen.formula, reason, chosen.rules, start.summary, after, tuple(also)
    )


def without_recommendation(finding: Finding) -> Finding:
    """The same where the recommendation is to keep the start, and so no cure."""
    if finding.fix != SEE:
        return finding
    return dataclasses.replace(
        finding,
        fix="No candidate is clearly better: add residual connections or normalisation, or take "
        "fewer layers.",
    )


def _simplest(
    candidates: list[Candidate], summaries: Mapping[str, Summary], start: Start
) -> Candidate | None:
    """The best candidate that is nothing but rules, if it is better than what was given."""
    rules = [x for x in candidates if x.rules is not None]
    if not rules:
        return None
    best = min(rules, key=lambda x: summaries[x.name].score)
    better = start.summary.score - summaries[best.name].score
    return best if better > _WORTH * start.summary.score else None


def _also(
    start: Start, after: Summary, findings: list[Finding], name: str, update_ratio: float | None
):
    if any(x.kind == "inputs" for x in findings):
        yield "Standardise the inputs first."
    if not after.finite:
        yield "No candidate stays finite: look at the data, the dtype and the learnt scales."
        return
    lost = max(
        after.signal, after.gradient, 1 / max(after.signal, 1e-30), 1 / max(after.gradient, 1e-30)
    )
    if after.copies:
        yield "Units that are copies of one another do not come apart by training: draw at random."
    if lost > _STILL_LOST or after.variety < _STILL_ALIKE:
        yield (
            f"Initialisation alone does not carry this network ({len(start.layers)} layers): add "
            "residual connections or normalisation, or take fewer layers."
        )
    if update_ratio is not None and update_ratio > _LARGE_UPDATE:
        yield (
            f"The optimizer's first update is still {update_ratio:.2g} of the weights: lower the "
            "learning rate, or warm it up."
        )
    if name == "lsuv":
        yield "It depends on the batch: use some hundred examples, prepared as in training."
