"""Data-dependent unit variance: every layer reached, order found, errors named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from flax.traverse_util import flatten_dict

from optlab import initializers
from optlab.initializers import lsuv

KEY = jax.random.key(0)
BATCH = 3.0 + 2.0 * jax.random.normal(jax.random.key(1), (64, 8))


class Deep(nn.Module):
    @nn.compact
    def __call__(self, x):
        for width in (16, 16, 16):
            x = nn.gelu(nn.Dense(width)(x))
        return nn.Dense(4, name="A_head")(x)  # sorts before the layers it depends on


def deep_apply(params, batch):
    _, state = Deep().apply(
        {"params": params}, batch, capture_intermediates=True, mutable=["intermediates"]
    )
    outputs = flatten_dict(state["intermediates"], sep="/")
    return {f"{k[:-9]}/kernel": y[0] for k, y in outputs.items() if k != "__call__"}


def chain_apply(params, batch):
    """Three layers in a row, the last one first in the alphabet."""
    c = batch @ params["c"]
    b = jax.nn.relu(c) @ params["b"]
    return {"a": jax.nn.relu(b) @ params["a"], "b": b, "c": c}


CHAIN = {"a": jnp.ones((8, 8)), "b": jnp.ones((8, 8)), "c": jnp.ones((8, 8))}


def test_every_layer_of_a_linen_model_gets_unit_variance():
    params = Deep().init(KEY, BATCH)["params"]
    new = lsuv(KEY, deep_apply, params, BATCH)
    outputs = deep_apply(new, BATCH)
    assert len(outputs) == 4
    for path, y in outputs.items():
        assert y.var() == pytest.approx(1, abs=0.01), path
    # Still orthogonal, and nothing but the kernels has changed.
    kernel = np.asarray(new["Dense_1"]["kernel"])
    gram = kernel.T @ kernel
    np.testing.assert_allclose(gram / gram[0, 0], np.eye(16), atol=1e-5)
    assert new["Dense_1"]["bias"] is params["Dense_1"]["bias"]
    assert float(deep_apply(params, BATCH)["A_head/kernel"].var()) != pytest.approx(1, abs=0.1)


def test_the_order_of_the_dict_does_not_matter():
    new = lsuv(KEY, chain_apply, CHAIN, BATCH)
    for y in chain_apply(new, BATCH).values():
        assert y.var() == pytest.approx(1, abs=0.01)


def test_given_parameters_can_be_scaled_as_they_are():
    params = jax.tree.map(lambda w: jax.random.normal(KEY, w.shape), CHAIN)
    new = lsuv(KEY, chain_apply, params, BATCH, initializer=None, tolerance=1e-4)
    ratio = np.asarray(new["b"] / params["b"])
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-6)
    assert chain_apply(new, BATCH)["a"].var() == pytest.approx(1, abs=1e-4)


def test_nnx_state_and_bfloat16_are_kept():
    dtypes = {"dtype": jnp.bfloat16, "param_dtype": jnp.bfloat16}
    model = nnx.Linear(8, 16, **dtypes, rngs=nnx.Rngs(0))
    graph, state = nnx.split(model)

    def apply(state, batch):
        return {"kernel": nnx.merge(graph, state)(batch)}

    new = lsuv(KEY, apply, state, BATCH)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    assert new["kernel"].get_value().dtype == jnp.bfloat16
    assert apply(new, BATCH)["kernel"].astype(jnp.float32).var() == pytest.approx(1, abs=0.02)


def test_each_layer_of_a_stack_is_scaled_alone():
    def apply(params, batch):
        def layer(x, kernel):
            y = x @ kernel
            return jnp.tanh(y), y

        return {"stack": jax.lax.scan(layer, batch, params["stack"])[1]}

    new = lsuv(KEY, apply, {"stack": jnp.ones((3, 8, 8))}, BATCH, stacked={"stack": 1})
    np.testing.assert_allclose(apply(new, BATCH)["stack"].var((1, 2)), 1, atol=0.01)
    norms = np.linalg.norm(new["stack"], axis=(1, 2))
    assert len(set(norms.round(3))) == 3


def test_shardings_are_kept():
    mesh = jax.make_mesh((4,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, "x"))
    params = jax.device_put(CHAIN, sharding)
    new = lsuv(KEY, chain_apply, params, BATCH)
    assert all(w.sharding.is_equivalent_to(sharding, 2) for w in new.values())
    np.testing.assert_allclose(new["c"], lsuv(KEY, chain_apply, CHAIN, BATCH)["c"], rtol=1e-5)


def twice(params, batch):
    return {"a": jax.nn.relu(batch @ params["a"]) @ params["a"], "b": batch @ params["b"]}


def crossed(params, batch):
    a = (batch + 0.1 * batch @ params["b"]) @ params["a"]
    return {"a": a, "b": 5 * (batch @ params["a"]) @ params["b"]}


def biased(params, batch):
    return {"a": batch @ params["a"] + jnp.arange(8.0)[None]}


BAD = [
    (lambda p, x: {"d": x @ p["a"]}, {}, ValueError, "apply names 'd', which is no parameter"),
    (lambda p, x: x @ p["a"], {}, TypeError, "must return a dict"),
    (lambda p, x: {}, {}, TypeError, "at least one entry"),
    (lambda p, x: {"a": x @ (0 * p["a"])}, {}, ValueError, "output of 'a' has variance 0.0"),
    (lambda p, x: {"a": x @ p["a"] / 0}, {}, ValueError, "output of 'a' has variance nan"),
    (biased, {}, ValueError, "variance of 'a' is .* after 10 iterations. Large biases"),
    (twice, {}, ValueError, "or a kernel used more than once, keep it from 1"),
    (crossed, {}, ValueError, "became .* when other layers were scaled"),
    (chain_apply, {"stacked": {"a": 1}, "initializer": None, "batch": BATCH[:5]}, ValueError,
     r"'a' is a stack of shape \(8,\)"),
    (chain_apply, {"tolerance": 0}, ValueError, "tolerance must be"),
    (chain_apply, {"max_iterations": 0}, ValueError, "max_iterations must be"),
]  # fmt: skip


@pytest.mark.parametrize(("apply", "options", "kind", "message"), BAD)
def test_bad_input_is_named(apply, options, kind, message):
    options = {"initializer": initializers.orthogonal(in_axis=0, out_axis=1), **options}
    batch = options.pop("batch", BATCH)
    with pytest.raises(kind, match=message):
        lsuv(KEY, apply, CHAIN, batch, **options)
