"""Mirrored kernels: a network of ReLUs that starts as an orthogonal linear one.

Where `f(z) - f(-z) = c z` (ReLU, leaky ReLU, GELU, SiLU), units in pairs with z and -z lose
nothing: the next layer takes the difference. Balduzzi et al., The shattered gradients problem,
2017, arXiv:1702.08591, section 5 ("looks linear").
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from optlab.lab.init._layer import Layer
from optlab.lab.init._model import Model
from optlab.lab.init._program import Const

_FEWEST = 2  # mirrored layers that make the candidate worth its place


@dataclasses.dataclass(frozen=True)
class Mirror:
    """Attributes: inputs, outputs: the axis along which the kernel is mirrored, or None; factor: of
    the orthogonal block."""

    inputs: int | None
    outputs: int | None
    factor: float


def plan(model: Model, layers: list[Layer]) -> dict[int, Mirror]:
    """How to mirror each kernel, by leaf; empty if fewer than two layers can be."""
    outputs = {k for k, layer in enumerate(layers) if _can_send(model, layers, k, layer)}
    if len(outputs) < _FEWEST:
        return {}
    mirrors = {}
    for k, layer in enumerate(layers):
        takes = layer.source in outputs
        if layer.axes is None or not (takes or k in outputs):
            continue
        source = layers[layer.source].activation.odd_part if layer.source in outputs else None  # type: ignore[index]
        mirrors[layer.leaf] = Mirror(
            layer.axes.in_axis[0] if takes else None,
            layer.axes.out_axis[0] if k in outputs else None,
            1 / source if source else 1.0,
        )
    return mirrors


def blocks(leaves: list[Any], mirrors: Mapping[int, Mirror]) -> list[Any]:
    """The leaves, with those to be mirrored as shapes of their blocks."""
    leaves = list(leaves)
    for i, mirror in mirrors.items():
        shape = list(leaves[i].shape)
        for axis in (mirror.inputs, mirror.outputs):
            if axis is not None:
                shape[axis] //= 2
        leaves[i] = jax.ShapeDtypeStruct(tuple(shape), leaves[i].dtype)
    return leaves


def unfolded(leaves: list[Any], mirrors: Mapping[int, Mirror]) -> list[Any]:
    """The leaves, with blocks put together to kernels."""
    new = list(leaves)
    for i, mirror in mirrors.items():
        for axis in (mirror.inputs, mirror.outputs):
            if axis is not None:
                new[i] = np.concatenate([new[i], -np.asarray(new[i])], axis)
    return new


def _can_send(model: Model, layers: list[Layer], k: int, layer: Layer) -> bool:
    """Whether a layer's units can be pairs: it is followed by a fitting activation, and all that
    reads it can take differences."""
    activation, program = layer.activation, model.program
    if (
        activation.odd_part is None
        or layer.normalized
        or not _simple(layer)
        or layer.axes is None
        or layer.shape[layer.axes.out_axis[0]] % 2
        or program.shapes[layer.post].shape != program.shapes[layer.pre].shape
    ):
        return False
    readers = [x for x in layers if x.source == k]
    values = {layer.post}
    for node in program.nodes:
        if values.intersection(r for r in node.inputs if not isinstance(r, Const)):
            if node.name in ("convert_element_type", "copy"):
                values.update(node.outputs)
            elif not any(x.product in node.outputs for x in readers):
                return False
    fits = all(_simple(x) and x.reads == layer.units for x in readers)
    width = layer.shape[layer.axes.out_axis[0]]
    same = all(x.axes is not None and x.shape[x.axes.in_axis[0]] == width for x in readers)
    return bool(readers) and fits and same


def _simple(layer: Layer) -> bool:
    """One input and one output axis, a kernel used once and as it is."""
    return (
        layer.axes is not None
        and layer.alone
        and layer.kind in ("dense", "conv")
        and not layer.axes.batch_axis
        and len(layer.axes.in_axis) == 1 == len(layer.axes.out_axis)
        and len(layer.units) == 1 == len(layer.reads)
    )
