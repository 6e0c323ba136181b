"""The variance of every layer's output, as a function of one scale a layer; for `lsuv`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from optlab.core import checks, numerics
from optlab.initializers import _paths

PyTree = Any


class Kernel(NamedTuple):
    """A kernel to scale: its place among the leaves, its path, and the shape of its stack."""

    index: int
    path: str
    stack: tuple[int, ...]

    def layers(self) -> list[str]:
        """A name for each layer of the stack."""
        if not self.stack:
            return [self.path]
        return [f"{self.path}{list(i)}" for i in np.ndindex(*self.stack)]


def find_kernels(outputs: Any, leaves: list[_paths.Leaf], stacks: dict[int, int]) -> list[Kernel]:
    if not isinstance(outputs, Mapping) or not outputs:
        raise TypeError(
            "lsuv: apply must return a dict {path of a kernel: output of its layer} with at least "
            f"one entry, got {outputs!r}."
        )
    places = {leaf.path: i for i, leaf in enumerate(leaves)}
    kernels = []
    for path, output in outputs.items():
        if path not in places:
            raise ValueError(
                f"lsuv: apply names {path!r}, which is no parameter; {checks.nearest(path, places)}"
            )
        i = places[path]
        stack = leaves[i].value.shape[: stacks.get(i, 0)]
        if output.shape[: len(stack)] != stack:
            raise ValueError(
                f"lsuv: {path!r} is a stack of shape {stack}, so its output must have these "
                f"leading axes, got the shape {output.shape}."
            )
        kernels.append(Kernel(i, path, stack))
    return kernels


@dataclasses.dataclass
class Measure:
    """The variances of all layers' outputs, as a function of one scale a layer."""

    apply: Callable[[PyTree, PyTree], Mapping[str, jax.Array]]
    structure: Any
    kernels: list[Kernel]
    values: list[Any]
    batch: PyTree

    def __post_init__(self):
        self.names = [name for kernel in self.kernels for name in kernel.layers()]
        arrays = [isinstance(v, jax.Array | np.ndarray) for v in self.values]

        def variances(scales: jax.Array, traced: list[Any], batch: PyTree) -> jax.Array:
            given = iter(traced)
            values = [next(given) if a else v for a, v in zip(arrays, self.values, strict=True)]
            for kernel, value in zip(self.kernels, self.scaled(scales, values), strict=True):
                values[kernel.index] = value
            outputs = self.apply(jax.tree.unflatten(self.structure, values), batch)
            return jnp.concatenate([_variances(outputs[k.path], k.stack) for k in self.kernels])

        traced = [v for a, v in zip(arrays, self.values, strict=True) if a]
        run = jax.jit(variances)
        slope = jax.jit(
            lambda scales, direction, *rest: jax.jvp(
                lambda s: variances(s, *rest), (scales,), (direction,)
            )[1]
        )
        self.variances = lambda scales: np.asarray(run(scales, traced, self.batch))
        self.slopes = lambda scales, d: np.asarray(slope(scales, d, traced, self.batch))

    def scaled(self, scales: Any, values: list[Any] | None = None) -> list[jax.Array]:
        """The kernels, each layer times its scale, in their own dtype."""
        values = self.values if values is None else values
        result, start = [], 0
        for kernel in self.kernels:
            value = jnp.asarray(values[kernel.index])
            count = math.prod(kernel.stack)
            ones = (1,) * (value.ndim - len(kernel.stack))
            factors = jnp.asarray(scales)[start : start + count].reshape(*kernel.stack, *ones)
            dtype = numerics.compute_dtype(value.dtype)
            factors = jnp.broadcast_to(factors.astype(dtype), value.shape)
            result.append((value.astype(dtype) * factors).astype(value.dtype))
            start += count
        return result

    def forward_order(self, scales: jax.Array) -> list[int]:
        """Layers sorted by how many others their output depends on, themselves included."""
        depends = np.zeros(len(self.names), int)
        for i in range(len(self.names)):
            direction = jnp.zeros_like(scales).at[i].set(1)
            depends += self.slopes(scales, direction) != 0
        return sorted(range(len(self.names)), key=lambda i: depends[i])


def _variances(output: jax.Array, stack: tuple[int, ...]) -> jax.Array:
    output = output.astype(numerics.compute_dtype(output.dtype))
    return jnp.var(output.reshape(math.prod(stack), -1), axis=1).astype(jnp.float32)
