"""Operators: what small mistakes could be made where, in a syntax tree.

They replace a piece of the text, so that a mutant keeps the layout of its file. Docstrings,
annotations, imports and the texts of errors are left alone.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterable, Iterator


class Text:
    """Source with the places of its nodes."""

    def __init__(self, source: str):
        self.data = source.encode()
        self.tree = ast.parse(source)
        self.starts = [0]
        for line in self.data.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def start(self, node: ast.AST) -> int:
        return self.starts[node.lineno - 1] + node.col_offset

    def end(self, node: ast.AST) -> int:
        return self.starts[node.end_lineno - 1] + node.end_col_offset

    def cut(self, start: int, end: int) -> str:
        return self.data[start:end].decode()

    def of(self, node: ast.AST) -> str:
        return self.cut(self.start(node), self.end(node))

    def line(self, start: int) -> int:
        return self.data[:start].count(b"\n") + 1


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a node stands: names of the functions around it, the names bound there, its parent."""

    names: tuple[str, ...] = ()
    bound: frozenset[str] = frozenset()
    parent: ast.AST | None = None

    def inside(self, node: ast.AST) -> _Place:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            return dataclasses.replace(self, parent=node)
        bound = {a.arg for a in ast.walk(node) if isinstance(a, ast.arg)}
        bound |= {
            n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }
        name = getattr(node, "name", None)
        return _Place((*self.names, name) if name else self.names, self.bound | bound, node)


def _visit(node: ast.AST, place: _Place) -> Iterator[tuple[ast.AST, _Place]]:
    """Every node whose mistakes would be mistakes of the program, not of its texts."""
    if isinstance(node, ast.Import | ast.ImportFrom | ast.Raise | ast.JoinedStr | ast.Assert):
        return
    if isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str):
        return
    yield node, place
    inside = place.inside(node)
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "bases"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _visit(child, inside)


Replacement = tuple[str, str, int, int, str]


def replacements(text: Text) -> Iterator[Replacement]:
    attributes = {n.attr for n in ast.walk(text.tree) if isinstance(n, ast.Attribute)}
    for node, place in _visit(text.tree, _Place()):
        where = ".".join(place.names)
        for operator in OPERATORS:
            for name, start, end, after in operator(text, node, place, attributes):
                yield name, where, start, end, after


# --- operators: (text, node, place, attributes of the file) -> (name, start, end, replacement)

Found = Iterable[tuple[str, int, int, str]]

