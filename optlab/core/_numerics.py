"""Numeric helpers: one precision policy, norms that cannot overflow, roots with finite gradients.

Leaf maths runs in float32, in float64 for float64 leaves and in the matching complex type; what a
caller gets back has the dtype of the parameters.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from optlab.core import _checks

PyTree = Any


@functools.cache
def compute_dtype(dtype: Any) -> np.dtype:
    """The dtype leaf maths uses: at least float32 (complex64), never narrower than the leaf."""
    dtype = jnp.dtype(dtype)
    if not jnp.issubdtype(dtype, jnp.inexact):
        return dtype
    return dtype if dtype.itemsize >= 4 else jnp.dtype(jnp.float32)


def promote(tree: PyTree) -> PyTree:
    """Every floating-point leaf in its compute dtype; shapes stand for arrays they describe."""
    return jax.tree.map(_promote_leaf, tree)


def _promote_leaf(leaf: Any) -> Any:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf.update(dtype=compute_dtype(leaf.dtype))
    if getattr(leaf, "dtype", None) == jax.dtypes.float0:
        return leaf
    leaf = jnp.asarray(leaf)
    # astype also makes a weakly typed leaf strong, so that no state inherits a weak type.
    return leaf.astype(compute_dtype(leaf.dtype))


def zeros_like(leaf: Any, dtype: Any = None) -> jax.Array:
    """Zeros with the shape *and the sharding* of a leaf, also under `jit`; a buffer of its own.

    Under `jit` on an Auto mesh a constant carries no sharding; selecting from the leaf lets the
    compiler's propagation see where it lives, at no cost in the compiled program.
    """
    dtype = leaf.dtype if dtype is None else dtype
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jnp.zeros(leaf.shape, dtype)
    leaf = jnp.asarray(leaf)
    leaf = leaf if jnp.issubdtype(dtype, jnp.complexfloating) else leaf.real
    leaf = leaf.astype(dtype)
    return jnp.where(jnp.zeros_like(leaf, bool), leaf, jnp.zeros((), dtype))


def full_like(leaf: Any, value: Any, dtype: Any = None) -> jax.Array:
    """A constant with the shape and sharding of a leaf."""
    zeros = zeros_like(leaf, dtype)
    return zeros + jnp.asarray(value, zeros.dtype)


def scalar(value: Any, dtype: Any) -> jax.Array:
    """A hyperparameter as a strongly typed scalar of the leaf's real dtype, never narrower.

    Callers hold leaves in their compute dtype, so a hyperparameter is at least float32.
    """
    dtype = real_dtype(dtype)
    if isinstance(value, int | float):  # a NumPy scalar is much cheaper to trace
        return dtype.type(value)  # type: ignore[return-value]
    return jnp.asarray(value, dtype)


def complement(value: Any, dtype: Any) -> jax.Array:
    """`1 - value`; a Python number is subtracted in float64 first: float32 1 - .999 is 5e-5 off."""
    if isinstance(value, jax.Array | np.ndarray):
        return 1 - scalar(value, dtype)
    return scalar(1 - value, dtype)


@functools.cache
def real_dtype(dtype: Any) -> np.dtype:
    """The dtype of a leaf's real part: complex64 -> float32."""
    return jnp.finfo(dtype).dtype if jnp.issubdtype(dtype, jnp.inexact) else jnp.dtype(jnp.float32)


def squared_magnitude(x: jax.Array) -> jax.Array:
    """`|x|²`, real also for complex leaves."""
    return jnp.real(x * jnp.conj(x)) if jnp.iscomplexobj(x) else x * x


def safe_sqrt(x: jax.Array) -> jax.Array:
    """`sqrt(x)` whose derivative at zero is zero instead of infinite."""
    positive = x > 0
    root = jnp.sqrt(jnp.where(positive, x, 1))
    return jnp.where(positive, root, jnp.where(x < 0, jnp.nan, lax.stop_gradient(x)))


