"""Processes of their own: two that share a run, and one that is killed or asked to end."""

from __future__ import annotations

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from fit_cases import comparable, evaluate, fitted

import optlab as ol
from optlab.training import Checkpoints, read_rows

HERE = pathlib.Path(__file__).parent


def started(folder, steps, devices, *, processes=1, index=0, port=0):
    """A process of a run, on its part of so many virtual devices."""
    own = devices // processes
    environment = os.environ | {
        "PYTHONPATH": str(HERE),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={own}",
    }
    if processes > 1:
        environment |= {
            "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
            "JAX_NUM_PROCESSES": str(processes),
            "JAX_PROCESS_ID": str(index),
        }
    words = [sys.executable, str(HERE / "one_process.py"), str(folder), str(steps), str(devices)]
    return subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def finished(*processes):
    said = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), said


@pytest.mark.slow
def test_two_processes_train_as_one_does_and_one_goes_on_alone(tmp_path):
    port = free_port()
    finished(*[started(tmp_path, 8, 4, processes=2, index=i, port=port) for i in range(2)])
    first, second = (dict(np.load(tmp_path / f"process-{i}-8.npz")) for i in range(2))
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    alone = fitted(tmp_path / "alone", tx=ol.adam(3e-2), evaluate=evaluate, steps=8)
    rows = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows] == [row["step"] for row in alone.rows]
    for row, expected in zip(comparable(rows), comparable(alone.rows), strict=True):
        assert row == pytest.approx(expected, rel=1e-4, abs=1e-6)
    finished(started(tmp_path, 12, 2))
    whole = fitted(tmp_path / "alone", tx=ol.adam(3e-2), evaluate=evaluate)
    got = dict(np.load(tmp_path / "process-0-12.npz"))
    for name, expected in whole.state.params.items():
        np.testing.assert_allclose(got[name], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_killed_at_any_moment_it_loses_one_interval_at_most(tmp_path):
    """Killed over and over, it still reaches the end, by the same numbers."""
    steps, rng, kills, latest = 4000, np.random.default_rng(0), 0, 0
    folder = tmp_path / "run" / "checkpoints"
    while kills < 10:
        process = started(tmp_path, steps, 1)
        begun = time.monotonic()
        while process.poll() is None and kept(folder) <= latest:
            assert time.monotonic() - begun < 120
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.5))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += 1
        before, latest = latest, kept(folder)
        assert latest >= before
        rows = tmp_path / "run" / "metrics.jsonl"
        reached = max((row["step"] for row in read_rows(rows)), default=0)
        assert reached - latest <= 4 + 4  # an interval, and one whose save was being written
    assert kills >= 3
    last = latest + 8
    finished(started(tmp_path, last, 1))
    whole = fitted(tmp_path / "whole", tx=ol.adam(3e-2), evaluate=evaluate, steps=last)
    got = dict(np.load(tmp_path / f"process-0-{last}.npz"))
    for name, expected in whole.state.params.items():
        np.testing.assert_array_equal(got[name], expected)
    ours = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert comparable(ours) == comparable(whole.rows)


def kept(folder: pathlib.Path) -> int:
    return Checkpoints(folder).latest() or 0
