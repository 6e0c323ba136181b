"""Reports: what each clause of the contract found, as a table, as JSON, as a truth value."""

from __future__ import annotations

import dataclasses
import textwrap
from collections import Counter
from typing import Any, Literal

Status = Literal["passed", "failed", "allowed", "not applicable"]

PLURALS = {"law": "laws", "capability": "capabilities", "property": "properties"}
BEYOND = (
    "A capability is beyond what plain Optax promises: "
    "one that your method need not have may be allowed to fail, with a reason."
)


@dataclasses.dataclass(frozen=True)
class Result:
    """What one clause found.

    Attributes:
      clause: its name, with parameters in brackets: `state_signature[bf16,f32]`.
      kind: `"law"`, `"capability"` or `"property"`.
      status: `"passed"`; `"failed"`; `"allowed"`, failed with a reason given beforehand;
        `"not applicable"`.
      promise: what the clause demands, in a sentence.
      found: what was done and what came out, empty where it passed; the reason where allowed or not
        applicable.
      reproduce: a few lines of Python that show the failure.

    Example:
      >>> import optlab as ol
      >>> report = ol.testing.check_transformation(lambda: ol.sgd(0.1), only="empty_tree")
      >>> report.results[0].status
      'passed'
    """

    clause: str
    kind: str
    status: Status
    promise: str
    found: str = ""
    reproduce: str = ""


@dataclasses.dataclass(frozen=True)
class Report:
    """The results of a check; false if a clause failed.

    Attributes:
      subject: what was checked.
      results: one `Result` a clause, in the order they ran.

    Example:
      >>> import optlab as ol
      >>> print(ol.testing.check_transformation(ol.sign, only="counter_saturation"))
      sign: 1 not applicable
        counter_saturation  law         not applicable  it counts nothing
    """

    subject: str
    results: tuple[Result, ...]

    def __bool__(self) -> bool:
        return not self.failures

    @property
    def failures(self) -> tuple[Result, ...]:
        return tuple(r for r in self.results if r.status == "failed")

    def counts(self) -> dict[str, int]:
        """How many clauses ended in each status."""
        return dict(Counter(r.status for r in self.results))

    def to_json(self) -> dict[str, Any]:
        """A dict that `json` can write."""
        return {
            "subject": self.subject,
            "passed": bool(self),
            "counts": self.counts(),
            "results": [dataclasses.asdict(r) for r in self.results],
        }

    def __str__(self) -> str:
        width = max([len(r.clause) for r in self.results], default=0)
        kinds = Counter(r.kind for r in self.failures)
        failed = ", ".join(_plural(n, kinds[n]) for n in PLURALS if kinds[n])
        lines = [
            f"{self.subject}: "
            + ", ".join(
                f"{n} {status}" + f" ({failed})" * (status == "failed")
                for status, n in self.counts().items()
            )
        ]
        for r in self.results:
            note = r.found.splitlines()[0] if r.found and r.status != "failed" else ""
            lines.append(f"  {r.clause:<{width}}  {r.kind:<10}  {r.status:<14}  {note}".rstrip())
        if kinds["capability"]:
            lines += ["", BEYOND]
        for r in self.failures:
            lines += [
                "",
                f"{r.clause} ({r.kind}) failed: {r.promise}",
                textwrap.indent(r.found, "  "),
            ]
            if r.reproduce:
                lines += ["  Reproduce:", textwrap.indent(r.reproduce, "    ")]
        return "\n".join(lines)


def _plural(kind: str, number: int) -> str:
    return f"{number} {kind if number == 1 else PLURALS[kind]}"
