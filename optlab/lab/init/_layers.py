"""The layers of a program: products of a value with parameters, and what follows each of them.

The role of a kernel's axes comes from the product itself, not from names: summed axes are inputs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from optlab import initializers
from optlab.lab.init import _tails
from optlab.lab.init._layer import Layer, Origins
from optlab.lab.init._model import Model
from optlab.lab.init._program import PRODUCTS, Const, Node, Program


def find_layers(model: Model) -> list[Layer]:
    """All layers in the order in which they are computed."""
    program, count = model.program, len(model.varied)
    origins = Origins.of(program, count)
    producers = {number: node for node in program.nodes for number in node.outputs}
    layers = []
    for node in program.nodes:
        found = _read_layer(model, node, origins, producers)
        if found is not None:
            layers.append(found)
    _use_captured(model, layers)
    _check_found(layers)
    tails = _tails.Tails(model, origins, producers)
    for layer in layers:
        tails.follow(layer)
    for layer in layers:
        pieces = [(x.leaf, tuple(sorted(x.piece.items()))) for x in layers]
        own = (layer.leaf, tuple(sorted(layer.piece.items())))
        layer.alone = pieces.count(own) == 1
        layer.source = _source(layer, layers, producers)
        feeding = [k for k, x in enumerate(layers) if layer.value in x.own and x is not layer]
        layer.fed_by = feeding[-1] if feeding else None
    _mark_branches(program, layers, origins)
    _name(layers)
    return layers


def _check_found(layers: list[Layer]) -> None:
    if not layers:
        raise ValueError(
            "init_report: no layer was found: nowhere does the model multiply a value that depends "
            "on the batch by a parameter (loops over more than 256 layers and custom kernels are "
            "not looked into). Pass a function (params, batch) -> {path of a kernel: output of its "
            "layer} as for initializers.lsuv."
        )


def _read_layer(
    model: Model, node: Node, origins: Origins, producers: dict[int, Node]
) -> Layer | None:
    if node.name not in PRODUCTS:
        return None
    sides = node.inputs[:2]
    signals, kernels = [origins.is_signal(r) for r in sides], [origins.is_kernel(r) for r in sides]
    if sorted(signals) != [False, True] or not kernels[signals.index(False)]:
        return None
    side = signals.index(False)
    if node.name == "conv_general_dilated":
        if side != 1:
            return None
        inputs, outputs, stacks, units, reads = _conv_roles(node)
    else:
        inputs, outputs, stacks, units, reads = _dot_roles(node, side, model.program)
    operand = sides[side]
    size = model.program.shapes[operand].shape
    leaf = max(origins.leaves[operand], key=lambda i: model.program.shapes[i].size)
    shape = model.program.shapes[model.program.inputs[leaf]].shape
    axes, piece = _axes(operand, leaf, shape, (inputs, outputs, stacks), producers, model)
    window = [i for i in range(len(size)) if i not in {*inputs, *outputs, *stacks}]
    receptive = math.prod(size[i] for i in window)
    number = node.outputs[0]
    return Layer(
        name="",
        path=model.paths[model.varied[leaf]],
        leaf=leaf,
        shape=shape,
        kind="conv" if node.name == "conv_general_dilated" else "dense",
        value=sides[1 - side],
        product=number,
        pre=number,
        post=number,
        units=units,
        axes=axes,
        fan_in=receptive * math.prod(size[i] for i in inputs),
        fan_out=receptive * math.prod(size[i] for i in outputs),
        piece=piece,
        reads=reads,
    )


def _conv_roles(node: Node) -> tuple[Any, ...]:
    """Axes of the kernel over inputs, outputs and stacks; of the result over units; of the signal
    over inputs."""
    (_, reads, *_), (outputs, inputs, *_), (_, units, *_) = node.params["dimension_numbers"]
    return (inputs,), (outputs,), (), (units,), (reads,)


def _dot_roles(node: Node, side: int, program: Program) -> tuple[Any, ...]:
    contract, stacks = node.params["dimension_numbers"]
    ranks = [len(_shape(program, ref)) for ref in node.inputs]
    free = [
        tuple(i for i in range(ranks[s]) if i not in contract[s] and i not in stacks[s])
        for s in (0, 1)
    ]
    batch = len(stacks[side])
    start = batch + (len(free[0]) if side == 1 else 0)
    units = (*range(batch), *range(start, start + len(free[side])))
    return tuple(contract[side]), free[side], tuple(stacks[side]), units, tuple(contract[1 - side])


def _shape(program: Program, ref: Any) -> tuple[int, ...]:
    return np.shape(ref.value) if isinstance(ref, Const) else program.shapes[ref].shape


def _axes(
    operand: int,
    leaf: int,
    shape: tuple[int, ...],
    roles: tuple[Any, ...],
    producers: dict[int, Node],
    model: Model,
) -> tuple[initializers.Axes | None, dict[int, int]]:
    """Roles of the leaf's axes, by following each axis's coordinate to the product."""
    start = model.program.inputs[leaf]
    inputs, outputs, stacks = roles
    found: tuple[list[int], ...] = ([], [], [])
    piece: dict[int, int] = {}
    for axis, length in enumerate(shape):
        coordinate = np.arange(length).reshape([-1 if i == axis else 1 for i in range(len(shape))])
        try:
            moved = _move(operand, start, np.broadcast_to(coordinate, shape), producers)
        except _Untraced:
            return _axes_by_name(model.paths[model.varied[leaf]], shape), {}
        along = {d for d in range(moved.ndim) if moved.shape[d] > 1 and _varies(moved, d)}
        if not along and length == 1:
            if operand == start:
                along = {axis}
        elif not along:
            piece[axis] = int(moved.flat[0]) if moved.size else 0
            found[2].append(axis)
            continue
        for role, place in zip((inputs, outputs, stacks), found, strict=True):
            if along and along <= set(role):
                place.append(axis)
    return initializers.Axes(*map(tuple, found)), piece


class _Untraced(Exception):
    """An operation of which it is not known where it moves entries."""


def _varies(array: np.ndarray, axis: int) -> bool:
    return bool((np.take(array, 0, axis) != np.take(array, -1, axis)).any())


def _move(number: int, start: int, array: np.ndarray, producers: dict[int, Node]) -> np.ndarray:
    """What the operations between a leaf and a product do to where its entries lie."""
    if number == start:
        return array
    node = producers.get(number)
    if node is None:
        raise _Untraced
    refs = [r for r in node.inputs if not isinstance(r, Const)]
    if len(refs) != 1 or len(node.inputs) > 1:
        raise _Untraced
    params = node.params
    before = _move(refs[0], start, array, producers)
    if node.name in ("convert_element_type", "copy", "copy_p", "sharding_constraint"):
        return before
    if node.name == "index":
        return before[params["i"]]
    if node.name == "reshape" and params.get("dimensions") is None:
        return before.reshape(params["new_sizes"])
    if node.name == "transpose":
        return before.transpose(params["permutation"])
    if node.name == "squeeze":
        return before.squeeze(tuple(params["dimensions"]))
    if node.name == "slice":
        strides = params["strides"] or (1,) * before.ndim
        limits = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
        return before[tuple(slice(*limit) for limit in limits)]
    if node.name == "broadcast_in_dim":
        placed = dict(zip(params["broadcast_dimensions"], before.shape, strict=True))
        wide = [placed.get(i, 1) for i in range(len(params["shape"]))]
        return np.broadcast_to(before.reshape(wide), params["shape"])
    raise _Untraced


def _axes_by_name(path: str, shape: tuple[int, ...]) -> initializers.Axes | None:
    try:
        return initializers.fan_axes(path, shape)
    except ValueError:
        return None


def _use_captured(model: Model, layers: list[Layer]) -> None:
    """Outputs that a function returned by the paths of its kernels are where layers end."""
    for path, place in model.captured.items():
        number = model.program.outputs[place]
        if isinstance(number, Const):
            continue
        own = [layer for layer in layers if layer.path == path]
        shape = model.program.shapes[number].shape
        if own:
            if len(own) == 1 and model.program.shapes[own[0].pre].shape == shape:
                own[0].pre = own[0].post = number
            continue
        leaf = [model.paths[i] for i in model.varied].index(path)
        kernel = model.program.shapes[model.program.inputs[leaf]].shape
        axes = _axes_by_name(path, kernel)
        fan_in, fan_out = (0, 0) if axes is None else initializers.fans(kernel, *axes)
        units = (len(shape) - 1,)
        layers.append(
            Layer(
                name="", path=path, leaf=leaf, shape=kernel, kind="captured", value=number,
                product=number, pre=number, post=number, units=units, axes=axes,
                fan_in=fan_in, fan_out=fan_out, piece={},
            )
        )  # fmt: skip
    if model.captured:
        layers.sort(key=lambda layer: layer.product)


def _source(layer: Layer, layers: list[Layer], producers: dict[int, Node]) -> int | None:
    number = layer.value
    while True:
        for k, other in enumerate(layers):
            if other is not layer and other.post == number and other.kind != "captured":
                return k
        node = producers.get(number)
        if node is None or node.name not in ("convert_element_type", "copy"):
            return None
        number = node.inputs[0]


def _mark_branches(program: Program, layers: list[Layer], origins: Origins) -> None:
    """The last layer before `x + branch(x)`: the branch depends on what it is added to."""
    depends: list[set[int]] = []  # for every layer, the values that its output depends on
    for layer in layers:
        depends.append(_ancestors(program, layer.product))
    for node in program.nodes:
        if node.name not in ("add", "add_any") or len(node.inputs) != 2:
            continue
        if not all(origins.is_signal(r) for r in node.inputs):
            continue
        for branch, stream in (node.inputs, node.inputs[::-1]):
            inside = _ancestors(program, branch)
            # The stream must feed the branch itself, not only lie before it.
            ends = [k for k, x in enumerate(layers) if x.product in inside | {branch}]
            if (
                ends
                and stream in depends[ends[-1]]
                and layers[ends[-1]].product not in (_ancestors(program, stream) | {stream})
            ):
                layers[ends[-1]].branch_end = True


def _ancestors(program: Program, number: int) -> set[int]:
    found = {number}
    for node in reversed(program.nodes):
        if found.intersection(node.outputs):
            found.update(r for r in node.inputs if not isinstance(r, Const))
    return found


def _name(layers: list[Layer]) -> None:
    """Names short enough for a table: without what all paths share, and without "kernel"."""
    paths = [layer.path.split("/") for layer in layers]
    for path in paths:
        if len(path) > 1 and path[-1] in ("kernel", "weight", "w"):
            path.pop()
    if len({tuple(path) for path in paths}) < len({layer.path for layer in layers}):
        paths = [layer.path.split("/") for layer in layers]
    shared = 0
    while all(len(p) > shared + 1 and p[shared] == paths[0][shared] for p in paths):
        shared += 1
    if all(path == paths[0] for path in paths):
        shared = len(paths[0]) - 1
    seen: dict[str, int] = {}
    for layer, parts in zip(layers, paths, strict=True):
        name = "/".join(parts[shared:]) + "".join(f"[{i}]" for i in layer.piece.values())
        seen[name] = seen.get(name, 0) + 1
        layer.name = name if seen[name] == 1 else f"{name}#{seen[name]}"
