"""Records: frozen dataclasses that are pytrees, check themselves and print like their call.

Transforms, schedules, initializers and selectors are all records. Data fields (numbers, arrays,
other records) are the leaves that `jit`, `vmap` and `grad` see; static fields (flags, names, axes)
belong to the tree's structure. Checks run when a record is built by its user, never when JAX
rebuilds one from its leaves, which may then be tracers, gradients or placeholders.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any, ClassVar, dataclass_transform

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from optlab.core import _checks

registry: dict[str, type[Record]] = {}


def data(check: _checks.Check | None = None, *, default: Any = dataclasses.MISSING) -> Any:
    """A field JAX sees: it may be traced, mapped and differentiated.

    Args:
      check: `(owner, name, value) -> value to keep`, or None; `core.checks` has the usual ones.
      default: what the field is when it is not given; without one it must be given.

    Returns:
      A dataclass field of a `Record`.

    Example:
      >>> import jax
      >>> from optlab import core
      >>> class Point(core.Record):
      ...     x: float = core.data(core.checks.finite)
      >>> jax.tree.leaves(Point(2)), Point(2)
      ([2.0], point(x=2.0))
    """
    return dataclasses.field(default=default, metadata={"data": True, "check": check})


def static(check: _checks.Check | None = None, *, default: Any = dataclasses.MISSING) -> Any:
    """A field that is part of the structure: hashable, and a new value means a new compile.

    Args:
      check: as for `data`.
      default: as for `data`.

    Returns:
      A dataclass field of a `Record`.

    Example:
      >>> import jax
      >>> from optlab import core
      >>> class Mode(core.Record):
      ...     fast: bool = core.static(core.checks.boolean, default=True)
      >>> jax.tree.leaves(Mode()), Mode(fast=False)
      ([], mode(fast=False))
    """
    return dataclasses.field(default=default, metadata={"data": False, "check": check})


@dataclass_transform(frozen_default=True, field_specifiers=(data, static))
class Record:
    """Base of every record. Subclassing makes a frozen dataclass and registers it as a pytree.

    The printed and stored name is the class's in snake_case; a class keyword `name=` overrides it.
    Override `check` to judge fields against each other. Instances compare and hash by value, arrays
    included, and are pickled, copied and stored (`to_dict`) like any dataclass of numbers.

    Raises:
      TypeError: when a subclass has a field that is neither `data(...)` nor `static(...)`, or an
        instance a static field that cannot be hashed.
      ValueError: when a subclass would be stored under the name of another.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from optlab import core
      >>> class Ramp(core.Record):
      ...     top: float = core.data(core.checks.positive)
      ...     def __call__(self, count):
      ...         return jnp.minimum(count, self.top)
      >>> jax.vmap(lambda ramp: ramp(5))(Ramp(jnp.array([2.0, 8.0])))
      Array([2., 5.], dtype=float32)
      >>> Ramp(-1.0)
      Traceback (most recent call last):
      ValueError: ramp: top must be a number > 0, got -1.0.
    """

    record_name: ClassVar[str] = "record"
    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __init_subclass__(cls, *, name: str | None = None, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(frozen=True, eq=False, repr=False)(cls)
        for field in dataclasses.fields(cls):
            if "data" not in field.metadata:
                raise TypeError(
                    f"{cls.__name__}.{field.name} must be declared as data(...) or static(...), so "
                    "that it is known whether JAX traces it."
                )
        cls.record_name = name or _snake_case(cls.__name__)
        jax.tree_util.register_pytree_with_keys(
            cls, cls._flatten_with_keys, cls._unflatten, cls._flatten
        )
        _register(cls)

    def __post_init__(self):
        for field in fields(self):
            check = field.metadata["check"]
            if check is not None:
                value = check(self.record_name, field.name, getattr(self, field.name))
                object.__setattr__(self, field.name, value)
            if not field.metadata["data"]:
                _require_hashable(self.record_name, field.name, getattr(self, field.name))
        self.check()

    def check(self) -> None:
        """Judges fields against each other. Override; use `is_concrete` before comparing."""

    def with_values(self, **values: Any):
        """A copy with fields replaced unchecked, for values that come out of a computation."""
        unknown = values.keys() - {field.name for field in fields(self)}
        if unknown:
            raise TypeError(f"{self.record_name} has no field {min(unknown)!r}")
        new = object.__new__(type(self))
        for field in fields(self):
            value = values.get(field.name, getattr(self, field.name))
            object.__setattr__(new, field.name, value)
        return new

    # What `hyperparameters` and `replace` walk. Records with nicer names for their parts override.
    def children(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def with_child(self, name: str, value: Any):
        """A checked copy in which one child is another value."""
        return dataclasses.replace(self, **{name: value})

    @classmethod
    def _split(cls) -> tuple[list[str], list[str]]:
        names = ([], [])
        for field in dataclasses.fields(cls):
            names[0 if field.metadata["data"] else 1].append(field.name)
        return names

    def _flatten(self):
        leaves, meta = self._split()
        return [getattr(self, n) for n in leaves], tuple(getattr(self, n) for n in meta)

    def _flatten_with_keys(self):
        leaves, aux = self._flatten()
        keys = [jax.tree_util.GetAttrKey(n) for n in self._split()[0]]
        return list(zip(keys, leaves, strict=True)), aux

    @classmethod
    def _unflatten(cls, aux, leaves):
        new = object.__new__(cls)
        names = cls._split()
        for name, value in zip(names[0] + names[1], [*leaves, *aux], strict=True):
            object.__setattr__(new, name, value)
        return new

    def __eq__(self, other: object) -> bool:
        if self is other:  # jit compares static arguments at every call
            return True
        if type(self) is not type(other):
            return NotImplemented
        return identity(self) == identity(other)

    def __hash__(self) -> int:
        return hash(identity(self))

    def __repr__(self) -> str:
        return f"{self.record_name}({', '.join(self._repr_fields())})"

    def _repr_fields(self) -> list[str]:
        """All but static fields at their default, and numbers whose default means off."""
        shown = []
        for field in fields(self):
            value = getattr(self, field.name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            at_default = (
                value == field.default
                if is_number or not field.metadata["data"]
                else value is field.default
            )
            off = field.default is None or (is_number and field.default == 0)
            if not at_default or (field.metadata["data"] and not off):
                shown.append(f"{field.name}={show(value)}")
        return shown


def fields(record: Any) -> tuple[dataclasses.Field, ...]:
    """The dataclass fields of a record, in order."""
    return dataclasses.fields(record)


def registered_name(cls: type[Record]) -> str:
    """`"transforms.clip_by_norm"`: the subpackage (or another project's package) and the name."""
    package = cls.__module__.split(".")
    home = package[1] if package[0] == "optlab" and len(package) > 1 else package[0]
    return f"{home}.{cls.record_name}"


def _register(cls: type[Record]) -> None:
    """Two records may not answer to one name, or a stored one would come back as the other."""
    name = registered_name(cls)
    known = registry.setdefault(name, cls)
    same = (known.__module__, known.__qualname__) == (cls.__module__, cls.__qualname__)
    if not same and "<locals>" not in cls.__qualname__:  # a cell run again may redefine its class
        raise ValueError(
            f"{cls.__module__}.{cls.__qualname__} would be stored as {name!r}, which is "
            f"{known.__module__}.{known.__qualname__}. Give it a name: "
            f'class {cls.__name__}(Record, name="...").'
        )
    registry[name] = cls


def _require_hashable(owner: str, name: str, value: Any) -> None:
    try:
        hash(value)
    except TypeError as error:
        raise TypeError(
            f"{owner}: {name} belongs to the structure that jit compares and must be hashable, got "
            f"{value!r} of type {type(value).__name__}. Pass a tuple instead of a list, an object "
            "without arrays instead of one with them."
        ) from error


def identity(tree: Any) -> tuple:
    """A hashable value equal for equal trees: structure, and each leaf by value (tracers by id)."""
    leaves, structure = jax.tree.flatten(tree)
    return (structure, *map(_leaf_identity, leaves))


def _leaf_identity(leaf: Any) -> Any:
    if isinstance(leaf, jax.core.Tracer):
        return ("tracer", id(leaf))
    if isinstance(leaf, jax.Array | np.ndarray):
        array = _concrete(leaf)
        return (str(leaf.dtype), array.shape, array.tobytes())
    return leaf


def _concrete(array: jax.Array | np.ndarray) -> np.ndarray:
    is_key = jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(array) if is_key else array)


def show(value: Any) -> str:
    """`repr`, short for arrays, tracers and functions.

    Example:
      >>> import jax.numpy as jnp
      >>> from optlab import core
      >>> core.show((jnp.ones(2), max, 0.5))
      '(array([1., 1.], float32), max, 0.5)'
    """
    if isinstance(value, jax.core.Tracer):
        return f"traced {value.aval.str_short()}"
    if isinstance(value, jax.Array | np.ndarray):
        text = np.array2string(_concrete(value), separator=", ", threshold=8)
        return f"array({text}, {value.dtype})"
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return f"({', '.join(map(show, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, Callable) and not isinstance(value, Record):
        return getattr(value, "__qualname__", repr(value))
    return repr(value)


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
