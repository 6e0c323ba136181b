"""Text as bytes: what a window is, where validation begins, which files count."""

import os
import sys

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from optlab.training import data


def joined(source):
    """The bytes of windows that follow one another."""
    windows = source.column("bytes")
    return windows[:, :-1].tobytes() + windows[-1:, -1:].tobytes()


def test_windows_follow_one_another_and_overlap_by_the_byte_to_predict(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"0123456789")
    source = data.text_bytes(tmp_path, 3, validation=0)["train"]
    windows = [bytes(window) for window in source.column("bytes")]
    assert windows == [b"0123", b"3456", b"6789"]
    assert source.column("bytes").dtype == np.uint8


@hypothesis.given(
    st.integers(2, 60), st.integers(1, 10), st.integers(1, 10), st.sampled_from([0, 0.3])
)
@hypothesis.settings(max_examples=40)
def test_windows_are_as_many_as_fit_and_parts_share_no_byte(tmp_path_factory, n, length, stride, v):
    file = tmp_path_factory.getbasetemp() / "numbers.txt"
    content = bytes(range(1, n + 1))
    file.write_bytes(content)
    size = n + 1
    cut = size - round(v * size)
    if cut <= length or (v and size - cut <= length):
        with pytest.raises(data.DataError, match="fewer than one window"):
            data.text_bytes(file, length, stride=stride, validation=v)
        return
    parts = data.text_bytes(file, length, stride=stride, validation=v)
    assert len(parts) == (2 if v else 1)
    content += b"\0"
    for part, chunk in (("train", content[:cut]), ("validation", content[cut:])):
        if part in parts:
            starts = range(0, len(chunk) - length, stride)
            expected = [chunk[start : start + length + 1] for start in starts]
            assert [bytes(window) for window in parts[part].column("bytes")] == expected


def test_the_files_of_a_folder_are_sorted_and_end_in_a_zero_byte(tmp_path):
    for name, text in (("b.txt", "bee"), ("a/z.md", "zed"), ("a/ä.TXT", "ä"), ("c.py", "no")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    source = data.text_bytes(tmp_path, 1, validation=0)["train"]
    assert joined(source) == b"zed\0" + "ä".encode() + b"\0bee\0"
    assert source.info == {"files": ("a/z.md", "a/ä.TXT", "b.txt"), "size": 11}
    python = data.text_bytes(tmp_path, 1, validation=0, suffixes=["py"])["train"]
    assert joined(python) == b"no\0"


def test_a_list_of_files_keeps_its_order(tmp_path):
    files = [tmp_path / name for name in ("2.txt", "1.bin")]
    for file in files:
        file.write_text(file.name)
    source = data.text_bytes(files, 1, validation=0)["train"]
    assert joined(source) == b"2.txt\0" + b"1.bin\0"


def test_validation_is_the_end(tmp_path):
    (tmp_path / "a.txt").write_bytes(bytes(range(1, 100)))
    parts = data.text_bytes(tmp_path, 4, validation=0.2)
    assert parts["train"].column("bytes").max() <= 80
    assert parts["validation"].column("bytes")[0, 0] == 81


def test_the_digest_follows_content_length_and_stride_but_not_names(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"hello, world" * 9)
    (tmp_path / "b.txt").write_bytes(b"hello, world" * 9)

    def digest(name="a.txt", length=4, **arguments):
        return data.text_bytes(tmp_path / name, length, **arguments)["train"].digest()

    assert digest() == digest("b.txt")
    others = [digest(length=5), digest(stride=1), digest(validation=0.3)]
    (tmp_path / "b.txt").write_bytes(b"hello, World" * 9)
    assert len({digest(), digest("b.txt"), *others}) == 5


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (lambda p: None, {}, r"none of its 0 files ends in \.md, \.rst, \.txt"),
        (lambda p: (p / "a.csv").write_text("x"), {}, "none of its 1 files ends in"),
        (lambda p: (p / "a.txt").write_text(""), {}, "1 files without a byte"),
        (lambda p: (p / "a.txt").write_text("abc"), {}, "train of .*: 4 bytes are fewer than one"),
        (
            lambda p: (p / "a.txt").write_text("a" * 20),
            {},
            "validation of .*: 2 bytes are fewer than one window of 9; choose a smaller length",
        ),
    ],
)
def test_too_little_text_is_an_error(tmp_path, make, arguments, message):
    make(tmp_path)
    with pytest.raises(data.DataError, match=message):
        data.text_bytes(tmp_path, 8, **arguments)


