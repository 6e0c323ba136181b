"""Every trainer, killed (`kill -9`) at random moments, ends as if nothing had happened.

KILLS=50 kills each so often; a run of 50 takes some five minutes.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from tiny_runs import TRAINERS, arguments
from trainer_cases import check_same_params, rows
from trainer_processes import Server

from optlab.training import Checkpoints

KILLS = int(os.environ.get("KILLS", "4"))
INTERVAL = 5  # steps between checkpoints


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.getbasetemp() / "compiled by trainers")
    yield server
    server.close()


class Killed(NamedTuple):
    """Of each kill, the steps that had to be done again; of how many, a checkpoint was new."""

    repeated: list[int]
    advanced: int


def trained(server: Server, trainer: str, args: list[str], log: Path) -> None:
    code, said = server.start(trainer, args, log).end()
    assert code == 0, said


def killed(
    server: Server, trainer: str, args: list[str], output: Path, kills: int, seed: int = 0
) -> Killed:
    """Starts a command and kills it, again and again; in the end it may finish."""
    rng, log, found, advanced = np.random.default_rng(seed), output.parent / "log", [], 0
    while len(found) < kills:
        before = latest(output)
        run = server.start(trainer, args, log)
        if rng.random() < 0.25:  # while it starts, or restores
            time.sleep(rng.uniform(0, 3))
        else:
            while run.is_alive() and latest(output) <= before:
                assert time.monotonic() - run.began < 120
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.4))
        run.kill()
        code, said = run.end()
        if code == 0:
            break
        assert code == -9, said
        now = latest(output)
        assert now >= before
        reached = rows(output)[-1]["step"] if (output / "metrics.jsonl").exists() else 0
        found.append(max(reached - now, 0))
        advanced += now > before
    trained(server, trainer, args, log)
    return Killed(found, advanced)


def latest(output: Path) -> int:
    return Checkpoints(output / "checkpoints").latest() or 0


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS)
def test_killed_again_and_again_it_ends_with_the_same_numbers(trainer, server, tmp_path):
    args = arguments(trainer, tmp_path / "data")
    args += ["--log-every", "1", "--save-every", str(INTERVAL), "--steps", str(40 + 20 * KILLS)]
    one, two = tmp_path / "one", tmp_path / "two"
    trained(server, trainer, [*args, "--output", str(one)], tmp_path / "log")
    found = killed(server, trainer, [*args, "--output", str(two)], two, KILLS)
    assert found.advanced >= min(KILLS, 4) // 2
    # The interval under way, and the one before while its checkpoint is still being written.
    assert max(found.repeated) < 2 * INTERVAL
    assert rows(two) == rows(one)
    ends = [Checkpoints(output / "checkpoints") for output in (one, two)]
    first, second = (end.manifest(end.latest()) for end in ends)
    assert first.leaves == second.leaves  # the checksum of every array of the state
    if (one / "params.npz").exists():
        check_same_params(one, two)
