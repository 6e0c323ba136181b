"""Parameters in groups, and ways to step through them."""

import jax
import optax

from optlab.core import (
    chain,
)
from optlab.selectors import heads, kernels, norms
from optlab.transforms import (
    accumulate_moments,
    correct_bias,
    divide_by_rms,
    scale,
    scale_by_learning_rate,
)
from optlab.transforms._route import route


def params_like(seed=0):
    keys = iter(jax.random.split(jax.random.key(seed), 6))
    normal = lambda *shape: jax.random.normal(next(keys), shape)  # noqa: E731
    return {
        "Dense_0": {"kernel": normal(2, 3), "bias": normal(3)},
        "norm": {"scale": normal(3), "bias": normal(3)},
        "head": {"kernel": normal(3, 2), "bias": normal(2)},
    }


PARAMS = params_like()


def adam(learning_rate, **kwargs):
    return chain(
        accumulate_moments(**kwargs),
        correct_bias(),
        divide_by_rms(),
        scale_by_learning_rate(learning_rate),
    )


THREE = route({kernels & ~heads: adam(0.1), norms: optax.sgd(0.2)}, default=scale(-0.5))


def steps(tx, params, count=3):
    state = tx.init(params)
    update = jax.jit(tx.update)
    for seed in range(count):
        updates, state = update(params_like(seed + 1), state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def part(tree, place):
    for key in place.split("/"):
        tree = tree[key]
    return tree
