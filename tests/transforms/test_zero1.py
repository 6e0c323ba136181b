"""zero1: each device keeps its share of the state; parameters and numbers are as without."""

import json
import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from sharding_cases import (
    SPLIT,
    WHOLE,
    P,
    arrays,
    bytes_per_device,
    lies_on,
    make_mesh,
    needs_8_devices,
    placed,
)

import optlab as ol
from optlab import transforms as t

pytestmark = needs_8_devices
EIGHT = ((8,), ("data",))
DATA = np.random.default_rng(1).normal(size=(16, 16)).astype(np.float32)


def loss(params, batch):
    hidden = jnp.tanh(batch @ params["kernel"]) * params["scale"]
    return jnp.mean(hidden**2) + jnp.sum(params["bias"] ** 2) + jnp.sum(params["odd"] ** 2)


@jax.jit
def step(tx, params, state, batch):
    updates, state = tx.update(jax.grad(loss)(params, batch), state, params)
    return optax.apply_updates(params, updates), state


def train(tx, params, batch, steps=2):
    state = jax.jit(tx.init)(params)
    for _ in range(steps):
        params, state = step(tx, params, state, batch)
    return params, state


def on(mesh):
    return jax.device_put(DATA, NamedSharding(mesh, P("data")))


def check(tx_of, kind, specs=WHOLE, shape=EIGHT, declared=None, rtol=1e-6, steps=2):
    """Trains with and without; gives both states and the shares' mesh."""
    mesh = make_mesh(kind, *shape)
    with jax.set_mesh(mesh):
        params = placed(mesh, specs)
        tx = tx_of(lambda inner: t.zero1(inner, mesh, "data", param_sharding=declared))
        new, state = train(tx, params, on(mesh), steps)
        for name, leaf in new.items():
            assert lies_on(leaf, NamedSharding(mesh, specs[name]))
        table = t.state_sharding(tx, params)
    for leaf, place in zip(*map(jax.tree.leaves, (state, table)), strict=True):
        assert lies_on(leaf, place)
    plain = tx_of(lambda inner: inner)
    expected, plain_state = train(plain, arrays(), DATA, steps)
    for name, want in expected.items():
        np.testing.assert_allclose(new[name], want, rtol=rtol, atol=1e-7)
    return state, plain_state, table


def clipped_adamw(around):
    """One norm over all leaves is taken outside, one inside."""
    inside = ol.chain(ol.clip_by_global_norm(0.05), ol.adamw(1e-2))
    return ol.chain(ol.clip_by_global_norm(0.1), around(inside))


@pytest.mark.parametrize("kind", ["auto", "explicit"])
def test_training_is_as_without_at_an_eighth_of_the_state(kind):
    state, plain, table = check(clipped_adamw, kind)
    moments = state[1].inner[1][0]
    assert {s.data.shape for s in moments.first["kernel"].addressable_shards} == {(2, 16)}
    assert {s.data.shape for s in moments.second["bias"].addressable_shards} == {(3,)}
    assert {s.data.shape for s in moments.first["odd"].addressable_shards} == {(3, 5)}
    # Two moments of the kernel and the bias in eighths; what does not divide, whole.
    shared, whole = 2 * 4 * (16 * 16 + 24), 2 * 4 * (3 * 5 + 1)
    rest = bytes_per_device(plain) - shared - whole
    assert bytes_per_device(state) == shared // 8 + whole + rest
    unsplit = [
        jax.tree_util.keystr(path[-1:])
        for path, place in jax.tree_util.tree_leaves_with_path(table[1].inner[1][0].first)
        if place.is_fully_replicated
    ]
    assert unsplit == ["['odd']", "['scale']"]


