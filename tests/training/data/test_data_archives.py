"""IDX and CIFAR-10 files: whole, damaged, hostile."""

import contextlib
import gzip
import io
import itertools
import pickle
import struct
import tarfile

import numpy as np
import pytest
from data_files import idx_bytes, write_idx

from optlab.training import data

# --- IDX


@pytest.mark.parametrize("packed", [False, True])
def test_idx_reads_images_and_labels_plain_and_gzipped(tmp_path, packed):
    images, labels = write_idx(tmp_path, "train", packed=packed)
    write_idx(tmp_path, "t10k", count=3, packed=not packed)
    parts = data.idx(tmp_path)
    assert list(parts) == ["train", "test"]
    np.testing.assert_array_equal(parts["train"].column("image"), images[..., None])
    np.testing.assert_array_equal(parts["train"].column("label"), labels)
    assert parts["train"].column("label").dtype == np.int32
    assert parts["test"].info["classes"] == tuple("012345")
    assert len(parts["test"]) == 3


def test_the_digest_does_not_tell_packed_files_from_plain_ones(tmp_path):
    digests = set()
    for packed in (False, True):
        folder = tmp_path / str(packed)
        folder.mkdir()
        write_idx(folder, "train", packed=packed)
        write_idx(folder, "t10k", packed=packed)
        digests.add(data.idx(folder)["train"].digest())
    assert len(digests) == 1


