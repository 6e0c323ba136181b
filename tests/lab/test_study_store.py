"""The store: what was added is there after any end, and what is damaged is told."""

import math
import pathlib
import signal
import sqlite3
import subprocess
import sys
import threading

import jax.numpy as jnp
import numpy as np
import pytest

from optlab import lab

STUDY = {"task": "valley", "steps": 300, "space": {"learning_rate": {"low": 0.1, "high": 1.0}}}
KILLED = pathlib.Path(__file__).parent / "killed_writer.py"


def trial(number):
    return lab.Trial(number, {"learning_rate": 0.1 + number, "b": None, "a": "x"})


def outcome(number, seed=0, steps=5, status="done", diverged_at=None):
    rng = np.random.default_rng(number)
    return lab.Outcome(
        trial=number,
        seed=seed,
        status=status,
        steps=steps,
        diverged_at=diverged_at,
        losses=rng.random(steps, np.float32),
        evaluated=np.array([2, steps]),
        metrics={"error": rng.random(2, np.float32), "train_loss": np.float32([math.nan, 1])},
        seconds=0.125,
    )


def same(a, b):
    assert a._replace(losses=0, evaluated=0, metrics=0) == b._replace(
        losses=0, evaluated=0, metrics=0
    )
    assert a.metrics.keys() == b.metrics.keys()
    pairs = [(a.losses, b.losses), (a.evaluated, b.evaluated)]
    for x, y in pairs + [(a.metrics[name], b.metrics[name]) for name in a.metrics]:
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "study.db"


@pytest.fixture
def filled(path):
    with lab.Store(path, STUDY) as store:
        store.add_trials(map(trial, range(20)))
        store.add_outcomes(map(outcome, range(20)))
        store.save_states(1, {(3, 0): [np.arange(2000.0)], (4, 0): [np.ones(3), np.zeros(2)]})
    return path


# --- what goes in comes out


def test_what_was_added_is_there_when_it_opens_again(path):
    with lab.Store(path, STUDY) as store:
        assert (store.trials(), store.outcomes(), store.plan) == ([], [], None)
        store.add_trials([trial(1), trial(0)])
        store.add_outcomes([outcome(1, 7), outcome(0, diverged_at=3, status="diverged")])
        store.set_plan({"width": 4})
    with lab.Store(path, STUDY) as store:
        assert store.study == STUDY
        assert store.trials() == [trial(0), trial(1)]
        assert list(store.trials()[0].hyperparameters) == ["learning_rate", "b", "a"]
        assert store.plan == {"width": 4}
        kept = store.outcomes()
    for one, other in zip(
        kept, [outcome(0, diverged_at=3, status="diverged"), outcome(1, 7)], strict=True
    ):
        same(one, other)


def test_numpy_and_jax_scalars_are_kept_as_numbers(path):
    odd = outcome(0)._replace(
        trial=np.int64(0), seed=np.int32(1), steps=jnp.int32(5), seconds=np.float32(0.5)
    )
    with lab.Store(path, STUDY) as store:
        store.add_outcomes([odd])
        kept = store.outcomes()[0]
    assert (kept.trial, kept.seed, kept.steps, kept.seconds) == (0, 1, 5, 0.5)
    assert type(kept.steps) is int


def test_a_run_that_went_on_replaces_what_it_was(path):
    with lab.Store(path, STUDY) as store:
        store.add_outcomes([outcome(0, steps=3, status="stopped"), outcome(1)])
        store.add_outcomes([outcome(0)])
        assert [(o.steps, o.status) for o in store.outcomes()] == [(5, "done"), (5, "done")]


def test_states_keep_every_dtype_and_shape_to_the_bit(path):
    arrays = [
        np.float32([[1, math.nan], [-0.0, math.inf]]),
        np.zeros((0, 3), np.int32),
        np.array(3, np.uint32),
        np.array([True, False]),
        np.asarray(jnp.array([1, 3], jnp.bfloat16)),
        np.asarray(jnp.array([1, 3], jnp.float8_e4m3fn)),
        np.arange(6.0).reshape(2, 3).T,
        np.array([1, 2], ">f4"),
    ]
    with lab.Store(path, STUDY) as store:
        store.save_states(2, {(0, 1): arrays, (5, 0): [np.ones(1)]})
        store.save_states(2, {(5, 0): [np.zeros(2), np.zeros(1)]})
        kept = store.states(2)
        assert store.states(1) == {}
        store.drop_states(before=3)
        assert store.states(2) == {}
    assert [len(state) for state in kept.values()] == [8, 2]
    for one, other in zip(kept[0, 1], arrays, strict=True):
        assert one.dtype == other.dtype.newbyteorder("=")
        assert one.shape == other.shape
        assert one.tobytes() == other.astype(one.dtype).tobytes()
        assert one.flags.writeable


