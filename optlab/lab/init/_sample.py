"""Draws without a compilation: the same laws as the initializers', from NumPy's generator.

A report needs dozens of draws of one kind and no particular one; compiling a sampler for every
shape of kernel would take longer than all the rest of it.
"""

from __future__ import annotations

import math
import zlib
from typing import Any

import jax
import numpy as np

from optlab import initializers


def sample(initializer: Any, seed: int, path: str, shape: tuple[int, ...], dtype: Any) -> Any:
    """An array by the law of an initializer whose axes are told."""
    generator = np.random.default_rng([seed, zlib.crc32(path.encode())])
    factor = 1.0
    while isinstance(initializer, initializers.scaled):
        factor, initializer = factor * float(initializer.factor), initializer.initializer
    if isinstance(initializer, initializers.variance_scaling):
        spread = math.sqrt(initializer.variance(shape))
        array = spread * _standard(generator, initializer.distribution, shape)
    elif isinstance(initializer, initializers.orthogonal):
        array = float(initializer.scale) * _orthogonal(generator, initializer, shape)
    else:
        key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(path.encode()))
        array = np.asarray(initializer(key, shape))
    return (factor * array).astype(dtype)


def _standard(generator: Any, distribution: str, shape: tuple[int, ...]) -> np.ndarray:
    """Mean 0, variance 1."""
    if distribution == "uniform":
        return generator.uniform(-math.sqrt(3), math.sqrt(3), shape)
    z = generator.standard_normal(shape)
    if distribution == "normal":
        return z
    while (outside := np.abs(z) > 2).any():
        z[outside] = generator.standard_normal(int(outside.sum()))
    return z / math.sqrt(initializers.truncated_normal(1.0).variance(()))


def _orthogonal(generator: Any, initializer: Any, shape: tuple[int, ...]) -> np.ndarray:
    axes = initializers.Axes(
        *(
            (axis,) if isinstance(axis, int) else tuple(axis or ())
            for axis in (initializer.in_axis, initializer.out_axis, initializer.batch_axis)
        )
    )
    order = (*axes.batch_axis, *axes.receptive(shape), *axes.in_axis, *axes.out_axis)
    moved = [shape[i] for i in order]
    outputs = math.prod(shape[i] for i in axes.out_axis)
    stacks = math.prod(shape[i] for i in axes.batch_axis)
    inputs = math.prod(shape) // max(outputs * stacks, 1)
    z = generator.standard_normal((stacks, max(inputs, outputs), min(inputs, outputs)))
    q, r = np.linalg.qr(z)
    q = q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None]  # uniform over such matrices
    q = q if inputs >= outputs else q.transpose(0, 2, 1)
    return q.reshape(moved).transpose(np.argsort(order))
