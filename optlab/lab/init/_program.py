"""A traced model as one flat list of operations, with calls inlined and loops over layers unrolled.

What a layer computes can then be read off, and the model run again with taps, whichever library it
was written in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
from jax.extend import core

_INLINED = {"jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2"}
_CUSTOM = {"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"}
PRODUCTS = ("dot_general", "conv_general_dilated")
_LONGEST_LOOP = 256  # products in an unrolled loop; longer ones stay one operation


class Const(NamedTuple):
    """An operand that depends on nothing."""

    value: Any


class Node(NamedTuple):
    """One operation: `outputs = run(*inputs)`; operands are numbers of values, or `Const`."""

    name: str
    run: Callable[..., Any]
    inputs: tuple[Any, ...]
    outputs: tuple[int, ...]
    params: Mapping[str, Any]


@dataclasses.dataclass
class Program:
    """Attributes: inputs, outputs: numbers of values; shapes: of every value, by number."""

    inputs: list[int] = dataclasses.field(default_factory=list)
    outputs: list[Any] = dataclasses.field(default_factory=list)
    nodes: list[Node] = dataclasses.field(default_factory=list)
    shapes: list[jax.ShapeDtypeStruct] = dataclasses.field(default_factory=list)

    def new_value(self, aval: Any) -> int:
        self.shapes.append(jax.ShapeDtypeStruct(aval.shape, aval.dtype))
        return len(self.shapes) - 1

    def consumers(self) -> dict[int, list[int]]:
        """Indices of the nodes that read each value."""
        found: dict[int, list[int]] = {}
        for n, node in enumerate(self.nodes):
            for ref in node.inputs:
                if not isinstance(ref, Const):
                    found.setdefault(ref, []).append(n)
        return found


def trace(function: Callable[..., Any], *args: Any) -> Program:
    """The program of a function of flat lists of arrays, which returns a list of arrays."""
    closed = jax.make_jaxpr(function)(*args)
    program = Program()
    program.inputs = [program.new_value(v.aval) for v in closed.jaxpr.invars]
    program.outputs = _inline(program, closed, list(program.inputs))
    _drop_unused(program)
    return program


def evaluate(
    nodes: list[Node],
    env: dict[int, Any],
    tap: Callable[[int, Any], Any] | None = None,
) -> dict[int, Any]:
    """Runs nodes in order; `tap(number, value)` may replace a value as soon as it is computed."""
    for node in nodes:
        given = [ref.value if isinstance(ref, Const) else env[ref] for ref in node.inputs]
        result = node.run(*given)
        if len(node.outputs) == 1 and not isinstance(result, list | tuple):
            result = [result]
        for number, value in zip(node.outputs, result, strict=True):
            env[number] = value if tap is None else tap(number, value)
    return env


def read(env: dict[int, Any], refs: list[Any]) -> list[Any]:
    return [ref.value if isinstance(ref, Const) else env[ref] for ref in refs]


def inner(eqn_params: Mapping[str, Any]) -> Any:
    """The jaxpr that a call runs, closed."""
    found = next(
        eqn_params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in eqn_params
    )
    return found if hasattr(found, "consts") else core.ClosedJaxpr(found, ())


def count_products(jaxpr: Any) -> int:
    """How many products of matrices a jaxpr holds, those of what it calls included."""
    total = 0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in PRODUCTS:
            total += 1
        for value in jax.tree.leaves(
            list(eqn.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            if hasattr(value, "eqns"):
                total += count_products(getattr(value, "jaxpr", value))
    return total


def _inline(program: Program, closed: Any, refs: list[Any]) -> list[Any]:
    env: dict[Any, Any] = dict(zip(closed.jaxpr.invars, refs, strict=True))
    env |= zip(closed.jaxpr.constvars, map(Const, closed.consts), strict=True)

    def look(atom: Any) -> Any:
        return Const(atom.val) if isinstance(atom, core.Literal) else env[atom]

    for eqn in closed.jaxpr.eqns:
        given = [look(atom) for atom in eqn.invars]
        name = eqn.primitive.name
        if name in _INLINED or (
            name in _CUSTOM
            and len(inner(eqn.params).jaxpr.invars) == len(given)
            and count_products(inner(eqn.params).jaxpr)
        ):
            results = _inline(program, inner(eqn.params), given)
        elif name == "scan" and _worth_unrolling(eqn):
            results = _unroll(program, eqn, given)
        else:
            results = [program.new_value(var.aval) for var in eqn.outvars]
            program.nodes.append(
                Node(name, _runner(closed.jaxpr, eqn), tuple(given), tuple(results), eqn.params)
            )
        env |= zip(eqn.outvars, results, strict=True)
    return [look(atom) for atom in closed.jaxpr.outvars]


def _runner(jaxpr: Any, eqn: Any) -> Callable[..., Any]:
    """An equation of a jaxpr as a function of all its operands."""
    variables = dict.fromkeys(atom for atom in eqn.invars if not isinstance(atom, core.Literal))
    alone = jaxpr.replace(
        constvars=[],
        invars=list(variables),
        outvars=list(eqn.outvars),
        eqns=[eqn],
        effects=eqn.effects,
        debug_info=jaxpr.debug_info._replace(arg_names=None, result_paths=None),
    )

    def run(*args: Any) -> Any:
        given = dict(zip(map(id, eqn.invars), args, strict=True))
        return jax.core.eval_jaxpr(alone, (), *(given[id(v)] for v in variables))

    return run


def _worth_unrolling(eqn: Any) -> bool:
    products = count_products(eqn.params["jaxpr"].jaxpr)
    return 0 < products * eqn.params["length"] <= _LONGEST_LOOP


def _unroll(program: Program, eqn: Any, given: list[Any]) -> list[Any]:
    params = eqn.params
    closed, length = params["jaxpr"], params["length"]
    consts = given[: params["num_consts"]]
    carry = given[params["num_consts"] : params["num_consts"] + params["num_carry"]]
    stacked = given[params["num_consts"] + params["num_carry"] :]
    rows: dict[int, list[Any]] = {}
    for i in reversed(range(length)) if params["reverse"] else range(length):
        slices = [_index(program, ref, i) for ref in stacked]
        results = _inline(program, closed, [*consts, *carry, *slices])
        carry = results[: params["num_carry"]]
        rows[i] = results[params["num_carry"] :]
    columns = zip(*(rows[i] for i in range(length)), strict=True)
    outs = eqn.outvars[params["num_carry"] :]
    return [*carry, *(_stack(program, c, v.aval) for c, v in zip(columns, outs, strict=True))]


def _index(program: Program, ref: Any, i: int) -> Any:
    if isinstance(ref, Const):
        return Const(ref.value[i])
    shape = program.shapes[ref]
    new = program.new_value(jax.ShapeDtypeStruct(shape.shape[1:], shape.dtype))

    def run(x: Any) -> Any:
        return jax.lax.index_in_dim(x, i, keepdims=False)

    program.nodes.append(Node("index", run, (ref,), (new,), {"i": i}))
    return new


def _stack(program: Program, refs: tuple[Any, ...], aval: Any) -> int:
    new = program.new_value(aval)
    program.nodes.append(Node("stack", lambda *x: jnp.stack(x), refs, (new,), {}))
    return new


def _drop_unused(program: Program) -> None:
    needed = {ref for ref in program.outputs if not isinstance(ref, Const)}
    kept = []
    for node in reversed(program.nodes):
        if needed.intersection(node.outputs):
            needed.update(ref for ref in node.inputs if not isinstance(ref, Const))
            kept.append(node)
    program.nodes = kept[::-1]
