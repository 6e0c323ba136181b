"""Checkpoints: bit for bit, wherever they are read; kept, refused, set aside, never overwritten."""

import functools
import hashlib
import json
import os
import pathlib
import pickle
import sys
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import optlab as ol
from optlab.training._checkpoints import Checkpoints, DamageError
from optlab.training._manifest import Manifest, MismatchError


def small(value=0.0):
    return {"w": jnp.arange(6.0).reshape(2, 3) + value, "key": jax.random.key(3)}


def bits(tree):
    """Type and bytes of each leaf."""

    def one(x):
        if hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return str(x.dtype), np.asarray(jax.random.key_data(x)).tobytes()
        return type(x).__name__, str(np.asarray(x).dtype), np.asarray(x).tobytes()

    return jax.tree.map(one, tree)


def contents(folder):
    """Of every file under a folder, its digest."""
    files = sorted(p for p in pathlib.Path(folder).rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).digest() for p in files}


def written(folder, steps, metrics=None, **options):
    """A closed folder with these steps; the state of step s is `small(s)`."""
    with Checkpoints(folder, **options) as checkpoints:
        for i, step in enumerate(steps):
            checkpoints.save(small(step), step, metric=metrics[i] if metrics else None)
    return folder


# --- what is saved comes back


def test_every_kind_of_leaf_comes_back_bit_for_bit(tmp_path):
    dtypes = "int4 uint4 float4_e2m1fn float8_e4m3fn bfloat16 complex64"
    nan = np.array([0x7FC00001, 0x80000000, 0xFFFFFFFF], np.uint32).view(np.float32)
    state = {
        **{name: jnp.asarray([1, 0, 1]).astype(name) for name in dtypes.split()},
        "bits": jnp.asarray(nan),
        "bool": jnp.array([True, False]),
        "empty": (jnp.zeros((0, 3)), np.zeros((2, 0), np.int32), jax.random.split(ol_key(), 0)),
        "keys": (ol_key(), jax.random.split(ol_key(), 3), jax.random.key(1, impl="rbg")),
        "legacy key": jax.random.PRNGKey(0),
        "numpy": (np.arange(3.0), np.float32(2), np.asarray([1, -2], jnp.int4)),
        "python": (7, 2.5, True, -0.0),
        "scalar": jnp.zeros(()),
        "nothing": None,
    }
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, 0)
        found = checkpoints.restore(state)
    assert jax.tree.structure(found) == jax.tree.structure(state)
    assert bits(found) == bits(state)


def ol_key():
    return jax.random.key(7)


def test_the_state_may_be_a_single_array_or_have_no_entries(tmp_path):
    for number, state in enumerate((jnp.arange(3), {"empty": jnp.zeros((0,))})):
        with Checkpoints(tmp_path / str(number)) as checkpoints:
            checkpoints.save(state, 1)
            chex.assert_trees_all_equal(checkpoints.restore(state), state)


def test_an_optimizer_goes_on_as_if_it_had_not_stopped(tmp_path):
    eight = ol.storage.int8()
    adamw = ol.store(ol.adamw(1e-2), {"first": eight, "second": eight}, min_size=1)
    tx = ol.chain(ol.clip_by_global_norm(1.0), adamw)
    params = {"dense": {"kernel": jnp.ones((3, 256)), "bias": jnp.zeros(256)}}

    @jax.jit
    def step(state):
        params, opt_state = state
        gradients = jax.tree.map(jnp.cos, params)
        updates, opt_state = tx.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    state = step((params, tx.init(params)))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, 1)
        for like in (state, jax.eval_shape(lambda: (params, tx.init(params)))):
            assert bits(step(checkpoints.restore(like))) == bits(step(state))
    assert step._cache_size() == 1


def test_free_arrays_stay_free_to_move(tmp_path):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    state = {
        "w": jax.device_put(jnp.arange(8.0), NamedSharding(mesh, P("data"))),
        "n": jnp.ones(()),
    }
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, 1)
        found = checkpoints.restore(state)
    assert found["w"].sharding == state["w"].sharding
    assert not found["n"].committed
    jax.jit(lambda s: s["w"] * s["n"])(found)


