"""`check_transformation`: every clause of the contract on one factory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from optlab.testing import (
    _clauses_compilation,  # noqa: F401  (importing them fills the catalogue)
    _clauses_signature,  # noqa: F401
    _clauses_storage,  # noqa: F401
    _clauses_structure,  # noqa: F401
    _clauses_symmetry,  # noqa: F401
    _clauses_usage,  # noqa: F401
    _clauses_values,  # noqa: F401
)
from optlab.testing._clauses import Clause, transformation_clauses
from optlab.testing._report import Report
from optlab.testing._subject import Subject


def check_transformation(
    make_tx: Callable[..., Any],
    *,
    params: Any = None,
    needs: Iterable[str] = (),
    allow: Mapping[str, str] | None = None,
    claims: Iterable[str] = (),
    only: str | Iterable[str] | None = None,
) -> Report:
    """Holds a gradient transformation, optlab's, Optax's or your own, to the contract.

    Args:
      make_tx: makes a fresh transformation. Its keywords with float defaults are taken to be
        hyperparameters; those of an optlab transformation are found by themselves.
      params: tree of float32 arrays to optimize; a matrix, a vector and a scalar by default. Give
        your own where the method wants certain shapes.
      needs: extra arguments that `update` demands, of `"value"`, `"grad"`, `"value_fn"`, `"loss"`.
      allow: clauses that may fail, each with the reason, which the report shows. A name without its
        brackets stands for all of its kind. An allowance that is not needed fails.
      claims: properties the method has beyond the laws, such as `"leaf_local"`; see `clauses`.
      only: run just this clause, or these.

    Returns:
      A `Report`, false if a clause failed that was not allowed to. Clauses of kind `"capability"`
      count like laws: allow those that are beyond a method.

    Raises:
      ValueError: if a name is no clause, or a reason is empty.
      TypeError: if `make_tx` is no factory of gradient transformations.

    Special cases:
      Sharding needs at least two devices (`--xla_force_host_platform_device_count=8`); containers
      and formats of packages that are not installed are reported as not applicable.

    Example:
      >>> import optlab as ol
      >>> report = ol.testing.check_transformation(lambda: ol.adam(1e-3), only="one_trace")
      >>> bool(report), report.counts()
      (True, {'passed': 1})
    """
    subject = Subject(make_tx, params, needs)
    tx = make_tx() if callable(make_tx) else None
    if not (callable(getattr(tx, "init", None)) and callable(getattr(tx, "update", None))):
        raise TypeError(
            f"make_tx must make a gradient transformation, got {make_tx!r}. Pass a factory such as "
            "lambda: optlab.adam(1e-3), not the transformation itself."
        )
    return transformation_clauses.judge(
        subject,
        described(make_tx),
        allow=allow,
        claims=claims,
        only=only,
        reproduce=lambda clause: reproduction("check_transformation", make_tx, clause),
    )


def clauses() -> dict[str, Clause]:
    """The clauses for transformations by name, with their kinds and promises.

    Example:
      >>> import optlab as ol
      >>> ol.testing.clauses()["one_trace"].promise
      'A jitted step is traced once for many steps.'
    """
    return dict(transformation_clauses)


def described(factory: Callable[..., Any]) -> str:
    """What a factory is called."""
    function = getattr(factory, "func", factory)
    return getattr(function, "__qualname__", repr(factory))


def reproduction(checker: str, factory: Callable[..., Any], clause: str) -> str:
    """Three lines that run one clause again."""
    function = getattr(factory, "func", factory)
    module, name = getattr(function, "__module__", "?"), described(factory)
    source = (
        f"from {module} import {name} as make"
        if name.isidentifier() and function is factory
        else f"make = ...  # {name} in {module}"
    )
    return f"import optlab as ol\n{source}\nprint(ol.testing.{checker}(make, only={clause!r}))"