def test_arrays_of_objects_are_refused(path):
    with (
        lab.Store(path, STUDY) as store,
        pytest.raises(TypeError, match="has dtype object; only numbers"),
    ):
        store.save_states(0, {(0, 0): [np.array([{}])]})


def test_a_transaction_that_fails_leaves_nothing(path):
    with lab.Store(path, STUDY) as store:

        def interrupted():
            with store.transaction():
                store.add_outcomes([outcome(0)])
                store.save_states(1, {(0, 0): [np.ones(2)]})
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert (store.outcomes(), store.states(1)) == ([], {})
        store.add_outcomes([outcome(1)])
        assert len(store.outcomes()) == 1


def test_threads_may_share_a_store(path):
    with lab.Store(path, STUDY) as store:
        threads = [
            threading.Thread(target=lambda i=i: store.add_outcomes([outcome(i)])) for i in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [o.trial for o in store.outcomes()] == list(range(8))


# --- whose it is


def test_a_store_of_another_study_is_refused_and_kept(filled):
    before = filled.read_bytes()
    other = {"task": "valley", "steps": 500, "space": {"learning_rate": {"low": 0.2}}, "n": 1}
    with pytest.raises(ValueError, match="belongs to another study") as error:
        lab.Store(filled, other)
    for words in (
        "n is missing there and 1 here",
        "space.learning_rate.high is 1.0 there and missing here",
        "space.learning_rate.low is 0.1 there and 0.2 here",
        "steps is 300 there and 500 here",
    ):
        assert words in str(error.value)
    assert "task is" not in str(error.value)
    assert filled.read_bytes() == before


def test_a_trial_keeps_its_hyperparameters(filled):
    with (
        lab.Store(filled, STUDY) as store,
        pytest.raises(ValueError, match="a trial keeps its hyperparameters"),
    ):
        store.add_trials([lab.Trial(3, {"learning_rate": 9})])


def test_a_store_opens_without_a_study_if_it_is_there(filled, tmp_path):
    with lab.Store(filled) as store:
        assert store.study == STUDY
    with pytest.raises(FileNotFoundError, match="there is no file"):
        lab.Store(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        lab.Store(tmp_path / "nowhere" / "study.db", STUDY)


def test_a_study_that_is_not_json_is_refused(path):
    with pytest.raises(TypeError, match="study must be JSON-able"):
        lab.Store(path, {"task": math.cos})
    assert not path.exists()


def test_a_store_in_use_is_refused_and_free_when_it_closes(path):
    with lab.Store(path, STUDY), pytest.raises(lab.StoreError, match="in use by another process"):
        lab.Store(path, STUDY)
    lab.Store(path, STUDY).close()


def test_a_closed_store_says_so(path):
    store = lab.Store(path, STUDY)
    store.close()
    with pytest.raises(lab.StoreError, match="closed"):
        store.trials()


def test_other_files_are_refused_and_kept(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("my results, on which much depends\n" * 100)
    database = tmp_path / "other.db"
    with sqlite3.connect(database) as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    for path in (text, database):
        before = path.read_bytes()
        with pytest.raises(lab.StoreError, match="no store"):
            lab.Store(path, STUDY)
        assert path.read_bytes() == before


def test_a_full_disk_is_told_and_leaves_what_was_there(filled):
    with lab.Store(filled, STUDY) as store:
        store._db.execute("PRAGMA max_page_count = 60")  # as if
        with pytest.raises(lab.StoreError, match="disk is full"):
            store.save_states(2, {(i, 0): [np.ones(10_000)] for i in range(10)})
        assert store.states(2) == {}
        store.add_outcomes([outcome(20)])
    with lab.Store(filled, STUDY) as store:
        assert len(store.outcomes()) == 21


# --- damage


def test_an_empty_file_is_a_new_store(path):
    path.touch()
    with lab.Store(path, STUDY) as store:
        assert store.trials() == []


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8, 0.99])
def test_a_file_cut_short_is_told(filled, share):
    size = int(filled.stat().st_size * share) or 60
    filled.write_bytes(filled.read_bytes()[:size])
    with pytest.raises(lab.StoreError, match=r"damaged or no store .* Move it away"):
        lab.Store(filled, STUDY)
    assert filled.stat().st_size == size


def read(path):
    with lab.Store(path, STUDY) as store:
        return store.trials(), store.outcomes(), store.states(1)


def test_a_flipped_bit_is_told_or_changes_nothing(filled):
    whole = filled.read_bytes()
    trials, outcomes, states = read(filled)
    rng = np.random.default_rng(0)
    told = 0
    for place in rng.integers(0, len(whole), 300):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        filled.write_bytes(damaged)
        try:
            found = read(filled)
        except (lab.StoreError, ValueError):
            told += 1
            continue
        assert found[0] == trials
        for one, other in zip(found[1], outcomes, strict=True):
            same(one, other)
        assert found[2].keys() == states.keys()
        for key, arrays in states.items():
            for one, other in zip(found[2][key], arrays, strict=True):
                np.testing.assert_array_equal(one, other)
    assert told > 100


def test_a_row_that_was_edited_by_hand_is_told(filled):
    with sqlite3.connect(filled) as db:
        db.execute("UPDATE outcomes SET status = 'done', steps = 400 WHERE trial = 3")
    db.close()
    with (
        lab.Store(filled, STUDY) as store,
        pytest.raises(lab.StoreError, match=r"checksum of a row of outcomes is wrong, \[3, 0\]"),
    ):
        store.outcomes()


# --- recovery


def test_recovery_copies_what_is_whole_and_only_that(filled, tmp_path):
    before = bytearray(filled.read_bytes())
    data = np.arange(2000.0).tobytes()
    before[before.index(data[800:900])] ^= 1  # in the state of trial 3
    filled.write_bytes(before)
    with sqlite3.connect(filled) as db:
        db.execute("UPDATE outcomes SET seconds = 9 WHERE trial = 7")
    db.close()
    before = filled.read_bytes()
    found = lab.recover(filled, tmp_path / "new.db")
    assert found == {"notes": 1, "trials": 20, "outcomes": 19, "states": 2}
    assert filled.read_bytes() == before
    with lab.Store(tmp_path / "new.db", STUDY) as store:
        assert [o.trial for o in store.outcomes()] == [i for i in range(20) if i != 7]
        same(store.outcomes()[0], outcome(0))
        assert list(store.states(1)) == [(4, 0)]


def test_recovery_of_a_file_cut_short_finds_what_is_before_the_cut(filled, tmp_path):
    filled.write_bytes(filled.read_bytes()[: filled.stat().st_size * 3 // 4])
    found = lab.recover(filled, tmp_path / "new.db", STUDY)
    assert found["trials"] == 20
    read(tmp_path / "new.db")


def test_recovery_refuses_what_it_cannot_do(filled, tmp_path):
    with pytest.raises(FileExistsError, match="is there already"):
        lab.recover(filled, filled)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        lab.recover(tmp_path / "none.db", tmp_path / "new.db")
    filled.write_bytes(b"x" * 5000)
    with pytest.raises(lab.StoreError, match="0 rows of it can be read; pass study"):
        lab.recover(filled, tmp_path / "new.db")
    assert not (tmp_path / "new.db").exists()


# --- the end of the process


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_after_kill_9_all_that_was_added_is_there_and_nothing_half(path, times):
    for _ in range(times):
        process = subprocess.Popen(
            [sys.executable, KILLED, path], stdout=subprocess.PIPE, text=True, bufsize=1
        )
        said = [int(process.stdout.readline()) for _ in range(5)]
        with pytest.raises(lab.StoreError, match="in use by another process"):
            lab.Store(path, STUDY)
        process.send_signal(signal.SIGKILL)
        said += [int(line) for line in process.stdout.read().split()]
        process.stdout.close()
        process.wait()
        with lab.Store(path, STUDY) as store:
            trials = [t.number for t in store.trials()]
            runs = [o.trial for o in store.outcomes()]
            states = store.states(0)
        last = said[-1]
        assert trials == list(range(len(trials)))
        assert len(trials) in (4 * (last + 1), 4 * (last + 2))  # a chunk was not yet announced
        assert runs == trials == [trial for trial, _ in states]
