"""Unit variance of every layer's output in one run: each kernel is scaled as the batch passes it.

`initializers.lsuv` finds the order of layers by experiment and runs the batch once a layer; here
the order is known. Where activations add a mean, biases take it off again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optlab.lab.init._layer import Layer
from optlab.lab.init._model import Model

_OFF_ZERO = 1e-3


class Fit:
    """What is to be scaled, and how.

    Attributes:
      centred: whether biases are set as well: where an activation is not 0 at 0 (sigmoid).
    """

    def __init__(self, model: Model, layers: list[Layer]):
        self.model, self.layers = model, layers
        self.end_factor = max(sum(x.branch_end for x in layers), 1) ** -0.5
        self.centred = any(abs(x.activation.at_zero) > _OFF_ZERO for x in layers)
        self._products = {x.product: k for k, x in enumerate(layers) if _can_scale(x)}
        self._ends = {layers[k].pre: k for k in self._products.values() if self._can_shift(k)}

    def tap(self, on: Any) -> tuple[Callable[[int, Any], Any], list[Any], list[Any]]:
        """A tap that scales and shifts where `on` is 1, and two lists that it fills."""
        scales: list[Any] = [jnp.float32(1)] * len(self.layers)
        shifts: list[Any] = [jnp.float32(0)] * len(self.layers)

        def others(k: int, value: Any) -> tuple[int, ...]:
            return tuple(i for i in range(value.ndim) if i not in self.layers[k].units)

        def tap(number: int, value: Any) -> Any:
            if number in self._products:
                k = self._products[number]
                wide = jax.lax.stop_gradient(value).astype(jnp.float32)
                if self.layers[k].pre in self._ends:
                    wide -= jnp.mean(wide, others(k, wide), keepdims=True)
                stddev = jnp.std(wide)
                target = self.end_factor if self.layers[k].branch_end else 1.0
                good = (stddev > 0) & jnp.isfinite(stddev) & (on > 0)
                scales[k] = jnp.where(good, target / jnp.where(good, stddev, 1), 1)
                value *= scales[k].astype(value.dtype)
            if number in self._ends:
                k = self._ends[number]
                wide = jax.lax.stop_gradient(value).astype(jnp.float32)
                shifts[k] = -on * jnp.mean(wide, others(k, value))
                value += jnp.expand_dims(shifts[k], others(k, value)).astype(value.dtype)
            return value

        return tap, scales, shifts

    def applied(self, leaves: list[Any], scales: Any, shifts: list[Any]) -> list[Any]:
        """The leaves with the factors and shifts that a run found."""
        new = [np.array(x) for x in leaves]
        for k in self._products.values():
            layer = self.layers[k]
            kernel = new[layer.leaf]
            part = tuple(layer.piece.get(axis, slice(None)) for axis in range(kernel.ndim))
            kernel[part] = (kernel[part] * np.asarray(scales[k])).astype(kernel.dtype)
            if layer.bias is not None and layer.pre in self._ends:
                bias, shift = new[layer.bias], np.asarray(shifts[k])
                place = ... if bias.size == shift.size else tuple(layer.piece.values())
                bias[place] += shift.reshape(bias[place].shape).astype(bias.dtype)
        return new

    def _can_shift(self, k: int) -> bool:
        return self.centred and is_bias(self.model, self.layers[k])


def is_bias(model: Model, layer: Layer) -> bool:
    """Whether what is added behind the product is one number a unit (positions' are more)."""
    program = model.program
    if layer.bias is None:
        return False
    bias = program.shapes[program.inputs[layer.bias]]
    units = [program.shapes[layer.pre].shape[i] for i in layer.units]
    rest = bias.shape[len(layer.piece) :]
    return bias.size == np.prod(units) or (bool(layer.piece) and list(rest) == units)


def _can_scale(layer: Layer) -> bool:
    return layer.alone and layer.kind != "captured"
