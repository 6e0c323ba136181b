"""Every trainer with `--bf16`: other roundings, the same training, parameters in float32."""

from __future__ import annotations

import numpy as np
import policy_gradient
import pytest
from tiny_runs import TRAINERS, arguments
from trainer_cases import check_refused, rows
from trainer_processes import Server

from optlab.training import Checkpoints


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.getbasetemp() / "compiled by trainers")
    yield server
    server.close()


@pytest.mark.slow
@pytest.mark.parametrize("trainer", [name for name in TRAINERS if name != "policy_gradient"])
def test_it_trains_in_bfloat16_and_keeps_float32(trainer, server, tmp_path):
    args = [*arguments(trainer, tmp_path / "data"), "--steps", "20", "--save-every", "20"]
    for name, more in (("float32", []), ("bfloat16", ["--bf16"])):
        words = [*args, *more, "--output", str(tmp_path / name)]
        code, said = server.start(trainer, words, tmp_path / "log").end()
        assert code == 0, said
    losses = [
        np.array([row["loss"] for row in rows(tmp_path / name) if "loss" in row])
        for name in ("float32", "bfloat16")
    ]
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.15, atol=0.05)
    assert (losses[1] != losses[0]).all()
    leaves = Checkpoints(tmp_path / "bfloat16" / "checkpoints").manifest(20).leaves
    kept = {leaf.dtype for path, leaf in leaves.items() if path.startswith(("params", "opt_state"))}
    assert "float32" in kept
    assert "bfloat16" not in kept


def test_where_it_makes_no_sense_it_is_refused(tmp_path, capsys):
    args, words = ["--bf16", "--output", str(tmp_path)], "--bf16: not here"
    check_refused(policy_gradient.main, args, words, "policy_gradient.py", capsys)
