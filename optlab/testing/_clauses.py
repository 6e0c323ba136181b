"""Clauses: functions that hold a subject to one promise, the catalogues of them, and their judge.

A clause takes a subject (and its parameter), returns if the promise is kept, and raises `Broken` if
not. Any other exception out of the subject's own code breaks it too.
"""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from optlab.core import checks
from optlab.testing._report import Report, Result

Kind = Literal["law", "capability", "property"]
Names = tuple[str, ...]


class Broken(Exception):
    """A promise was not kept: what was done, what came out, what was expected.

    Example:
      >>> import optlab as ol
      >>> print(ol.testing.Broken("added 1 to 1", 3, "2"))
      did: added 1 to 1
      got: 3
      expected: 2
    """

    def __init__(self, did: str, got: Any, expected: str):
        super().__init__(f"did: {did}\ngot: {got}\nexpected: {expected}")


class NotApplicable(Exception):
    """The promise says nothing about this subject; the message says why.

    Example:
      >>> import optlab as ol
      >>> print(ol.testing.NotApplicable("it has no state"))
      it has no state
    """


@dataclasses.dataclass(frozen=True)
class Clause:
    """One promise.

    Attributes:
      name: as reported, with the parameter in brackets.
      kind: a law holds for every subject; a capability is held like a law, but others may allow
        themselves to miss it; a property is checked only where it is claimed.
      promise: the first line of the checking function's docstring.
      check: `subject -> None`.

    Example:
      >>> import optlab as ol
      >>> ol.testing.clauses()["scan"].promise
      'State carries through `lax.scan`, which gives what a loop gives.'
    """

    name: str
    kind: Kind
    promise: str
    check: Callable[[Any], None]


class Catalogue(dict[str, Clause]):
    """Clauses by name, in the order they run."""

    def clause(self, kind: Kind = "law", *, over: Mapping[str, Any] | None = None) -> Any:
        """Registers a function under its own name; `over` makes one clause for each parameter."""

        def register(function: Callable[..., None]) -> Callable[..., None]:
            promise = (function.__doc__ or "").splitlines()[0]
            name = function.__name__
            if over is None:
                self._add(Clause(name, kind, promise, function))
            for label, value in (over or {}).items():
                self._add(Clause(f"{name}[{label}]", kind, promise, _with(function, value)))
            return function

        return register

    def _add(self, new: Clause) -> None:
        if new.name in self:
            raise ValueError(f"two clauses are called {new.name!r}")
        self[new.name] = new

    def expand(self, name: str) -> list[str]:
        """A clause, or all of that name with brackets.

        Raises:
          ValueError: if there is none, with the nearest names.
        """
        names = [name] if name in self else [n for n in self if n.split("[")[0] == name]
        if not names:
            heads = {n.split("[")[0] for n in self}
            raise ValueError(f"no clause {name!r}; {checks.nearest(name, [*self, *heads])}")
        return names

    def judge(
        self,
        subject: Any,
        described: str,
        *,
        allow: Mapping[str, str] | None,
        claims: Iterable[str],
        only: str | Iterable[str] | None,
        reproduce: Callable[[str], str],
    ) -> Report:
        """Runs the chosen clauses on a subject; see `check_transformation` for the arguments."""
        allowed, names = self.allowed(allow), self.chosen(claims, only)
        results = [_judge(self[n], subject, allowed.get(n), reproduce) for n in names]
        return Report(described, tuple(results))

    def chosen(self, claims: Iterable[str] = (), only: str | Iterable[str] | None = None) -> Names:
        """The clauses to run: `only` those, else all but the properties that are not claimed."""
        claimed = {name for claim in several(claims) for name in self.expand(claim)}
        if only is None:
            return tuple(n for n, c in self.items() if c.kind != "property" or n in claimed)
        return tuple(dict.fromkeys(n for one in several(only) for n in self.expand(one)))

    def allowed(self, allow: Mapping[str, str] | None) -> dict[str, str]:
        """Reasons by clause, brackets filled in."""
        reasons = {}
        for key, reason in (allow or {}).items():
            if not isinstance(reason, str) or not reason.strip():
                raise ValueError(f"allow[{key!r}] needs a reason in words, got {reason!r}.")
            reasons |= dict.fromkeys(self.expand(key), reason)
        return reasons


def several(names: str | Iterable[str]) -> Names:
    """One name or several, as a tuple."""
    return (names,) if isinstance(names, str) else tuple(names)


def _with(function: Callable[..., None], value: Any) -> Callable[[Any], None]:
    return lambda subject: function(subject, value)


def _judge(
    one: Clause, subject: Any, reason: str | None, reproduce: Callable[[str], str]
) -> Result:
    def result(status: Any, found: str = "", again: str = "") -> Result:
        return Result(one.name, one.kind, status, one.promise, found, again)

    try:
        one.check(subject)
    except NotApplicable as error:
        return result("not applicable", str(error))
    except Exception as error:  # whatever the subject raises is what a clause is there to find
        if reason is not None:
            return result("allowed", reason)
        found = str(error) if isinstance(error, Broken) else _told(error)
        return result("failed", found, reproduce(one.name))
    if reason is not None:
        head, bracket, _ = one.name.partition("[")
        hint = f" ({head!r} allows all its brackets: name those that fail)" if bracket else ""
        return result("failed", f"did: allowed it to fail: {reason}\ngot: it passes\n"
                      f"expected: no allowance that is not needed{hint}")  # fmt: skip
    return result("passed")


HERE = Path(__file__).parent
LIBRARIES = tuple(Path(str(module.__file__)).parent for module in (jax, np))
NO_CLAUSES = ("_clauses.py", "_subject.py", "_compare.py")


def _told(error: Exception) -> str:
    """As of `Broken`: the clause's line, the error with the line it came from, no error."""
    did = origin = ""
    for frame in traceback.extract_tb(error.__traceback__):
        file = Path(frame.filename)
        if file.parent == HERE:
            if not did and file.name not in NO_CLAUSES:
                did = frame.line
        elif not any(library in file.parents for library in LIBRARIES):
            origin = f"\n  from {file.name}, line {frame.lineno}, in {frame.name}: {frame.line}"
    return f"did: {did}\ngot: {type(error).__name__}: {error}{origin}\nexpected: no error"


transformation_clauses = Catalogue()
schedule_clauses = Catalogue()
initializer_clauses = Catalogue()
