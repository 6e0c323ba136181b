"""offload: between steps the state is in the host's memory; the numbers are as without."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sharding_cases import WHOLE, arrays, lies_on, make_mesh, needs_8_devices, placed

import optlab as ol
from optlab import transforms as t


def has_host_memory():
    return "pinned_host" in {m.kind for m in jax.local_devices()[0].addressable_memories()}


pytestmark = pytest.mark.skipif(not has_host_memory(), reason="no pinned host memory")
PARAMS = jax.tree.map(jnp.asarray, arrays())


@jax.jit
def step(tx, grads, state, params):
    updates, state = tx.update(grads, state, params)
    return optax.apply_updates(params, updates), state


def kinds(tree):
    return {
        jax.tree_util.keystr(p[-1:]): x.sharding.memory_kind
        for p, x in jax.tree_util.tree_leaves_with_path(tree)
    }


def test_arrays_are_on_the_host_scalars_and_parameters_are_not_and_numbers_are_as_without():
    tx = ol.chain(ol.clip_by_global_norm(1.0), t.offload(ol.adam(1e-2)))
    state, params = jax.jit(tx.init)(PARAMS), PARAMS
    for _ in range(2):
        moments = state[1].inner[0]
        for tree in (moments.first, moments.second):
            assert kinds(tree) == {
                "['kernel']": "pinned_host",
                "['bias']": "pinned_host",
                "['odd']": "pinned_host",
                "['scale']": "device",
            }
        assert set(kinds((state[0], moments[2:], state[1].inner[1:])).values()) == {"device"}
        params, state = step(tx, PARAMS, state, params)
        assert set(kinds(params).values()) == {"device"}
    plain = ol.chain(ol.clip_by_global_norm(1.0), ol.adam(1e-2))
    expected, plain_state = PARAMS, jax.jit(plain.init)(PARAMS)
    for _ in range(2):
        expected, plain_state = step(plain, PARAMS, plain_state, expected)
    got, want = (jax.tree.leaves(t) for t in ((params, state), (expected, plain_state)))
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(got), jax.device_get(want))


def test_only_the_state_of_selected_parameters_goes():
    tx = t.offload(ol.accumulate_momentum(0.9), where=ol.path("kernel"))
    state = tx.init(PARAMS)
    of_shape = {x.shape: x.sharding.memory_kind for x in jax.tree.leaves(state)}
    assert of_shape[(16, 16)] == "pinned_host"
    assert of_shape[(24,)] == of_shape[(3, 5)] == "device"


def test_a_state_read_to_the_device_is_on_the_host_after_a_step():
    tx = t.offload(ol.accumulate_momentum(0.9))
    read = jax.tree.map(jnp.asarray, jax.device_get(tx.init(PARAMS)))
    assert "pinned_host" not in kinds(read).values()
    _, state = jax.jit(tx.update)(PARAMS, read)
    assert kinds(state)["['kernel']"] == "pinned_host"


def test_inside_a_transformation_of_optax_it_stays_on_the_host():
    tx = ol.chain(optax.chain(optax.identity(), t.offload(ol.accumulate_momentum(0.9))))
    state = jax.jit(tx.init)(PARAMS)
    assert kinds(state)["['kernel']"] == "pinned_host"


@needs_8_devices
@pytest.mark.parametrize("kind", ["auto", "explicit"])
def test_around_zero1_each_device_keeps_its_share_on_the_host(kind):
    mesh = make_mesh(kind, (8,), ("data",))
    tx = t.offload(t.zero1(ol.accumulate_momentum(0.9), mesh))
    with jax.set_mesh(mesh):
        params = placed(mesh, WHOLE)
        table = t.state_sharding(tx, params)
        states = [jax.jit(tx.init)(params)]
        states.append(jax.jit(tx.update)(params, states[0], params)[1])
    for state in states:
        for leaf, place in zip(*map(jax.tree.leaves, (state, table)), strict=True):
            assert lies_on(leaf, place)
    split = [x.memory_kind for x in jax.tree.leaves(table) if any(x.spec)]
    assert split == ["pinned_host", "pinned_host"]  # the kernel's and the bias's


def test_a_backend_without_such_memory_is_an_error(monkeypatch):
    class Memory:
        kind = "device"

    class Device:
        process_index = 0

        def addressable_memories(self):
            return [Memory()]

        def __repr__(self):
            return "ToyDevice(0)"

    monkeypatch.setattr(jax, "local_devices", lambda: [Device()])
    message = r"ToyDevice\(0\) has no memory of kind 'pinned_host', only device"
    with pytest.raises(ValueError, match=message):
        jax.jit(t.offload(ol.adam(0.1)).init)(PARAMS)


def test_a_selector_that_selects_nothing_is_an_error():
    with pytest.raises(ValueError, match="nowhere"):
        t.offload(ol.adam(0.1), where=ol.path("nowhere/*")).init(PARAMS)
    with pytest.raises(TypeError, match="where"):
        t.offload(ol.adam(0.1), where=3)