ARITHMETIC = {
    ast.Add: "+-",
    ast.Sub: "-+",
    ast.Mult: "*/",
    ast.Div: "/*",
    ast.FloorDiv: ("//", "/"),
}
COMPARISONS = {
    ast.Lt: ("<", "<=", ">"),
    ast.LtE: ("<=", "<", ">="),
    ast.Gt: (">", ">=", "<"),
    ast.GtE: (">=", ">", "<="),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
IDENTITY = {
    "abs",
    "expm1",
    "isfinite",
    "maximum",
    "max",
    "mean",
    "minimum",
    "min",
    "safe_sqrt",
    "saturate",
    "scaled_norm",
    "sign",
    "sqrt",
    "squared_magnitude",
    "sum",
    "log1p",
}
RENAMED = {
    "complement": "scalar",
    "max": "min",
    "maximum": "minimum",
    "min": "max",
    "minimum": "maximum",
    "ones": "zeros",
    "ones_like": "zeros_like",
    "zeros": "ones",
    "isfinite": "isinf",
    "isinf": "isnan",
}
PAIRS = (
    ("b1", "b2"),
    ("eps", "eps_root"),
    ("first", "second"),
    ("first_weight", "second_weight"),
    ("gradient", "weight"),
    ("gradients", "steps"),
    ("m", "v"),
    ("now", "after"),
    ("real", "imag"),
    ("root", "scale"),
    ("rows", "columns"),
    ("u", "p"),
)
SWAPPED = {a: b for pair in PAIRS for a, b in (pair, pair[::-1])}
LITERALS = (ast.List, ast.Tuple, ast.JoinedStr)


def _between(text: Text, left: ast.AST, right: ast.AST, old: str, new: str) -> tuple | None:
    """The operator between two nodes, replaced."""
    start, end = text.end(left), text.start(right)
    gap = text.cut(start, end)
    return (start, end, gap.replace(old, new, 1)) if old in gap else None


def arithmetic(text, node, place, attributes) -> Found:
    if not isinstance(node, ast.BinOp):
        return
    if isinstance(node.op, ast.Pow):
        yield "power dropped", text.start(node), text.end(node), _wrapped(text, node.left)
        return
    sides = (node.left, node.right)
    if type(node.op) not in ARITHMETIC or any(isinstance(side, LITERALS) for side in sides):
        return
    if any(isinstance(side, ast.Constant) and isinstance(side.value, str) for side in sides):
        return
    if replaced := _between(text, node.left, node.right, *ARITHMETIC[type(node.op)]):
        yield "arithmetic", *replaced


def comparison(text, node, place, attributes) -> Found:
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        old, *news = COMPARISONS[type(node.ops[0])]
        for kind, new in zip(("comparison", "comparison reversed"), news, strict=False):
            if replaced := _between(text, node.left, node.comparators[0], old, new):
                yield kind, *replaced


def boolean(text, node, place, attributes) -> Found:
    if isinstance(node, ast.BoolOp):
        words = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        if replaced := _between(text, node.values[0], node.values[1], *words):
            yield "and, or", *replaced
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not dropped", text.start(node), text.end(node), _wrapped(text, node.operand)


def condition(text, node, place, attributes) -> Found:
    if isinstance(node, ast.IfExp):
        after = f"{text.of(node.orelse)} if {text.of(node.test)} else {text.of(node.body)}"
        yield "branches swapped", text.start(node), text.end(node), after
    elif isinstance(node, ast.If):
        start, end = text.start(node.test), text.end(node.test)
        if isinstance(node.body[-1], ast.Raise):
            yield "guard dropped", start, end, "False"
        else:
            yield "condition negated", start, end, f"not ({text.of(node.test)})"
    elif isinstance(node, ast.comprehension):
        for test in node.ifs:
            yield "filter dropped", text.start(test), text.end(test), "True"


def sign(text, node, place, attributes) -> Found:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        if not isinstance(node.operand, ast.Constant):
            yield "sign", text.start(node), text.end(node), _wrapped(text, node.operand)
        elif isinstance(place.parent, ast.Tuple | ast.Subscript | ast.keyword):
            yield "axis", text.start(node), text.end(node), f"-{3 - node.operand.value}"
    value = node.value if isinstance(node, ast.Return) else None
    value = node.body if isinstance(node, ast.Lambda) else value
    if isinstance(value, ast.BinOp) and not isinstance(value.left, LITERALS):
        yield "negated", text.start(value), text.end(value), f"-({text.of(value)})"


def constant(text, node, place, attributes) -> Found:
    if not isinstance(node, ast.Constant) or isinstance(place.parent, ast.UnaryOp):
        return
    if getattr(place.parent, "arg", "") == "strict":  # of zip: a check that never fails
        return
    value, after = node.value, None
    if isinstance(value, bool):
        after = repr(not value)
    elif isinstance(value, int):
        after = str({0: 1, 1: 0}.get(value, value + 1))
    elif isinstance(value, float):
        after = repr(1.0 if value == 0 else value * 10 if value < 0.01 else value / 2)
    if after is not None:
        given = isinstance(place.parent, ast.arguments)
        given = given or (isinstance(place.parent, ast.keyword) and place.parent.arg == "default")
        yield "default" if given else "constant", text.start(node), text.end(node), after


def call(text, node, place, attributes) -> Found:
    if not isinstance(node, ast.Call):
        return
    start, end = text.start(node), text.end(node)
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    arguments = [text.of(a) for a in node.args]
    if name == "where":
        condition, yes, no = arguments
        function = text.of(node.func)
        yield "where swapped", start, end, f"{function}({condition}, {no}, {yes})"
        yield "where dropped", start, end, f"({no if yes in ('0', '1') else yes})"
    elif name == "astype":
        yield "cast dropped", start, end, text.of(node.func.value)
    elif name == "widest":
        yield "dtype", start, end, "jnp.float32"
    elif name == "real_dtype":
        yield "dtype", start, end, arguments[0]
    elif name == "increment":
        yield "count", start, end, arguments[0]
        yield "count", start, end, f"({text.of(node)} + 1)"
    elif name == "safe_divide":
        yield "unsafe", start, end, f"({arguments[0]} / {arguments[1]})"
        yield "division reversed", start, end, f"({arguments[1]} / {arguments[0]})"
    elif name in IDENTITY and node.args:
        yield "call dropped", start, end, f"({arguments[0]})"
    if name == "safe_sqrt":
        yield "unsafe", start, end, f"jnp.sqrt({arguments[0]})"
    if name in RENAMED:
        cut = text.end(node.func) - len(name)
        yield "call renamed", cut, cut + len(name), RENAMED[name]


def function_given(text, node, place, attributes) -> Found:
    """Functions handed to a map."""
    if isinstance(node, ast.Attribute) and isinstance(place.parent, ast.Call):
        if node in place.parent.args and node.attr in IDENTITY:
            yield "call dropped", text.start(node), text.end(node), "lambda x: x"
        if node in place.parent.args and node.attr == "zeros_like":
            yield "call renamed", text.start(node), text.end(node), "jnp.ones_like"


def eps(text, node, place, attributes) -> Found:
    """`root(x) + e` becomes `root(x + e)`, and the other way round."""

    def is_root(call):
        return isinstance(call, ast.Call) and text.of(call.func).endswith("sqrt")

    start, end = (text.start(node), text.end(node)) if isinstance(node, ast.expr) else (0, 0)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and is_root(node.left):
        function, inner, e = node.left.func, node.left.args[0], node.right
        yield "eps moved", start, end, f"{text.of(function)}({text.of(inner)} + {text.of(e)})"
    if is_root(node) and isinstance(node.args[0], ast.BinOp):
        inner = node.args[0]
        if isinstance(inner.op, ast.Add):
            after = f"({text.of(node.func)}({text.of(inner.left)}) + {text.of(inner.right)})"
            yield "eps moved", start, end, after


def names(text, node, place, attributes) -> Found:
    """One name for another of the same kind."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        other = SWAPPED.get(node.id)
        if other in place.bound:
            yield "name", text.start(node), text.end(node), other
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
        other = SWAPPED.get(node.attr)
        if other in attributes:
            yield "name", text.end(node) - len(node.attr.encode()), text.end(node), other


def arguments(text, node, place, attributes) -> Found:
    """Two arguments swapped, or one left out."""
    if not isinstance(node, ast.Call):
        return
    if len(node.args) >= 2 and all(isinstance(a, ast.Name | ast.Attribute) for a in node.args[:2]):
        a, b = node.args[:2]
        kinds = {text.of(x).rpartition(".")[2] for x in (a, b)}
        if not kinds & {"record_name", "dtype", "real", "Any"}:  # which would only raise
            gap = text.cut(text.end(a), text.start(b))
            after = f"{text.of(b)}{gap}{text.of(a)}"
            yield "arguments swapped", text.start(a), text.end(b), after
    for keyword in node.keywords:
        if keyword.arg and text.of(keyword.value) == keyword.arg:
            start, end = text.start(keyword), text.end(keyword)
            while text.cut(end, end + 1) in (",", " "):
                end += 1
            yield "argument dropped", start, end, ""


def links(text, node, place, attributes) -> Found:
    """A link of a chain left out, or two neighbours swapped."""
    if not (isinstance(node, ast.Call) and text.of(node.func) == "chain"):
        return
    for a, b in zip(node.args, node.args[1:], strict=False):
        gap = text.cut(text.end(a), text.start(b))
        yield "link dropped", text.start(a), text.start(b), ""
        yield "links swapped", text.start(a), text.end(b), f"{text.of(b)}{gap}{text.of(a)}"


def statement(text, node, place, attributes) -> Found:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "check dropped", text.start(node), text.end(node), "pass"


def state(text, node, place, attributes) -> Found:
    """The state as it came is returned."""
    if (
        isinstance(node, ast.Return)
        and place.names[-1:] == ("update",)
        and isinstance(node.value, ast.Tuple)
        and len(node.value.elts) == 2
        and text.of(node.value.elts[1]) != "state"
    ):
        last = node.value.elts[1]
        yield "state kept", text.start(last), text.end(last), "state"


def _wrapped(text: Text, node: ast.AST) -> str:
    atoms = (ast.Name, ast.Attribute, ast.Call, ast.Constant, ast.Subscript)
    return text.of(node) if isinstance(node, atoms) else f"({text.of(node)})"


OPERATORS = (
    arithmetic,
    comparison,
    boolean,
    condition,
    sign,
    constant,
    call,
    function_given,
    eps,
    names,
    arguments,
    links,
    statement,
    state,
)
