"""`conforms`: the contract as pytest tests, one a clause; in a TestCase, as one test."""

from __future__ import annotations

import functools
import inspect
import unittest
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from optlab.core import checks
from optlab.testing._clauses import transformation_clauses
from optlab.testing._transformations import check_transformation, require_callable_factory


def conforms(
    make_tx: Callable[..., Any],
    *,
    allow: Mapping[str, str] | None = None,
    claims: Iterable[str] = (),
    only: str | Iterable[str] | None = None,
    **options: Any,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Turns a test function into one pytest test for each clause of the contract.

    Args:
      make_tx: makes the transformation, as in `check_transformation`.
      allow, only: as in `check_transformation`.
      claims: properties the method claims; each becomes a test, too.
      **options: `params`, `needs` and `variant` of `check_transformation`.

    Returns:
      A decorator. The decorated function's body runs once for each clause, after it has passed;
      fixtures it asks for are passed on, and the clause's name if it has an argument `clause`.

    Raises:
      ImportError: if pytest is not installed.
      ValueError: for names that are no clauses.
      TypeError: for an option that is none, or what is no factory (which is not called yet).

    Special cases:
      A clause that does not apply is skipped, with the reason; one that is allowed to fail, too. An
      allowance for a name without brackets covers each test of it, and is not asked to be needed.
      A method of a `unittest.TestCase`, absl's and chex's among them, where pytest has no
      parameters, checks all clauses in one test and fails with the report. Below chex's
      `all_variants` (or `variants`) it does so once a variant, with `self.variant` as `variant`;
      `with_pmap` compiles every run for all devices, so choose a few clauses (`only`) there.

    Example:
      >>> import optlab as ol
      >>> @ol.testing.conforms(lambda: ol.sgd(0.1))
      ... def test_sgd(): pass
      >>> test_sgd("one_trace")
    """
    try:
        import pytest
    except ImportError as error:
        raise ImportError('conforms needs pytest: pip install "optlab[test]"') from error
    if getattr(make_tx, "__name__", "").startswith("test"):
        raise TypeError(
            f"conforms wants the factory before the test {make_tx.__name__}: @conforms(make_tx)."
        )
    require_callable_factory(make_tx)
    known = ("needs", "params", "variant")
    for name in options:
        if name not in known:
            raise TypeError(f"conforms: no option {name!r}; {checks.nearest(name, known)}")
    names = transformation_clauses.chosen(claims, only)
    allowed = transformation_clauses.allowed(allow)

    def check_one(clause: str) -> None:
        own = {k: v for k, v in (allow or {}).items() if k == clause}
        report = check_transformation(make_tx, only=clause, allow=own, **options)
        if not report and clause in allowed and not own:
            pytest.skip(f"allowed: {allowed[clause]}")
        if not report:
            pytest.fail(str(report), pytrace=False)
        (result,) = report.results
        if result.status != "passed":
            pytest.skip(f"{result.status}: {result.found}")

    def check_all(case: unittest.TestCase) -> None:
        variant = getattr(case, "variant", None)  # chex sets one with a type below its decorators
        given: dict[str, Any] = {"variant": variant} if hasattr(variant, "type") else {}
        report = check_transformation(make_tx, only=names, allow=allow, **(options | given))
        if not report:
            case.fail(str(report))

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        own = inspect.signature(function)
        passes_clause = "clause" in own.parameters
        signature = own if passes_clause else _with_clause(own)

        @functools.wraps(function)
        def test(*args: Any, **kwargs: Any) -> None:
            if args and isinstance(args[0], unittest.TestCase):
                check_all(args[0])
                function(*args, **kwargs)
                return
            given = signature.bind(*args, **kwargs).arguments
            check_one(given["clause"])
            function(**{k: v for k, v in given.items() if passes_clause or k != "clause"})

        vars(test)["__signature__"] = signature  # pytest reads the names of fixtures here
        return pytest.mark.parametrize("clause", names)(test)

    return decorate


def _with_clause(signature: inspect.Signature) -> inspect.Signature:
    clause = inspect.Parameter("clause", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = list(signature.parameters.values())
    before = [p for p in parameters if p.kind <= inspect.Parameter.POSITIONAL_OR_KEYWORD]
    required = [p for p in before if p.default is inspect.Parameter.empty]
    return signature.replace(
        parameters=[*required, clause, *[p for p in parameters if p not in required]]
    )
