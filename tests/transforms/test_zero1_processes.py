"""zero1 over two processes, four devices each, as on two hosts."""

import os
import socket
import subprocess
import sys

import pytest

PROGRAM = """
import sys
import jax, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
jax.distributed.initialize(sys.argv[1], num_processes=2, process_id=int(sys.argv[2]))
import optlab as ol
mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
rows = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
own = rows[8 * jax.process_index() :][:8]
batch = jax.make_array_from_process_local_data(NamedSharding(mesh, P("data")), own)
weight = np.ones((16, 8), np.float32)
params = jax.make_array_from_process_local_data(NamedSharding(mesh, P()), weight, weight.shape)

def steps(tx, params, batch):
    state = tx.init(params)
    for _ in range(2):
        grads = jax.grad(lambda p: ((batch @ p) ** 2).mean())(params)
        updates, state = tx.update(grads, state, params)
        params = params + updates
    return params, state

split = ol.transforms.zero1(ol.adam(1e-2), mesh)
params, state = jax.jit(steps)(split, params, batch)
want, _ = jax.jit(steps)(ol.adam(1e-2), weight, rows)
np.testing.assert_allclose(params.addressable_data(0), want, rtol=1e-5)
assert params.sharding.is_fully_replicated
assert state.inner[0].first.addressable_data(0).shape == (2, 8)
print("done")
"""


@pytest.mark.slow
def test_two_processes_share_the_state():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    env = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "JAX_PLATFORMS": "cpu",
    }
    both = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, address, str(rank)],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        results = [process.communicate(timeout=120) for process in both]
    finally:
        for process in both:
            process.kill()
    for process, (out, err) in zip(both, results, strict=True):
        assert process.returncode == 0, err[-2000:]
        assert "done" in out
