"""`check_transformation`: every clause of the contract on one factory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from optlab.core import checks
from optlab.testing import (
    _clauses_compilation,  # noqa: F401  (importing them fills the catalogue)
    _clauses_signature,  # noqa: F401
    _clauses_storage,  # noqa: F401
    _clauses_structure,  # noqa: F401
    _clauses_symmetry,  # noqa: F401
    _clauses_usage,  # noqa: F401
    _clauses_values,  # noqa: F401
)
from optlab.testing._clauses import Clause, several, transformation_clauses
from optlab.testing._report import Report
from optlab.testing._subject import EXTRA_ARGS, Subject


def check_transformation(
    make_tx: Callable[..., Any],
    *,
    params: Any = None,
    needs: Iterable[str] = (),
    allow: Mapping[str, str] | None = None,
    claims: Iterable[str] = (),
    only: str | Iterable[str] | None = None,
    variant: Callable[..., Any] | None = None,
) -> Report:
    """Holds a gradient transformation, optlab's, Optax's or your own, to the contract.

    Args:
      make_tx: makes a fresh transformation. Its keywords with float defaults are taken to be
        hyperparameters; those of an optlab transformation are found by themselves.
      params: tree of float32 arrays to optimize; a matrix, a vector and a scalar by default. Give
        your own where the method wants certain shapes.
      needs: extra arguments that `update` demands, of `"value"`, `"grad"`, `"loss"`, and
        `"value_fn"` or `"obj_fn"`.
      allow: clauses that may fail, each with the reason, which the report shows. A name without its
        brackets stands for all of its kind. An allowance that is not needed fails.
      claims: properties the method has beyond the laws, such as `"leaf_local"`; see `clauses`.
      only: run just this clause, or these.
      variant: wraps `update` wherever a clause would call it eagerly for a few steps: `jax.jit`, or
        `self.variant` in a test with chex's `all_variants`.

    Returns:
      A `Report`, false if a clause failed that was not allowed to. Clauses of kind `"capability"`
      count like laws: allow those that are beyond a method.

    Raises:
      ValueError: if a name is no clause or no extra argument, or a reason is empty.
      TypeError: if `make_tx` is no factory of gradient transformations, or raises.

    Special cases:
      Sharding needs at least two devices (`--xla_force_host_platform_device_count=8`); containers
      and formats of packages that are not installed are reported as not applicable.

    Example:
      >>> import optlab as ol
      >>> report = ol.testing.check_transformation(lambda: ol.adam(1e-3), only="one_trace")
      >>> bool(report), report.counts()
      (True, {'passed': 1})
    """
    needs = several(needs)
    for name in needs:
        if name not in EXTRA_ARGS:
            raise ValueError(
                f"needs: no extra argument {name!r}; {checks.nearest(name, EXTRA_ARGS)}"
            )
    _require_factory(make_tx)
    given = {"params": params, "needs": needs, "variant": variant}
    return transformation_clauses.judge(
        Subject(make_tx, params, needs, variant),
        described(make_tx),
        allow=allow,
        claims=claims,
        only=only,
        reproduce=lambda clause: reproduction("check_transformation", make_tx, clause, given),
    )


def _require_factory(make_tx: Any) -> None:
    made = callable(make_tx) and (isinstance(make_tx, type) or not _is_transformation(make_tx))
    if not made:
        raise TypeError(
            f"make_tx must be a factory of gradient transformations, got {_short(make_tx)}. Pass "
            "a function without required arguments, such as lambda: optlab.adam(1e-3)."
        )
    try:
        tx = make_tx()
    except Exception as error:  # whatever it is, no clause can be run
        raise TypeError(
            f"make_tx could not be called without arguments: {described(make_tx)}() raised "
            f"{type(error).__name__}: {error}"
        ) from error
    if not _is_transformation(tx):
        raise TypeError(
            "make_tx must return a gradient transformation, an object with init and update; "
            f"{described(make_tx)}() returned {_short(tx)}."
        )


def _is_transformation(value: Any) -> bool:
    return callable(getattr(value, "init", None)) and callable(getattr(value, "update", None))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


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


def reproduction(
    checker: str, factory: Callable[..., Any], clause: str, given: Mapping[str, Any]
) -> str:
    """Three lines that run one clause again; trees and functions given are named, not printed."""
    function = getattr(factory, "func", factory)
    name, importable = described(factory), function is factory
    module = getattr(function, "__module__", "?")
    if module == "__main__":
        module = Path(getattr(sys.modules[module], "__file__", None) or module).stem
    source = (
        f"from {module} import {name}{' as make' * (name != 'make')}"
        if name.isidentifier() and importable
        else f"make = ...  # {name} in {module}{_line(function)}"
    )
    options = "".join(_argument(*item) for item in given.items())
    call = f"ol.testing.{checker}(make, {options}only={clause!r})"
    return f"import optlab as ol\n{source}\nprint({call})"


def _argument(key: str, value: Any) -> str:
    if value is None or (isinstance(value, tuple) and not value):
        return ""
    return (
        f"{key}={value!r}, " if isinstance(value, float | int | str | tuple) else f"{key}={key}, "
    )


def _line(function: Any) -> str:
    code = getattr(function, "__code__", None)
    return f", line {code.co_firstlineno}" if code else ""
