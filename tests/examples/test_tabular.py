"""The trainer of tables: real tables, cross-validation, files of one's own, and mistakes."""

import json
import re

import numpy as np
import pytest
import tabular
from pictures import without_pictures  # noqa: F401 - a fixture
from trainer_cases import check_refused, check_resume

from optlab.training import data

SMALL = ["--width", "4", "--steps", "8", "--log-every", "2", "--eval-every", "4"]


def trained(capsys, *args):
    """What a run that ends well prints."""
    assert tabular.main([str(arg) for arg in args]) == 0
    return capsys.readouterr().out


def refused(capsys, *args, saying):
    check_refused(tabular.main, [str(arg) for arg in args], saying, "tabular.py", capsys)


def write_table(path, rows=60, *, classes=("no", "yes"), seed=0):
    """A class that follows from a number and a category; and another number."""
    rng = np.random.default_rng(seed)
    lines = ["age,plan,noise,left"]
    for _ in range(rows):
        age, plan, noise = rng.normal(40, 10), rng.choice(["basic", "gold"]), rng.normal()
        left = classes[int(age + 20 * (plan == "gold") > 50)]
        lines.append(f"{age:.2f},{plan},{noise:.2f},{left}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    "task", ["breast_cancer", pytest.param("diabetes", marks=pytest.mark.slow)]
)
def test_interrupted_it_goes_on_to_the_bit(tmp_path, monkeypatch, capsys, task):
    check_resume(tabular.main, ["--task", task, *SMALL], tmp_path, 6, monkeypatch, capsys)


def test_each_fold_judges_rows_it_never_saw(tmp_path, monkeypatch, capsys):
    seen, folders = [], []

    def prepared(source, *rows):
        seen.append(rows)

    def train(config, parts, title, progress_lines):
        folders.append(config.output)
        return {"loss": float(len(folders))}, None

    monkeypatch.setattr(tabular, "prepared", prepared)
    monkeypatch.setattr(tabular, "train", train)
    trained(capsys, "--folds", "3", "--output", tmp_path)
    assert folders == [tmp_path / f"fold-{i}" for i in range(3)]
    labels = data.breast_cancer().column("label")
    for rows in seen:
        assert sorted(np.concatenate(rows).tolist()) == list(range(569))
        assert np.ptp([labels[chosen].mean() for chosen in rows]) < 0.03
    assert sorted(np.concatenate([rows[2] for rows in seen]).tolist()) == list(range(569))
    assert json.loads((tmp_path / "cross_validation.json").read_text())["mean"] == {"loss": 2.0}


@pytest.mark.slow
def test_folds_train_in_folders_of_their_own_and_print_a_table(tmp_path, capsys):
    args = ["--task", "diabetes", "--folds", "2", "--width", "4", "--steps", "2"]
    text = trained(capsys, *args, "--output", tmp_path)
    assert re.search(r"^metric +mean +std +fold 0 +fold 1$", text, re.MULTILINE)
    assert all((tmp_path / f"fold-{i}" / "summary.json").exists() for i in range(2))
    found = json.loads((tmp_path / "cross_validation.json").read_text())
    assert set(found["mean"]) == {"rmse", "mae", "r2"}


def test_nothing_but_the_training_rows_is_measured():
    source = data.Arrays(
        {
            "features": np.float32([[0], [2], [1000], [-1000]]),
            "target": np.float32([10, 30, 500, 700]),
        }
    )
    parts = tabular.prepared(source, [0, 1], [2], [3])
    np.testing.assert_array_equal(parts.train.column("features"), [[-1], [1]])
    np.testing.assert_array_equal(parts.test.column("features"), [[-1001]])
    assert (parts.mean, parts.deviation) == (20.0, 10.0)


def test_categories_of_a_table_become_columns_of_0_and_1(tmp_path):
    path = write_table(tmp_path / "churn.csv", rows=200)
    config = tabular.Config(csv=path, target="left", categorical=("plan", "left"))
    source = tabular.load(config)
    features = source.column("features")
    assert features.shape == (200, 4)  # age, noise, basic, gold
    np.testing.assert_array_equal(features[:, 2:].sum(1), 1)


@pytest.mark.slow
def test_it_learns_a_table_of_ones_own(tmp_path, capsys):
    path = write_table(tmp_path / "churn.csv", rows=200)
    args = ["--csv", path, "--target", "left", "--categorical", "plan", "left"]
    text = trained(capsys, *args, "--steps", "60", "--output", tmp_path / "out")
    assert float(re.search(r"accuracy (\d\.\d+)", text)[1]) > 0.8


def test_a_class_must_be_one_of_two(tmp_path, capsys):
    path = write_table(tmp_path / "a.csv")
    path.write_text(path.read_text() + "30,basic,0,maybe\n")
    args = ["--csv", path, "--target", "left", "--categorical", "plan", "left"]
    refused(capsys, *args, saying="'left' has 3 classes")


@pytest.mark.parametrize(
    ("args", "saying"),
    [
        (["--learning-rate", "-1"], "--learning-rate: a number > 0 expected, got -1.0"),
        (["--learning-rate", "nan"], "--learning-rate: a number > 0 expected, got nan"),
        (["--learning-rate", "abc"], "--learning-rate: a number expected, got 'abc'"),
        (["--batch-size", "0"], "--batch-size: a whole number from 1"),
        (["--batch-size", "5000"], "batch_size=5000 is larger than the data"),
        (["--dropout", "1"], "--dropout: a number in [0, 1) expected, got 1.0"),
        (["--weight-decay", "inf"], "--weight-decay: a number >= 0 expected"),
        (["--folds", "1"], "--folds: a whole number from 2"),
        (["--folds", "300"], "--folds: at most 212, the rows of the rarer class, expected"),
        (["--task", "wine"], "--task: one of 'breast_cancer', 'diabetes' expected, got 'wine'"),
        (["--csv", "no.csv", "--target", "left"], "no.csv"),
        (["--csv", "no.csv"], "--csv and --target: both or neither expected"),
        (["--categorical", "plan"], "--categorical: needs --csv"),
    ],
)
def test_a_mistake_gets_one_line_and_code_2(tmp_path, capsys, args, saying):
    refused(capsys, *args, "--output", tmp_path / "out", saying=saying)


def test_a_table_with_a_word_among_numbers_is_refused_with_its_line(tmp_path, capsys):
    path = tmp_path / "few.csv"
    path.write_text("a,b\n1,2\n3,many\n")
    args = ["--csv", path, "--target", "b", "--output", tmp_path / "out"]
    refused(capsys, *args, saying="line 3, column 'b': 'many' is no finite number")
    path.write_text("a,b\n1,2\n3,4\n")
    refused(capsys, *args, saying="at least 10 rows expected, got 2")


@pytest.mark.slow
def test_with_its_defaults_it_tells_tumours_apart(tmp_path, capsys):
    text = trained(capsys, "--output", tmp_path)
    assert float(re.search(r"roc_auc (\d\.\d+)", text)[1]) > 0.97