@pytest.mark.parametrize("kind", ["auto", "explicit"])
def test_the_compiled_step_scatters_gradients_and_gathers_updates(kind):
    mesh = make_mesh(kind, *EIGHT)
    with jax.set_mesh(mesh):
        params = {"kernel": placed(mesh, WHOLE)["kernel"]}
        tx = t.zero1(ol.adam(1e-2), mesh)
        state = jax.jit(tx.init)(params)

        def linear(p, s, batch):
            grads = jax.grad(lambda p: jnp.mean((batch @ p["kernel"]) ** 2))(p)
            updates, s = tx.update(grads, s, p)
            return optax.apply_updates(p, updates), s

        text = jax.jit(linear).lower(params, state, on(mesh)).compile().as_text()

    def sizes(kind):
        return [
            tuple(map(int, dims.split(",")))
            for dims in re.findall(rf"= f32\[([\d,]+)\]\S* {kind}(?:-start)?\(", text)
        ]

    assert sizes("all-gather") == [(16, 16)]
    # XLA for CPU has no pass that joins the two: an all-reduce, then each takes its slice.
    scattered = (2, 16) in sizes("reduce-scatter")
    assert scattered or (
        (16, 16) in sizes("all-reduce") and re.search(r"dynamic_slice_sizes={(2,16|16,2)}", text)
    )


@pytest.mark.parametrize(
    "inner", [ol.sgd(0.1), ol.adam(0.1), ol.adamw(0.1)], ids=["sgd", "adam", "adamw"]
)
def test_parameters_keep_their_layout_through_a_scan_over_steps(inner):
    mesh = make_mesh("auto")
    place = NamedSharding(mesh, P("model"))
    params = jax.device_put(np.ones((32, 8), np.float32), place)
    tx = t.zero1(inner, mesh, param_sharding=place)

    def run(params):
        def step(carry, _):
            params, state = carry
            grads = jax.grad(lambda p: jnp.sum(p**2))(params)
            updates, state = tx.update(grads, state, params)
            return (params + updates, state), None

        return jax.lax.scan(step, (params, tx.init(params)), None, length=2)[0][0]

    assert lies_on(jax.jit(run)(params), place)


def test_partial_sums_of_gradients_are_taken_as_they_come():
    mesh = make_mesh("explicit", *EIGHT)
    with jax.set_mesh(mesh):
        weight = jax.device_put(jnp.ones((16, 8)), P())
        batch, tx = on(mesh), t.zero1(ol.adam(1e-2), mesh)

        def updated(unreduced):
            place = P(None, None, unreduced={"data"}) if unreduced else P(None, None)
            grads = jnp.einsum("bi,bo->io", batch, batch[:, :8], out_sharding=place)
            return tx.update(grads, tx.init(weight), weight)[0]

        np.testing.assert_allclose(
            jax.jit(updated, static_argnums=0)(True),
            jax.jit(updated, static_argnums=0)(False),
            rtol=1e-6,
        )


@pytest.mark.parametrize("kind", ["auto", pytest.param("explicit", marks=pytest.mark.slow)])
def test_what_the_model_axis_splits_is_split_further(kind):
    declared = SPLIT if kind == "auto" else None
    state, *_ = check(
        lambda around: around(ol.adam(1e-2)), kind, SPLIT, ((4, 2), ("data", "model")), declared
    )
    first = state.inner[0].first
    assert {s.data.shape for s in first["kernel"].addressable_shards} == {(4, 8)}
    assert {s.data.shape for s in first["bias"].addressable_shards} == {(12,)}  # no axis is left


@pytest.mark.slow
def test_moments_pass_through():
    check(
        lambda around: ol.chain(
            around(ol.accumulate_moments(second="factored", min_size=2)),
            around(ol.correct_bias()),
            ol.divide_by_rms(),
            ol.scale_by_learning_rate(0.1),
        ),
        "auto",
        rtol=1e-5,
    )


