"""Mutants: copies of a source file with one small mistake each, the same ones on every run.

Of all that the operators of `mutation_operators` propose, a stable hash takes about a dozen a file,
spread over operators and lines; `mutation_faults` adds by hand what operators cannot express.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
from collections import defaultdict
from pathlib import Path

import mutation_faults
import mutation_operators as operators

ROOT = Path(__file__).parents[2]
PER_TRANSFORM, PER_RECIPE = 14, 6


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One mistake.

    Attributes:
      file: its path in the repository.
      operator: what kind of mistake, or the name of a fault made by hand.
      where: the function or class it is in.
      start, end: the bytes that are replaced.
      before, after: the replaced text and its replacement.
      line: number of the first line replaced.
      number: counts mutants that are alike in all of the above but their place.
    """

    file: str
    operator: str
    where: str
    start: int
    end: int
    before: str
    after: str
    line: int
    number: int = 0

    @property
    def key(self) -> str:
        """Its name; docstrings, comments and other functions may change without changing it."""
        parts = (self.file, self.operator, self.where, self.before, self.after, str(self.number))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:10]

    def apply(self, source: str) -> str:
        data = source.encode()
        return (data[: self.start] + self.after.encode() + data[self.end :]).decode()


def files() -> list[str]:
    """The files that are mutated: every transform, every recipe."""
    return [
        f"optlab/{package}/{path.name}"
        for package in ("transforms", "optimizers")
        for path in sorted((ROOT / "optlab" / package).glob("_*.py"))
        if path.name != "__init__.py"
    ]


@functools.cache
def selected(file: str) -> tuple[Mutant, ...]:
    """The mutants of a file that are run: those by hand, and a choice of the others."""
    source = (ROOT / file).read_text(encoding="utf-8")
    limit = PER_TRANSFORM if "transforms" in file else PER_RECIPE
    trees = {ast.dump(ast.parse(source))}
    made = [mutant for mutant in by_hand(file, source) if _is_new(mutant, source, trees)]
    return (*made, *_spread(candidates(file, source), limit, source, trees))


def candidates(file: str, source: str) -> list[Mutant]:
    """Everything that the operators propose, in the order of the file."""
    text = operators.Text(source)
    found = []
    counts: dict[tuple[str, ...], int] = defaultdict(int)
    for operator, where, start, end, after in sorted(
        operators.replacements(text), key=lambda r: r[2:]
    ):
        before = text.cut(start, end)
        alike = (operator, where, before, after)
        place = (start, end, before, after, text.line(start), counts[alike])
        found.append(Mutant(file, operator, where, *place))
        counts[alike] += 1
    return found


def by_hand(file: str, source: str) -> list[Mutant]:
    """The faults of `mutation_faults` in a file, but those whose text is not there once."""
    text = operators.Text(source)
    made = []
    for name, before, after in mutation_faults.FAULTS.get(file, ()):
        if source.count(before) == 1:
            start = len(source[: source.index(before)].encode())
            end = start + len(before.encode())
            made.append(Mutant(file, name, "", start, end, before, after, text.line(start)))
    return made


def _is_new(mutant: Mutant, source: str, trees: set[str]) -> bool:
    """Whether it is a program, and another one than those seen so far, which it joins."""
    try:
        tree = ast.dump(ast.parse(mutant.apply(source)))
    except SyntaxError:
        return False
    if tree in trees:
        return False
    trees.add(tree)
    return True


def _spread(mutants: list[Mutant], limit: int, source: str, trees: set[str]) -> list[Mutant]:
    """Operators take turns, and no line is used twice before all have been used once."""
    turns: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in sorted(mutants, key=lambda m: m.key):
        turns[mutant.operator].append(mutant)
    order = sorted(turns, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    chosen: list[Mutant] = []
    uses: dict[int, int] = defaultdict(int)
    while any(turns.values()) and len(chosen) < limit:
        for name in order:
            if turns[name] and len(chosen) < limit:
                least = min(turns[name], key=lambda m: uses[m.line])
                turns[name].remove(least)
                if _is_new(least, source, trees):
                    uses[least.line] += 1
                    chosen.append(least)
    return sorted(chosen, key=lambda m: (m.start, m.end, m.after))
