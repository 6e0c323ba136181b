"""On 8 virtual devices: state lies where its parameters lie, and results are those of one."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from transform_cases import CASES, init, last, make, normal, quick

TXS = {name: make(name) for name in CASES}
PARAMS, GRADIENTS = np.float32(normal(8, 6)), np.float32(normal(2, 8, 6, seed=1))
AXES = ("x", "y")

# Slow: by default the contract's quick clauses stand for these.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(jax.device_count() < 8, reason="needs 8 devices"),
]


def run_on(mesh):
    """Initial states, and updates after two steps, of all transforms, for one sharded matrix."""
    params = jax.device_put(PARAMS, NamedSharding(mesh, PartitionSpec(*AXES)))
    gradients = jax.device_put(GRADIENTS, NamedSharding(mesh, PartitionSpec(None, *AXES)))
    with jax.set_mesh(mesh):
        states = quick(init)(TXS, params)
        updates, _ = quick(last)(TXS, states, gradients, params)
    return states, updates, params


@pytest.fixture(scope="module")
def single():
    return quick(lambda p, g: last(TXS, init(TXS, p), g, p))(PARAMS, GRADIENTS)[0]


@pytest.fixture(scope="module", params=[AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])
def sharded(request):
    return run_on(jax.make_mesh((4, 2), AXES, axis_types=(request.param,) * 2))


@pytest.mark.parametrize("name", CASES)
def test_state_lies_where_its_parameter_lies(name, sharded):
    states, updates, params = sharded
    for leaf in [*jax.tree.leaves(states[name]), updates[name]]:
        if leaf.shape == params.shape:
            assert leaf.sharding.is_equivalent_to(params.sharding, leaf.ndim)


def test_factored_rows_and_columns_keep_the_sharding_of_their_axis(sharded):
    states, _, params = sharded
    second = states["accumulate_moments[factored]"][0].second
    for part, axis in ((second.rows, "x"), (second.columns, "y")):
        split = NamedSharding(params.sharding.mesh, PartitionSpec(axis))
        assert part.sharding.is_equivalent_to(split, 1)


@pytest.mark.parametrize("name", CASES)
def test_sharded_updates_are_those_of_one_device(name, sharded, single):
    got, want = np.asarray(sharded[1][name]), np.asarray(single[name])
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_eight_devices_do_hold_one_eighth_each(sharded):
    first = sharded[0]["accumulate_moments"][0].first
    assert {shard.data.shape for shard in first.addressable_shards} == {(2, 3)}
