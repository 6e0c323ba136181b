"""Clauses: functions that hold a subject to one promise, the catalogues of them, and their judge.

A clause takes a subject (and its parameter), returns if the promise is kept, and raises `Broken` if
not. Any other exception out of the subject's own code breaks it too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

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
        """A clause, all of that name with brackets, or all of a kind.

        Raises:
          ValueError: if there is none, with the nearest names.
        """
        names = [name] if name in self else [n for n in self if n.split("[")[0] == name]
        if name in get_args(Kind):
            names = [n for n, clause in self.items() if clause.kind == name]
            return names or _refuse(f"there is no clause of the kind {name!r} here")
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
        for key, reason in (allow or {}).items():
            results = _with_needed(results, self.expand(key), key, reason)
        return Report(described, tuple(results))

    def chosen(self, claims: Iterable[str] = (), only: str | Iterable[str] | None = None) -> Names:
        """The clauses to run: `only` those, else all but the properties that are not claimed."""
        claimed = {name for claim in several(claims) for name in self.expand(claim)}
        only = only if only is None else several(only)
        if only == ():
            raise ValueError("only is empty: name clauses or kinds, or leave it out for all.")
        if only is None:
            return tuple(n for n, c in self.items() if c.kind != "property" or n in claimed)
        return tuple(dict.fromkeys(n for one in only for n in self.expand(one)))

    def allowed(self, allow: Mapping[str, str] | None) -> dict[str, str]:
        """Reasons by clause, brackets filled in."""
        if not isinstance(allow, Mapping | None):
            raise TypeError(f"allow must map clauses to reasons, {{'scan': 'why'}}; got {allow!r}.")
        reasons = {}
        for key, reason in (allow or {}).items():
            if not isinstance(reason, str) or not reason.strip():
                raise ValueError(f"allow[{key!r}] needs a reason in words, got {reason!r}.")
            reasons |= dict.fromkeys(self.expand(key), reason)
        return reasons


def several(names: str | Iterable[str]) -> Names:
    """One name or several, as a tuple of them."""
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
        found = str(error) if isinstance(error, Broken) else _told(error, one)
        return result("failed", found, reproduce(one.name))
    return result("passed")


def _with_needed(results: list[Result], names: list[str], key: str, reason: str) -> list[Result]:
    """Fails the first clause of an allowance if all that it stands for ran, and none failed."""
    ended = {r.clause: r.status for r in results if r.clause in names}
    passed = [name for name, status in ended.items() if status == "passed"]
    if len(ended) < len(names) or "allowed" in ended.values() or not passed:
        return results
    got = "it passes" if len(names) == 1 else f"all {len(passed)} that {key!r} stands for pass"
    text = (
        f"did: allowed it to fail: {reason}\ngot: {got}\nexpected: no allowance that is not needed"
    )
    return [
        dataclasses.replace(r, status="failed", found=text) if r.clause == passed[0] else r
        for r in results
    ]


def _refuse(text: str) -> Any:
    raise ValueError(text)


@contextlib.contextmanager
def doing(words: str) -> Iterator[None]:
    """Says of exceptions out of the block what was being done; the outermost words count."""
    try:
        yield
    except Exception as error:
        error.add_note(DOING + words)
        raise


EIGHT = "--xla_force_host_platform_device_count=8"
ONE_DEVICE = (
    f"there is one device; for eight, set XLA_FLAGS={EIGHT} before JAX starts, in pytest with "
    "os.environ at the top of conftest.py"
)
DOING = "while the contract "
STANDARD = Path(sysconfig.get_path("stdlib"))
SITES = tuple(Path(sysconfig.get_path(name)) for name in ("purelib", "platlib"))
LIBRARIES = tuple(Path(str(module.__file__)).parent for module in (jax, np))
OPTLAB = Path(__file__).parents[1]


def _told(error: Exception, one: Clause) -> str:
    """As of `Broken`: what was done, the error with the line it came from, no error."""
    notes = [n for n in getattr(error, "__notes__", ()) if n.startswith(DOING)]
    did = notes[-1].removeprefix(DOING) if notes else f"checked {one.name}: {one.promise}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _may_be_to_blame(f.filename)]
    own = [f for f in frames if not _is_installed(f.filename)] or frames
    origin = ""
    if own:
        name, frame = Path(own[-1].filename).name, own[-1]
        origin = f"\n  from {name}, line {frame.lineno}, in {frame.name}: {frame.line}"
    return f"did: {did}\ngot: {type(error).__name__}: {error}{origin}\nexpected: no error"


def _may_be_to_blame(file: str) -> bool:
    parents = Path(file).parents
    standard = STANDARD in parents and not any(site in parents for site in SITES)
    ours = Path(__file__).parent in parents or file.startswith("<")
    return not (ours or standard or any(library in parents for library in LIBRARIES))


def _is_installed(file: str) -> bool:
    parents = Path(file).parents
    return OPTLAB in parents or any(site in parents for site in SITES)


transformation_clauses = Catalogue()
schedule_clauses = Catalogue()
initializer_clauses = Catalogue()
