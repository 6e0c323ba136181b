"""`conforms`: the contract as pytest tests, one a clause."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from optlab.testing._clauses import transformation_clauses
from optlab.testing._transformations import check_transformation


def conforms(
    make_tx: Callable[..., Any], *, claims: Iterable[str] = (), **options: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Turns a test function into one pytest test for each clause of the contract.

    Args:
      make_tx: makes the transformation, as in `check_transformation`.
      claims: properties the method claims; each becomes a test, too.
      **options: `params`, `needs` and `allow` of `check_transformation`.

    Returns:
      A decorator. The decorated function's body runs once for each clause, after it has passed.

    Raises:
      ImportError: if pytest is not installed.
      ValueError: for names that are no clauses.

    Example:
      >>> import optlab as ol
      >>> @ol.testing.conforms(lambda: ol.sgd(0.1))
      ... def test_sgd(): pass
      >>> test_sgd("one_trace")

    Special cases:
      A clause that does not apply is skipped, with the reason; one that is allowed to fail, too.
    """
    try:
        import pytest
    except ImportError as error:
        raise ImportError('conforms needs pytest: pip install "optlab[test]"') from error
    claimed = {name for claim in claims for name in transformation_clauses.expand(claim)}
    names = [
        name
        for name, c in transformation_clauses.items()
        if c.kind != "property" or name in claimed
    ]
    allow = options.pop("allow", None) or {}
    allowed = {
        n: reason for key, reason in allow.items() for n in transformation_clauses.expand(key)
    }

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        def test(clause: str) -> None:
            reason = {clause: allowed[clause]} if clause in allowed else None
            report = check_transformation(make_tx, only=clause, allow=reason, **options)
            if not report:
                pytest.fail(str(report), pytrace=False)
            (result,) = report.results
            if result.status != "passed":
                pytest.skip(f"{result.status}: {result.found}")
            function()

        test.__name__ = test.__qualname__ = function.__name__
        test.__doc__, test.__module__ = function.__doc__, function.__module__
        return pytest.mark.parametrize("clause", names)(test)

    return decorate
