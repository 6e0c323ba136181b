"""What follows a layer: bias, normalisation, activation."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from optlab.lab.init import _activations
from optlab.lab.init._layer import Layer, Origins
from optlab.lab.init._model import Model
from optlab.lab.init._program import PRODUCTS, Const, Node, evaluate, inner

_NAMES = """
abs acos acosh add and asin asinh atan atan2 atanh cbrt ceil clamp convert_element_type copy cos
cosh div eq erf erf_inv erfc exp exp2 expm1 floor ge gt integer_pow is_finite le log log1p logistic
lt max min mul ne neg nextafter not or pow rem round rsqrt select_n sign sin sinh sqrt square
stop_gradient sub tan tanh xor
"""
_ELEMENTWISE = frozenset(_NAMES.split())
_REDUCTIONS = ("reduce_sum", "reduce_max", "reduce_mean", "cumsum")


def is_elementwise(node: Node) -> bool:
    if node.name.startswith(("custom_jvp", "custom_vjp")):
        return _all_elementwise(inner(node.params).jaxpr)
    return node.name in _ELEMENTWISE


def _all_elementwise(jaxpr: Any) -> bool:
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in ("jit", "pjit", "custom_jvp_call", "custom_vjp_call"):
            if not _all_elementwise(inner(eqn.params).jaxpr):
                return False
        elif eqn.primitive.name not in _ELEMENTWISE and eqn.primitive.name != "broadcast_in_dim":
            return False
    return True


class Tails:
    """Follows the values of one model."""

    def __init__(self, model: Model, origins: Origins, producers: dict[int, Node]):
        self.model, self.program, self.origins = model, model.program, origins
        self.producers = producers
        self.consumers = model.program.consumers()
        self.places = {id(node): n for n, node in enumerate(model.program.nodes)}
        self.leaf_of = {number: i for i, number in enumerate(model.program.inputs)}
        self.known: dict[Any, _activations.Activation] = {}

    def follow(self, layer: Layer) -> None:
        """Fills in what lies behind a layer's product."""
        if layer.pre == layer.product:
            self._pass_bias(layer)
        own, normalized = self._own_values(layer.pre)
        layer.own = frozenset(own)
        shape = self._shape(layer.pre)
        alike = [number for number in own if self._shape(number) == shape]
        layer.post = alike[-1]
        if layer.post == layer.pre:
            return
        for start in alike:
            nodes = self._pointwise(start, layer.post)
            if nodes is not None:
                layer.normalized = normalized and start != layer.pre
                layer.activation = self._measure(start, layer.post, nodes)
                return

    def _shape(self, number: int) -> tuple[int, ...]:
        return self.program.shapes[number].shape

    def _pass_bias(self, layer: Layer) -> None:
        """Moves `pre` behind the bias, and behind changes of dtype and order of axes."""
        while len(self.consumers.get(layer.pre, ())) == 1:
            node = self.program.nodes[self.consumers[layer.pre][0]]
            if node.name == "transpose":
                order = list(node.params["permutation"])
                layer.units = tuple(sorted(order.index(axis) for axis in layer.units))
            elif node.name in ("add", "sub") and layer.bias is None:
                others = [r for r in node.inputs if r != layer.pre]
                same = self._shape(node.outputs[0]) == self._shape(layer.pre)
                if len(others) != 1 or not self.origins.is_kernel(others[0]) or not same:
                    return
                leaves = self.origins.leaves[others[0]]
                if node.name == "add" and len(leaves) == 1:
                    layer.bias = next(iter(leaves))
                layer.pre = layer.post = node.outputs[0]
                if layer.bias is None:
                    return
                continue
            elif node.name != "convert_element_type":
                return
            layer.pre = layer.post = node.outputs[0]

    def _own_values(self, start: int) -> tuple[list[int], bool]:
        """Values that depend on the batch through this one only, up to the next layers."""
        own, normalized = {start: None}, False
        first = self.places[id(self.producers[start])] if start in self.producers else -1
        for node in self.program.nodes[first + 1 :]:
            signals = [r for r in node.inputs if self.origins.is_signal(r)]
            if signals and node.name not in PRODUCTS and all(r in own for r in signals):
                own |= dict.fromkeys(node.outputs)
                normalized |= node.name in _REDUCTIONS
        return list(own), normalized

    def _pointwise(self, start: int, end: int) -> list[Node] | None:
        """The operations from one value to another, if each entry goes its own way."""
        inside, nodes = {start}, []
        if start == end:
            return nodes
        first = self.places[id(self.producers[start])] if start in self.producers else -1
        for node in self.program.nodes[first + 1 : self.places[id(self.producers[end])] + 1]:
            signals = [r for r in node.inputs if self.origins.is_signal(r)]
            if (
                signals
                and is_elementwise(node)
                and all(r in inside for r in signals)
                and all(self._is_number(r) for r in node.inputs if r not in signals)
                and self._shape(node.outputs[0]) == self._shape(start)
            ):
                inside.update(node.outputs)
                nodes.append(node)
        return nodes if end in inside else None

    def _is_number(self, ref: Any) -> bool:
        """Whether an operand is a constant, or one learnt number (a slope)."""
        if isinstance(ref, Const):
            return True
        return not self.origins.leaves[ref] or self.program.shapes[ref].size == 1

    def _measure(self, start: int, end: int, nodes: list[Node]) -> _activations.Activation:
        if not nodes:
            return _activations.NONE
        shape = self.program.shapes[start]
        signature = (shape.shape, shape.dtype, *map(_text, _renamed(nodes)))
        if signature not in self.known:
            constants = self._constants(nodes, start)
            run = jax.jit(lambda z: evaluate(nodes, {**constants, start: z})[end])
            self.known[signature] = _activations.tail_function(run, shape.shape, shape.dtype)
        return self.known[signature]

    def _constants(self, nodes: list[Node], start: int) -> dict[int, Any]:
        """The values of operands that do not depend on the batch."""
        made = {number for node in nodes for number in node.outputs} | {start}
        wanted = {r for node in nodes for r in node.inputs if not isinstance(r, Const)} - made
        needed, above = set(wanted), []
        for node in reversed(self.program.nodes):
            if needed.intersection(node.outputs):
                needed.update(r for r in node.inputs if not isinstance(r, Const))
                above.append(node)
        leaves = self.model.leaves(self.model.params)
        env: dict[int, Any] = {
            number: leaves[i]
            for number, i in self.leaf_of.items()
            if i < len(leaves) and number in needed
        }
        return {number: evaluate(above[::-1], env)[number] for number in wanted}


def _renamed(nodes: list[Node]) -> list[tuple[Node, tuple[Any, ...]]]:
    """Operands by the place where they were made, so that equal functions look equal."""
    places: dict[int, int] = {}
    result = []
    for node in nodes:
        operands = []
        for ref in node.inputs:
            if isinstance(ref, Const):
                value = np.asarray(ref.value)
                operands.append(value.tobytes() if value.size < 64 else id(ref.value))
            else:
                operands.append(places.setdefault(ref, len(places)))
        for number in node.outputs:
            places.setdefault(number, len(places))
        result.append((node, tuple(operands)))
    return result


def _text(pair: tuple[Node, tuple[Any, ...]]) -> tuple[Any, ...]:
    node, operands = pair
    if node.name.startswith("custom"):
        return (node.name, operands, str(inner(node.params)))
    return (node.name, operands, str(sorted(node.params.items(), key=str)))
