"""Random kernels that keep norms: `orthogonal`, and `delta_orthogonal` for convolutions."""

from __future__ import annotations

from typing import Any

import jax

from optlab.initializers import _fans, _matrix


class orthogonal(_matrix.MatrixInitializer):
    """A random matrix with orthonormal rows or columns, whichever are fewer, times `scale`.

    `WᵀW = scale² I` where inputs are at least as many as outputs, `WWᵀ = scale² I` otherwise,
    uniformly distributed (Haar). Unitary for complex dtypes.

    Args:
      scale: finite, such as `gain("relu")`.
      in_axis, out_axis, batch_axis: as in `variance_scaling`; the receptive field of a convolution
        counts as inputs.

    Raises:
      ValueError: for a shape without the axes, such as a bias. TypeError: for integer dtypes.

    Special cases:
      Entries have variance scale² / max(inputs, outputs). A QR decomposition per kernel: slow for
      matrices of many thousands.

    Differs from:
      JAX's knows one output axis (`column_axis`) and makes one matrix of all other axes, batch
      axes included; PyTorch's takes (out, in, ...).

    Example:
      >>> import jax, numpy as np, optlab as ol
      >>> w = ol.initializers.orthogonal()(jax.random.key(0), (6, 4))
      >>> bool(np.allclose(w.T @ w, np.eye(4), atol=1e-6))
      True

    Source: A. Saxe, J. McClelland, S. Ganguli, Exact solutions to the nonlinear dynamics of
      learning in deep linear neural networks, 2013, arXiv:1312.6120.
    """

    def sample(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        axes = self._axes(shape)
        batch, window, inputs, outputs = _matrix.sizes(shape, axes)
        matrices = jax.random.orthogonal(key, window * inputs, (batch,), dtype, m=outputs)
        return self._place(matrices, shape, axes)

    def variance(self, shape: Any) -> Any:
        shape = _fans.check_shape(self.record_name, shape)
        _, window, inputs, outputs = _matrix.sizes(shape, self._axes(shape))
        return self.scale**2 / max(window * inputs, outputs, 1)


class delta_orthogonal(_matrix.MatrixInitializer):
    """A convolution kernel that is zero but for its centre, where it is an orthogonal matrix.

    With stride 1 and "SAME" or circular padding the layer keeps the norm of its input times
    |scale|, whatever its depth: 10,000-layer networks without norms or skips train from it.

    Args:
      scale: finite.
      in_axis, out_axis, batch_axis: as in `variance_scaling`; the other axes are the window.

    Raises:
      ValueError: for a shape without a window, or with more inputs than outputs (no kernel keeps
        their norm). TypeError: for integer dtypes.

    Special cases:
      A window of even length has its centre at (length - 1) // 2, where "SAME" padding looks.

    Example:
      >>> import jax, optlab as ol
      >>> w = ol.initializers.delta_orthogonal()(jax.random.key(0), (3, 3, 4, 8))
      >>> bool(w[0].any()), bool(w[1, 1].any())
      (False, True)

    Source: L. Xiao et al., Dynamical isometry and a mean field theory of CNNs, 2018,
      arXiv:1806.05393, algorithm 1.
    """

    def check_shape(self, shape: tuple[int, ...]) -> None:
        axes = self._axes(shape)
        if not axes.receptive(shape):
            raise ValueError(
                f"delta_orthogonal is for convolutions: the shape {shape} has no axes but inputs "
                "and outputs. Use orthogonal()."
            )
        _, _, inputs, outputs = _matrix.sizes(shape, axes)
        if inputs > outputs:
            raise ValueError(
                f"delta_orthogonal needs at least as many outputs as inputs, got {inputs} inputs "
                f"and {outputs} outputs in the shape {shape}: no such kernel keeps norms. "
                "Use orthogonal() there."
            )

    def sample(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        axes = self._axes(shape)
        batch, _, inputs, outputs = _matrix.sizes(shape, axes)
        matrices = jax.random.orthogonal(key, inputs, (batch,), dtype, m=outputs)
        return self._place(_matrix.in_centre(matrices, shape, axes), shape, axes)

    def variance(self, shape: Any) -> Any:
        shape = _fans.check_shape(self.record_name, shape)
        _, window, _, outputs = _matrix.sizes(shape, self._axes(shape))
        return self.scale**2 / max(window * outputs, 1)