def test_missing_files_and_links_out_of_the_folder_are_named(tmp_path):
    with pytest.raises(data.DataError, match="no such file or folder"):
        data.text_bytes(tmp_path / "nowhere", 4)
    with pytest.raises(data.DataError, match="no such file"):
        data.text_bytes([tmp_path / "nowhere.txt"], 4)
    with pytest.raises(data.DataError, match="no files are given"):
        data.text_bytes([], 4)
    (tmp_path / "a.txt").symlink_to("/etc/passwd")
    with pytest.raises(data.DataError, match="is a link to /etc/passwd, outside"):
        data.text_bytes(tmp_path, 4)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_named(tmp_path):
    (tmp_path / "a.txt").write_text("x" * 100)
    (tmp_path / "a.txt").chmod(0)
    with pytest.raises(data.DataError, match=r"a\.txt: cannot be read: Permission denied"):
        data.text_bytes(tmp_path, 4)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"length": 0}, ValueError),
        ({"length": 4, "stride": 0}, ValueError),
        ({"length": 4, "validation": 1.0}, ValueError),
        ({"length": 4, "suffixes": ".txt"}, TypeError),
    ],
)
def test_arguments_that_make_no_windows_are_refused(tmp_path, arguments, error):
    (tmp_path / "a.txt").write_text("x" * 100)
    with pytest.raises(error):
        data.text_bytes(tmp_path, **arguments)


# --- the standard library


def test_the_standard_library_is_this_python_s_source_without_its_tests():
    parts = data.standard_library(256)
    files = parts["train"].info["files"]
    assert {"abc.py", "json/decoder.py", "unittest/mock.py"} <= set(files)
    assert not [name for name in files if {"test", "tests", "site-packages"} & {*name.split("/")}]
    assert list(files) == sorted(files)
    assert parts["train"].info["size"] > 5e6
    assert len(parts["train"]) > 8 * len(parts["validation"]) > 1000
    first = parts["train"].gather([0])["bytes"][0].tobytes()
    name = os.path.join(os.path.dirname(os.__file__), files[0])
    with open(name, "rb") as file:
        assert file.read(257) == first


def test_snippets_are_labelled_by_their_package():
    parts = data.standard_library_packages(64, packages=("json", "email"))
    train, validation = parts["train"], parts["validation"]
    assert train.info["classes"] == ("json", "email")
    assert set(train.column("label")) == set(validation.column("label")) == {0, 1}
    assert train.column("bytes").shape[1:] == (64,)
    where = os.path.join(os.path.dirname(sys.modules["json"].__file__), "__init__.py")
    with open(where, "rb") as file:
        assert file.read(64) == train.column("bytes")[0].tobytes()
    with pytest.raises(data.DataError, match="class 'jsn' has 0 bytes in 0 files"):
        data.standard_library_packages(64, packages=("jsn", "email"))


# --- labelled text


def test_snippets_stay_within_a_file_and_validation_takes_the_end_of_each_class(tmp_path):
    for name, text in (("a/1.txt", "abcde"), ("a/2.txt", "fghijk"), ("b.txt", "0123456789")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    classes = {"letters": tmp_path / "a", "digits": tmp_path / "b.txt"}
    parts = data.labelled_text(classes, 2, validation=0.4)
    snippets = {
        part: [bytes(row).decode() for row in source.column("bytes")]
        for part, source in parts.items()
    }
    assert snippets["train"] == ["ab", "cd", "fg", "01", "23", "45"]
    assert snippets["validation"] == ["hi", "jk", "67", "89"]
    assert parts["train"].column("label").tolist() == [0, 0, 0, 1, 1, 1]
    assert parts["validation"].info["classes"] == ("letters", "digits")


def test_labelled_text_needs_classes_with_text(tmp_path):
    (tmp_path / "a.txt").write_text("abcdef")
    with pytest.raises(data.DataError, match=r"at least two classes are needed, got \['a'\]"):
        data.labelled_text({"a": tmp_path / "a.txt"}, 2)
    with pytest.raises(data.DataError, match="class 'a' has 6 bytes in 1 files, fewer than two"):
        data.labelled_text({"a": tmp_path / "a.txt", "b": tmp_path / "a.txt"}, 4)


def test_what_a_run_wrote_into_the_folder_is_not_read(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "a.txt").write_bytes(b"mine")
    (tmp_path / "runs" / "b.txt").write_bytes(b"the run's")
    (tmp_path / "runs2.txt").write_bytes(b"mine, too")
    parts = data.text_bytes(tmp_path, 2, validation=0, without=[tmp_path / "." / "runs"])
    assert parts["train"].info["files"] == ("a.txt", "runs2.txt")
    classes = {"one": tmp_path, "two": tmp_path / "runs2.txt"}
    found = data.labelled_text(classes, 2, without=[tmp_path / "runs"])
    assert sum(map(len, found.values())) == 6 + 4
