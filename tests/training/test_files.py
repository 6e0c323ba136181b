"""Files of a run: whole or not at all, never unpickled, and saying nothing of the machine."""

import dataclasses
import errno
import getpass
import hashlib
import io
import json
import os
import pathlib
import pickle
import platform
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optlab.training import _versions
from optlab.training._console import UserError
from optlab.training._files import as_json, check_writable, digest, npz, read_npz, write_all


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_files_are_written_into_a_new_folder(tmp_path):
    write_all(tmp_path / "new" / "folder", {"a": b"1", "b": b""})
    assert (tmp_path / "new/folder/a").read_bytes() == b"1"
    assert names(tmp_path / "new/folder") == ["a", "b"]


def test_files_are_written_all_or_none(tmp_path):
    write_all(tmp_path, {"a": b"old", "b": b"old"})
    (tmp_path / "c").mkdir()
    with pytest.raises(UserError, match=r"cannot write to .*: c is a folder"):
        write_all(tmp_path, {"a": b"new", "b": b"new", "c": b"new"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == b"old"
    assert names(tmp_path) == ["a", "b", "c"]


def test_a_reader_of_the_old_file_reads_it_to_its_end(tmp_path):
    write_all(tmp_path, {"a": b"old" * 10_000})
    with open(tmp_path / "a", "rb") as reader:
        start = reader.read(5)
        write_all(tmp_path, {"a": b"new"})
        assert start + reader.read() == b"old" * 10_000
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_full_disk_is_named_and_changes_nothing(tmp_path, monkeypatch):
    write_all(tmp_path, {"a": b"old"})

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot write to .*: No space left on device"):
        write_all(tmp_path, {"a": b"new", "b": b"new"})
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("name", ["../a", "b/c", "", "/a", ".."])
def test_a_file_stays_in_its_folder(tmp_path, name):
    with pytest.raises(ValueError, match=r"without folders"):
        write_all(tmp_path / "run", {name: b""})
    assert names(tmp_path) == []


def test_checking_a_folder_leaves_no_trace(tmp_path):
    check_writable(tmp_path / "new" / "folder")
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_named_with_the_reason(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    for path, reason in (
        (tmp_path / "file" / "x", "Not a directory"),
        (tmp_path / "file", "Not a directory"),
        (tmp_path / "nowhere" / "x", "is a link that leads nowhere"),
        ("a\0b", "a path expected"),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        with pytest.raises(UserError, match=f"^--to: .*{reason}"):
            check_writable(path, "--to")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match=r"Permission denied"):
        check_writable(tmp_path / "x")


def test_json_has_null_for_what_it_cannot_say():
    text = as_json({"a": np.array([1.0, np.nan, np.inf]), "b": {"c": np.float32(2)}})
    assert text == b'{\n"a": [1.0, null, null],\n"b": {"c": 2.0}\n}\n'


def test_json_takes_what_a_run_is_made_of():
    @dataclasses.dataclass
    class Options:
        path: pathlib.Path

    values = {"options": Options(pathlib.Path("a/b")), "jax": jnp.ones(2), "none": None, "on": True}
    assert json.loads(as_json(values)) == {
        "options": {"path": "a/b"}, "jax": [1.0, 1.0], "none": None, "on": True,
    }  # fmt: skip


def test_json_refuses_what_it_would_only_describe():
    with pytest.raises(TypeError, match=r"got <object .* of type object"):
        as_json({"a": object()})


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(
        st.text("abcdefgh/_", min_size=1, max_size=6),
        st.tuples(
            st.sampled_from(["float32", "int64", "bool", "uint8", "complex64", "U3"]),
            st.lists(st.integers(0, 3), max_size=3),
        ),
        max_size=4,
    )
)
def test_arrays_come_back_as_they_were(kinds):
    arrays = {name: np.ones(shape, dtype) for name, (dtype, shape) in kinds.items()}
    back = read_npz(npz(arrays))
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)
    assert npz(arrays) == npz(arrays)


def test_numpy_reads_our_archives(tmp_path):
    (tmp_path / "a.npz").write_bytes(npz({"Dense_0/kernel": jnp.ones((2, 3))}))
    with np.load(tmp_path / "a.npz") as archive:
        assert archive["Dense_0/kernel"].shape == (2, 3)
    assert read_npz(tmp_path / "a.npz")["Dense_0/kernel"].shape == (2, 3)


@pytest.mark.parametrize("array", [jnp.ones(2, jnp.bfloat16), np.array([{}])])
def test_an_array_that_an_archive_cannot_keep_is_refused(array):
    with pytest.raises(TypeError, match=r"npz: 'a' is an array of .* cannot keep"):
        npz({"a": array})


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def objects() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.array([Bomb()], object))
    return file.getvalue()


@pytest.mark.parametrize("make", [objects, lambda: pickle.dumps(Bomb())])
def test_nothing_is_unpickled(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.npz").write_bytes(make())
    with pytest.raises(UserError, match=r"a.npz: damaged, or no .npz file") as caught:
        read_npz("a.npz")
    assert "allow_pickle" not in str(caught.value)
    assert names(tmp_path) == ["a.npz"]


def test_a_damaged_archive_is_named(tmp_path):
    path, whole = tmp_path / "a.npz", npz({"a": np.arange(200.0)})
    for contents in (b"", b"text", whole[:-30], whole[:200] + b"\xff" + whole[201:]):
        path.write_bytes(contents)
        with pytest.raises(UserError, match=r"a.npz: "):
            read_npz(path)
    with pytest.raises(UserError, match=r"missing.npz: cannot be read: No such file"):
        read_npz(tmp_path / "missing.npz")


def test_a_single_array_is_no_archive(tmp_path):
    np.save(tmp_path / "a.npy", np.ones(2))
    with pytest.raises(UserError, match=r"a single array"):
        read_npz(tmp_path / "a.npy")


def test_archives_are_plain_zip_files():
    with zipfile.ZipFile(io.BytesIO(npz({"a": np.ones(1)}))) as archive:
        assert archive.namelist() == ["a.npy"]


def test_digests_are_sha_256_of_the_contents(tmp_path):
    (tmp_path / "a").write_bytes(b"abc" * 10**6)
    assert digest(tmp_path / "a") == digest(b"abc" * 10**6)
    assert digest(b"x") == hashlib.sha256(b"x").hexdigest()
    with pytest.raises(UserError, match=r"b: cannot be read: No such file"):
        digest(tmp_path / "b")


def test_versions_say_what_is_installed_and_nothing_of_the_machine(monkeypatch):
    monkeypatch.setattr(_versions, "_PACKAGES", ("numpy", "jax", "no-such-package"))
    found = _versions.versions()
    assert list(found) == ["numpy", "jax", "python", "platform"]
    assert found["numpy"] == np.__version__
    text = json.dumps(found)
    for private in (platform.node(), os.getcwd(), str(pathlib.Path.home())):
        assert private == "/" or private not in text
    assert f'"{getpass.getuser()}"' not in text
