"""Every recipe with all of its numbers in play, and the one jitted step all tests share."""

from __future__ import annotations

import collections
import inspect
from typing import Any

import jax
import jax.numpy as jnp

import optlab as ol
from optlab import optimizers

# Arguments besides the defaults; each descends a quadratic. No eps is so small that it drowns.
RECIPES: dict[str, dict[str, Any]] = {
    "adabelief": {"learning_rate": 0.1, "b2": 0.9, "eps": 0.01, "eps_root": 0.01},
    "adadelta": {"learning_rate": 1.0, "eps": 0.1},
    "adafactor": {
        "learning_rate": 0.1,
        "clipping_threshold": 0.5,
        "min_scale": 3.0,
        "eps": 0.01,
        "min_dim_size_to_factor": 2,
        "momentum": 0.5,
        "weight_decay": 0.01,
    },
    "adagrad": {
        "learning_rate": 0.5,
        "initial_accumulator_value": 0.1,
        "eps": 0.1,
        "eps_root": 0.1,
    },
    "adam": {"learning_rate": 0.1, "b2": 0.9, "eps": 0.01, "eps_root": 0.01},
    "adamax": {"learning_rate": 0.1, "b2": 0.9, "eps": 0.01},
    "adamw": {"learning_rate": 0.1, "b2": 0.9, "eps": 0.01, "eps_root": 0.01, "weight_decay": 0.01},
    "amsgrad": {"learning_rate": 0.1, "b2": 0.9, "eps": 0.01, "eps_root": 0.01},
    "lamb": {"learning_rate": 0.05, "b2": 0.9, "eps": 0.01, "eps_root": 0.01, "weight_decay": 0.01},
    "lars": {"learning_rate": 1.0, "weight_decay": 0.01, "trust_coefficient": 0.02, "eps": 0.01},
    "lion": {"learning_rate": 0.05, "b2": 0.8, "weight_decay": 0.01},
    "nadam": {
        "learning_rate": 0.1,
        "b2": 0.9,
        "eps": 0.01,
        "eps_root": 0.01,
        "momentum_decay": 0.1,
    },
    "radam": {"learning_rate": 0.1, "b2": 0.9, "eps": 0.01},
    "rmsprop": {
        "learning_rate": 0.05,
        "eps": 0.01,
        "eps_root": 0.1,
        "initial_scale": 0.1,
        "centered": True,
        "momentum": 0.5,
        "bias_correction": True,
    },
    "sgd": {"learning_rate": 0.1, "momentum": 0.5, "dampening": 0.2, "l2": 0.01},
    "yogi": {"learning_rate": 0.1, "b2": 0.9, "eps": 0.01, "initial_accumulator_value": 0.1},
}
DECAY = {"adafactor": "weight_decay", "sgd": "l2"} | dict.fromkeys(
    ["adamw", "lamb", "lars", "lion"], "weight_decay"
)
PARAMS = {"matrix": [[2.0, -1.0], [0.5, 1.5]], "vector": [-0.5, 3.0], "scalar": -2.0}
traces: collections.Counter[str] = collections.Counter()


def recipe(name: str, **changes: Any) -> ol.Transformation:
    return getattr(optimizers, name)(**RECIPES[name] | changes)


def numbers(name: str) -> dict[str, float]:
    """The numeric arguments of a recipe, defaults included."""
    defaults = {
        k: p.default for k, p in inspect.signature(getattr(optimizers, name)).parameters.items()
    }
    return {k: v for k, v in (defaults | RECIPES[name]).items() if type(v) is float}


def params() -> Any:
    return {name: jnp.asarray(value, float) for name, value in PARAMS.items()}


def gradient(p: Any) -> Any:
    """Of |p - 1|² / 2."""
    return jax.tree.map(lambda x: x - 1, p)


def plain_step(tx: Any, g: Any, state: Any, p: Any) -> tuple[Any, Any]:
    updates, state = tx.update(g, state, p)
    return jax.tree.map(lambda x, u: x + u, p, updates), state


@jax.jit
def step(tx: Any, g: Any, state: Any, p: Any) -> tuple[Any, Any]:
    """One compile for each structure of transformation, whatever its numbers."""
    traces[str(jax.tree.structure(tx))] += 1
    return plain_step(tx, g, state, p)


def run(tx: Any, steps: int, *, slopes: float = 1.0) -> list[Any]:
    """Parameters after each step on the quadratic."""
    p, trajectory = params(), []
    state = tx.init(p)
    for _ in range(steps):
        p, state = step(tx, jax.tree.map(lambda x: slopes * x, gradient(p)), state, p)
        trajectory.append(p)
    return trajectory


def loss(p: Any) -> jax.Array:
    return sum(jnp.sum((x - 1) ** 2) for x in jax.tree.leaves(p)) / 2
