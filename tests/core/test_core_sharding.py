"""Sharding: state lives where its parameter lives, and the result is that of one device."""

import chex
import jax
import jax.numpy as jnp
import optax
import pytest
from core_links import decay, ema, scale, signature
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import optlab as ol
from optlab import core


def sentence():
    return core.chain(
        ol.clip_by_global_norm(0.5), ema(0.9), optax.trace(0.9), decay(0.01), scale(-0.1)
    )


def tree():
    rows = jnp.linspace(-1, 1, 64, dtype=jnp.float32).reshape(16, 4)
    return {"w": rows, "b": jnp.linspace(0, 1, 8, dtype=jnp.float32)}


@pytest.fixture(params=[AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])
def mesh(request):
    if jax.device_count() < 8:
        pytest.skip("needs 8 devices; see tests/conftest.py")
    return jax.make_mesh((8,), ("x",), axis_types=(request.param,))


def shard(mesh):
    specs = {"w": PartitionSpec("x", None), "b": PartitionSpec("x")}
    return jax.tree.map(lambda a, s: jax.device_put(a, NamedSharding(mesh, s)), tree(), specs)


def specs(tree):
    """PartitionSpecs, None for an axis that is not sharded."""
    return jax.tree.map(lambda x: (*x.sharding.spec, *[None] * x.ndim)[: x.ndim], tree)


def test_jitted_init_gives_state_the_sharding_of_its_parameter(mesh):
    with jax.set_mesh(mesh):
        params = shard(mesh)
        state = jax.jit(sentence().init)(params)
        assert specs(state[1].mean) == specs(params) == {"w": ("x", None), "b": ("x",)}
        for counter in jax.tree.leaves((state[0], state[3])):
            assert counter.sharding.is_fully_replicated
        assert signature(jax.eval_shape(sentence().init, params)) == signature(state)


def test_eager_init_gives_state_the_sharding_of_its_parameter(mesh):
    with jax.set_mesh(mesh):
        params = shard(mesh)
        state = sentence().init(params)
        assert specs(state[1].mean) == specs(params)
        assert specs(state[2].trace) == specs(params)


def test_sharded_steps_equal_those_of_one_device(mesh):
    def two_steps(tx, params, grads, state):
        for _ in range(2):
            updates, state = tx.update(grads, state, params)
            params = optax.apply_updates(params, updates)
        return params, state

    run = jax.jit(two_steps)
    tx = sentence()
    expected = run(tx, tree(), tree(), tx.init(tree()))
    with jax.set_mesh(mesh):
        params = shard(mesh)
        result = run(tx, params, params, jax.jit(tx.init)(params))
        assert specs(result[0]) == specs(params)
        assert specs(result[1][1].mean) == specs(params)
    chex.assert_trees_all_close(jax.device_get(result), jax.device_get(expected), rtol=1e-6)


def test_zeros_compile_to_a_constant_and_do_not_read_the_parameter(mesh):
    with jax.set_mesh(mesh):
        compiled = jax.jit(ema(0.9).init).lower(shard(mesh)).compile()
    text = compiled.as_text()
    assert "select" not in text
    assert "broadcast" in text or "constant" in text
