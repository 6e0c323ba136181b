"""Every trainer on a disk that is full, read-only, or has damaged what was written to it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tiny_runs import TRAINERS, arguments
from trainer_cases import rows
from trainer_processes import Server

KB = 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.getbasetemp() / "compiled by trainers")
    yield server
    server.close()


@pytest.fixture
def disk(tmp_path):
    """A disk of its own, of 64 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(made, capture_output=True).returncode:
        pytest.skip("nothing may be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def used(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*"))


def fill(disk: Path, left: int) -> Path:
    """A file that takes all but so many bytes."""
    there = os.statvfs(disk)
    with open(disk / "full", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, there.f_bavail * there.f_frsize - left)
    return disk / "full"


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_fault_of_the_disk_is_one_line_and_costs_nothing_that_was_saved(
    trainer, server, disk, tmp_path
):
    output, log = disk / "run", tmp_path / "log"
    args = [*arguments(trainer, tmp_path / "data"), "--steps", "8", "--save-every", "4"]
    args += ["--output", str(output)]

    def trained(*more: str) -> None:
        code, said = server.start(trainer, [*args, *more], log).end()
        assert code == 0, said

    def refused(*words: str) -> None:
        code, said = server.start(trainer, args, log).end()
        line = said.splitlines()[-1]
        assert code == 2, said
        assert line.startswith(f"{trainer}.py: "), said
        assert "Traceback" not in said, said
        for word in words:
            assert word in line

    trained()
    first, latest = rows(output), output / "checkpoints" / "8"

    arrays = max((p for p in latest.rglob("d/*") if p.is_file()), key=lambda p: p.stat().st_size)
    os.truncate(arrays, arrays.stat().st_size // 2)
    before = contents(disk)
    refused("8 is damaged", "Step 4 is intact", "--resume 4")
    assert contents(disk) == before
    trained("--resume", "4")
    assert rows(output) == first
    assert contents(output / "checkpoints" / "8.replaced-1")  # set aside, not deleted

    size, good = used(latest), contents(output / "checkpoints" / "4")
    shutil.rmtree(latest)
    full = fill(disk, left=size // 2)
    refused("No space left on device")
    assert contents(output / "checkpoints" / "4") == good
    full.unlink()
    trained()
    assert rows(output) == first

    before = contents(disk)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    refused("--output: cannot write to", "Read-only file system")
    assert contents(disk) == before