IMAGES = idx_bytes(np.ones((6, 4, 4), np.uint8))
PACKED = gzip.compress(IMAGES, mtime=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"",
            "starts with nothing; an IDX file of bytes with 3 dimensions starts with 00 00 08 03",
        ),
        (b"PK\3\4 hello", "starts with 50 4b 03 04"),
        (b"\0\0\x08\x01" + IMAGES[4:], "starts with 00 00 08 01"),
        (IMAGES[:10], "ends within its header, after 10 bytes"),
        (IMAGES[:-1], "truncated, its header promises 6 x 4 x 4 = 96 bytes, 95 follow"),
        (IMAGES + b"x", "too long, more than the 6 x 4 x 4 = 96 bytes"),
        (struct.pack(">4B3I", 0, 0, 8, 3, 0, 4, 4), "is empty, its header promises 0 x 4 x 4"),
        (struct.pack(">4B3I", 0, 0, 8, 3, *[2**32 - 1] * 3), "a file of 16 bytes cannot hold"),
        (PACKED[:-12], "truncated, the gzip stream ends early"),
        (
            gzip.compress(IMAGES[:-5], mtime=0),
            "truncated, its header promises 6 x 4 x 4 = 96 bytes, 91",
        ),
        (PACKED[:-8] + bytes(8), "damaged gzip stream: CRC check failed"),
        (idx_bytes(np.ones((5, 4, 4), np.uint8)), "5 images but .* has 6 labels"),
        (idx_bytes(np.ones((6, 5, 4), np.uint8)), "training images are 5 x 4, test images 4 x 4"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_damaged_idx_file_is_named_with_what_is_wrong(tmp_path, content, message):
    write_idx(tmp_path, "train")
    write_idx(tmp_path, "t10k")
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(data.DataError, match=message) as caught:
        data.idx(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_gzip_bomb_is_unpacked_no_further_than_its_header_says(tmp_path, monkeypatch):
    write_idx(tmp_path, "train")
    write_idx(tmp_path, "t10k")
    bomb = gzip.compress(IMAGES + bytes(1 << 26))
    (tmp_path / "train-images-idx3-ubyte").write_bytes(bomb)
    unpacked = []
    read = gzip.GzipFile.read
    monkeypatch.setattr(
        gzip.GzipFile, "read", lambda self, size=-1: unpacked.append(size) or read(self, size)
    )
    with pytest.raises(data.DataError, match="too long"):
        data.idx(tmp_path)
    assert min(unpacked) >= 0
    assert max(unpacked) < 1000


def test_missing_idx_files_and_folders_are_named(tmp_path):
    with pytest.raises(data.DataError, match="no such folder"):
        data.idx(tmp_path / "nowhere")
    with pytest.raises(data.DataError, match=r"has neither train-images-idx3-ubyte nor .*\.gz"):
        data.idx(tmp_path)
    file = tmp_path / "file"
    file.write_bytes(b"")
    with pytest.raises(data.DataError, match="is a file, a folder is expected"):
        data.idx(file)
    write_idx(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").unlink()
    (tmp_path / "train-images-idx3-ubyte").mkdir()
    with pytest.raises(data.DataError, match="is a folder, a file is expected"):
        data.idx(tmp_path)


# --- CIFAR-10

RECORDS = 4


def records(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, RECORDS, np.uint8)
    return labels, rng.integers(0, 256, (RECORDS, 3072), np.uint8)


def binary(seed):
    labels, pixels = records(seed)
    return np.concatenate([labels[:, None], pixels], 1).tobytes()


def pickled(seed, protocol=2, **changes):
    labels, pixels = records(seed)
    content = {b"batch_label": b"a batch", b"labels": labels.tolist(), b"data": pixels}
    content[b"filenames"] = [b"a.png"] * RECORDS
    content |= {key.encode(): value for key, value in changes.items()}
    return pickle.dumps({k: v for k, v in content.items() if v is not None}, protocol)


def python_2(seed):
    """What Python 2 wrote: strings of bytes, NumPy's old names."""
    labels, pixels = records(seed)
    out = b"\x80\x02}(U\x06labels](" + b"".join(b"K" + bytes([x]) for x in labels) + b"e"
    out += b"U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\x01b\x87R("
    out += b"K\x01K" + bytes([RECORDS]) + b"M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\0K\x01\x87R"
    out += b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89T"
    return out + struct.pack("<I", pixels.nbytes) + pixels.tobytes() + b"tbu."


def write_archive(path, files, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def batches(make, ending=""):
    names = ["data_batch_10", "data_batch_2", "test_batch"]
    return {f"{name}{ending}": make(seed) for seed, name in enumerate(names)}


def check(parts):
    """The training batches in the order of their numbers: seed 1, then seed 0."""
    labels = np.concatenate([records(1)[0], records(0)[0]])
    pixels = np.concatenate([records(1)[1], records(0)[1]])
    batch = parts["train"].gather(np.arange(2 * RECORDS))
    np.testing.assert_array_equal(batch["label"], labels)
    assert batch["image"].shape == (2 * RECORDS, 32, 32, 3)
    np.testing.assert_array_equal(batch["image"][3, 5, 7], pixels[3].reshape(3, 32, 32)[:, 5, 7])
    np.testing.assert_array_equal(parts["test"].column("label"), records(2)[0])
    assert batch["label"].dtype == np.int32
    assert parts["train"].info["classes"][3] == "cat"


MAKERS = {"binary": (binary, ".bin"), "python 3": (pickled, ""), "python 2": (python_2, "")}


@pytest.mark.parametrize("form", MAKERS)
@pytest.mark.parametrize("kind", ["folder", "w", "w:gz", "w:xz", "w:bz2"])
def test_cifar10_reads_both_forms_packed_and_unpacked(tmp_path, form, kind):
    make, ending = MAKERS[form]
    files = batches(make, ending)
    if kind == "folder":
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
        check(data.cifar10(tmp_path))
    else:
        members = {f"cifar-10/{name}": content for name, content in files.items()}
        members["cifar-10/readme.html"] = b"hello"
        check(data.cifar10(write_archive(tmp_path / "cifar.tar", members, kind)))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_every_protocol_are_read_or_refused_but_never_loaded(
    tmp_path, protocol, monkeypatch
):
    monkeypatch.setattr(pickle, "loads", None)
    monkeypatch.setattr(pickle, "Unpickler", None)
    for name, content in batches(lambda seed: pickled(seed, protocol)).items():
        (tmp_path / name).write_bytes(content)
    check(data.cifar10(tmp_path))


def test_nothing_of_an_archive_is_written_to_disk(tmp_path):
    members = {f"../../{name}": content for name, content in batches(binary, ".bin").items()}
    path = write_archive(tmp_path / "cifar.tar.gz", members)
    check(data.cifar10(path))
    assert list(tmp_path.iterdir()) == [path]


RAN = []


class Evil:
    """Unpickling it would run code."""

    def __reduce__(self):
        return RAN.append, ("ran",)


class EvilDtype:
    def __reduce__(self):
        return np.dtype, ("O",)


EVIL = {
    "a method": (pickle.dumps({"data": Evil()}, 2), "the name"),
    "os.system": (b"\x80\x02cos\nsystem\nU\x04true\x85R.", "the name 'os.system'"),
    "posix, by opcode": (b"\x80\x04\x8c\x05posix\x8c\x06system\x93.", "the name 'posix.system'"),
    "nested": (b"\x80\x02}U\x04datac__builtin__\neval\nU\x011\x85Rs.", "the name '__builtin__.ev"),
    "instance": (b"(i__main__\nThing\n.", "the opcode INST"),
    "object": (b"\x80\x02cnumpy\nndarray\n)\x81.", "the opcode NEWOBJ"),
    "persistent": (b"Pid\n.", "the opcode PERSID"),
    "extension": (b"\x80\x02\x82\x01.", "the opcode EXT1"),
    "calls a string": (b"\x80\x02U\x01a)R.", "damaged: a bytes where a _Symbol belongs"),
    "calls ndarray": (b"\x80\x02cnumpy\nndarray\n)R.", "a call of 'numpy.ndarray'"),
    "objects": (pickle.dumps({"data": EvilDtype()}, 2), "an array of dtype 'O', not of bytes"),
    "array of objects": (pickle.dumps({"data": np.array([None])}, 2), "dtype 'O8'"),
    "state": (b"\x80\x02}}b.", "a state for {}"),
    "no end": (b"\x80\x02}", "damaged"),
    "no stack": (b"\x80\x02s.", "damaged"),
    "no memo": (b"\x80\x02h\x07.", "damaged"),
    "no mark": (b"\x80\x02Nt.", "damaged"),
    "noise": (bytes(range(256)), "damaged"),
    "empty": (b"", "damaged"),
    "text": (b"<html>not found</html>", "damaged|the opcode"),
    "list": (pickle.dumps([1]), "damaged: a list where a dict belongs"),
    "list as key": (b"\x80\x02}]Ns.", "damaged"),
    "no data": (pickled(0, data=None), "has no 'data'; it has 'batch_label', 'labels'"),
    "no labels": (pickled(0, labels=None), "has no 'labels'"),
    "data as text": (pickled(0, data=b"x"), "'data' must be rows of 3072 bytes"),
    "few pixels": (pickled(0, data=np.zeros((4, 10), np.uint8)), "'data' must be rows of 3072"),
    "floats": (pickled(0, data=np.zeros((4, 3072))), "an array of dtype 'f8', not of bytes"),
    "labels as text": (pickled(0, labels=["a"] * 4), "'labels' must be a list of whole numbers"),
    "true labels": (pickled(0, labels=[True] * 4), "'labels' must be a list of whole numbers"),
    "too few labels": (pickled(0, labels=[1]), "has 4 images but 1 labels"),
    "label 10": (pickled(0, labels=[1, 2, 10, 3]), "label 10 of image 2; 0 to 9 exist"),
    "label -1": (pickled(0, labels=[-1, 2, 1, 3]), "label -1 of image 0"),
    "other shape": (
        python_2(0).replace(b"K\x04M\x00\x0c\x86", b"K\x05M\x00\x0c\x86"),
        "does not fit",
    ),
    "cut": (pickled(0)[:-100], "damaged"),
    "huge memo": (b"\x80\x02}r\xff\xff\xff\xff.", "has no 'data'"),
    "huge string": (b"\x80\x02T\xff\xff\xff\x7fabc.", "damaged"),
    "recursion": (b"(" * 100_000 + b".", "damaged|dict belongs"),
}


@pytest.mark.parametrize("case", EVIL)
def test_a_pickle_of_anything_else_is_refused_and_runs_nothing(tmp_path, case):
    content, message = EVIL[case]
    for name, good in batches(pickled).items():
        (tmp_path / name).write_bytes(good)
    (tmp_path / "data_batch_2").write_bytes(content)
    with pytest.raises(data.DataError, match=message) as caught:
        data.cifar10(tmp_path)
    assert str(tmp_path / "data_batch_2") in str(caught.value)
    assert RAN == []


def test_a_pickle_with_one_byte_changed_never_fails_otherwise_than_by_name(tmp_path):
    good = bytearray(pickled(0))
    files = batches(pickled)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    for place, value in itertools.product(
        [*range(60), *range(len(good) - 120, len(good))], [0, 46, 255]
    ):
        changed = bytes(good[:place]) + bytes([value]) + bytes(good[place + 1 :])
        (tmp_path / "data_batch_2").write_bytes(changed)
        with contextlib.suppress(data.DataError):
            data.cifar10(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "found neither"),
        ({"data_batch_1.bin": binary(0)}, "found data_batch_1.bin"),
        ({"test_batch.bin": binary(0)}, "found test_batch.bin"),
        ({"data_batch_1.bin": binary(0), "test_batch": pickled(0)}, "both the binary and the Py"),
        ({"data_batch_1.bin": binary(0)[:-1], "test_batch.bin": binary(0)}, "has 12291 bytes; a"),
        ({"data_batch_1.bin": b"", "test_batch.bin": binary(0)}, "has 0 bytes"),
        (
            {"data_batch_1.bin": b"\x0b" + bytes(3072), "test_batch.bin": binary(0)},
            "data_batch_1.bin: label 11 of image 0",
        ),
    ],
)
def test_batches_that_are_missing_or_damaged_are_named(tmp_path, files, message):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    archive = write_archive(tmp_path / "cifar.tar.gz", files)
    for path in (folder, archive):
        with pytest.raises(data.DataError, match=message):
            data.cifar10(path)


def test_an_archive_that_is_damaged_or_none_is_named(tmp_path):
    rng = np.random.default_rng(0)
    whole = write_archive(tmp_path / "a.tar.gz", batches(binary, ".bin")).read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    for content in (b"", b"hello" * 200, whole[: len(whole) // 2], bytes(damaged), rng.bytes(2000)):
        (tmp_path / "b.tar.gz").write_bytes(content)
        with pytest.raises(data.DataError, match=r"b\.tar\.gz"):
            data.cifar10(tmp_path / "b.tar.gz")
    with pytest.raises(data.DataError, match="no such file or folder"):
        data.cifar10(tmp_path / "c.tar.gz")


def test_links_doubles_and_huge_members_of_an_archive_are_refused(tmp_path):
    link = tarfile.TarInfo("data_batch_1.bin")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    huge = tarfile.TarInfo("zeros")
    huge.size = 1 << 40
    path = tmp_path / "a.tar"
    for member, message in ((link, "no regular file"), (huge, "1099511627776 bytes")):
        path.write_bytes(member.tobuf() + bytes(10240))
        with pytest.raises(data.DataError, match=message):
            data.cifar10(path)
    write_archive(path, {"a/test_batch": pickled(0), "b/test_batch": pickled(0)}, "w")
    with pytest.raises(data.DataError, match="has test_batch twice"):
        data.cifar10(path)
    write_archive(path, {f"{i}.txt": b"" for i in range(1001)}, "w")
    with pytest.raises(data.DataError, match="1000 members"):
        data.cifar10(path)