@pytest.mark.slow
def test_a_group_of_a_route_and_a_masked_part_may_be_split():
    def tx_of(around):
        groups = {ol.path("kernel"): around(ol.adam(1e-2))}
        mask = {"kernel": False, "bias": True, "odd": False, "scale": False}
        masked = optax.masked(around(optax.trace(0.9)), mask)
        return ol.chain(masked, t.route(groups, default=ol.sgd(0.1)))

    state, *_ = check(tx_of, "auto")
    assert len(state[0].inner_state.inner.trace["bias"].addressable_shards[0].data) == 3


def test_init_outside_of_jit_splits_too_and_axes_may_join():
    mesh = make_mesh("auto", (4, 2), ("data", "more"))
    state = t.zero1(ol.accumulate_momentum(0.9), mesh, ("data", "more")).init(placed(mesh, WHOLE))
    (kernel,) = (x for x in jax.tree.leaves(state) if x.ndim == 2 and x.size == 256)
    assert kernel.sharding.spec == P(("data", "more"), None)
    assert kernel.addressable_shards[0].data.shape == (2, 16)


def test_one_device_changes_nothing():
    mesh = jax.make_mesh((1,), ("data",), devices=jax.devices()[:1])
    plain, params = ol.sgd(1e-2, momentum=0.9), jax.tree.map(jnp.asarray, arrays())

    @jax.jit
    def updates(params):
        return [tx.update(params, tx.init(params))[0] for tx in (t.zero1(plain, mesh), plain)]

    with jax.set_mesh(mesh):
        jax.tree.map(np.testing.assert_array_equal, *updates(params))


def test_it_is_data():
    mesh = make_mesh("explicit", (4, 2))
    tx = t.zero1(ol.adam(1e-2), mesh, param_sharding=SPLIT)
    assert ol.hyperparameters(tx)["inner/scale_by_learning_rate/learning_rate"] == 1e-2
    for copy in (
        pickle.loads(pickle.dumps(tx)),
        ol.from_dict(json.loads(json.dumps(ol.to_dict(tx)))),
    ):
        assert copy == tx
        assert copy.link.mesh.mesh() == mesh
    assert "mesh(data=4, model=2)" in repr(tx)


def whole(**changes):
    return WHOLE | changes


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"axis": "batch"},
            ValueError,
            "axis must name axes of the mesh, 'data', 'model'.*'batch'",
        ),
        ({"axis": ()}, ValueError, "axis must name"),
        ({"mesh": "data"}, TypeError, "mesh must be a jax.sharding.Mesh, got 'data'"),
        ({"param_sharding": whole(odd="data")}, TypeError, "at 'odd' must be a PartitionSpec"),
        ({"param_sharding": {"kernel": P()}}, ValueError, "nothing for the parameter at 'bias'"),
        ({"param_sharding": P("model")}, ValueError, r"'bias' of shape \(24,\) lies on"),
    ],
)
def test_mistakes_are_named(options, error, message):
    mesh = make_mesh("auto")
    options = {"mesh": mesh} | options
    with pytest.raises(error, match=message):
        t.zero1(ol.adam(0.1), **options).init(placed(mesh, WHOLE))


def test_parameters_on_another_mesh_are_refused():
    tx = t.zero1(ol.adam(0.1), make_mesh("auto", *EIGHT))
    with pytest.raises(ValueError, match=r"lies on a mesh of .*'model': 2"):
        tx.init(placed(make_mesh("auto"), WHOLE))
    other = NamedSharding(make_mesh("auto"), PartitionSpec())
    with pytest.raises(ValueError, match="Use one mesh"):
        t.zero1(ol.adam(0.1), make_mesh("auto", *EIGHT), param_sharding=other)


def test_shard_map_is_refused():
    mesh = make_mesh("auto", *EIGHT)
    tx = t.zero1(ol.adam(0.1), mesh)
    inside = jax.shard_map(tx.init, mesh=mesh, in_specs=P(), out_specs=P(), check_vma=False)
    with pytest.raises(ValueError, match="inside shard_map"):
        jax.jit(inside)(jnp.ones((8, 8)))
