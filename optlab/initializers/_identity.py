"""`identity`: the kernel that passes its input on."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from optlab.initializers import _fans, _matrix


class identity(_matrix.MatrixInitializer):
    """The layer that passes its input on: output i is `scale` times input i.

    Inputs without an output are dropped, outputs without an input are 0. In a convolution the ones
    stand in the centre of the window (PyTorch calls that `dirac_`).

    Args:
      scale: finite.
      in_axis, out_axis, batch_axis: as in `variance_scaling`; several input or output axes are
        counted row by row.

    Raises:
      ValueError: for a shape without the axes. TypeError: for integer dtypes.

    Special cases:
      Breaks symmetry between min(inputs, outputs) units only; the key is not used, may be None.

    Example:
      >>> import optlab as ol
      >>> ol.initializers.identity()(None, (2, 3))
      Array([[1., 0., 0.],
             [0., 1., 0.]], dtype=float32)
    """

    random: ClassVar[bool] = False

    def sample(self, key: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        del key
        axes = self._axes(shape)
        batch, _, inputs, outputs = _matrix.sizes(shape, axes)
        matrices = jnp.broadcast_to(jnp.eye(inputs, outputs, dtype=dtype), (batch, inputs, outputs))
        return self._place(_matrix.in_centre(matrices, shape, axes), shape, axes)

    def mean(self, shape: Any) -> Any:
        return self.scale * self._share(shape)

    def variance(self, shape: Any) -> Any:
        share = self._share(shape)
        return self.scale**2 * (share - share**2)

    def _share(self, shape: Any) -> float:
        """The share of entries that are not 0."""
        shape = _fans.check_shape(self.record_name, shape)
        _, window, inputs, outputs = _matrix.sizes(shape, self._axes(shape))
        return 1 / max(window * max(inputs, outputs), 1)
