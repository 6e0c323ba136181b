"""Fans: how many inputs feed one output unit of a kernel, and how many outputs one input feeds.

Every axis of a kernel has one role: input, output, batch (independent kernels side by side: scanned
layers, experts) or, if none of these, receptive field (the window of a convolution), which counts
towards both fans.
"""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Fans(NamedTuple):
    """Attributes: fan_in, fan_out: receptive field times input and output channels.

    Example:
      >>> import optlab as ol
      >>> ol.initializers.fans((784, 128)).fan_in
      784
    """

    fan_in: int
    fan_out: int


class Axes(NamedTuple):
    """Axes by role, counted from 0; those with no role are the receptive field.

    Example:
      >>> import optlab as ol
      >>> axes = ol.initializers.Axes(in_axis=(2,), out_axis=(3,))
      >>> axes.receptive((3, 3, 16, 32))
      (0, 1)
    """

    in_axis: tuple[int, ...]
    out_axis: tuple[int, ...]
    batch_axis: tuple[int, ...] = ()

    def receptive(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The axes of the receptive field: those with no other role."""
        taken = {*self.in_axis, *self.out_axis, *self.batch_axis}
        return tuple(i for i in range(len(shape)) if i not in taken)


def fans(
    shape: Sequence[int],
    in_axis: int | Sequence[int] = -2,
    out_axis: int | Sequence[int] = -1,
    batch_axis: int | Sequence[int] = (),
) -> Fans:
    """Fan-in and fan-out of a kernel: `receptive field * inputs`, `receptive field * outputs`.

    Args:
      shape: the kernel's.
      in_axis, out_axis: axis or axes of input and output units; negative ones count from the end.
      batch_axis: axes over independent kernels; they belong to neither fan.

    Returns:
      `Fans(fan_in, fan_out)`.

    Raises:
      ValueError: if the shape has no such axis, or an axis has two roles.

    Example:
      >>> import optlab as ol
      >>> ol.initializers.fans((3, 3, 16, 32))  # a convolution, HWIO
      Fans(fan_in=144, fan_out=288)
      >>> ol.initializers.fans((512, 8, 64), in_axis=0, out_axis=(1, 2))  # attention queries
      Fans(fan_in=512, fan_out=512)
    """
    shape = check_shape("fans", shape)
    values = {"in_axis": in_axis, "out_axis": out_axis, "batch_axis": batch_axis}
    axes = {name: axis_field("fans", name, value) for name, value in values.items()}
    return count_fans(shape, resolve_axes("fans", shape, **axes))


def count_fans(shape: tuple[int, ...], axes: Axes) -> Fans:
    window = math.prod(shape[i] for i in axes.receptive(shape))
    return Fans(
        window * math.prod(shape[i] for i in axes.in_axis),
        window * math.prod(shape[i] for i in axes.out_axis),
    )


def resolve_axes(
    owner: str, shape: tuple[int, ...], in_axis: Any, out_axis: Any, batch_axis: Any
) -> Axes:
    """Axes counted from 0; `None` is the layout of Flax and JAX: inputs -2, outputs -1."""
    if len(shape) < 2 and (in_axis is None or out_axis is None):
        raise ValueError(
            f"{owner} needs an input and an output axis, but the shape {shape} has "
            f"{len(shape)}: biases and scales have no fans. Use zeros(), ones(), constant(value), "
            "uniform(low, high) or normal(stddev) there, or name the axes (in_axis=(), out_axis=0)."
        )
    given = (
        -2 if in_axis is None else in_axis,
        -1 if out_axis is None else out_axis,
        () if batch_axis is None else batch_axis,
    )
    axes = Axes(
        *(_positive(owner, shape, name, v) for name, v in zip(Axes._fields, given, strict=True))
    )
    every = [*axes.in_axis, *axes.out_axis, *axes.batch_axis]
    if len(set(every)) < len(every):
        raise ValueError(
            f"{owner}: for the shape {shape}, one axis is given two roles by in_axis="
            f"{axes.in_axis}, out_axis={axes.out_axis}, batch_axis={axes.batch_axis} (counted "
            "from 0). Give each axis one role; those left out are the receptive field."
        )
    return axes


def _positive(owner: str, shape: tuple[int, ...], name: str, axes: Any) -> tuple[int, ...]:
    axes = (axes,) if isinstance(axes, int) else tuple(axes)
    for axis in axes:
        if not -len(shape) <= axis < len(shape):
            raise ValueError(
                f"{owner}: {name}={axis} is out of range for the shape {shape}; allowed are "
                f"{-len(shape)} to {len(shape) - 1}."
            )
    return tuple(axis % len(shape) for axis in axes)


def axis_field(owner: str, name: str, value: Any) -> Any:
    """The check of an axis field: `None`, a whole number, or a tuple of them."""

    def whole(axis: Any) -> bool:
        return isinstance(axis, numbers.Integral) and not isinstance(axis, bool | np.bool_)

    if value is None:
        return None
    if whole(value):
        return int(value)
    if isinstance(value, tuple | list) and all(map(whole, value)):
        return tuple(map(int, value))
    raise TypeError(
        f"{owner}: {name} must be an axis number, a tuple of them or None, got {value!r} of type "
        f"{type(value).__name__}."
    )


def check_shape(owner: str, shape: Any) -> tuple[int, ...]:
    """A shape as a tuple of Python ints >= 0."""
    try:
        sizes = tuple(operator.index(size) for size in shape)
    except TypeError as error:
        raise TypeError(
            f"{owner}: the shape must be a tuple of whole numbers, e.g. (784, 128), got {shape!r}."
        ) from error
    if any(size < 0 for size in sizes):
        raise ValueError(f"{owner}: a shape has no negative sizes, got {sizes}.")
    return sizes
