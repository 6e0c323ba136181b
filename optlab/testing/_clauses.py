"""Clauses: functions that hold a subject to one promise, the catalogues of them, and their judge.

A clause takes a subject (and its parameter), returns if the promise is kept, and raises `Broken` if
not. Any other exception out of the subject's own code breaks it too.
"""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from optlab.core import checks
from optlab.testing._report import Report, Result

Kind = Literal["law", "capability", "property"]


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
        allowed = {}
        for key, reason in (allow or {}).items():
            if not isinstance(reason, str) or not reason:
                raise ValueError(f"allow[{key!r}] needs a reason in words, got {reason!r}.")
            allowed |= dict.fromkeys(self.expand(key), reason)
        claimed = {name for claim in claims for name in self.expand(claim)}
        if only is None:
            names = [n for n, c in self.items() if c.kind != "property" or n in claimed]
        else:
            names = [
                n for one in ([only] if isinstance(only, str) else only) for n in self.expand(one)
            ]
        results = [_judge(self[n], subject, allowed.get(n), reproduce) for n in names]
        return Report(described, tuple(results))


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
        return result("failed", f"It may fail ({reason}), but passes: take the allowance away.", "")
    return result("passed")


def _told(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    raised = f"raised {type(error).__name__}: {error}"
    return f"{raised}\nin {last.name}, line {last.lineno}: {last.line}"


transformation_clauses = Catalogue()
schedule_clauses = Catalogue()
initializer_clauses = Catalogue()
