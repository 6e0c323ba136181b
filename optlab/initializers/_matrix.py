"""What `orthogonal`, `delta_orthogonal` and `identity` share: a matrix put into a kernel's axes.

Its rows are the input axes (for `orthogonal` the receptive field too), its columns the output axes;
there is one matrix per batch index.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optlab.core import checks, data, numerics, static
from optlab.initializers import _fans
from optlab.initializers._base import Initializer


class MatrixInitializer(Initializer):
    """Base of the three. Attributes: scale; the axes, as in `variance_scaling`."""

    scale: Any = data(checks.finite, default=1.0)
    in_axis: Any = static(_fans.axis_field, default=None)
    out_axis: Any = static(_fans.axis_field, default=None)
    batch_axis: Any = static(_fans.axis_field, default=None)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        self._axes(shape)

    def _axes(self, shape: tuple[int, ...]) -> _fans.Axes:
        return _fans.resolve_axes(
            self.record_name, shape, self.in_axis, self.out_axis, self.batch_axis
        )

    def _place(self, blocks: jax.Array, shape: tuple[int, ...], axes: _fans.Axes) -> jax.Array:
        """Entries in the order (batch, window, inputs, outputs), scaled and moved to their axes."""
        order = [*axes.batch_axis, *axes.receptive(shape), *axes.in_axis, *axes.out_axis]
        kernel = blocks.reshape([shape[i] for i in order]).transpose(np.argsort(order))
        return numerics.scalar(self.scale, kernel.dtype).astype(kernel.dtype) * kernel


def sizes(shape: tuple[int, ...], axes: _fans.Axes) -> tuple[int, int, int, int]:
    """How many kernels, window positions, inputs and outputs."""
    groups = (axes.batch_axis, axes.receptive(shape), axes.in_axis, axes.out_axis)
    batch, window, inputs, outputs = (math.prod(shape[i] for i in group) for group in groups)
    return batch, window, inputs, outputs


def in_centre(matrices: jax.Array, shape: tuple[int, ...], axes: _fans.Axes) -> jax.Array:
    """(batch, inputs, outputs) -> (batch, window, inputs, outputs), zero but in the centre."""
    batch, window, inputs, outputs = sizes(shape, axes)
    lengths = [shape[i] for i in axes.receptive(shape)]
    centre = int(np.ravel_multi_index([(n - 1) // 2 for n in lengths], lengths)) if lengths else 0
    zeros = jnp.zeros((batch, window, inputs, outputs), matrices.dtype)
    return zeros.at[:, centre].set(matrices)