def mesh_of(shape, kind):
    devices = np.array(jax.devices()[: int(np.prod(shape))]).reshape(shape)
    names = ("data", "model")[: len(shape)]
    return jax.sharding.Mesh(devices, names, axis_types=(kind,) * len(shape))


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_it_is_readable_at_another_device_count_and_mesh(tmp_path, kind):
    w = jnp.arange(64.0).reshape(8, 8).astype(jnp.bfloat16)
    state = {"w": w, "f8": w.astype(jnp.float8_e5m2), "keys": jax.random.split(ol_key(), 8)}

    def on(mesh, spec, keys):
        places = {"w": spec, "f8": spec, "keys": keys}
        return {name: NamedSharding(mesh, place) for name, place in places.items()}

    home = on(mesh_of((8,), AxisType.Auto), P("data"), P("data"))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(jax.device_put(state, home), 1)
        for shardings in (
            on(mesh_of((2,), kind), P(None, "data"), P("data")),
            on(mesh_of((2, 4), kind), P("model", "data"), P()),
        ):
            like = jax.tree.map(
                lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
                state,
                shardings,
            )
            found = checkpoints.restore(like)
            assert bits(found) == bits(state)
            for x, place in zip(*map(jax.tree.leaves, (found, shardings)), strict=True):
                assert x.sharding.is_equivalent_to(place, x.ndim)
                assert x.sharding.mesh == place.mesh
        assert bits(checkpoints.restore(state)) == bits(state)


def test_a_sharding_that_does_not_fit_is_no_damage(tmp_path):
    written(tmp_path, [1])
    place = NamedSharding(mesh_of((8,), AxisType.Auto), P("data"))
    like = {**small(), "w": jax.ShapeDtypeStruct((2, 3), jnp.float32, sharding=place)}
    with pytest.raises(ValueError, match="divi") as caught:
        Checkpoints(tmp_path).restore(like)
    assert not isinstance(caught.value, DamageError)


# --- saving does not disturb the run


def test_the_state_may_be_donated_and_changed_while_it_is_written(tmp_path):
    step = jax.jit(functools.partial(jax.tree.map, lambda x: x + 1), donate_argnums=0)
    place = NamedSharding(mesh_of((8,), AxisType.Auto), P("data"))
    host = np.zeros(1000)
    state = {"one": jnp.zeros((8, 100_000)), "all": jax.device_put(jnp.zeros((8, 100_000)), place)}
    with Checkpoints(tmp_path, keep=9) as checkpoints:
        for number in range(1, 4):
            state = step(state)
            checkpoints.save({**state, "host": host}, number)
            host += 1
            for _ in range(3):
                state = step(state)
        for number in (1, 2, 3):
            found = checkpoints.restore({**state, "host": host}, step=number)
            assert set(np.unique(found["one"])) == {4 * number - 3}
            assert set(np.unique(found["all"])) == {4 * number - 3}
            assert set(found["host"]) == {number - 1}


def test_reading_and_opening_write_nothing(tmp_path):
    folder = tmp_path / "run"
    checkpoints = Checkpoints(folder)
    assert (checkpoints.steps(), checkpoints.latest(), checkpoints.best()) == ([], None, None)
    assert not folder.exists()
    written(folder, [1])
    before = contents(folder)
    with Checkpoints(folder) as checkpoints:
        checkpoints.restore(small())
        checkpoints.wait()
    assert contents(folder) == before


