"""Records as JSON-ready dicts, by registered name."""

from __future__ import annotations

from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from optlab.core import _checks, _records
from optlab.core._link import Link, PlainFunction
from optlab.core._transformation import Foreign, Transformation

_NOT_STORED = (Link, PlainFunction, Foreign)  # a rule without update; code of others


def to_dict(record: Any) -> dict[str, Any]:
    """A transformation, schedule, initializer or selector as a dict that `json` can write.

    Args:
      record: what to describe; its values must be known, not traced.

    Returns:
      `{"type": "transforms.clip_by_norm", "max_norm": 1.0}`, nested for chains and schedules.
      `from_dict` gives an equal object back.

    Raises:
      TypeError: naming the path of what is only a Python function or an Optax closure.

    Example:
      >>> import optlab as ol
      >>> ol.to_dict(ol.scale_by_learning_rate(0.1))
      {'type': 'transforms.scale_by_learning_rate', 'learning_rate': 0.1}
    """
    if isinstance(record, Transformation):
        record = record.link
    if not isinstance(record, _records.Record):
        raise TypeError(
            f"expected an optlab record, got {record!r} of type {type(record).__name__}"
        )
    return _encode(record, record.record_name)


def from_dict(description: dict[str, Any]) -> Any:
    """The object a dict of `to_dict` describes, checked as if it were built by hand.

    Args:
      description: what `to_dict` gave, also after a trip through JSON.

    Returns:
      An object equal to the one described.

    Raises:
      TypeError: if it is no dict.
      ValueError: for an unknown type (with the nearest names), a missing or unknown field, or a
        value that the factory would refuse.

    Example:
      >>> import optlab as ol
      >>> ol.from_dict({"type": "transforms.scale_by_learning_rate", "learning_rate": 0.1})
      scale_by_learning_rate(learning_rate=0.1)
    """
    if not isinstance(description, dict):
        raise TypeError(
            f"expected a dict of to_dict, got {description!r} of type {type(description).__name__}"
        )
    value = _decode(description)
    return Transformation(value) if isinstance(value, Link) else value


def _encode(value: Any, path: str) -> Any:
    if isinstance(value, PlainFunction | Foreign) or (
        callable(value) and not isinstance(value, _records.Record)
    ):
        raise TypeError(
            f"{path}: {value!r} is a Python function or an Optax transformation, which cannot be "
            "stored. Use a schedule or transformation of optlab there."
        )
    if isinstance(value, _records.Record):
        encoded: dict[str, Any] = {"type": _records.registered_name(type(value))}
        for field in _records.fields(value):
            encoded[field.name] = _encode(getattr(value, field.name), f"{path}/{field.name}")
        return encoded
    if isinstance(value, tuple | list):
        return [_encode(v, f"{path}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, jax.core.Tracer):
        raise TypeError(f"{path}: a traced value cannot be stored; call to_dict outside of jit.")
    if isinstance(value, jax.Array | np.ndarray) and jnp.issubdtype(value.dtype, jnp.number):
        array = np.asarray(value)
        return {
            "array": array.ravel().tolist(),
            "shape": list(array.shape),
            "dtype": array.dtype.name,
        }
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{path}: cannot store {value!r} of type {type(value).__name__}.")


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_decode, value))
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return _decode_array(value)
    kind = value.get("type")
    known_kinds = [k for k, cls in _records.registry.items() if cls not in _NOT_STORED]
    if kind not in known_kinds:
        raise ValueError(f"unknown type {kind!r}; {_checks.nearest(str(kind), known_kinds)}")
    cls = _records.registry[kind]
    values = {name: _decode(v) for name, v in value.items() if name != "type"}
    known = [f.name for f in _records.fields(cls)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(
            f"{kind} has no field {unknown[0]!r}; {_checks.nearest(unknown[0], known)}"
        )
    try:
        return cls(**values)
    except TypeError as error:
        raise ValueError(f"cannot build {kind} from {sorted(values)}: {error}") from error


def _decode_array(value: dict[str, Any]) -> Any:
    try:
        dtype = jnp.dtype(str(value["dtype"]))  # None would mean float64
        array = np.asarray(value["array"], dtype).reshape(value["shape"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"an array is stored as array, shape and dtype; got {value!r}, which is none: {error}"
        ) from error
    # Without x64 JAX would narrow a float64 array, and what comes back would not be equal.
    return jnp.asarray(array) if jax.dtypes.canonicalize_dtype(dtype) == dtype else array
