"""Data sets of other libraries: what `datasets` saved, and scikit-learn's."""

import sys
import types

import numpy as np
import pytest

from optlab.training import data

# --- saved data sets


class FakeDataset:
    """As much of `datasets.Dataset` as is used."""

    def __init__(self, **columns):
        self.columns, self.column_names = columns, list(columns)

    def __len__(self):
        return len(self.columns[self.column_names[0]])

    def __getitem__(self, indices):
        assert isinstance(indices, list)
        return {name: [column[i] for i in indices] for name, column in self.columns.items()}


@pytest.fixture
def load(monkeypatch, tmp_path):
    """Makes `load_from_disk` return what is given."""

    def with_result(result, **arguments):
        def load_from_disk(path):
            assert path == str(tmp_path)
            if isinstance(result, Exception):
                raise result
            return result

        library = types.SimpleNamespace(load_from_disk=load_from_disk)
        monkeypatch.setitem(sys.modules, "datasets", library)
        return data.huggingface(tmp_path, **arguments)

    return with_result


def test_without_datasets_the_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        ImportError, match=r'huggingface needs datasets.*pip install "optlab\[datasets\]'
    ):
        data.huggingface(tmp_path)


def test_a_saved_data_set_is_a_source_a_split(load):
    image = [[1, 2], [3, 4]]
    train = FakeDataset(image=[image] * 3, label=[0, 1, 0])
    parts = load({"train": train, "test": FakeDataset(image=[image], label=[1])})
    assert list(parts) == ["train", "test"]
    batch = parts["train"].gather([2, 1])
    assert batch["image"].tolist() == [image, image]
    assert batch["label"].tolist() == [0, 1]
    assert batch["label"].dtype == np.int32
    assert parts["train"].gather([])["image"].shape == (0, 2, 2)
    assert parts["train"].info["columns"] == ("image", "label")


def test_a_lone_data_set_is_train_and_other_fields_stay_out(load):
    parts = load(FakeDataset(text=["a", "b"], label=[0, 1]), fields=["label"])
    assert list(parts) == ["train"]
    assert repr(parts["train"]).endswith("2 examples of label int32")


@pytest.mark.parametrize(
    ("dataset", "arguments", "message"),
    [
        (FakeDataset(text=["a", "b"]), {}, "column 'text' holds <U1, not numbers; encode it"),
        (FakeDataset(x=[2**31]), {}, "column 'x' has whole numbers beyond 32 bits"),
        (FakeDataset(x=[1]), {"fields": ["y"]}, "train has no column 'y'; it has x"),
        (FileNotFoundError("neither"), {}, "holds no saved data set: neither"),
    ],
)
def test_data_sets_of_something_else_are_refused(load, dataset, arguments, message):
    with pytest.raises(data.DataError, match=message):
        load(dataset, **arguments)


def test_real_numbers_are_float32_and_images_stay_bytes(load):
    source = load(FakeDataset(x=[0.5], image=[np.ones((2, 2), np.uint8)]))["train"]
    batch = source.gather([0])
    assert batch["x"].dtype == np.float32
    assert batch["image"].dtype == np.uint8


def test_rows_of_different_shapes_are_refused(load):
    source = load(FakeDataset(x=[[1], [1, 2]]))["train"]
    with pytest.raises(data.DataError, match="column 'x' has rows of different shapes"):
        source.gather([0, 1])


def test_the_digest_of_a_saved_data_set_is_of_its_files(load, tmp_path):
    def digest(**arguments):
        return load(FakeDataset(x=[1], y=[2]), **arguments)["train"].digest()

    (tmp_path / "data-0.arrow").write_bytes(b"one")
    first = digest()
    assert first == digest()
    others = [digest(fields=["x"])]
    (tmp_path / "data-0.arrow").write_bytes(b"two")
    assert len({first, digest(), *others}) == 3


# --- scikit-learn


@pytest.mark.parametrize(
    ("name", "length", "shape", "classes"),
    [
        ("digits", 1797, (8, 8, 1), 10),
        ("breast_cancer", 569, (30,), 2),
        ("wine", 178, (13,), 3),
        ("iris", 150, (4,), 3),
    ],
)
def test_a_set_of_classes_has_float_features_and_integer_labels(name, length, shape, classes):
    source = getattr(data, name)()
    batch = source.gather(np.arange(length))
    features = batch["image" if name == "digits" else "features"]
    assert (len(source), features.shape, features.dtype) == (length, (length, *shape), np.float32)
    assert batch["label"].dtype == np.int32
    assert set(batch["label"].tolist()) == set(range(classes))
    assert len(source.info["classes"]) == classes
    assert source.digest() == getattr(data, name)().digest()


def test_images_of_digits_lie_between_zero_and_one():
    images = data.digits().column("image")
    assert (images.min(), images.max()) == (0, 1)


def test_diabetes_has_a_real_target():
    source = data.diabetes()
    assert source.column("target").dtype == np.float32
    assert (source.column("target").min(), source.column("target").max()) == (25, 346)
    assert len(source.info["columns"]) == 10


def test_patches_tile_both_photographs():
    source = data.photograph_patches(100)
    assert np.bincount(source.column("label")).tolist() == [24, 24]
    images = source.column("image")
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert 0.9 < images.max() <= 1
    overlapping = data.photograph_patches(100, stride=50).column("image")
    assert len(overlapping) == 2 * 7 * 11
    np.testing.assert_array_equal(overlapping[2], images[1])


def test_patches_larger_than_a_photograph_are_refused():
    with pytest.raises(ValueError, match=r"size must be a whole number in \[1, 427\], got 428"):
        data.photograph_patches(428)
    with pytest.raises(ValueError, match="stride must be"):
        data.photograph_patches(10, stride=0)


@pytest.mark.parametrize("name", ["digits", "diabetes", "photograph_patches"])
def test_without_scikit_learn_the_extra_is_named(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=rf"{name} needs scikit-learn.*optlab\[examples\]"):
        getattr(data, name)()
