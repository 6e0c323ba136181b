"""Every trainer as two processes on one machine: the numbers of one, written once."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import byte_lm
import pytest
from tiny_runs import TRAINERS, arguments
from trainer_cases import check_same_params, rows

EXAMPLES = Path(byte_lm.__file__).parent


def said_by(trainer: str, args: list[str], processes: int) -> list[str]:
    """What each process of a run printed, on one device each."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    together = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}", "JAX_NUM_PROCESSES": str(processes)}
    started = []
    for index in range(processes):
        own = together | {"JAX_PROCESS_ID": str(index)} if processes > 1 else {}
        started.append(
            subprocess.Popen(
                [sys.executable, str(EXAMPLES / f"{trainer}.py"), *args],
                env=os.environ | {"XLA_FLAGS": ""} | own,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    try:
        said = [process.communicate(timeout=300)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * processes, said
    return said


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS)
def test_two_processes_train_and_judge_as_one_does(trainer, tmp_path):
    args = [*arguments(trainer, tmp_path / "data"), "--steps", "8", "--eval-every", "4"]
    one, two = tmp_path / "one", tmp_path / "two"
    said_by(trainer, [*args, "--output", str(one)], 1)
    first, second = said_by(trainer, [*args, "--output", str(two), "--mesh", "data=2"], 2)
    assert first.splitlines()[-1] == second.splitlines()[-1]  # the result, to the digit
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()}
    assert "metrics.jsonl" not in second  # written, and told, by the first
    for row, expected in zip(rows(two), rows(one), strict=True):
        assert row == pytest.approx(expected, rel=2e-3, abs=1e-4)
    if (one / "params.npz").exists():
        check_same_params(one, two, atol=1e-3)
