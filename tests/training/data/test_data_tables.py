"""Tables, logs of ratings, saved data sets, scikit-learn's sets."""

import sys
import types

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from optlab.training import data

CUSTOMERS = "age,city,income,paid\n31,Rome,1e3,yes\n58,Oslo,-2.5,no\n45,Rome,0,no\n"


def table(tmp_path, content=CUSTOMERS, target="paid", categorical=("city", "paid"), **arguments):
    file = tmp_path / "customers.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return data.table(file, target, categorical=categorical, **arguments)


# --- tables


def test_a_table_becomes_features_categories_and_labels(tmp_path):
    batch = table(tmp_path).gather([0, 1, 2])
    assert {name: value.dtype.name for name, value in batch.items()} == {
        "features": "float32",
        "categories": "int32",
        "label": "int32",
    }
    assert batch["features"].tolist() == [[31, 1000], [58, -2.5], [45, 0]]
    assert batch["categories"].tolist() == [[1], [0], [1]]
    assert batch["label"].tolist() == [1, 0, 0]
    assert table(tmp_path).info == {
        "columns": ("age", "income"),
        "categories": {"city": ("Oslo", "Rome")},
        "classes": ("no", "yes"),
        "dropped": 0,
    }


def test_a_numeric_target_stays_a_number_and_ignored_columns_are_gone(tmp_path):
    source = table(tmp_path, target="income", categorical=(), ignore=("city", "paid"))
    assert source.column("target").tolist() == [1000, -2.5, 0]
    assert source.column("target").dtype == np.float32
    assert source.info["columns"] == ("age",)


def test_codes_of_numbers_follow_the_numbers(tmp_path):
    source = table(tmp_path, "x,k\n1,10\n2,9\n3,-1\n", target="k", categorical=("k",))
    assert source.info["classes"] == ("-1", "9", "10")


@pytest.mark.parametrize(
    "content",
    [
        CUSTOMERS.replace("\n", "\r\n"),
        b"\xef\xbb\xbf" + CUSTOMERS.encode(),
        CUSTOMERS + "\n\n",
        CUSTOMERS.replace(",", " , "),
        CUSTOMERS.replace("Rome", '"Rome"'),
    ],
)
def test_line_ends_marks_blanks_and_quotes_do_not_matter(tmp_path, content):
    read, plain = table(tmp_path, content), table(tmp_path)
    assert read.digest() == plain.digest()
    assert read.info == plain.info


def test_other_delimiters_and_quoted_ones_are_read(tmp_path):
    source = table(tmp_path, 'a;b\n1;"x;y"\n2;z\n', "b", ("b",), delimiter=";")
    assert source.info["classes"] == ("x;y", "z")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty, a header is expected"),
        ("\n \n", "is empty"),
        ("age,city,income,paid\n", "has a header and no rows"),
        (CUSTOMERS + "1,Rome\n", "line 5 has 2 cells, the header has 4"),
        (CUSTOMERS + "1\n2,3\n", "line 5 has 1 cells, .*; 2 such rows"),
        (CUSTOMERS.replace("58", "old"), "line 3, column 'age': 'old' is no finite number"),
        (CUSTOMERS.replace("58", "inf"), "line 3, column 'age': 'inf' is no finite number"),
        (CUSTOMERS.replace("58", "1e39"), "line 3, column 'age': '1e39' is no finite number"),
        (CUSTOMERS.replace("58", "1_0"), "'1_0' is no finite number"),
        (CUSTOMERS.replace("58", "٣"), "'٣' is no finite number"),
        (CUSTOMERS.replace("income", "age"), "column 'age' appears twice"),
        (CUSTOMERS.replace("paid", "payed"), "has no column 'paid'; did you mean 'payed'"),
        (CUSTOMERS.replace(",", ";"), "has no column 'paid'; known: .* The delimiter is ','"),
        (CUSTOMERS.encode() + b"1,\xff,2,no\n", r"line 5 is not UTF-8 \(byte 0xff\)"),
        (CUSTOMERS.replace("Rome", '"Rome'), r"line \d+: "),
        (CUSTOMERS.replace("58", ""), "1 missing value; .*\n  line 3, column 'age'"),
        (CUSTOMERS.replace("Oslo", "NA").replace("yes", "?"), "2 missing values; mend"),
    ],
)
def test_a_table_that_cannot_be_read_says_where(tmp_path, content, message):
    with pytest.raises(data.DataError, match=message) as caught:
        table(tmp_path, content)
    assert "customers.csv" in str(caught.value)


