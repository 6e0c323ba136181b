"""Rules: each looks at the samples for one illness and says what it found, or nothing.

They are asked in the order of `RULES`; one that only sees the consequences of another is silent
where that one has spoken (`explained_by`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from optlab.lab.health import _rate_rules as rate
from optlab.lab.health import _signal_rules as signal
from optlab.lab.health._course import Course
from optlab.lab.health._findings import Finding


class Rule(NamedTuple):
    """look: what is asked. explained_by: rules that leave nothing to say where they found it."""

    name: str
    look: Callable[[Course], Finding | None]
    explained_by: tuple[str, ...] = ()


def apply(course: Course, rules: Iterable[Rule] | None = None) -> list[Finding]:
    """The findings of all rules."""
    found: dict[str, Finding] = {}
    for rule in RULES if rules is None else rules:
        if not found.keys() & set(rule.explained_by):
            finding = rule.look(course)
            if finding is not None:
                found[rule.name] = finding
    return list(found.values())


RULES = (
    Rule("uphill", rate.uphill),
    Rule("loss is not finite", rate.never_finite),
    Rule("diverging", rate.diverging, ("uphill", "loss is not finite")),
    Rule("zero initialisation", signal.zero_initialisation),
    Rule("symmetric units", signal.symmetry),
    Rule("exploding", signal.exploding),
    Rule("vanishing", signal.vanishing, ("exploding", "zero initialisation")),
    Rule("learning rate too large", rate.too_large, ("uphill", "loss is not finite")),
    Rule("dead units", signal.dead_units, ("zero initialisation", "diverging")),
    Rule("saturated units", signal.saturated, ("zero initialisation", "vanishing", "diverging")),
    Rule(
        "learning rate at the edge of stability",
        rate.edge_of_stability,
        ("learning rate too large",),
    ),
    Rule("always clipped", rate.always_clipped),
    Rule(
        "noise-dominated",
        rate.noise_dominated,
        (
            "zero initialisation",
            "dead units",
            "saturated units",
            "vanishing",
            "learning rate too large",
            "learning rate at the edge of stability",
            "diverging",
        ),
    ),
    Rule(
        "learning rate too small",
        rate.too_small,
        ("zero initialisation", "dead units", "saturated units", "vanishing"),
    ),
)
RULES += (Rule("stalled", rate.stalled, tuple(rule.name for rule in RULES)),)
