"""`gain`: the factor on the standard deviation that makes up for an activation."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp

from optlab.core import checks

# 1 / sqrt(E[f(z)²]) for z ~ N(0, 1): trapezoid rule, [-12, 12] in 2,000,001 points, float64.
_COMPUTED = {
    "elu": 1.245198300705844,
    "gelu": 1.5335304412018622,
    "gelu_tanh": 1.533580521672474,
    "mish": 1.4868475812793427,
    "silu": 1.6765324703380082,
    "swish": 1.6765324703380082,
}
_CONVENTIONAL = {
    "identity": 1.0,
    "linear": 1.0,
    "relu": math.sqrt(2.0),
    "selu": 0.75,
    "sigmoid": 1.0,
    "tanh": 5.0 / 3.0,
}
_KNOWN = _COMPUTED | _CONVENTIONAL


def gain(activation: str, slope: Any = None) -> Any:
    """The gain of an activation: multiply the standard deviation by it, or `scale` by its square.

    | activation | gain | |
    |---|---|---|
    | linear, identity, sigmoid | 1 | convention |
    | tanh | 5/3 | convention; 1.5925 keeps a unit second moment |
    | relu | sqrt(2) | exact |
    | leaky_relu | sqrt(2 / (1 + slope²)) | exact |
    | selu | 3/4 | convention; 1 (`lecun_normal`) gives self-normalising networks |
    | gelu, gelu_tanh, silu (swish), elu, mish | 1.5335, 1.5336, 1.6765, 1.2452, 1.4868 | computed |

    Computed means `1 / sqrt(E[f(z)²])` for a standard normal z, so that the second moment of a wide
    layer's input is kept. Unlike ReLU, these do not scale with their input: the gain is exact for
    a unit variance and drifts from layer to layer elsewhere.

    Args:
      activation: one of the names above.
      slope: the negative slope of `"leaky_relu"`, 0.01 if None; may be traced.

    Returns:
      A float (an array if `slope` is one).

    Raises:
      ValueError: for an unknown name, with the nearest ones, or a slope that has no meaning.

    Differs from:
      `torch.nn.init.calculate_gain` takes layer names such as `"conv2d"` for 1 and knows none of
      the last row.

    Example:
      >>> import optlab as ol
      >>> round(ol.initializers.gain("leaky_relu", 0.2), 4)
      1.3868
    """
    if activation == "leaky_relu":
        slope = checks.finite("gain", "slope", 0.01 if slope is None else slope)
        sqrt = math.sqrt if isinstance(slope, float) else jnp.sqrt
        return sqrt(2.0 / (1.0 + slope**2))
    if activation not in _KNOWN:
        near = checks.nearest(str(activation), [*_KNOWN, "leaky_relu"])
        raise ValueError(
            f"gain: unknown activation {activation!r}; {near} For another f, the gain is "
            "1 / sqrt(E[f(z)**2]) for a standard normal z."
        )
    if slope is not None:
        raise ValueError(
            f"gain: only 'leaky_relu' has a slope, got slope={slope!r} for {activation!r}. "
            "Leave it out."
        )
    return _KNOWN[activation]