def test_a_table_of_the_target_only_is_refused(tmp_path):
    with pytest.raises(data.DataError, match="no column beside the target 'a'"):
        table(tmp_path, "a\n1\n", "a", ())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"missing": "mean"}, "'error' | 'drop' | 'fill'"), ({"delimiter": ", "}, "one character")],
)
def test_options_of_a_table_are_checked(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        table(tmp_path, **arguments)


GAPS = "age,city,paid\n,Rome,yes\n58,NA,no\n45,Rome,no\n40,Oslo,\n"


def test_rows_with_missing_values_are_dropped_only_when_asked(tmp_path):
    source = table(tmp_path, GAPS, missing="drop")
    assert source.column("features").tolist() == [[45]]
    assert source.info["dropped"] == 3
    with pytest.raises(data.DataError, match="every row has a missing value"):
        table(tmp_path, "age,city,paid\n,Rome,yes\n", missing="drop")


def test_a_missing_value_in_an_ignored_column_is_none(tmp_path):
    source = table(tmp_path, "a,b,c\n1,,2\n", "c", (), ignore=("b",))
    assert source.column("features").tolist() == [[1]]


def test_missing_values_are_filled_by_the_training_mean_or_a_category_of_their_own(tmp_path):
    with pytest.raises(data.DataError, match=r"1 missing value; mend the file\n.*column 'paid'"):
        table(tmp_path, GAPS, missing="fill")
    source = table(tmp_path, GAPS.replace("Oslo,", "Oslo,no"), missing="fill")
    assert source.info["categories"] == {"city": ("Oslo", "Rome", None)}
    assert source.column("categories")[:, 0].tolist() == [1, 2, 1, 0]
    assert np.isnan(source.column("features")[0, 0])
    filled = data.Standardizer.fit(source)(source).column("features")
    assert filled[0, 0] == 0
    assert np.isfinite(filled).all()


TWO = "age,income,city,sex,paid\n1,2,Rome,f,yes\n3,4,Oslo,m,no\n"


def test_a_test_table_has_the_columns_and_codes_of_the_training_table(tmp_path):
    categorical = ("paid", "city", "sex")
    train = table(tmp_path, TWO, categorical=categorical)
    content = "sex,paid,city,income,age\nf,no,Rome,2,1\n"
    test = table(tmp_path, content, categorical=categorical, like=train)
    assert test.info == train.info
    assert test.column("features").tolist() == [[1, 2]]
    assert test.column("categories").tolist() == [[1, 0]]
    assert test.column("label").tolist() == [0]


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        ("age,city,income,paid\n1,Bern,2,no\n", {}, "line 2, column 'city': .* 'Bern' is not in"),
        ("age,city,income,paid\n1,Rome,2,maybe\n", {}, "column 'paid': the category 'maybe'"),
        ("age,city,income,paid\n1,NA,2,no\n", {"missing": "fill"}, "the category missing is not"),
        (
            "age,city,paid\n1,Rome,no\n",
            {},
            r"numeric columns \['age'\], .* has \['age', 'income'\]",
        ),
        (
            "age,city,income,paid\n1,Rome,2,no\n",
            {"categorical": ("city", "age", "paid")},
            r"numeric columns \['income'\], .* has \['age', 'income'\]",
        ),
        (
            "age,city,income,sex,paid\n1,Rome,2,m,no\n",
            {"categorical": ("city", "sex", "paid")},
            r"categorical columns \['city', 'sex'\], .* has \['city'\]",
        ),
    ],
)
def test_a_test_table_unlike_the_training_table_is_refused(tmp_path, content, arguments, message):
    train = table(tmp_path)
    with pytest.raises(data.DataError, match=message):
        table(tmp_path, content, like=train, **arguments)


