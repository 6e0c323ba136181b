"""Many devices: the same run, its batches and its optimizer's state shared out."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import optlab as ol
from optlab.training._devices import Placement, data_mesh, start_processes
from optlab.training._state import make_train_step

BATCH = {"x": np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)}
PARAMS = {"w": np.ones((8, 32), np.float32), "b": np.zeros(3, np.float32)}


def loss_fn(params, batch, key):
    kept = jax.random.bernoulli(key, 0.8, (16, 32)).astype(jnp.float32)  # dropout, over the batch
    return jnp.mean((kept * (batch["x"] @ params["w"])) ** 2) + jnp.sum(params["b"] ** 2)


def trained(place, steps=4):
    tx = place.optimizer(ol.adamw(0.1))
    step = make_train_step(loss_fn, tx)
    state = place.state(step.init, tx, PARAMS, jax.random.key(0), place.batch(BATCH), None)
    for batch in place.ahead([BATCH] * steps):
        state, loss = step.update(state, batch)
        loss.block_until_ready()
    return state


def test_eight_devices_train_as_one_does():
    one, eight = trained(Placement()), trained(Placement(data_mesh("data=8")))
    chex.assert_trees_all_close(eight.params, one.params, rtol=1e-5)
    chex.assert_trees_all_close(eight.sums, one.sums, rtol=1e-5)


def test_batches_and_moments_are_split_and_parameters_whole():
    place = Placement(data_mesh("data=8"))
    assert place.batch(BATCH)["x"].sharding.spec == P("data")
    state = trained(place)
    assert state.params["w"].sharding.is_fully_replicated
    moments = state.opt_state.inner[0]
    assert moments.first["w"].addressable_shards[0].data.size * 8 == moments.first["w"].size
    assert moments.first["b"].sharding.is_fully_replicated  # three entries, eight devices


def test_batches_are_put_on_devices_ahead_in_order():
    seen = []

    def source():
        for i in range(5):
            seen.append(i)
            yield {"x": np.full(8, i, np.float32)}

    ahead = Placement().ahead(source(), size=2)
    assert float(next(ahead)["x"][0]) == 0
    assert seen == [0, 1, 2]
    assert [float(batch["x"][0]) for batch in ahead] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("model=2", "must be given as data=NUMBER"),
        ("data=0", "must be given as data=NUMBER"),
        ("8", "must be given as data=NUMBER"),
        ("data=9", "9 devices was asked for, but there are 8"),
    ],
)
def test_meshes_that_cannot_be_are_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        data_mesh(spec)


def test_half_told_processes_are_refused(monkeypatch):
    monkeypatch.setenv("JAX_PROCESS_ID", "0")
    with pytest.raises(ValueError, match="JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES must be set"):
        start_processes()
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "127.0.0.1:1234")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "two")
    with pytest.raises(ValueError, match="must be whole numbers, got 'two'"):
        start_processes()


def test_without_variables_there_is_one_process(monkeypatch):
    for name in ("SLURM_NTASKS", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    start_processes()
    assert jax.process_count() == 1
