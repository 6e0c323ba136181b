"""What the tests of guards, loss scales and accumulation share: optimizers to wrap, gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optlab import core, optimizers, selectors
from optlab import transforms as t

NAN, INF = float("nan"), float("inf")


def schedule(count: Any) -> Any:
    """A learning rate that tells how often it was asked: 0.5, 0.25, ..."""
    return 0.5 ** (1.0 + count.astype(jnp.float32))


RECIPES = {name: getattr(optimizers, name) for name in optimizers.__all__}
OPTIMIZERS = {
    **{name: (lambda make=make: make(1e-2)) for name, make in RECIPES.items()},
    "scheduled chain": lambda: core.chain(
        t.clip_by_global_norm(1.0), t.accumulate_momentum(0.9), t.scale_by_learning_rate(schedule)
    ),
    "route": lambda: t.route(
        {selectors.path("kernel"): optimizers.adam(1e-2)}, optimizers.lion(1e-2)
    ),
    "optax.adamw": lambda: optax.adamw(1e-2),
    "chain with optax": lambda: core.chain(optax.trace(0.9), t.scale_by_learning_rate(0.1)),
}
FEW = ("adamw", "scheduled chain", "optax.adamw")


def every_optimizer(function: Any) -> Any:
    """A few by default, all recipes with the slow tests."""
    names = [n if n in FEW else pytest.param(n, marks=pytest.mark.slow) for n in OPTIMIZERS]
    return pytest.mark.parametrize("name", names)(function)


def params(dtype: Any = jnp.float32) -> dict[str, Any]:
    return {
        "kernel": jnp.linspace(-1, 1, 6).reshape(2, 3).astype(dtype),
        "bias": jnp.ones(3, dtype),
    }


def gradients(step: int = 0, dtype: Any = jnp.float32) -> dict[str, Any]:
    rng = np.random.default_rng(step)
    draw = {name: rng.normal(size=p.shape) for name, p in params().items()}
    return {name: jnp.asarray(g, dtype) for name, g in draw.items()}


def poisoned(value: float, step: int = 0, dtype: Any = jnp.float32) -> dict[str, Any]:
    """Gradients with one entry of a value."""
    good = gradients(step, dtype)
    return good | {"kernel": good["kernel"].at[1, 2].set(value)}


def bits(tree: Any) -> list[tuple[Any, bytes]]:
    """Every leaf to the bit, NaN payloads included."""
    return [(np.asarray(x).dtype, np.asarray(x).tobytes()) for x in jax.tree.leaves(tree)]


def is_zero(tree: Any) -> bool:
    return all(bool(jnp.all(x == 0)) for x in jax.tree.leaves(tree))


def moves(tree: Any) -> bool:
    return all(bool(jnp.any(x != 0)) for x in jax.tree.leaves(tree))
