"""The problem that every optimizer of the parity suite is run on, and how two runs are compared.

A noisy quadratic over a matrix, a vector and a scalar. Its gradients are made to tell rules apart:
slopes of different size, one entry without gradient at first (0 / 0), and one spike that a running
maximum remembers, a clip bounds and a scale-free method ignores.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optlab import core

Tree = dict[str, Any]
Gradient = Callable[[Tree, int], Tree]

RECORDED = (1, 2, 6, 20, 100)  # steps; the last is the length of a run
STEPS = RECORDED[-1]
SPIKE = 8
SILENT = 3  # steps in which one entry has no gradient
SHAPES = {"kernel": (4, 3), "bias": (3,), "scalar": ()}


def _uniform(seed: int, low: float, high: float, *leading: int) -> Tree:
    """Numbers that are the same on every machine and version, and exact in float32."""
    source = random.Random(seed)

    def draw(shape):
        values = [low + (high - low) * source.random() for _ in range(int(np.prod(shape)))]
        return np.array(values, np.float32).astype(np.float64).reshape(shape)

    return {name: draw((*leading, *shape)) for name, shape in SHAPES.items()}


START = _uniform(1, -2.0, 2.0)
TARGET = _uniform(2, -1.0, 1.0)
SLOPE = _uniform(3, 0.1, 3.0)
NOISE = _uniform(4, -1.0, 1.0, STEPS)


def gradient(params: Tree, step: int) -> Tree:
    """The float64 gradient of update number `step` (from 1), whatever the parameters' dtype."""
    g = {}
    for name, p in params.items():
        g[name] = SLOPE[name] * (np.asarray(p, np.float64) - TARGET[name]) + NOISE[name][step - 1]
        if step == SPIKE:
            g[name] = 20.0 * g[name]
    if step <= SILENT:
        g["bias"][0] = 0.0
    return g


class Decaying(core.Record):
    """The schedule `peak_value / (1 + count / 10)`, with a peak that decay can ask for."""

    peak_value: Any = core.data()

    def __call__(self, count: Any) -> Any:
        return self.peak_value / (1 + jnp.asarray(count, jnp.result_type(float)) / 10)

    def peak(self) -> Any:
        return self.peak_value


def decaying(peak: float) -> Callable[[Any], jax.Array]:
    """The same for Optax, whose schedules are plain functions."""
    return lambda count: Decaying(peak)(count)


def run_reference(trajectory: Callable[[Tree, Gradient], Iterator[Tree]]) -> list[Tree]:
    """Parameters at the recorded steps."""
    start = {name: np.array(p) for name, p in START.items()}
    steps = itertools.islice(trajectory(start, gradient), STEPS)
    return [dict(p) for t, p in enumerate(steps, start=1) if t in RECORDED]


def run_transformation(tx: Any, dtype: Any, *, promotion: str = "strict") -> list[Tree]:
    """Parameters at the recorded steps of an optlab or Optax transformation."""
    rank_promotion = "raise" if promotion == "strict" else "allow"
    with (
        jax.enable_x64(np.dtype(dtype).itemsize == 8),
        jax.numpy_dtype_promotion(promotion),
        jax.numpy_rank_promotion(rank_promotion),
    ):
        params = {name: np.asarray(p, dtype) for name, p in START.items()}
        state, update, recorded = tx.init(jax.tree.map(jnp.asarray, params)), jax.jit(tx.update), []
        for t in range(1, STEPS + 1):
            g = {name: np.asarray(leaf, dtype) for name, leaf in gradient(params, t).items()}
            updates, state = update(g, state, params)
            params = {name: p + np.asarray(updates[name]) for name, p in params.items()}
            if t in RECORDED:
                recorded.append(params)
    return recorded


def difference(a: list[Tree], b: list[Tree]) -> float:
    """The largest `|a - b| / max(1, |b|)` over recorded steps, leaves and entries."""
    return max(
        float(np.max(np.abs(x[name] - y[name]) / np.maximum(1.0, np.abs(y[name]))))
        for x, y in zip(_wide(a), _wide(b), strict=True)
        for name in SHAPES
    )


def distance(run: list[Tree]) -> float:
    """How far the leaf that moved least has moved: the least over leaves of its largest change."""
    return min(
        max(float(np.max(np.abs(params[name] - START[name]))) for params in _wide(run))
        for name in SHAPES
    )


def _wide(run: list[Tree]) -> list[Tree]:
    return [{name: np.asarray(p, np.float64) for name, p in params.items()} for params in run]
