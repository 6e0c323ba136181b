"""Reads the values in a pickle without unpickling it: no code of the file can run.

The opcodes are parsed by the standard library's `pickletools` and interpreted here, those alone
that build numbers, text, lists, dicts and arrays of bytes. A name of a function or class is never
looked up; the few that NumPy's arrays consist of are understood, any other is refused by name.
"""

from __future__ import annotations

import dataclasses
import math
import pickletools
from typing import Any

import numpy as np

_MARK = object()
_RECONSTRUCT = {f"numpy.{core}.multiarray _reconstruct" for core in ("core", "_core")}
_FROM_BUFFER = {f"numpy.{core}.numeric _frombuffer" for core in ("core", "_core")}
_ENCODE = "_codecs encode"
_KNOWN = {*_RECONSTRUCT, *_FROM_BUFFER, _ENCODE, "numpy ndarray", "numpy dtype"}
_BYTES = {"u1", "|u1", "B"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_VALUES = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT"}
_VALUES |= {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_STRINGS = {"STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
_STRINGS |= {"BYTEARRAY8"}
_IGNORED = {"PROTO", "FRAME"}


class Refused(ValueError):
    """The pickle holds something else, or is damaged."""


@dataclasses.dataclass(frozen=True)
class _Symbol:
    """A name, not what it names."""

    name: str


class _Dtype:
    """What NumPy would be asked for."""

    def __init__(self, code: Any):
        if not isinstance(code, str | bytes) or _text(code) not in _BYTES:
            raise Refused(f"an array of dtype {code!r}, not of bytes")


class _Array:
    """An array, once its state has come."""

    value: np.ndarray | None = None

    def build(self, state: Any) -> None:
        try:
            _, shape, dtype, fortran, content = state
            sizes = [int(size) for size in shape]
        except (TypeError, ValueError):
            raise Refused("an array with a state unlike NumPy's") from None
        if (
            not isinstance(dtype, _Dtype)
            or not isinstance(content, bytes)
            or fortran
            or any(size < 0 for size in sizes)
            or math.prod(sizes) != len(content)
        ):
            raise Refused(f"an array of shape {shape!r} whose content does not fit")
        self.value = np.frombuffer(content, np.uint8).reshape(sizes)


def read_pickled(data: bytes) -> Any:
    """The value a pickle describes; str objects of Python 2 come as bytes.

    Raises:
      Refused: for any opcode or name that plain values and arrays of bytes do not need.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "STOP":
                return _plain(machine.pop())
            machine.run(opcode.name, argument)
    except Refused:
        raise
    except (ValueError, IndexError, TypeError, KeyError, RecursionError) as error:
        raise Refused(f"damaged: {error}") from None
    raise Refused("damaged: it does not end")


class _Machine:
    """The stack machine of the pickle format, for values only."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def pop(self) -> Any:
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        items = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def run(self, name: str, argument: Any) -> None:
        push = self.stack.append
        if name in _VALUES:
            push(argument)
        elif name in _STRINGS:
            push(argument.encode("latin-1") if isinstance(argument, str) else bytes(argument))
        elif name in _CONSTANTS:
            push(_CONSTANTS[name])
        elif name in _EMPTY:
            push(_EMPTY[name]())
        elif name == "MARK":
            push(_MARK)
        elif name in _TUPLES:
            push(tuple([self.pop() for _ in range(_TUPLES[name])][::-1]))
        elif name == "TUPLE":
            push(tuple(self.pop_to_mark()))
        elif name == "LIST":
            push(self.pop_to_mark())
        elif name == "DICT":
            push(_pairs(self.pop_to_mark()))
        elif name in ("APPEND", "APPENDS"):
            items = self.pop_to_mark() if name == "APPENDS" else [self.pop()]
            _of_kind(list, self.stack[-1]).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = self.pop_to_mark() if name == "SETITEMS" else [self.pop(), self.pop()][::-1]
            _of_kind(dict, self.stack[-1]).update(_pairs(items))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            push(self.memo[argument])
        elif name == "GLOBAL":
            push(_symbol(argument))
        elif name == "STACK_GLOBAL":
            attribute, module = self.pop(), self.pop()
            push(_symbol(f"{module} {attribute}"))
        elif name == "REDUCE":
            arguments, function = self.pop(), self.pop()
            push(_call(function, arguments))
        elif name == "BUILD":
            state = self.pop()
            if isinstance(self.stack[-1], _Array):
                self.stack[-1].build(state)
            elif not isinstance(self.stack[-1], _Dtype):
                raise Refused(f"a state for {self.stack[-1]!r}")
        elif name not in _IGNORED:
            raise Refused(f"the opcode {name}")


def _symbol(name: str) -> _Symbol:
    if name not in _KNOWN:
        raise Refused(f"the name {name.replace(' ', '.')!r}")
    return _Symbol(name)


def _call(function: Any, arguments: Any) -> Any:
    """What the few known functions would return; nothing is called."""
    name = _of_kind(_Symbol, function).name
    arguments = _of_kind(tuple, arguments)
    if name in _RECONSTRUCT:
        return _Array()
    if name in _FROM_BUFFER:  # of protocol 5
        content, dtype, shape, order = arguments
        array = _Array()
        array.build((1, shape, dtype, order != "C", content))
        return array
    if name == "numpy dtype":
        return _Dtype(arguments[0])
    if name == _ENCODE:  # how Python 3 writes bytes in protocol 2
        return _of_kind(str, arguments[0]).encode("latin-1")
    raise Refused(f"a call of {name.replace(' ', '.')!r}")


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(items[::2], items[1::2], strict=True))


def _of_kind(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise Refused(f"damaged: a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _plain(value: Any) -> Any:
    """The top dict with text as keys and arrays in place of their descriptions."""
    found = _of_kind(dict, value)
    return {
        _text(key) if isinstance(key, bytes) else key: (
            item.value if isinstance(item, _Array) else item
        )
        for key, item in found.items()
    }
