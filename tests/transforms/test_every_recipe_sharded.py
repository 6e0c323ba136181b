"""Recipes x wrappers x meshes: state lies where the table says, numbers are as on one device.

By default a few stand for all.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding
from sharding_cases import P, lies_on, make_mesh, needs_8_devices
from transform_cases import quick

import optlab as ol
from optlab import optimizers, storage
from optlab import transforms as t

pytestmark = needs_8_devices

RECIPES = {
    "adafactor": {"min_dim_size_to_factor": 2, "momentum": 0.9, "weight_decay": 0.01},
    "rmsprop": {"centered": True, "momentum": 0.5},
    "sgd": {"momentum": 0.9},
}
LEARNING_RATE = 0.01
SPECS = {"kernel": P("data", "model"), "tall": P("model"), "bias": P("model"), "odd": P()}
SIZES = {"kernel": (16, 512), "tall": (32, 8), "bias": (16,), "odd": (3,)}


def recipe(name):
    return getattr(optimizers, name)(LEARNING_RATE, **RECIPES.get(name, {}))


WRAPPED = {
    "accumulated": lambda: t.accumulate_gradients(ol.adamw(LEARNING_RATE), 2),
    "averaged": lambda: t.average_params(ol.adamw(LEARNING_RATE)),
    "guarded": lambda: t.guard(ol.adamw(LEARNING_RATE)),
    "stored": lambda: t.store(
        ol.adamw(LEARNING_RATE), {"first": storage.int8(), "second": storage.int8()}
    ),
    "routed": lambda: t.route(
        {ol.path("kernel"): recipe("adafactor")}, default=ol.adam(LEARNING_RATE)
    ),
    "masked": lambda: ol.chain(
        optax.masked(optax.trace(0.9), {"kernel": True, "tall": False, "bias": True, "odd": False}),
        ol.scale_by_learning_rate(LEARNING_RATE),
    ),
    "clipped": lambda: ol.chain(ol.clip_by_global_norm(0.1), ol.adamw(LEARNING_RATE)),
    "optax": lambda: ol.chain(optax.adafactor(LEARNING_RATE, min_dim_size_to_factor=2)),
}
CASES = {name: lambda name=name: recipe(name) for name in optimizers.__all__} | WRAPPED
DEFAULT = {("stored", "auto"), ("accumulated", "explicit")}


def tree(seed):
    rng = np.random.default_rng(seed)
    return {n: np.asarray(rng.normal(size=s), np.float32) for n, s in SIZES.items()}


def put(mesh, seed):
    return {n: jax.device_put(x, NamedSharding(mesh, SPECS[n])) for n, x in tree(seed).items()}


def run(tx, params, *gradients):
    state = tx.init(params)
    for gradient in gradients:
        updates, state = tx.update(gradient, state, params)
        params = jax.tree.map(jnp.add, params, updates)
    return params, state


def cases():
    for name in CASES:
        for kind in ("auto", "explicit"):
            slow = () if (name, kind) in DEFAULT else (pytest.mark.slow,)
            yield pytest.param(name, kind, marks=slow)


@pytest.mark.parametrize(("name", "kind"), [*cases()])
def test_zero1_changes_where_not_what(name, kind):
    mesh = make_mesh(kind, (2, 2, 2), ("replica", "data", "model"))
    tx = CASES[name]()
    want = quick(run)(tx, tree(0), tree(1), tree(2))[0]
    with jax.set_mesh(mesh):
        params, gradients = put(mesh, 0), (put(mesh, 1), put(mesh, 2))
        split = t.zero1(tx, mesh, "replica", param_sharding=SPECS if kind == "auto" else None)
        for each in (tx, split):
            table = t.state_sharding(each, params)
            state = jax.jit(each.init)(params)
            for leaf, place in zip(*map(jax.tree.leaves, (state, table)), strict=True):
                assert leaf.ndim == 0 or lies_on(leaf, place)
        got, state = quick(run)(split, params, *gradients)
    for leaf, place in zip(*map(jax.tree.leaves, (state, table)), strict=True):
        assert lies_on(leaf, place)
    for name in want:
        assert lies_on(got[name], NamedSharding(mesh, SPECS[name]))
        np.testing.assert_allclose(got[name], want[name], rtol=1e-5, atol=1e-6)
