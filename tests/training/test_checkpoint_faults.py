"""What may happen to checkpoints: damage, full disks, killed processes; never in silence."""

import contextlib
import errno
import hashlib
import os
import pathlib
import random
import resource
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from optlab.training._checkpoints import Checkpoints, DamageError, WriteError


def state(value=0.0):
    noise = jax.random.normal(jax.random.key(0), (64, 65)) + value
    return {"params": {"kernel": noise, "bias": jnp.arange(5.0)}, "key": jax.random.key(3)}


def written(folder, steps, **options):
    with Checkpoints(folder, **options) as checkpoints:
        for step in steps:
            checkpoints.save(state(step), step)
    return folder


def same(a, b):
    a, b = ({**tree, "key": jax.random.key_data(tree["key"])} for tree in (a, b))
    return jax.tree.all(jax.tree.map(np.array_equal, a, b))


def files(folder):
    return sorted(path for path in pathlib.Path(folder).rglob("*") if path.is_file())


def contents(folder):
    return {path: hashlib.sha256(path.read_bytes()).digest() for path in files(folder)}


def flip(path, at=None, bit=3):
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if at is None else at] ^= 1 << bit
    path.write_bytes(data)


def largest(folder):
    return max(files(folder), key=lambda path: path.stat().st_size)


# --- damage


DAMAGES = {
    "missing": pathlib.Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "flipped": lambda path: flip(path),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_file_is_named_or_harmless_whichever_it_is(tmp_path, kind):
    """Either the exact bits come back, or a `DamageError`: nothing else, for any file."""
    written(tmp_path, [1])
    checkpoints, found = Checkpoints(tmp_path), []
    for path in files(tmp_path / "1"):
        whole = path.read_bytes()
        DAMAGES[kind](path)
        try:
            assert same(checkpoints.restore(state()), state(1))
        except DamageError as error:
            found.append(str(error))
        path.write_bytes(whole)
    assert len(found) >= 4
    assert all(str(tmp_path / "1") in message for message in found)
    assert same(checkpoints.restore(state()), state(1))


def test_a_flipped_bit_of_the_arrays_is_always_seen(tmp_path):
    written(tmp_path, [1])
    path, rng, named = largest(tmp_path / "1"), random.Random(0), 0
    whole = path.read_bytes()
    for _ in range(20):
        flip(path, rng.randrange(len(whole)), rng.randrange(8))
        try:
            assert same(Checkpoints(tmp_path).restore(state()), state(1))
        except DamageError as error:
            named += "params/kernel" in str(error) or path.name in str(error)
        path.write_bytes(whole)
    assert named >= 15


def test_what_orbax_would_load_silently_is_named_by_its_leaf(tmp_path):
    """The same damage, first without our checks and then with them."""
    import orbax.checkpoint as ocp

    written(tmp_path, [1])
    flip(largest(tmp_path / "1"))
    names = {
        "params/kernel": np.empty((64, 65), np.float32),
        "params/bias": np.empty(5, np.float32),
        "key": np.empty(2, np.uint32),
    }
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
        read = reader.restore(tmp_path / "1" / "state", args=ocp.args.StandardRestore(names))
    assert not np.array_equal(read["params/kernel"], state(1)["params"]["kernel"])
    with pytest.raises(DamageError, match="params/kernel does not have the checksum"):
        Checkpoints(tmp_path).restore(state())


def test_a_missing_folder_of_arrays_is_damage(tmp_path):
    written(tmp_path, [1])
    (tmp_path / "1" / "state").rename(tmp_path / "elsewhere")
    with pytest.raises(DamageError):
        Checkpoints(tmp_path).restore(state())


def test_a_damaged_manifest_is_damage(tmp_path):
    written(tmp_path, [1])
    path = tmp_path / "1" / "manifest" / "metadata"
    text = path.read_text()
    checkpoints = Checkpoints(tmp_path)
    for damaged in (text.replace('"step": 1', '"step": 2'), text[:-9], "", "\x00" * 50):
        path.write_text(damaged)
        for read in (lambda: checkpoints.restore(state()), lambda: checkpoints.manifest(1)):
            with pytest.raises(DamageError, match="manifest/metadata cannot be read"):
                read()
        with pytest.raises(DamageError, match="manifest/metadata"):
            checkpoints.best()


def test_damage_offers_the_previous_intact_step_and_changes_nothing(tmp_path):
    written(tmp_path, [100, 200, 300])
    for step in (200, 300):
        flip(largest(tmp_path / str(step)))
    before = contents(tmp_path)
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(DamageError) as caught:
        checkpoints.restore(state())
    assert (caught.value.step, caught.value.intact) == (300, 100)
    assert f"{tmp_path / '300'} is damaged: params/kernel" in str(caught.value)
    assert "Step 100 is intact: go on from it with restore(step=100)" in str(caught.value)
    assert contents(tmp_path) == before
    assert same(checkpoints.restore(state(), step=100), state(100))
    assert contents(tmp_path) == before


def test_damage_without_another_checkpoint_says_so(tmp_path):
    written(tmp_path, [100])
    flip(largest(tmp_path / "100"))
    with pytest.raises(DamageError, match="No other checkpoint in its folder is intact") as caught:
        Checkpoints(tmp_path).restore(state())
    assert caught.value.intact is None


@pytest.mark.parametrize("new_process", [False, True])
def test_going_on_after_damage_keeps_the_evidence(tmp_path, new_process):
    written(tmp_path, [100, 200, 300])
    flip(largest(tmp_path / "300"))
    evidence = sorted(contents(tmp_path / "300").values())
    checkpoints = Checkpoints(tmp_path, keep=1)
    with pytest.raises(DamageError):
        checkpoints.restore(state())
    if new_process:
        checkpoints = Checkpoints(tmp_path, keep=1)
    with checkpoints:
        checkpoints.restore(state(), step=200)
        for step in (300, 400):
            checkpoints.save(state(step), step)
    assert checkpoints.steps() == [400]
    aside = tmp_path / ("300.replaced-1" if new_process else "300.damaged-1")
    assert sorted(contents(aside).values()) == evidence
    assert same(checkpoints.restore(state()), state(400))


def test_a_damaged_best_is_not_deleted_when_old(tmp_path):
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(state(1), 1, metric=9.0)
        checkpoints.wait()
        flip(tmp_path / "1" / "manifest" / "metadata")
        checkpoints.save(state(2), 2, metric=1.0)
        checkpoints.save(state(3), 3, metric=0.0)
    assert 1 in checkpoints.steps()


# --- writes that fail


class full_disk:
    """Files may not grow beyond a size: writes fail, as on a full disk, in Orbax's C++ too."""

    def __init__(self, size=4096):
        self.size = size

    def __enter__(self):
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.before[1]))

    def __exit__(self, *_):
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)