def test_no_pickle_is_read_or_written(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("pickle")

    for name in ("load", "loads", "dump", "dumps", "Pickler", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    written(tmp_path, [1])
    Checkpoints(tmp_path).restore(small())


# --- which are kept


def test_the_latest_and_the_best_are_kept(tmp_path):
    metrics = [1.0, 9.0, float("nan"), 2.0, 3.0, 1.0]
    folder = written(tmp_path, [10, 20, 30, 40, 50, 60], metrics, keep=2)
    checkpoints = Checkpoints(folder)
    assert checkpoints.steps() == [20, 50, 60]
    assert (checkpoints.latest(), checkpoints.best()) == (60, 20)
    assert sorted(os.listdir(folder)) == ["20", "50", "60"]
    assert bits(checkpoints.restore(small(), best=True)) == bits(small(20))


def test_nan_is_never_best_and_of_equals_the_later_is(tmp_path):
    nan = float("nan")
    assert Checkpoints(written(tmp_path / "nan", [1, 2], [nan, nan])).best() is None
    assert Checkpoints(written(tmp_path / "none", [1, 2])).best() is None
    assert Checkpoints(written(tmp_path / "both", [1, 2, 3], [0.5, 0.5, nan])).best() == 2
    assert Checkpoints(written(tmp_path / "inf", [1, 2], [-float("inf"), nan])).best() == 1


def test_the_best_is_kept_by_a_process_that_did_not_write_it(tmp_path):
    written(tmp_path, [1, 2], [9.0, 0.0], keep=1)
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.restore(small())
    with checkpoints:
        checkpoints.save(small(3), 3, metric=1.0)
        checkpoints.save(small(4), 4, metric=2.0)
    assert checkpoints.steps() == [1, 4]


# --- what stands beside the arrays


def test_the_manifest_says_what_the_checkpoint_is(tmp_path):
    config = {"optimizer": "adamw(0.1)", "seed": 3, "sizes": (1, 2)}
    with Checkpoints(tmp_path, config=config) as checkpoints:
        checkpoints.save(small(), 12, metric=float("nan"))
    manifest = checkpoints.manifest(12)
    assert manifest.step == 12
    assert np.isnan(manifest.metric)
    assert manifest.config == {"optimizer": "adamw(0.1)", "seed": 3, "sizes": [1, 2]}
    assert manifest.versions["jax"] == jax.__version__
    assert {"python", "numpy", "optax", "orbax-checkpoint"} <= set(manifest.versions)
    assert {path: leaf.kind for path, leaf in manifest.leaves.items()} == {
        "w": "float32[2, 3]",
        "key": "key<fry>[]",
    }
    assert all(len(bytes.fromhex(leaf.checksum)) == 8 for leaf in manifest.leaves.values())
    stored = (tmp_path / "12" / "manifest" / "metadata").read_text()
    assert json.loads(stored, parse_constant=pytest.fail)["step"] == 12


def test_any_change_of_a_manifest_is_seen():
    content = Manifest.of(small(), 3, 0.5, {"seed": 0}).to_json()
    assert Manifest.parse(json.loads(json.dumps(content))).step == 3
    for changed in ({**content, "step": 4}, {**content, "config": {}}, {"step": 3}, [], None):
        with pytest.raises(ValueError, match="digest"):
            Manifest.parse(changed)


# --- what does not fit


def test_another_width_is_refused_with_both_shapes_and_models(tmp_path):
    written(tmp_path, [300], config={"model": "MLP(3)", "optimizer": "adam"})
    before = contents(tmp_path)
    checkpoints = Checkpoints(tmp_path, config={"model": "MLP(4)", "optimizer": "adam"})
    with pytest.raises(MismatchError) as caught:
        checkpoints.restore({**small(), "w": jnp.zeros((2, 4))})
    message = str(caught.value)
    assert "w: float32[2, 3] in the checkpoint, float32[2, 4] here" in message
    assert "1 of 2 leaves differ" in message
    assert "MLP(3) in the checkpoint, MLP(4) here" in message
    assert str(tmp_path / "300") in message
    assert contents(tmp_path) == before


def test_another_optimizer_is_refused_with_both_names(tmp_path):
    params = {"w": jnp.ones((2, 3))}
    states = {name: getattr(ol, name)(0.1).init(params) for name in ("adamw", "lion")}
    with Checkpoints(tmp_path, config={"optimizer": "adamw(0.1)"}) as checkpoints:
        checkpoints.save(states["adamw"], 1)
    with pytest.raises(MismatchError, match=r"adamw\(0.1\) in the checkpoint, lion\(0.1\) here"):
        Checkpoints(tmp_path, config={"optimizer": "lion(0.1)"}).restore(states["lion"])


def test_another_dtype_is_refused(tmp_path):
    written(tmp_path, [1])
    with pytest.raises(MismatchError, match=r"w: float32\[2, 3\] .*, bfloat16\[2, 3\] here"):
        Checkpoints(tmp_path).restore({**small(), "w": jnp.zeros((2, 3), jnp.bfloat16)})
    with pytest.raises(MismatchError, match=r"key: key<fry>\[\] .*, key<rbg>\[\] here"):
        Checkpoints(tmp_path).restore({**small(), "key": jax.random.key(0, impl="rbg")})


# --- steps that are there already


def test_a_step_that_was_just_saved_or_restored_is_not_written_again(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.save(small(1), 1)
        assert not checkpoints.save(small(1), 1)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.restore(small())
    assert not checkpoints.save(small(1), 1)
    assert checkpoints.steps() == [1]


def test_a_folder_of_another_run_is_not_written_over(tmp_path):
    written(tmp_path, [100, 200])
    before = contents(tmp_path)
    checkpoints = Checkpoints(tmp_path)
    for step in (50, 100, 200):
        with pytest.raises(ValueError, match=f"up to step 200, so step {step} is not saved"):
            checkpoints.save(small(), step)
    checkpoints.restore(small(), best=False, step=100)
    with pytest.raises(ValueError, match="restore one before it"):
        checkpoints.save(small(), 50)
    assert contents(tmp_path) == before


def test_going_on_from_an_earlier_step_sets_later_ones_aside(tmp_path):
    written(tmp_path, [100, 200, 300])
    evidence = contents(tmp_path / "300")
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.restore(small(), step=100)
        for step in (200, 300, 400):
            checkpoints.save(small(-step), step)
    assert checkpoints.steps() == [400]
    assert sorted(os.listdir(tmp_path)) == ["200.replaced-1", "300.replaced-1", "400"]
    assert contents(tmp_path / "300.replaced-1") == evidence


def test_a_look_at_the_best_changes_nothing(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(small(1), 1, metric=2.0)
        checkpoints.save(small(2), 2, metric=1.0)
        checkpoints.restore(small(), best=True)
        checkpoints.save(small(3), 3, metric=0.0)
    assert checkpoints.steps() == [1, 2, 3]


# --- parts


def test_a_part_is_read_without_the_rest(tmp_path):
    params = {"dense": {"kernel": jnp.arange(6.0).reshape(2, 3)}, "dense_2": jnp.ones(2)}
    state = {"params": params, "opt": ol.adam(0.1).init(params), "step": jnp.int32(3)}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, 7)
        assert bits(checkpoints.restore(params, part="params")) == bits(params)
        dense = checkpoints.restore(params["dense"], part="params/dense")
        assert bits(dense) == bits(params["dense"])
        assert int(checkpoints.restore(jnp.int32(0), part="step")) == 3
        with pytest.raises(
            MismatchError, match=r"params/dense_2: float32\[2\] in .*, missing here"
        ):
            checkpoints.restore({"dense": params["dense"]}, part="params")
        with pytest.raises(MismatchError, match="parms/dense/kernel: missing in the checkpoint"):
            checkpoints.restore(params, part="parms")


def test_the_order_of_the_leaves_does_not_matter(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save({"a": jnp.ones(2), "b": jnp.zeros(2)}, 1)
        found = checkpoints.restore(Backwards(b=jnp.zeros(2), a=jnp.zeros(2)))
    chex.assert_trees_all_equal(found, Backwards(b=jnp.zeros(2), a=jnp.ones(2)))


class Backwards(NamedTuple):
    b: jax.Array
    a: jax.Array


# --- arguments


def test_wrong_arguments_are_named(tmp_path):
    for keep in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="keep must be a whole number"):
            Checkpoints(tmp_path, keep=keep)
    with pytest.raises(TypeError, match="JSON"):
        Checkpoints(tmp_path, config={"model": object()})
    checkpoints = Checkpoints(tmp_path)
    for step in (-1, 1.0, True):
        with pytest.raises(ValueError, match="step must be a whole number"):
            checkpoints.save(small(), step)
    with pytest.raises(TypeError, match="'name' is 'x' of type str"):
        checkpoints.save({"name": "x"}, 1)
    with pytest.raises(ValueError, match="no array"):
        checkpoints.save({}, 1)
    with pytest.raises(ValueError, match="two leaves have the path 'a/b'"):
        checkpoints.save({"a": {"b": 1}, "a/b": 2}, 1)
    with pytest.raises(ValueError, match="not both"):
        checkpoints.restore(small(), step=1, best=True)
    with pytest.raises(FileNotFoundError, match="there is no checkpoint in"):
        checkpoints.restore(small())
    written(tmp_path, [3])
    with pytest.raises(FileNotFoundError, match=r"no checkpoint 4 in .*; it has 3"):
        checkpoints.restore(small(), step=4)
    with pytest.raises(FileNotFoundError, match="no checkpoint with a metric"):
        checkpoints.restore(small(), best=True)


def test_without_orbax_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with pytest.raises(ImportError, match=r'orbax-checkpoint.*pip install "optlab\[flax\]"'):
        Checkpoints(tmp_path).save(small(), 1)
