"""Initializers: frozen callables `(key, shape, dtype) -> Array` that promise their variance.

_base                          what an initializer is
_constant, _random             zeros, ones, constant; uniform, normal, truncated_normal
_variance_scaling, _named      variance that follows the fans; Xavier, He, LeCun
_orthogonal, _identity         orthogonal, delta_orthogonal, identity, on the base in _matrix
_gain                          factors that make up for an activation
_depth                         residual branches: scaled, depth_scaled (GPT-2), fixup
_fans, _fan_axes               fans of a shape; which axes of a built model's leaf are which
_paths, _reinitialize          new values for a built model, by rule
_lsuv, _layer_outputs          new values from data
"""

from optlab.initializers._base import Initializer
from optlab.initializers._constant import constant, ones, zeros
from optlab.initializers._depth import depth_scaled, fixup, scaled
from optlab.initializers._fan_axes import fan_axes
from optlab.initializers._fans import Axes, Fans, fans
from optlab.initializers._gain import gain
from optlab.initializers._identity import identity
from optlab.initializers._lsuv import lsuv
from optlab.initializers._named import (
    he_normal,
    he_uniform,
    lecun_normal,
    lecun_uniform,
    xavier_normal,
    xavier_uniform,
)
from optlab.initializers._orthogonal import delta_orthogonal, orthogonal
from optlab.initializers._random import normal, truncated_normal, uniform
from optlab.initializers._reinitialize import reinitialize
from optlab.initializers._variance_scaling import variance_scaling

__all__ = [
    "Axes",
    "Fans",
    "Initializer",
    "constant",
    "delta_orthogonal",
    "depth_scaled",
    "fan_axes",
    "fans",
    "fixup",
    "gain",
    "he_normal",
    "he_uniform",
    "identity",
    "lecun_normal",
    "lecun_uniform",
    "lsuv",
    "normal",
    "ones",
    "orthogonal",
    "reinitialize",
    "scaled",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]
