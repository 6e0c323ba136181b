"""Which function lies between two layers, told from its values and not from its name."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

_STEP = 0.0625
_INNER = np.arange(-128, 129) * _STEP  # -8 to 8
_FAR = np.array([-1000.0, -100.0, 100.0, 1000.0])
GRID = np.concatenate([_INNER, _FAR]).astype(np.float32)
_DENSITY = np.exp(-(_INNER**2) / 2) / math.sqrt(2 * math.pi) * _STEP
_TOLERANCE = 3e-3  # bfloat16 models are measured as they are; relative to the largest value


@dataclasses.dataclass(frozen=True, eq=False)
class Activation:
    """A scalar function, by its values on a grid.

    Attributes:
      name: of the known function with these values; "none" for the identity, "times c" for a
        multiple of it, "?" for another function of one number, "mixed" where entries are not
        transformed alike, one by one.
      gain: `1 / sqrt(E f(z)²)`, z standard normal: the factor on the next kernel's standard
        deviation that keeps a unit second moment.
      slope: `E f'(z)²`, what a gradient's second moment is multiplied by.
      at_zero: f(0); other than 0, the function adds a mean that carries no information.
      low, high: the ends of its range if both are finite, or None.
      odd_part: c if `f(z) - f(-z) = c z` (ReLU, GELU, SiLU and leaky ones), else None.
      keeps_zero: whether it is 0 on a half-line, so that units can die.
    """

    name: str
    gain: float = 1.0
    slope: float = 1.0
    at_zero: float = 0.0
    low: float | None = None
    high: float | None = None
    odd_part: float | None = None
    keeps_zero: bool = False

    @property
    def bounded(self) -> bool:
        return self.low is not None


NONE = Activation("none")
MIXED = Activation("mixed")


def measure(function: Callable[[np.ndarray], np.ndarray]) -> Activation:
    """Describes a function that maps the grid's values."""
    values = np.asarray(function(GRID), np.float64)
    if not np.isfinite(values).all():
        values = np.nan_to_num(values, nan=0.0, posinf=1e30, neginf=-1e30)
    inner = values[: _INNER.size]
    scale = max(float(np.abs(inner).max()), 1e-3)
    if np.abs(inner - _INNER).max() <= _TOLERANCE * scale:
        return NONE
    second = float((_DENSITY * inner**2).sum())
    slope = float((_DENSITY * np.gradient(inner, _STEP) ** 2).sum())
    bounded = bool(np.ptp(values[-4:]) <= 100 and np.abs(values[-4:]).max() <= 100)
    bounded = bounded and abs(values[-1] - values[-2]) + abs(values[-4] - values[-3]) < 0.02 * scale
    odd = inner - inner[::-1]
    factor = float(odd[-1] / (2 * _INNER[-1])) * 2
    linear = abs(factor) > 1e-3 and np.abs(odd - factor * _INNER).max() <= _TOLERANCE * scale
    left, right = inner[_INNER < 0], inner[_INNER > 0]
    return Activation(
        name=_name(inner, scale),
        gain=1 / math.sqrt(second) if second > 0 else math.inf,
        slope=slope,
        at_zero=float(inner[_INNER.size // 2]),
        low=float(values.min()) if bounded else None,
        high=float(values.max()) if bounded else None,
        odd_part=factor if linear else None,
        keeps_zero=not left.any() or not right.any(),
    )


def _erf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf)(x)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _elu(x: np.ndarray, scale: float = 1.0, alpha: float = 1.0) -> np.ndarray:
    return scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


_SOFTPLUS: Callable[[np.ndarray], np.ndarray] = lambda x: np.logaddexp(x, 0)  # noqa: E731
_KNOWN: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "gelu": lambda x: x * (1 + _erf(x / math.sqrt(2))) / 2,
    "silu": lambda x: x * _sigmoid(x),
    "elu": _elu,
    "selu": lambda x: _elu(x, 1.0507009873554805, 1.6732632423543772),
    "softplus": _SOFTPLUS,
    "mish": lambda x: x * np.tanh(_SOFTPLUS(x)),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "relu6": lambda x: np.clip(x, 0, 6),
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "hard_sigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "hard_silu": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "square": np.square,
    "relu²": lambda x: np.maximum(x, 0) ** 2,
    "sin": np.sin,
}


def _name(inner: np.ndarray, scale: float) -> str:
    for name, function in _KNOWN.items():
        if np.abs(inner - function(_INNER)).max() <= _TOLERANCE * scale:
            return name
    negative = inner[0] / _INNER[0]
    if np.abs(inner - negative * _INNER).max() <= _TOLERANCE * scale:
        return f"times {negative:.2g}"
    leaky = np.where(_INNER > 0, _INNER, negative * _INNER)
    if np.abs(inner - leaky).max() <= _TOLERANCE * scale:
        return f"leaky_relu({negative:.2g})"
    return "?"


def tail_function(run: Callable[[Any], Any], shape: tuple[int, ...], dtype: Any) -> Activation:
    """Describes a compiled function of an array of this shape, if it acts on entries one by one."""
    size = math.prod(shape)

    def on_grid(shift: int) -> np.ndarray:
        tiled = np.roll(GRID, shift)
        count = -(-GRID.size // size) * size
        parts = np.resize(tiled, count).reshape(-1, *shape)
        found = [np.asarray(run(part.astype(dtype)), np.float64).ravel() for part in parts]
        return np.roll(np.concatenate(found)[: GRID.size], -shift)

    first, again = on_grid(0), on_grid(7)
    if not np.allclose(first, again, rtol=1e-2, atol=1e-3, equal_nan=True):
        return MIXED
    return measure(lambda _: first)
