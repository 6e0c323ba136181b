"""Tables and logs of ratings."""

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