@pytest.mark.parametrize("where", ["wait", "save", "close", "restore"])
def test_a_full_disk_is_an_error_of_the_next_call_and_earlier_checkpoints_stay(
    tmp_path, where, caplog
):
    written(tmp_path, [1])
    before = contents(tmp_path / "1")
    checkpoints = Checkpoints(tmp_path)
    checkpoints.restore(state())
    with full_disk():
        checkpoints.save(state(2), 2)
        call = {
            "wait": checkpoints.wait,
            "save": lambda: checkpoints.save(state(3), 3),
            "close": checkpoints.close,
            "restore": lambda: checkpoints.restore(state()),
        }[where]
        with pytest.raises(WriteError, match=r"checkpoint 2 could not be written .*File too large"):
            call()
    assert not [record for record in caplog.records if record.exc_info]  # said once, by us
    assert checkpoints.steps() == [1]
    assert contents(tmp_path / "1") == before
    with checkpoints:  # and the run may go on when there is room again
        assert checkpoints.save(state(2), 2)
    assert checkpoints.steps() == [1, 2]
    assert same(checkpoints.restore(state()), state(2))
    assert sorted(os.listdir(tmp_path)) == ["1", "2"]


def test_a_full_disk_when_the_manifest_is_written(tmp_path, monkeypatch):
    written(tmp_path, [1])
    checkpoints = Checkpoints(tmp_path)
    checkpoints.restore(state())

    def full(self, *_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(type(epath.Path(tmp_path)), "write_text", full)
    with contextlib.suppress(WriteError):  # now or later
        checkpoints.save(state(2), 2)
        checkpoints.wait()
        pytest.fail("no error")
    monkeypatch.undo()
    assert checkpoints.steps() == [1]
    checkpoints.close()


def test_a_file_in_the_folders_place_is_named(tmp_path):
    path = tmp_path / "run"
    path.write_text("notes")
    for folder in (path, path / "checkpoints"):
        with pytest.raises(NotADirectoryError, match=f"{path} is a file"):
            Checkpoints(folder)
    assert path.read_text() == "notes"


@pytest.mark.skipif(not pathlib.Path("/proc/self").exists(), reason="needs a folder no one may use")
def test_a_folder_that_cannot_be_written_is_one_clear_error():
    checkpoints = Checkpoints("/proc/checkpoints")
    assert checkpoints.steps() == []
    with pytest.raises(WriteError, match="checkpoint 1 could not be written to /proc/checkpoints"):
        checkpoints.save(state(), 1)
    checkpoints.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_can_be_read_and_not_written(tmp_path):
    written(tmp_path, [1])
    tmp_path.chmod(0o555)
    try:
        with Checkpoints(tmp_path) as checkpoints:
            assert same(checkpoints.restore(state()), state(1))
            with pytest.raises(WriteError, match="checkpoint 2 could not be written"):
                checkpoints.save(state(2), 2)
        assert checkpoints.steps() == [1]
    finally:
        tmp_path.chmod(0o755)


# --- killed processes

# Imports once; then for every line "FOLDER" forks a child that goes on from the latest checkpoint
# and saves in a loop. Prints the child's number, the steps whose `save` returned, and a last line.
TRAINER = """
import os, sys
import jax, jax.numpy as jnp, orbax.checkpoint
from optlab.training._checkpoints import Checkpoints

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        checkpoints = Checkpoints(line.strip(), keep=2)
        make = jax.jit(lambda step: {"w": jnp.full((100, 100), step), "step": step})
        start = checkpoints.latest() or 0
        if start:
            checkpoints.restore(make(jnp.int32(0)))
        for step in range(start + 1, 10**6):
            checkpoints.save(make(jnp.int32(step)), step)
            os.write(1, b"saved %d\\n" % step)
    os.write(1, b"child %d\\n" % child)
    os.waitpid(child, 0)
    os.write(1, b"gone\\n")
"""


def kill_while_saving(folder, kills, seed):
    """Kills a trainer at random moments; after each kill, the folder must be as promised."""
    rng = random.Random(seed)
    like = {"w": jnp.zeros((100, 100), jnp.int32), "step": jnp.int32(0)}
    saves, leftovers = 0, 0
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", TRAINER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        env={**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"},
    ) as trainer:
        for _ in range(kills):
            trainer.stdin.write(f"{folder}\n")
            child = int(trainer.stdout.readline().split()[1])
            lines = [trainer.stdout.readline()]  # the first save has returned
            time.sleep(rng.uniform(0.0, 0.3))
            os.kill(child, signal.SIGKILL)
            while (line := trainer.stdout.readline()) != "gone\n":
                lines.append(line)
            returned = int(lines[-1].split()[1])
            saves += len(lines)
            leftovers += any("tmp" in name for name in os.listdir(folder))
            checkpoints = Checkpoints(folder)
            latest = checkpoints.latest()
            assert returned - 1 <= (latest or 0) <= returned + 1
            for step in checkpoints.steps():
                found = checkpoints.restore(like, step=step)
                assert int(found["step"]) == step
                assert (np.asarray(found["w"]) == step).all()
        trainer.stdin.close()
    with Checkpoints(folder, keep=2) as checkpoints:
        checkpoints.restore(like)
        checkpoints.save(like, 10**6)
    assert not [name for name in os.listdir(folder) if not name.isdecimal()]
    return saves, leftovers


def test_a_killed_process_leaves_a_complete_checkpoint(tmp_path):
    kill_while_saving(tmp_path, kills=3, seed=0)


@pytest.mark.slow
def test_fifty_killed_processes_leave_complete_checkpoints(tmp_path):
    _, leftovers = kill_while_saving(tmp_path, kills=50, seed=1)
    assert leftovers > 10  # they were killed while they wrote


def test_what_killed_processes_left_is_deleted_by_the_next_save_only(tmp_path):
    written(tmp_path, [1])
    for name in ("7.orbax-checkpoint-tmp", "0.deleting"):
        (tmp_path / name / "state").mkdir(parents=True)
        (tmp_path / name / "state" / "part").write_text("x")
    checkpoints = Checkpoints(tmp_path)
    checkpoints.restore(state())
    assert len(os.listdir(tmp_path)) == 3
    with checkpoints:
        checkpoints.save(state(2), 2)
    assert sorted(os.listdir(tmp_path)) == ["1", "2"]
