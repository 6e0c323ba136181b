"""Folders of images: the layout, links, and bad files, each of them named."""

import os
import sys

import numpy as np
import PIL.Image
import pytest
from image_files import png, two_classes, write

from optlab.training import data


def test_images_are_sorted_by_class_and_path_and_labelled_by_class(tmp_path):
    source = data.image_folder(two_classes(tmp_path), 4)["train"]
    batch = source.gather([0, 1, 2, 3])
    assert batch["image"].shape == (4, 4, 4, 3)
    assert batch["image"].dtype == np.uint8
    assert batch["image"][:, 0, 0, 0].tolist() == [10, 20, 10, 20]
    assert batch["label"].tolist() == [0, 0, 1, 1]
    last = source.gather([3, 0])
    assert last["image"][:, 0, 0, 0].tolist() == [20, 10]
    assert last["label"].tolist() == [1, 0]
    assert batch["label"].dtype == np.int32
    assert source.info == {"classes": ("a", "b"), "bad": (), "ignored": 0}


def test_parts_have_folders_of_their_own_and_the_classes_of_the_training_part(tmp_path):
    two_classes(tmp_path / "train")
    write(tmp_path / "val" / "b" / "x.jpg")
    write(tmp_path / "test" / "a" / "x.webp")
    parts = data.image_folder(tmp_path, 4)
    assert {part: len(source) for part, source in parts.items()} == {
        "train": 4,
        "validation": 1,
        "test": 1,
    }
    assert list(parts) == ["train", "validation", "test"]
    assert parts["validation"].column("label").tolist() == [1]


def test_folders_in_a_class_belong_to_it_and_unicode_names_are_names(tmp_path):
    write(tmp_path / "äpfel" / "tief" / "größe 1.PNG")
    write(tmp_path / "中文" / "图.jpeg")
    source = data.image_folder(tmp_path, 4)["train"]
    assert source.info["classes"] == ("äpfel", "中文")
    assert len(source) == 2


def test_other_files_are_ignored_and_counted(tmp_path):
    two_classes(tmp_path)
    (tmp_path / "a" / "notes.txt").write_text("hello")
    (tmp_path / "a" / ".hidden.png").write_text("hello")
    (tmp_path / "b" / "Thumbs.db").write_bytes(b"")
    (tmp_path / "readme.md").write_text("hello")
    source = data.image_folder(tmp_path, 4)["train"]
    assert (len(source), source.info["ignored"]) == (4, 3)


def test_labels_are_known_without_decoding(tmp_path, monkeypatch):
    source = data.image_folder(two_classes(tmp_path), 4)["train"]
    monkeypatch.setattr(PIL.Image, "open", None)
    assert source.column("label").tolist() == [0, 0, 1, 1]
    train, test = data.split(source, (0.5, 0.5), stratify="label")
    assert train.column("label").tolist() == test.column("label").tolist() == [0, 1]


def test_a_batch_of_an_image_folder_is_read_ahead(tmp_path):
    batches = data.Batches(data.image_folder(two_classes(tmp_path), 4)["train"], 2, seed=0)
    for step, batch in enumerate(batches.iterate(0, 5, threads=2)):
        np.testing.assert_array_equal(batch["image"], batches[step]["image"])


