"""Rows of a run: whole however a process ends, the same after a resume, in every writer."""

import errno
import json
import math
import os
import signal
import struct
import subprocess
import sys
import types
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optlab.training._console import UserError
from optlab.training._options import RunOptions
from optlab.training._writers import (
    JsonLines,
    TensorBoard,
    Trackio,
    WandB,
    read_rows,
    writers_for,
)

# --- metrics.jsonl


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "metrics.jsonl"


def run(path, steps, from_step=0):
    """A run that reports at each step, and an evaluation at even ones."""
    writer = JsonLines(path, from_step=from_step)
    for step in range(from_step + 1, steps + 1):
        writer.write(step, {"loss": 1 / step})
        if step % 2 == 0:
            writer.write(step, {"validation_loss": 2 / step})
        writer.flush()
    writer.close()


def test_a_row_is_a_line_with_its_step_first(path):
    writer = JsonLines(path)
    writer.write(20, {"loss": np.float32(0.5), "name": "a\nb", "count": jnp.int32(3), "on": True})
    writer.close()
    text = path.read_text()
    assert text == '{"step": 20, "loss": 0.5, "name": "a\\nb", "count": 3, "on": true}\n'


def test_the_loss_comes_first_whatever_the_order_given(path):
    writer = JsonLines(path)
    writer.write(1, {"bad_steps": 0.0, "gradient_norm": 2.0, "learning_rate": 0.1, "loss": 1.0})
    writer.close()
    assert list(read_rows(path)[0]) == [
        "step", "loss", "learning_rate", "gradient_norm", "bad_steps",
    ]  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(
        st.dictionaries(
            st.text(min_size=1).filter(lambda name: name != "step"),
            st.floats(allow_nan=True) | st.integers(-(2**63), 2**63) | st.text(),
        ),
        max_size=5,
    )
)
def test_what_is_written_is_read_but_for_infinities(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "metrics.jsonl"
    writer = JsonLines(path)
    for step, row in enumerate(rows):
        writer.write(step, row)
    writer.close()
    back = read_rows(path)
    assert [row.pop("step") for row in back] == list(range(len(rows)))
    for row, again in zip(rows, back, strict=True):
        assert row.keys() == again.keys()
        for name, value in row.items():
            found = again[name]
            if isinstance(value, float) and not math.isfinite(value):
                assert math.isnan(found)
            else:
                assert (found, type(found)) == (value, type(value))


def test_what_is_not_finite_is_null(path):
    writer = JsonLines(path)
    writer.write(1, {"a": math.nan, "b": -math.inf, "c": jnp.bfloat16(jnp.inf)})
    writer.close()
    assert path.read_text() == '{"step": 1, "a": null, "b": null, "c": null}\n'


@pytest.mark.parametrize(
    ("row", "error", "message"),
    [
        ({"step": 3}, ValueError, "must not have the name 'step'"),
        ({"loss": [1.0]}, TypeError, r"numbers and text, got \[1.0\] of type list for 'loss'"),
        ({"loss": jnp.ones(2)}, TypeError, "for 'loss'"),
        ({"loss": None}, TypeError, "got None of type NoneType for 'loss'"),
    ],
)
def test_a_row_that_is_none_is_refused_and_not_half_written(path, row, error, message):
    writer = JsonLines(path)
    with pytest.raises(error, match=message):
        writer.write(1, row)
    writer.close()
    assert path.read_text() == ""


@pytest.mark.parametrize("at", range(1, 9))
def test_a_resumed_run_leaves_the_file_of_an_uninterrupted_one(path, tmp_path, at):
    run(tmp_path / "whole.jsonl", 8)
    run(path, at)
    for saved in (4, 0):  # the checkpoint it goes on from, then none
        if saved <= at:
            run(path, 8, from_step=saved)
            assert path.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert os.listdir(path.parent) == ["metrics.jsonl"]


@pytest.mark.parametrize("torn", [b"{", b'{"step": 9, "lo', b'{"step": 3}', b"\xff\x00"])
def test_a_torn_last_line_is_left_out_and_dropped(path, tmp_path, torn):
    run(tmp_path / "whole.jsonl", 8)
    run(path, 4)
    with open(path, "ab") as file:
        file.write(torn)
    assert len(read_rows(path)) == 6
    run(path, 8, from_step=4)
    assert path.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


@pytest.mark.parametrize("line", [b"", b"no", b"[1]", b'{"loss": 1}', b'{"step": "1"}', b"\xff"])
def test_a_damaged_line_is_named_and_nothing_overwritten(path, line):
    run(path, 2)
    contents = path.read_bytes().replace(b"\n", b"\n" + line + b"\n", 1)
    path.write_bytes(contents)
    with pytest.raises(UserError, match=r"metrics.jsonl: line 2 is no row of metrics"):
        read_rows(path)
    with pytest.raises(UserError, match="line 2"):
        JsonLines(path, from_step=1)
    assert path.read_bytes() == contents


def test_rows_that_stay_stay_to_the_byte(path):
    path.parent.mkdir()
    path.write_bytes(b'{"step":1,   "loss":1.0}\n{"step": 5}\n')
    JsonLines(path, from_step=1).close()
    assert path.read_bytes() == b'{"step":1,   "loss":1.0}\n'


def test_a_file_with_nothing_to_drop_is_not_written_anew(path):
    run(path, 4)
    before = path.stat().st_ino
    JsonLines(path, from_step=4).close()
    assert path.stat().st_ino == before


KILLED = """
import os, signal, sys
from optlab.training._writers import JsonLines
writer = JsonLines(sys.argv[1])
for step in range(1, 4):
    writer.write(step, {"loss": 1 / step})
    writer.flush()
writer.write(4, {"loss": 0.25})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_rows_outlive_kill_9_once_flushed(path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [row["step"] for row in read_rows(path)] == [1, 2, 3]


def test_a_kill_while_rows_are_dropped_leaves_the_old_file(path, monkeypatch):
    run(path, 4)
    before = path.read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        JsonLines(path, from_step=2)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["metrics.jsonl"]


def test_a_full_disk_is_named_and_no_line_is_torn(path, monkeypatch):
    writer, write, room = JsonLines(path), os.write, [30]

    def almost_full(file, data):
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = write(file, bytes(data[: room[0]]))
        room[0] -= done
        return done

    monkeypatch.setattr(os, "write", almost_full)
    writer.write(1, {"loss": 1.0})
    writer.flush()
    writer.write(2, {"loss": 0.5})
    with pytest.raises(UserError, match=r"cannot write .*metrics.jsonl: No space left on device"):
        writer.flush()
    assert path.read_text() == '{"step": 1, "loss": 1.0}\n'
    room[0] = 10**6
    writer.close()
    assert [row["loss"] for row in read_rows(path)] == [1.0, 0.5]


def test_a_file_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*(Not a directory|File exists)"):
        JsonLines(tmp_path / "file" / "metrics.jsonl")
    with pytest.raises(UserError, match=r"cannot write .*folder: Is a directory"):
        JsonLines(tmp_path / "folder")
    with pytest.raises(UserError, match=r"cannot read .*no.jsonl: No such file"):
        read_rows(tmp_path / "no.jsonl")


def test_a_closed_file_takes_no_rows(path):
    writer = JsonLines(path)
    writer.close()
    writer.close()
    writer.flush()
    with pytest.raises(ValueError, match="is closed"):
        writer.write(1, {})


# --- TensorBoard


def events(folder):
    """(step, name, value) of all scalars, and what event files say of restarts."""
    from tensorboardX.proto import event_pb2

    scalars, restarts = [], []
    for file in sorted(folder.iterdir()):
        data = file.read_bytes()
        while data:
            (size,) = struct.unpack("<Q", data[:8])
            event, data = event_pb2.Event.FromString(data[12 : 12 + size]), data[16 + size :]
            if event.HasField("session_log"):
                restarts.append(event.step)
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    scalars.append((event.step, value.tag, value.simple_value))
    return scalars, restarts


def test_tensorboard_gets_every_number(tmp_path):
    writer = TensorBoard(tmp_path / "tb")
    writer.write(5, {"loss": 0.5, "count": jnp.int32(3), "note": "text"})
    writer.write(10, {"loss": math.inf})
    writer.flush()
    writer.close()
    writer.close()
    scalars, restarts = events(tmp_path / "tb")
    assert scalars == [(5, "loss", 0.5), (5, "count", 3.0), (10, "loss", math.inf)]
    assert restarts == []


def test_tensorboard_hides_what_is_trained_again(tmp_path):
    writer = TensorBoard(tmp_path / "tb", from_step=4)
    writer.write(5, {"loss": 0.5})
    writer.close()
    assert events(tmp_path / "tb")[1] == [5]


# --- Weights & Biases, trackio: stand-ins of the few calls we make


class Run:
    def __init__(self, **options):
        self.options, self.rows, self.finished = options, [], 0

    def log(self, row, step):
        self.rows.append((step, row))

    def finish(self):
        self.finished += 1


@pytest.fixture(params=["wandb", "trackio"])
def library(request, monkeypatch):
    """A stand-in whose `runs` were begun."""
    module = types.ModuleType(request.param)
    module.runs = []

    def init(**options):
        module.runs.append(Run(**options))
        return module.runs[-1]

    module.init = init
    monkeypatch.setitem(sys.modules, request.param, module)
    return module


def test_rows_reach_the_services_with_their_steps(library, tmp_path):
    options = RunOptions(output=tmp_path / "digits", **{library.__name__: "project"})
    lines, writer = writers_for(options, config={"seed": 1, "rate": math.nan})
    writer.write(5, {"loss": np.float32(0.5)})
    writer.write(5, {"validation_loss": 0.25, "note": "text"})
    writer.flush()
    for each in (lines, writer, writer):
        each.close()
    (run,) = library.runs
    assert run.rows == [(5, {"loss": 0.5}), (5, {"validation_loss": 0.25, "note": "text"})]
    assert type(run.rows[0][1]["loss"]) is float
    assert run.options["project"] == "project"
    assert run.options["config"] == {"seed": 1, "rate": None}
    assert "digits" in (run.options.get("group"), run.options.get("name"))
    assert run.finished == 1


@pytest.mark.parametrize("library", ["wandb"], indirect=True)
@pytest.mark.parametrize("mode", [None, "online"])
def test_weights_and_biases_is_offline_unless_told_otherwise(library, tmp_path, monkeypatch, mode):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    if mode:
        monkeypatch.setenv("WANDB_MODE", mode)
    WandB("project", {}, tmp_path / "new").close()
    assert library.runs[0].options["mode"] == (mode or "offline")
    assert (tmp_path / "new").is_dir()


@pytest.mark.parametrize("library", ["trackio"], indirect=True)
def test_a_run_of_trackio_goes_on_under_its_name(library):
    Trackio("project", {}, "run").close()
    assert (library.runs[0].options["name"], library.runs[0].options["resume"]) == ("run", "allow")


@pytest.mark.parametrize(
    ("module", "options", "name"),
    [
        ("wandb", {"wandb": "p"}, "wandb"),
        ("trackio", {"trackio": "p"}, "trackio"),
        ("tensorboardX", {"tensorboard": True}, "examples"),
    ],
)
def test_a_missing_package_is_named_with_its_extra_before_anything_is_written(
    module, options, name, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    with pytest.raises(ImportError, match=rf'{module}, .*pip install "optlab\[{name}\]"'):
        writers_for(RunOptions(output=tmp_path / "run", **options))
    assert os.listdir(tmp_path) == []


# --- all of them


def test_a_run_always_has_its_rows_in_its_folder(tmp_path):
    (writer,) = writers_for(RunOptions(output=tmp_path))
    writer.write(1, {"loss": 1.0})
    writer.close()
    (writer,) = writers_for(RunOptions(output=tmp_path), from_step=1)
    writer.close()
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 1, "loss": 1.0}


def test_tensorboard_lies_in_the_folder_of_the_run(tmp_path):
    writers = writers_for(RunOptions(output=tmp_path, tensorboard=True))
    for writer in writers:
        writer.write(1, {"loss": 1.0})
        writer.close()
    assert sorted(os.listdir(tmp_path)) == ["metrics.jsonl", "tensorboard"]
    assert events(tmp_path / "tensorboard")[0] == [(1, "loss", 1.0)]


def test_only_process_0_writes(tmp_path):
    assert writers_for(RunOptions(output=tmp_path, tensorboard=True), process=1) == []
    assert os.listdir(tmp_path) == []
