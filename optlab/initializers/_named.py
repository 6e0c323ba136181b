"""Xavier, He and LeCun: settings of `variance_scaling`, under the names people look for."""

from __future__ import annotations

from typing import Any

from optlab.core import checks
from optlab.initializers._variance_scaling import variance_scaling

Axis = int | tuple[int, ...] | None


def xavier_uniform(
    *, gain: Any = 1.0, in_axis: Axis = None, out_axis: Axis = None, batch_axis: Axis = None
) -> variance_scaling:
    """Glorot's initializer: uniform on `±gain * sqrt(6 / (fan_in + fan_out))`.

    Args:
      gain: >= 0, a factor on the standard deviation; see `gain(activation)`.
      in_axis, out_axis, batch_axis: see `variance_scaling`.

    Differs from:
      Printed as standard deviation 1/sqrt(n) in tutorials: that is `lecun_normal`.

    Example:
      >>> import optlab as ol
      >>> ol.initializers.xavier_uniform(gain=ol.initializers.gain("tanh")).mode
      'fan_avg'

    Source: X. Glorot, Y. Bengio, Understanding the difficulty of training deep feedforward neural
      networks, AISTATS 2010, eq. 16.
    """
    scale = checks.nonnegative("xavier_uniform", "gain", gain) ** 2
    return variance_scaling(scale, "fan_avg", "uniform", in_axis, out_axis, batch_axis)


def xavier_normal(
    *, gain: Any = 1.0, in_axis: Axis = None, out_axis: Axis = None, batch_axis: Axis = None
) -> variance_scaling:
    """Glorot's variance, `2 gain² / (fan_in + fan_out)`, from a truncated normal.

    Args, Source: as `xavier_uniform`.

    Differs from:
      PyTorch does not truncate; for that, `variance_scaling(gain**2, "fan_avg", "normal")`.

    Example:
      >>> import optlab as ol
      >>> ol.initializers.xavier_normal().variance((100, 300)) == 2 / 400
      True
    """
    scale = checks.nonnegative("xavier_normal", "gain", gain) ** 2
    return variance_scaling(scale, "fan_avg", "truncated_normal", in_axis, out_axis, batch_axis)


def he_uniform(
    *,
    slope: Any = 0.0,
    mode: str = "fan_in",
    in_axis: Axis = None,
    out_axis: Axis = None,
    batch_axis: Axis = None,
) -> variance_scaling:
    """He's (Kaiming's) initializer for ReLU: uniform on `±sqrt(6 / ((1 + slope²) fan_in))`.

    Args:
      slope: the negative slope of a leaky ReLU; 0 for ReLU.
      mode: `"fan_in"` keeps the forward signal, `"fan_out"` the backward gradient.
      in_axis, out_axis, batch_axis: see `variance_scaling`.

    Example:
      >>> import optlab as ol
      >>> ol.initializers.he_uniform(mode="fan_out").variance((100, 300)) == 2 / 300
      True

    Source: K. He, X. Zhang, S. Ren, J. Sun, Delving deep into rectifiers, 2015, arXiv:1502.01852,
      eqs. 10, 14, 15.
    """
    scale = _he_scale("he_uniform", slope)
    return variance_scaling(scale, mode, "uniform", in_axis, out_axis, batch_axis)


def he_normal(
    *,
    slope: Any = 0.0,
    mode: str = "fan_in",
    in_axis: Axis = None,
    out_axis: Axis = None,
    batch_axis: Axis = None,
) -> variance_scaling:
    """He's (Kaiming's) variance for ReLU, `2 / ((1 + slope²) fan_in)`, from a truncated normal.

    Args, Source: as `he_uniform`.

    Differs from:
      PyTorch's `kaiming_normal_` does not truncate, and its default slope argument is that of a
      leaky ReLU too; for that, `variance_scaling(2.0, "fan_in", "normal")`. Tutorials print the
      standard deviation as 2/sqrt(n): the signal then grows by sqrt(2) at every layer.

    Example:
      >>> import jax, optlab as ol
      >>> ol.initializers.he_normal()(jax.random.key(0), (784, 128)).shape
      (784, 128)
    """
    scale = _he_scale("he_normal", slope)
    return variance_scaling(scale, mode, "truncated_normal", in_axis, out_axis, batch_axis)


def lecun_uniform(
    *, in_axis: Axis = None, out_axis: Axis = None, batch_axis: Axis = None
) -> variance_scaling:
    """LeCun's variance, `1 / fan_in`, uniform on `±sqrt(3 / fan_in)`.

    Args, Source: as `lecun_normal`.

    Example:
      >>> import optlab as ol
      >>> ol.initializers.lecun_uniform().variance((100, 300)) == 1 / 100
      True
    """
    return variance_scaling(1.0, "fan_in", "uniform", in_axis, out_axis, batch_axis)


def lecun_normal(
    *, in_axis: Axis = None, out_axis: Axis = None, batch_axis: Axis = None
) -> variance_scaling:
    """LeCun's variance, `1 / fan_in`, from a truncated normal: Flax's default, and right for SELU.

    Args:
      in_axis, out_axis, batch_axis: see `variance_scaling`.

    Example:
      >>> import optlab as ol
      >>> ol.initializers.lecun_normal().variance((3, 3, 16, 32)) == 1 / 144
      True

    Source: Y. LeCun, L. Bottou, G. Orr, K.-R. Müller, Efficient backprop, 1998.
    """
    return variance_scaling(1.0, "fan_in", "truncated_normal", in_axis, out_axis, batch_axis)


def _he_scale(owner: str, slope: Any) -> Any:
    return 2.0 / (1.0 + checks.finite(owner, "slope", slope) ** 2)