def test_the_digest_follows_content_and_preprocessing_but_not_place_and_time(tmp_path):
    def digest(root, **arguments):
        return data.image_folder(root, **{"size": 4, **arguments})["train"].digest()

    here, there = two_classes(tmp_path / "here"), two_classes(tmp_path / "there")
    os.utime(there / "a" / "1.png", (1, 1))
    first = digest(here)
    assert first == digest(there)
    others = [digest(here, size=8), digest(here, channels=1), digest(here, background="black")]
    (there / "a" / "2.png").rename(there / "a" / "3.png")
    others.append(digest(there))
    write(here / "a" / "1.png", PIL.Image.new("L", (8, 8), 11))
    others.append(digest(here))
    assert len({first, *others}) == 6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "has no folders of classes; folder/class/image is expected"),
        (lambda root: write(root / "x.png"), "has no folders of classes"),
        (lambda root: write(root / "a" / "x.png"), "has 1 folder of a class, a, at least 2"),
        (lambda root: (write(root / "a" / "x.png"), (root / "b").mkdir()), "b: has no images"),
        (
            lambda root: (two_classes(root / "train"), write(root / "cats" / "x.png")),
            "folders that are no parts: cats; parts are train",
        ),
        (
            lambda root: (two_classes(root / "train"), two_classes(root / "training")),
            "train and training are the same part",
        ),
        (
            lambda root: (two_classes(root / "train"), write(root / "val" / "c" / "x.png")),
            "classes that the training part lacks: c; it has a, b",
        ),
    ],
)
def test_a_folder_of_another_layout_is_refused(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(data.DataError, match=message):
        data.image_folder(tmp_path, 4)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"size": 0}, ValueError, "size must be a whole number in"),
        ({"size": (4, -1)}, ValueError, "size must be"),
        ({"size": "4"}, TypeError, "size must be"),
        (
            {"size": 4, "channels": 4},
            ValueError,
            r"channels must be 1 \(grey\) or 3 \(RGB\), got 4",
        ),
        ({"size": 4, "background": "red"}, ValueError, "background must be 'white' | 'black'"),
        ({"size": 4, "max_pixels": 0}, ValueError, "max_pixels must be"),
        ({"size": 4, "max_pixels": 10**9}, ValueError, "max_pixels must be"),
        ({"size": 4, "skip_bad": 1}, TypeError, "skip_bad must be True or False"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        data.image_folder(tmp_path, **arguments)


def test_without_pillow_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImportError, match=r'needs Pillow.* pip install "optlab\[examples\]"'):
        data.image_folder(tmp_path, 4)


# --- links


def test_links_that_lead_out_of_the_root_are_refused(tmp_path):
    outside = write(tmp_path / "outside" / "secret.png")
    root = two_classes(tmp_path / "root")
    for link, target in ((root / "a" / "l.png", outside), (root / "c", outside.parent)):
        link.symlink_to(target)
        with pytest.raises(data.DataError, match=rf"{link}: is a link to .*, outside"):
            data.image_folder(root, 4, skip_bad=True)
        link.unlink()
    (root / "a" / "notes.txt").symlink_to("/etc/passwd")
    with pytest.raises(data.DataError, match="is a link to /etc/passwd, outside"):
        data.image_folder(root, 4)


def test_links_within_the_root_are_files_but_no_folders(tmp_path):
    two_classes(tmp_path)
    (tmp_path / "a" / "3.png").symlink_to(tmp_path / "b" / "1.png")
    assert len(data.image_folder(tmp_path, 4)["train"]) == 5
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    with pytest.raises(data.DataError, match="again: is a link to the folder"):
        data.image_folder(tmp_path, 4)


def test_links_to_nothing_and_in_circles_are_bad_files(tmp_path):
    two_classes(tmp_path)
    (tmp_path / "a" / "3.png").symlink_to("nowhere.png")
    with pytest.raises(data.DataError, match=r"3\.png: no such file"):
        data.image_folder(tmp_path, 4)
    (tmp_path / "a" / "3.png").unlink()
    (tmp_path / "a" / "3.png").symlink_to("3.png")
    with pytest.raises(data.DataError, match=r"3\.png: "):
        data.image_folder(tmp_path, 4)


def test_the_root_may_be_a_link(tmp_path):
    two_classes(tmp_path / "real")
    (tmp_path / "root").symlink_to(tmp_path / "real")
    (tmp_path / "root" / "a" / "3.png").symlink_to("1.png")
    assert len(data.image_folder(tmp_path / "root", 4)["train"]) == 5


def test_a_pipe_is_a_bad_file_and_does_not_block(tmp_path):
    two_classes(tmp_path)
    os.mkfifo(tmp_path / "a" / "pipe.png")
    with pytest.raises(data.DataError, match=r"pipe\.png: is no regular file"):
        data.image_folder(tmp_path, 4)


