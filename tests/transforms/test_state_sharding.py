"""state_sharding: a table of where every leaf of any state lies."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import NamedSharding, SingleDeviceSharding
from sharding_cases import (
    SPLIT,
    P,
    lies_on,
    make_mesh,
    needs_8_devices,
    placed,
    shapes,
)

import optlab as ol
from optlab import transforms as t

pytestmark = needs_8_devices
AUTO = make_mesh("auto") if jax.device_count() >= 8 else None


def specs(tree):
    return jax.tree.map(lambda s: tuple(s.spec), tree, is_leaf=lambda s: hasattr(s, "spec"))


def table(tx, params=None, given=SPLIT, mesh=AUTO):
    return t.state_sharding(tx, shapes() if params is None else params, given, mesh=mesh)


def test_state_in_a_parameters_shape_takes_its_sharding_and_counters_lie_everywhere():
    places = table(ol.chain(ol.clip_by_global_norm(1.0), ol.adam(lambda count: 0.1)))
    moments = places[1][0]
    assert specs(moments.first) == specs(moments.second) == {k: tuple(s) for k, s in SPLIT.items()}
    counters = (places[0], moments.first_weight, places[1][-1])
    assert all(place.is_fully_replicated for place in jax.tree.leaves(counters))


def test_rows_and_columns_of_a_square_matrix_keep_their_own_axis():
    second = table(ol.adafactor(min_dim_size_to_factor=2))[0].inner.second
    assert specs(second["kernel"]) == ((None,), ("model",))
    assert specs(second["odd"]) == ((None,), (None,))
    assert specs(second["bias"]) == ("model",)


def test_reduced_shapes_of_optax_follow_the_axes_that_fit():
    params = {"w": jax.ShapeDtypeStruct((32, 16), jnp.float32)}
    for tx in (optax.scale_by_factored_rms(min_dim_size_to_factor=2), optax.adafactor(0.1)):
        tx = ol.chain(tx)
        state = jax.eval_shape(tx.init, params)
        places = table(tx, params, P("data", "model"))
        by_shape = {(32,): ("data",), (16,): ("model",), (1,): (None,), (32, 16): ("data", "model")}
        for leaf, place in zip(jax.tree.leaves(state), jax.tree.leaves(places), strict=True):
            assert tuple(place.spec) == by_shape.get(leaf.shape, ())


def test_stacked_matrices_are_split_by_stack_row_and_column():
    params = {"layers": jax.ShapeDtypeStruct((6, 8, 4), jnp.float32)}
    mesh = make_mesh("auto", (2, 2, 2), ("stack", "row", "column"))
    places = table(
        ol.adafactor(min_dim_size_to_factor=2), params, P("stack", "row", "column"), mesh
    )
    assert specs(places[0].inner.second["layers"]) == (("stack", "row"), ("stack", "column"))


def test_scales_of_blocks_are_split_where_whole_blocks_are():
    params = {n: jax.ShapeDtypeStruct((8, n), jnp.float32) for n in (1024, 1536, 2048)}
    params = {str(n): p for n, p in params.items()}
    tx = ol.chain(
        optax.GradientTransformation(
            lambda ps: ({n: jnp.zeros((8, p.shape[1] // 512)) for n, p in ps.items()}),
            lambda *a: a[:2],
        )
    )
    places = table(tx, params, P("model", "data"))[0]
    assert specs(places) == {
        "1024": ("model", None),  # two blocks, four devices
        "1536": ("model", None),
        "2048": ("model", "data"),
    }


def test_masked_and_routed_states_are_found_by_their_path():
    masked = optax.masked(
        optax.trace(0.9), {"kernel": True, "bias": False, "odd": True, "scale": 0}
    )
    routed = t.route({ol.path("kernel"): ol.sgd(0.1, momentum=0.9)}, default=ol.adam(0.1))
    places = table(ol.chain(masked, routed))
    assert tuple(places[0].inner_state.trace["kernel"].spec) == (None, "model")
    groups = places[1].groups
    assert tuple(jax.tree.leaves(groups["path(kernel)"])[0].spec) == (None, "model")
    assert tuple(groups["default"][0].first["bias"].spec) == ("model",)


def test_the_innermost_of_tuples_counts():
    params = (shapes()["kernel"], shapes()["bias"])
    places = table(
        ol.chain(ol.accumulate_momentum(0.9), ol.freeze()), params, (P("data"), P("model"))
    )
    spread = [tuple(p.spec) for p in jax.tree.leaves(places)]
    assert spread == [("data",), ("model",), ()]  # the last is a count


@pytest.mark.parametrize("kind", ["auto", "explicit"])
def test_jitted_init_lands_where_the_table_says_also_from_shapes_alone(kind):
    mesh = make_mesh(kind)
    tx = ol.chain(optax.trace(0.9), ol.adafactor(min_dim_size_to_factor=2, momentum=0.9))
    with jax.set_mesh(mesh):
        params = placed(mesh, SPLIT)
        own, abstract = t.state_sharding(tx, params), table(tx, mesh=mesh)
        states = [jax.jit(tx.init)(params), jax.jit(tx.init, out_shardings=own)(params)]
    for state in states:
        for leaf, *places in zip(*map(jax.tree.leaves, (state, own, abstract)), strict=True):
            assert all(lies_on(leaf, place) for place in places)


def test_links_of_optax_in_a_chain_land_where_their_parameters_lie():
    tx = ol.chain(optax.scale_by_factored_rms(min_dim_size_to_factor=2), optax.scale_by_lbfgs(2))
    params = placed(AUTO, SPLIT)
    state = jax.jit(tx.init)(params)
    for leaf, place in zip(
        *map(jax.tree.leaves, (state, t.state_sharding(tx, params))), strict=True
    ):
        assert leaf.ndim == 0 or lies_on(leaf, place)


def test_one_sharding_serves_all_and_a_spec_of_names_splits_by_both():
    params = {
        "a": jax.ShapeDtypeStruct((16, 2), jnp.float32),
        "b": jax.ShapeDtypeStruct((8,), jnp.float32),
    }
    for given in (P(("data", "model")), NamedSharding(AUTO, P(("data", "model")))):
        places = table(ol.accumulate_momentum(0.9), params, given)
        assert {p.spec for p in jax.tree.leaves(places) if p.spec} == {P(("data", "model"))}
    device = SingleDeviceSharding(jax.devices()[0])
    assert set(jax.tree.leaves(table(ol.adafactor(), params, device, None))) == {device}


def test_nnx_states_are_unpacked():
    state = nnx.State({"dense": nnx.State({"kernel": nnx.Param(jnp.ones((16, 4)))})})
    given = {"dense": {"kernel": P("data")}}
    for tx in (ol.accumulate_momentum(0.9), optax.trace(0.9)):
        places = jax.tree.leaves(table(tx, state, given))
        assert [p.spec for p in places if p.spec] == [P("data")]


def test_a_tree_without_parameters_needs_a_mesh_for_its_counters():
    (place, *_) = jax.tree.leaves(table(ol.scale_by_learning_rate(0.1), {}, {}))
    assert place.is_fully_replicated
    with pytest.raises(ValueError, match="no mesh for the counters"):
        table(ol.scale_by_learning_rate(0.1), {}, {}, None)


def test_the_memory_of_a_sharding_is_kept_but_counters_stay_on_the_device():
    host = NamedSharding(AUTO, P("data"), memory_kind="pinned_host")
    params = {"w": jax.ShapeDtypeStruct((256, 128), jnp.float32)}
    places = table(ol.adafactor(), params, host)
    assert {p.memory_kind for p in jax.tree.leaves(places[0].inner.second)} == {"pinned_host"}
    assert places[-1].count.memory_kind != "pinned_host"


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({n: SPLIT[n] for n in ("kernel", "bias", "odd")}, ValueError, r"differ at 'scale'.*\(\)"),
        (SPLIT | {"more": P()}, ValueError, "differ at 'more'.*no parameter"),
        (SPLIT | {"bias": P("data", "model")}, ValueError, r"'bias' of shape \(24,\)"),
        (SPLIT | {"odd": P("data")}, ValueError, r"'odd' of shape \(3, 5\) cannot be split"),
        (SPLIT | {"odd": "data"}, TypeError, "'odd' must be a jax.sharding.NamedSharding"),
        (None, ValueError, "carries no sharding"),
        ("data", TypeError, "must be a jax.sharding.NamedSharding.*got 'data'"),
    ],
)
def test_shardings_that_do_not_fit_are_refused_by_path(given, error, message):
    with pytest.raises(error, match=message):
        table(ol.adam(0.1), given=given)


def test_specs_need_a_mesh():
    with pytest.raises(ValueError, match="pass mesh="):
        table(ol.adam(0.1), mesh=None)


def test_the_layouts_of_zero1_and_offload_are_told_wherever_they_stand():
    whole = {name: P() for name in SPLIT}
    mesh = make_mesh("auto", (8,), ("data",))
    inner = t.offload(t.zero1(ol.adam(0.1), mesh), where=ol.path("kernel"))
    for tx, at in (
        (inner, lambda s: s),
        (ol.chain(ol.clip_by_norm(1.0), inner), lambda s: s[1]),
        (optax.chain(optax.identity(), inner), lambda s: s[1]),
    ):
        moments = at(table(tx, given=whole, mesh=mesh)).inner.inner[0]
        assert specs(moments.first) == {
            "kernel": ("data", None),
            "bias": ("data",),
            "odd": (),
            "scale": (),
        }
        assert moments.second["kernel"].memory_kind == "pinned_host"
        assert moments.second["bias"].memory_kind != "pinned_host"


def test_a_table_does_not_change_how_the_next_state_is_made():
    mesh = make_mesh("auto", (8,), ("data",))
    tx = t.zero1(ol.adam(0.1), mesh)
    table(tx, given={name: P() for name in SPLIT}, mesh=mesh)
    first = tx.init(placed(mesh, {name: P() for name in SPLIT})).inner[0].first
    assert first["kernel"].addressable_shards[0].data.shape == (2, 16)


@pytest.mark.slow
def test_a_state_restored_by_its_table_is_in_place(tmp_path):
    checkpoint = pytest.importorskip("orbax.checkpoint")
    tx, params = ol.adafactor(min_dim_size_to_factor=2), placed(AUTO, SPLIT)
    state = jax.jit(tx.init)(params)
    targets = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
        jax.eval_shape(tx.init, shapes()),
        table(tx),
    )
    with checkpoint.StandardCheckpointer() as writer:
        writer.save(tmp_path / "state", state)
        writer.wait_until_finished()
        restored = writer.restore(tmp_path / "state", targets)
    for leaf, place in zip(*map(jax.tree.leaves, (restored, table(tx))), strict=True):
        assert lies_on(leaf, place)
    jax.tree.map(np.testing.assert_array_equal, restored, state)