# --- ratings

LOG = [("7", "40", "5", "100"), ("9", "40", "3.5", "50"), ("7", "31", "4", "90")]


def ratings(tmp_path, content, **arguments):
    file = tmp_path / "log.dat"
    file.write_text(content, encoding="utf-8")
    return data.ratings(file, **arguments)


@pytest.mark.parametrize("separator", ["::", ",", "\t", ";"])
@pytest.mark.parametrize("header", ["", "userId{0}movieId{0}rating{0}timestamp\n"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_log_is_read_whatever_separates_it(tmp_path, separator, header, end):
    lines = [separator.join(row) for row in LOG]
    log = ratings(tmp_path, header.format(separator) + end.join(lines) + end)
    batch = log.gather([0, 1, 2])
    assert batch["user"].tolist() == [0, 1, 0]
    assert batch["item"].tolist() == [1, 1, 0]
    assert batch["rating"].tolist() == [5, 3.5, 4]
    assert batch["timestamp"].tolist() == [100, 50, 90]
    assert log.info == {"users": ("7", "9"), "items": ("31", "40")}
    assert [batch[name].dtype.name for name in batch] == ["int32", "int32", "float32", "int64"]


def test_names_may_be_text_and_numbers_are_sorted_as_numbers(tmp_path):
    log = ratings(tmp_path, "änne,10,1,1\nbob,9,1,1\n")
    assert log.info == {"users": ("bob", "änne"), "items": ("9", "10")}


def test_all_bad_lines_are_named_by_number(tmp_path):
    lines = [
        *("1,1,5,10", "1,2,5", "1,2,good,10", "", "1,2,5,10.5", ",2,5,10", "1,,5,10"),
        *("1,2,nan,10", "1,2,5,10,11", "1,2,5,٣"),
    ]
    with pytest.raises(
        data.DataError, match=r"log\.dat: 8 bad lines; user, item, rating"
    ) as caught:
        ratings(tmp_path, "\n".join(lines))
    assert [line.strip() for line in str(caught.value).splitlines()[1:]] == [
        "line 2: 3 cells instead of 4",
        "line 3: the rating 'good' is no finite number",
        "line 5: the timestamp '10.5' is no whole number",
        "line 6: no user",
        "line 7: no item",
        "line 8: the rating 'nan' is no finite number",
        "line 9: 5 cells instead of 4",
        "line 10: the timestamp '٣' is no whole number",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty, lines of user, item, rating, timestamp are expected"),
        ("user,item,rating,timestamp\n", "has a header and no ratings"),
        ("a b c d\n", "1 bad line; .* separated by ','"),
    ],
)
def test_a_log_without_ratings_is_an_error(tmp_path, content, message):
    with pytest.raises(data.DataError, match=message):
        ratings(tmp_path, content)
    with pytest.raises(data.DataError, match="no such file"):
        data.ratings(tmp_path / "nowhere")


@hypothesis.given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=9, max_size=40)
)
def test_the_last_rating_of_a_user_tests_and_the_one_before_validates(rows):
    users, times = map(np.array, zip(*rows, strict=True))
    log = data.Arrays({"user": users, "timestamp": times, "i": np.arange(len(rows))})
    parts = {name: part.column("i") for name, part in data.leave_last_out(log).items()}
    np.testing.assert_array_equal(
        np.sort(np.concatenate(list(parts.values()))), np.arange(len(rows))
    )
    assert all((np.diff(part) > 0).all() for part in parts.values())
    for user in set(users.tolist()):
        of_user = sorted(np.flatnonzero(users == user), key=lambda i: (times[i], i))
        if len(of_user) < 3:
            assert set(of_user) <= set(parts["train"])
        else:
            assert of_user[-1] in parts["test"]
            assert of_user[-2] in parts["validation"]
            assert set(of_user[:-2]) <= set(parts["train"])


def test_users_with_two_ratings_leave_nothing_to_hold_out():
    log = data.Arrays({"user": np.array([0, 0, 1]), "timestamp": np.array([1, 2, 3])})
    with pytest.raises(data.DataError, match="no user has three ratings"):
        data.leave_last_out(log)


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
