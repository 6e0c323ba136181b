"""`check_transformation`: every clause of the contract on one factory."""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

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
from optlab.testing._clauses import EIGHT, Clause, several, transformation_clauses
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
        hyperparameters; those of an optlab transformation are found by themselves. The learning
        rate is the one called `learning_rate` or `lr`.
      params: tree of float32 arrays to optimize; a matrix, a vector and a scalar by default. Give
        your own where the method wants certain shapes.
      needs: extra arguments that `update` demands, of `"value"`, `"grad"`, `"loss"`, and
        `"value_fn"` or `"obj_fn"`.
      allow: clauses that may fail, each with the reason, which the report shows. A name without its
        brackets, or a kind, stands for all such clauses, of which at least one must fail. An
        allowance that is not needed fails.
      claims: properties the method has beyond the laws, such as `"leaf_local"`; see `clauses`.
      only: run just this clause, or these, or those of a kind: `"law"`, `"capability"`.
      variant: wraps `update` wherever a clause would call it eagerly for a few steps: `jax.jit`, or
        `self.variant` in a test with chex's `all_variants`.

    Returns:
      A `Report`, false if a clause failed that was not allowed to. Clauses of kind `"capability"`
      count like laws: allow those that are beyond a method.

    Raises:
      ValueError: if a name is no clause or no extra argument, a reason or `only` is empty, or
        `params` has no array.
      TypeError: if `make_tx` is no factory of gradient transformations, or raises, or its update
        wants an extra argument that `needs` does not name.

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
    _require_params(params)
    given = {"params": params, "needs": needs, "variant": variant}
    subject = Subject(make_tx, params, needs, variant)
    transformation_clauses.chosen(claims, only)
    _require_needs(subject)
    return transformation_clauses.judge(
        subject,
        described(make_tx),
        allow=allow,
        claims=claims,
        only=only,
        reproduce=lambda clause: reproduction("check_transformation", make_tx, clause, given),
    )


def require_callable_factory(make_tx: Any) -> None:
    """A function, without calling it; TypeError for a transformation or anything else."""
    made = callable(make_tx) and (isinstance(make_tx, type) or not _is_transformation(make_tx))
    if not made:
        raise TypeError(
            f"make_tx must be a factory of gradient transformations, got {_short(make_tx)}. Pass "
            "a function without required arguments, such as lambda: optlab.adam(1e-3)."
        )


def _require_factory(make_tx: Any) -> None:
    require_callable_factory(make_tx)
    tx = _made("make_tx", make_tx, "")
    if not _is_transformation(tx):
        raise TypeError(
            "make_tx must return a gradient transformation, an object with init and update; "
            f"{described(make_tx)}() returned {_short(tx)}."
        )


def require_function(name: str, make: Any, what: str, example: str) -> None:
    """A factory of schedules or initializers; TypeError for anything else."""
    hint = f" Pass a function that makes {what}, such as {example}."
    if not callable(make):
        raise TypeError(f"{name} must be a factory, got {_short(make)}.{hint}")
    made = _made(name, make, hint)
    if not callable(made):
        raise TypeError(f"{name} must return {what}; it returned {_short(made)}.{hint}")


def _made(name: str, make: Any, hint: str) -> Any:
    try:
        return make()
    except Exception as error:  # whatever it is, no clause can be run
        stop = "." if hint else ""
        raise TypeError(
            f"{name} could not be called without arguments: {described(make)}() raised "
            f"{type(error).__name__}: {error}{stop}{hint}"
        ) from error


def _require_params(params: Any) -> None:
    if params is None:
        return
    leaves = jax.tree.leaves(params)
    if not leaves:
        raise ValueError(f"params must have an array, got {_short(params)}; None for the default.")
    for leaf in leaves:
        if not np.issubdtype(getattr(leaf, "dtype", type(leaf)), np.number):
            raise TypeError(f"params must be a tree of arrays of numbers, got a leaf {leaf!r}.")


def _require_needs(subject: Subject) -> None:
    """Takes one step, so that an extra argument that is missing is told once, not by each clause.

    Whatever else goes wrong is for the clauses to find.
    """
    tx = subject.tx()
    try:
        subject.run(1, tx=tx, update=functools.partial(subject.update, tx))
    except TypeError as error:
        missing = re.match(r"(\S+)\(\) missing \d+ required .*argument", str(error))
        names = re.findall(r"'(\w+)'", str(error))
        known = [name for name in names if name in EXTRA_ARGS]
        if not missing or not (known or "update" in missing[1]):
            return
        if known != names:
            remedy = f"Only {', '.join(EXTRA_ARGS)} can be given; bind others in the factory."
        else:
            options = " ".join(f"--need {name}" for name in [*subject.needs, *known])
            remedy = f"Say needs={[*subject.needs, *known]!r}, on the command line {options}."
        raise TypeError(f"make_tx made what wants extra arguments: {error}. {remedy}") from error
    except Exception:
        return


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
    """Lines that run one clause again; trees and functions given are named, not printed."""
    devices = ""
    if clause.split("[")[0] in ("sharding", "sharded_equals_whole"):
        devices = f'import os; os.environ["XLA_FLAGS"] = "{EIGHT}"\n'
    source = _source(factory)
    options = "".join(_argument(*item) for item in given.items())
    call = f"ol.testing.{checker}(make, {options}only={clause!r})"
    return f"{devices}import optlab as ol\n{source}\nprint({call})"


def _source(factory: Any) -> str:
    """A line that makes the factory `make`, where one can."""
    function = getattr(factory, "func", factory)
    name, module = described(factory), getattr(function, "__module__", "?")
    if module == "__main__":
        module = Path(getattr(sys.modules[module], "__file__", None) or module).stem
    head, dot, _ = name.partition(".")
    if all(part.isidentifier() for part in name.split(".")):
        if function is factory:
            as_make = f"; make = {name}" if dot else " as make" * (name != "make")
            return f"from {module} import {head}{as_make}"
        if isinstance(factory, functools.partial) and _literal([factory.args, factory.keywords]):
            given = [*map(repr, factory.args), *(f"{k}={v!r}" for k, v in factory.keywords.items())]
            bound = ", ".join([f"{module}.{name}", *given])
            return f"import functools, {module}; make = functools.partial({bound})"
    kind = "a partial of " if function is not factory else ""
    return f"make = ...  # fill in your factory: {kind}{name} in {module}{_line(function)}"


def _literal(value: Any) -> bool:
    try:
        return ast.literal_eval(repr(value)) == value
    except (ValueError, SyntaxError):
        return False


def _argument(key: str, value: Any) -> str:
    if value is None or (isinstance(value, tuple) and not value):
        return ""
    return (
        f"{key}={value!r}, " if isinstance(value, float | int | str | tuple) else f"{key}={key}, "
    )


def _line(function: Any) -> str:
    code = getattr(function, "__code__", None)
    return f", line {code.co_firstlineno}" if code else ""