def safe_divide(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    """`numerator / denominator`, and 0 where the denominator is 0, with finite derivatives."""
    nonzero = denominator != 0
    quotient = numerator / jnp.where(nonzero, denominator, jnp.ones_like(denominator))
    return jnp.where(nonzero, quotient, jnp.zeros_like(quotient))


def norm(x: jax.Array, axis: Any = None, keepdims: bool = False) -> jax.Array:
    """Euclidean norm that neither overflows nor underflows; derivative 0 at 0; NaN stays NaN."""
    x = jnp.asarray(x)
    x = x.astype(compute_dtype(x.dtype))
    scale = _Scale(jnp.max(jnp.abs(x), axis=axis, keepdims=True, initial=0.0))
    total = jnp.sum(squared_magnitude(scale.shrink(x)), axis=axis, keepdims=True)
    result = scale.restore(safe_sqrt(total))
    return result if keepdims else jnp.squeeze(result, axis)


class _Scale:
    """Multiplies and divides exactly by a power of two near `largest`; by 1 if it is 0, inf or NaN.

    In two factors, because the reciprocal of one would be flushed to 0 near 1e38; and by
    multiplication, because XLA joins two divisions into one.
    """

    def __init__(self, largest: jax.Array):
        largest = lax.stop_gradient(largest)
        usable = (largest > 0) & jnp.isfinite(largest)
        exponent = jnp.floor(jnp.log2(jnp.where(usable, largest, 1))).astype(jnp.int32)
        half = exponent // 2
        one = jnp.ones_like(largest)
        self.up = (jnp.ldexp(one, half), jnp.ldexp(one, exponent - half))
        self.down = (jnp.ldexp(one, -half), jnp.ldexp(one, half - exponent))

    def shrink(self, x: jax.Array) -> jax.Array:
        return x * self.down[0].astype(x.dtype) * self.down[1].astype(x.dtype)

    def restore(self, x: jax.Array) -> jax.Array:
        return x * self.up[0] * self.up[1]


class ScaledNorm(NamedTuple):
    """A Euclidean norm as a product that cannot overflow: `scale · root`.

    Attributes:
      scale: a power of two; 1 unless squares would overflow or underflow.
      root: the norm in units of `scale`; inf if an entry is infinite.
    """

    scale: jax.Array
    root: jax.Array

    def value(self) -> jax.Array:
        return self.scale * self.root


def global_norm(tree: PyTree) -> jax.Array:
    """Euclidean norm of all leaves together, in float32 (float64 if a leaf is).

    An infinite entry gives inf, a NaN gives NaN, an empty tree 0; the derivative at 0 is 0.
    """
    return scaled_norm(tree).value()


def scaled_norm(tree: PyTree) -> ScaledNorm:
    """`global_norm` in two factors.

    The plain sum of squares is used while it is far from overflow and underflow; only then, under
    `lax.cond`, is the tree read a second time.
    """
    leaves = [
        leaf.astype(compute_dtype(leaf.dtype))
        for leaf in map(jnp.asarray, jax.tree.leaves(tree))
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
    ]
    return ScaledNorm(*_scaled_norm(leaves))


@jax.custom_jvp
def _scaled_norm(leaves: list[jax.Array]) -> tuple[jax.Array, jax.Array]:
    dtype = widest(leaves)
    one = jnp.ones((), dtype)

    def sum_of_squares(factor=None):
        scaled = leaves if factor is None else [x * factor.astype(x.dtype) for x in leaves]
        return sum((jnp.sum(squared_magnitude(x)).astype(dtype) for x in scaled), 0 * one)

    def rescaled(total):
        # Squares of what is scaled by this cannot leave the range, whatever the entries.
        power = 80 if dtype.itemsize == 4 else 600
        scale = jnp.where(total < 1, one * 2.0**-power, one * 2.0**power)
        return scale, jnp.sqrt(sum_of_squares(1 / scale))

    total = sum_of_squares()
    tiny, huge = jnp.finfo(dtype).tiny ** 0.5, jnp.finfo(dtype).max ** 0.5
    ordinary = (total > tiny) & (total < huge)
    if _checks.is_concrete(total):  # outside of jit, lax.cond would compile both at every call
        return (one, jnp.sqrt(total)) if ordinary else rescaled(total)
    return lax.cond(ordinary, lambda t: (one, jnp.sqrt(t)), rescaled, total)


@_scaled_norm.defjvp
def _scaled_norm_jvp(primals, tangents):
    """`d root = <x, dx> / (scale² root)`, and 0 for zero leaves."""
    (leaves,), (dots,) = primals, tangents
    scale, root = _scaled_norm(leaves)
    divisor = jnp.where(root > 0, root, 1)

    def slope(x, dx):
        unit = x / scale.astype(x.dtype) / divisor.astype(x.dtype)
        return jnp.sum(jnp.real(jnp.conj(unit) * dx)).astype(root.dtype)

    parts = [slope(x, dx) for x, dx in zip(leaves, dots, strict=True)]
    change = sum(parts, jnp.zeros_like(root)) / scale
    return (scale, root), (jnp.zeros_like(scale), jnp.where(root > 0, change, 0))


def widest(leaves: list[jax.Array]) -> np.dtype:
    """float64 if any leaf is 64 bits wide (or complex128), else float32."""
    return max(
        (real_dtype(leaf.dtype) for leaf in leaves),
        key=lambda dtype: dtype.itemsize,
        default=jnp.dtype(jnp.float32),
    )


def increment(count: jax.Array) -> jax.Array:
    """`count + 1`, staying at the largest value of its dtype instead of wrapping round."""
    largest = jnp.asarray(jnp.iinfo(count.dtype).max, count.dtype)
    return jnp.where(count < largest, count + jnp.ones((), count.dtype), largest)


def saturate(gradient: jax.Array) -> jax.Array:
    """Entries bounded to 2**60 (float64: 2**500), so that sums of their squares stay finite.

    Without it one gradient of 1e25 makes a second moment infinite, and its parameter never moves
    again. An infinity counts as the bound; NaN stays NaN.
    """
    dtype = real_dtype(gradient.dtype)
    bound = np.asarray(2.0**60 if dtype.itemsize == 4 else 2.0**500, dtype)
    if jnp.iscomplexobj(gradient):
        return lax.complex(saturate(gradient.real), saturate(gradient.imag))
    return lax.clamp(-bound, gradient, bound)


def positions(like: jax.Array) -> jax.Array:
    """The number of each entry in row-major order, modulo 2**32, sharded like the array."""
    total, stride = jnp.zeros((), jnp.uint32), 1
    sharding = getattr(jax.typeof(like), "sharding", None)
    for axis in reversed(range(like.ndim)):
        places = lax.broadcasted_iota(jnp.uint32, like.shape, axis, out_sharding=sharding)
        total = total + places * np.uint32(stride & 0xFFFFFFFF)
        stride *= like.shape[axis]
    return total