# --- bad files


def corrupt(root):
    """Bad by their headers, and how."""
    two_classes(root)
    huge = png(100_000, 100_000, 8, 0, [])
    (root / "a" / "bomb.png").write_bytes(huge)
    (root / "a" / "empty.png").write_bytes(b"")
    (root / "b" / "text.jpg").write_text("no image")
    (root / "b" / "large.png").write_bytes(png(3000, 3000, 8, 0, []))
    (root / "b" / "script.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n")
    return {
        "bomb.png": "too large",
        "empty.png": "is no image",
        "text.jpg": "is no image",
        "large.png": "too large: 3000 x 3000 pixels, more than 1000000",
        "script.png": "is no image",
    }


def test_all_bad_files_are_named_at_once(tmp_path):
    bad = corrupt(tmp_path)
    with pytest.raises(data.DataError, match=r"5 bad files; .* or choose skip_bad=True") as caught:
        data.image_folder(tmp_path, 4, max_pixels=10**6)
    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == 5
    for name, message in bad.items():
        assert sum(f"{name}: {message}" in line for line in lines) == 1


def test_bad_files_are_left_out_only_when_asked_and_with_a_warning(tmp_path):
    bad = corrupt(tmp_path)
    with pytest.warns(UserWarning, match="5 bad files left out") as caught:
        source = data.image_folder(tmp_path, 4, max_pixels=10**6, skip_bad=True)["train"]
    assert caught[0].filename == __file__
    assert len(source) == 4
    assert len(source.info["bad"]) == 5
    assert all(any(name in line for line in source.info["bad"]) for name in bad)
    source.gather(range(4))


def test_many_bad_files_are_counted(tmp_path):
    two_classes(tmp_path)
    for number in range(25):
        (tmp_path / "a" / f"bad {number}.png").write_bytes(b"")
    with pytest.raises(data.DataError, match="25 bad files") as caught:
        data.image_folder(tmp_path, 4)
    assert "and 15 more" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 12


def test_a_class_of_bad_files_only_leaves_its_part_an_error(tmp_path):
    two_classes(tmp_path / "train")
    (tmp_path / "test" / "a").mkdir(parents=True)
    (tmp_path / "test" / "a" / "x.png").write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="1 bad file left out"),
        pytest.raises(data.DataError, match="test: no image is left"),
    ):
        data.image_folder(tmp_path, 4, skip_bad=True)


def truncated(root):
    two_classes(root)
    file = root / "a" / "cut.png"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    write(file, PIL.Image.fromarray(noise))
    file.write_bytes(file.read_bytes()[:2000])
    return file


def test_damage_behind_the_header_is_named_when_the_image_is_read(tmp_path):
    file = truncated(tmp_path)
    source = data.image_folder(tmp_path, 4)["train"]
    with pytest.raises(data.DataError, match=rf"{file}: damaged image: .*truncated"):
        source.gather(range(len(source)))


def test_verifying_finds_damage_behind_the_header(tmp_path):
    truncated(tmp_path)
    with pytest.raises(data.DataError, match=r"1 bad file;[\s\S]*cut\.png: damaged image"):
        data.image_folder(tmp_path, 4, verify=True)
    with pytest.warns(UserWarning, match=r"cut\.png: damaged image"):
        source = data.image_folder(tmp_path, 4, verify=True, skip_bad=True)["train"]
    assert source.gather(range(len(source)))["image"].shape == (4, 4, 4, 3)


def test_a_file_that_vanishes_or_grows_later_is_named(tmp_path):
    source = data.image_folder(two_classes(tmp_path), 4, max_pixels=100)["train"]
    write(tmp_path / "a" / "1.png", PIL.Image.new("L", (50, 50)))
    with pytest.raises(data.DataError, match=r"1\.png: too large"):
        source.gather([0])
    (tmp_path / "a" / "1.png").unlink()
    with pytest.raises(data.DataError, match=r"1\.png: no such file"):
        source.gather([0])
    with pytest.raises(data.DataError, match=r"1\.png: no such file"):
        source.digest()
