"""The verdicts, and `docs/mutation.md`, which shows them."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mutants
import mutation_guards as guards
from mutation_faults import FAULTS
from mutation_reasons import REASONS

RESULTS = Path(__file__).parent / "results.jsonl"
PATH = mutants.ROOT / "docs" / "mutation.md"
UNTESTED = ("untested", "no test of this yet")

HEAD = """\
# Mutation

Small mistakes in optlab's own code, and the first tests that notice them. Written by
`python tests/mutation/run.py`; do not edit.

Each mutant is a copy of the package with one mistake: a sign, two decays swapped, a bias correction
left out, an eps on the other side of a root, a count off by one, a state that is not advanced, a
check dropped. Operators on the syntax tree propose them, a stable hash chooses among those, and
some are written by hand (`tests/mutation/mutation_faults.py`). Tests run in stages, nearest first:
the tests of the file, of errors, contract, examples in docstrings, parity with other libraries and
with NumPy, recipes, laws, tests of other transforms that use the file, the core's. What passes them
all meets the slow ones, which are outside of the default suite. The first stage that fails ends the
mutant. Examples of properties are the same in every run.
"""


def verdicts() -> dict[str, dict[str, Any]]:
    """The latest verdict on each mutant, by its key."""
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []
    return {verdict["key"]: verdict for verdict in map(json.loads, lines)}


def append(verdict: dict[str, Any]) -> None:
    with RESULTS.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(verdict, ensure_ascii=False) + "\n")


def line(verdict: dict[str, Any]) -> str:
    """A verdict on the console."""
    what = f"{_one_line(verdict['before'])} -> {_one_line(verdict['after'])}"
    end = f"{verdict['stage']}: {verdict['test'] or verdict['how']}" if verdict["stage"] else ""
    word = "killed" if verdict["stage"] else "SURVIVED"
    file = verdict["file"].removeprefix("optlab/")
    return f"{word:8} {verdict['key']} {file} {verdict['operator']} | {what} | {end}"


def write() -> None:
    """Sorts the verdicts, forgets those of mutants that are no longer made, writes the page."""
    known = verdicts()
    made = {file: mutants.selected(file) for file in mutants.files()}
    kept = [known[m.key] for group in made.values() for m in group if m.key in known]
    RESULTS.unlink(missing_ok=True)
    for verdict in kept:
        append(verdict)
    PATH.write_text(text(made, known), encoding="utf-8")


def text(made: dict[str, list[mutants.Mutant]], known: dict[str, dict[str, Any]]) -> str:
    """The page."""
    all_made = [mutant for group in made.values() for mutant in group]
    survivors = [m for m in all_made if m.key in known and not known[m.key]["stage"]]
    return "\n".join(
        [
            HEAD,
            _paragraph(_totals(all_made, known, survivors)),
            "",
            "## By file",
            "",
            *_table(
                ("file", "mutants", "killed", "survived", "not run", "first noticed by"),
                [_row(file, group, known) for file, group in made.items()],
            ),
            "",
            "## By mistake",
            "",
            _paragraph(_kinds(all_made)),
            "",
            "## Survivors",
            "",
            *(_survivors(survivors) or ["None.", ""]),
        ]
    )


def _totals(all_made: list[Any], known: dict[str, Any], survivors: list[Any]) -> str:
    ran = [known[m.key] for m in all_made if m.key in known]
    killed = [v for v in ran if v["stage"]]
    late = [v for v in killed if "(slow)" in v["stage"]]
    early = sum(not v["stage"] and not v["slow"] for v in ran)
    kinds = Counter(REASONS.get(m.key, UNTESTED)[0] for m in survivors)
    reasons = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
    return (
        f"**{len(killed)} of {len(ran)} mutants are killed**, {len(killed) - len(late)} by the "
        f"default suite and {len(late)} by the slow tests; {len(survivors)} survive"
        + (f" ({reasons})." if survivors else ".")
        + (f" {early} of these have not met the slow tests yet." if early else "")
        + (f" {len(all_made) - len(ran)} are not run yet." if len(ran) < len(all_made) else "")
    )


def _row(file: str, group: list[Any], known: dict[str, Any]) -> tuple[str, ...]:
    ran = [known[m.key] for m in group if m.key in known]
    by = Counter(v["stage"] for v in ran if v["stage"])
    stages = ", ".join(f"{name} {by[name]}" for name in guards.NAMES if by[name])
    killed = sum(by.values())
    numbers = (len(group), killed, len(ran) - killed, len(group) - len(ran))
    return (f"`{file.removeprefix('optlab/')}`", *(str(n or "") for n in numbers), stages)


def _kinds(all_made: list[Any]) -> str:
    names = {(file, name) for file, faults in FAULTS.items() for name, *_ in faults}
    by_hand = [m for m in all_made if (m.file, m.operator) in names]
    kinds = Counter(m.operator for m in all_made if m not in by_hand)
    listed = ", ".join(f"{kind} {n}" for kind, n in sorted(kinds.items()))
    return f"By operators: {listed}. By hand: {len(by_hand)}."


def _survivors(survivors: list[Any]) -> list[str]:
    lines = []
    for mutant in survivors:
        kind, why = REASONS.get(mutant.key, UNTESTED)
        name = f"{Path(mutant.file).stem}, {mutant.where.rpartition('.')[2] or mutant.operator}"
        before, after = _in_context(mutant)
        entry = f"- {name} ({mutant.operator}, `{mutant.key}`), {kind}: {why}."
        lines += [_paragraph(entry, "  "), "", "  ```diff"]
        lines += [f"  - {part}" for part in before] + [f"  + {part}" for part in after]
        lines += ["  ```", ""]
    return lines


def _in_context(mutant: Any) -> tuple[list[str], list[str]]:
    """The whole lines a mutant replaces, and what they become."""
    source = (mutants.ROOT / mutant.file).read_text(encoding="utf-8")
    old, new = source.splitlines(), mutant.apply(source).splitlines()
    first = mutant.line - 1
    same = 0
    while same < len(old) - first and old[-1 - same] == new[-1 - same]:
        same += 1
    cut = textwrap.dedent("\n".join(old[first : len(old) - same])).splitlines()
    put = textwrap.dedent("\n".join(new[first : len(new) - same])).splitlines()
    return cut, put


def _one_line(source: str) -> str:
    return " ".join(source.split())


def _paragraph(words: str, indent: str = "") -> str:
    return textwrap.fill(
        words, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [head, ("---",) * len(head), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]
