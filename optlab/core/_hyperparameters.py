"""Hyperparameters by path: list them, replace them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from optlab.core import _checks, _records
from optlab.core._transformation import Transformation

T = TypeVar("T")


def hyperparameters(tx: Any) -> dict[str, Any]:
    """Every number a transformation (or schedule) depends on, by path.

    Args:
      tx: a `Transformation`, or a schedule.

    Returns:
      `{"accumulate_moments/b1": 0.9, ...}` in chain order: the leaves of the pytree. A schedule
      contributes its own fields, such as `"scale_by_learning_rate/learning_rate/peak_value"`.
      Flags and other static fields, fields that are `None`, and whatever an Optax transformation
      hides in its closures, are not listed.

    Raises:
      TypeError: for anything but a transformation or a record.

    Example:
      >>> import optlab as ol
      >>> ol.hyperparameters(ol.scale_by_learning_rate(0.1))
      {'learning_rate': 0.1}
    """
    return {
        path: value
        for path, value, is_data in _walk(_record(tx), "")
        if is_data and value is not None and not isinstance(value, _records.Record | tuple)
    }


def replace(tx: T, values: Mapping[str, Any]) -> T:
    """A copy with some hyperparameters, schedules or whole links replaced.

    Args:
      tx: a `Transformation`, or a schedule.
      values: new values by path, as `hyperparameters` lists them, or by the end of a path where
        only one path ends so: `{"b1": 0.95}`. Flags (`"nesterov"`) and links can be addressed too.

    Returns:
      A transformation of the same type; the old one is unchanged. Replacing a number by a number
      keeps its pytree structure, hence compiled code and states stay valid.

    Raises:
      KeyError: if a name fits no path, or more than one; the message lists the candidates.
      ValueError, TypeError: if the new value is one the factory would refuse.

    Example:
      >>> import optlab as ol
      >>> ol.replace(ol.scale_by_learning_rate(0.1), {"learning_rate": 0.2})
      scale_by_learning_rate(learning_rate=0.2)
    """
    record = _record(tx)
    for name, value in values.items():
        path = resolve(name, list(parts(record)))  # anew: a schedule may have come or gone
        record = _replace_at(record, path.split("/"), value)
    return Transformation(record) if isinstance(tx, Transformation) else record  # type: ignore[return-value]


def parts(tx: Any) -> dict[str, Any]:
    """Everything `replace` can address, by path: numbers, schedules, flags, links."""
    return {path: value for path, value, _ in _walk(_record(tx), "")}


def resolve(name: str, paths: list[str], hint: str = "") -> str:
    """The one path that is `name`, or ends in it; the hint ends the message if there is none."""
    if name in paths:
        return name
    matches = [path for path in paths if path.endswith(f"/{name}")]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise KeyError(f"{name!r} is ambiguous: {', '.join(matches)}. Give one of these paths.")
    last_parts = {path.rsplit("/", 1)[-1] for path in paths}
    near = _checks.nearest(name, [*paths, *last_parts])
    raise KeyError(f"no hyperparameter {name!r}; {near}{hint}")


def _record(tx: Any) -> Any:
    if isinstance(tx, Transformation):
        return tx.link
    if isinstance(tx, _records.Record):
        return tx
    raise TypeError(
        f"expected an optlab Transformation or schedule, got {tx!r} of type {type(tx).__name__}. "
        "An Optax transformation hides its hyperparameters; wrap it as optlab.chain(tx) to use it "
        "among optlab's."
    )


def _walk(node: Any, prefix: str, is_data: bool = True) -> Iterator[tuple[str, Any, bool]]:
    """Every part of a record and of the records and tuples in it: path, value, seen by JAX."""
    static = set()
    if isinstance(node, _records.Record):
        static = {f.name for f in _records.fields(node) if not f.metadata["data"]}
    for name, value in _children(node).items():
        path, seen = f"{prefix}{name}", is_data and name not in static
        yield path, value, seen
        yield from _walk(value, f"{path}/", seen)


def _children(node: Any) -> dict[str, Any]:
    if isinstance(node, _records.Record):
        return node.children()
    if isinstance(node, tuple):
        return {str(i): value for i, value in enumerate(node)}
    return {}


def _replace_at(node: Any, path: list[str], value: Any) -> Any:
    name, *rest = path
    if rest:
        value = _replace_at(_children(node)[name], rest, value)
    if isinstance(value, Transformation):
        value = value.link
    if isinstance(node, tuple):
        return tuple(value if str(i) == name else old for i, old in enumerate(node))
    return node.with_child(name, value)
