"""The trainer of snippets: n-grams, real source, folders of one's own, and mistakes."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import text_classifier
from pictures import without_pictures  # noqa: F401 - a fixture
from trainer_cases import check_refused, check_resume

import optlab as ol

NAME = "text_classifier.py"
SMALL = ["--buckets", "256", "--width", "4", "--orders", "2", "--length", "32", "--batch-size", "4"]
RUN = [*SMALL, "--steps", "8", "--log-every", "2", "--eval-every", "4"]


@pytest.fixture
def mail(tmp_path):
    """A folder of letters and one of invoices."""
    folder = tmp_path / "mail"
    for name, words in (
        ("invoices", "please pay 100 euro "),
        ("letters", "dear Anna, I miss you "),
    ):
        (folder / name).mkdir(parents=True)
        for i in range(3):
            (folder / name / f"{i}.txt").write_text(words * (30 + i))
    return folder


@pytest.mark.slow
def test_interrupted_it_goes_on_to_the_bit(tmp_path, mail, monkeypatch, capsys):
    args = ["--text", str(mail), *RUN]
    check_resume(text_classifier.main, args, tmp_path, 6, monkeypatch, capsys)


def test_the_bag_of_a_text_has_every_ngram_once_and_equal_ones_in_one_bucket():
    buckets = 2**16
    text = np.frombuffer(b"abcabc", np.uint8)[None]
    found = np.asarray(text_classifier.ngrams(jnp.asarray(text), 3, buckets))[0]
    assert len(found) == 6 + 5 + 4
    grams = [text[0, i : i + n].tobytes() for n in (1, 2, 3) for i in range(6 - n + 1)]
    bucket = dict(zip(grams, found.tolist(), strict=True))
    assert [bucket[gram] for gram in grams] == found.tolist()
    assert len(set(bucket.values())) == len(bucket)
    assert 0 <= found.min() <= found.max() < buckets


def test_ngrams_of_few_letters_share_hardly_any_bucket():
    texts = np.array(list(itertools.product(range(97, 123), repeat=2)), np.uint8)
    found = np.asarray(text_classifier.ngrams(jnp.asarray(texts), 2, 2**16))[:, 2]
    assert len(set(found.tolist())) > 0.98 * len(texts)


def test_rows_that_no_snippet_has_stay_where_they_are():
    config = text_classifier.Config(steps=10)
    tx = text_classifier.optimizer(config)
    params = {"Embed_0": {"embedding": jnp.ones((5, 2))}, "head": {"kernel": jnp.ones((2, 2))}}
    grads = jax.tree.map(jnp.zeros_like, params)
    grads["Embed_0"]["embedding"] = grads["Embed_0"]["embedding"].at[3].set(0.5)
    state, start = tx.init(params), params
    for _ in range(3):
        updates, state = tx.update(grads, state, params)
        params = ol.apply_updates(params, updates)
    table = np.asarray(params["Embed_0"]["embedding"])
    np.testing.assert_array_equal(np.delete(table, 3, 0), 1)
    assert (table[3] < 1 - config.learning_rate).all()
    assert (params["head"]["kernel"] < start["head"]["kernel"]).all()  # the decay


def test_snippets_to_choose_by_and_to_judge_with_differ(mail):
    parts = text_classifier.load(text_classifier.Config(text=mail, length=32))
    sizes = [len(parts[part]) for part in ("train", "validation", "test")]
    assert sizes[0] > sizes[1] >= sizes[2] > 0
    assert parts["validation"].digest() != parts["test"].digest()
    assert parts["train"].info["classes"] == ("invoices", "letters")
    for part in ("validation", "test"):
        assert set(parts[part].column("label").tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("args", "saying"),
    [
        (["--learning-rate", "-1"], "--learning-rate: a number > 0 expected, got -1.0"),
        (["--head-learning-rate", "nan"], "--head-learning-rate: a number > 0 expected, got nan"),
        (["--learning-rate", "abc"], "--learning-rate: a number expected, got 'abc'"),
        (["--batch-size", "0"], "--batch-size: a whole number from 1"),
        (["--batch-size", "5000"], "batch_size=5000 is larger than the data"),
        (["--orders", "40"], "--orders: a whole number from 1 to 32 expected, got 40"),
        (["--dropout", "-0.1"], "--dropout: a number in [0, 1) expected"),
        (["--length", "100000"], "fewer than two snippets of 100000"),
        (["--text", "no_such"], "no_such: no such folder"),
        (["--text", "."], "a folder for each of two classes or more expected"),
    ],
)
def test_a_mistake_gets_one_line_and_code_2(tmp_path, mail, monkeypatch, capsys, args, saying):
    monkeypatch.chdir(mail / "letters")
    given = ["--text", str(mail), *SMALL, "--output", str(tmp_path / "out"), *args]
    check_refused(text_classifier.main, given, saying, NAME, capsys)


@pytest.mark.slow
def test_it_tells_packages_of_the_standard_library_apart(tmp_path, capsys):
    args = ["--steps", "300", "--output", str(tmp_path)]
    assert text_classifier.main(args) == 0
    text = capsys.readouterr().out
    assert float(re.search(r"test: accuracy (\d\.\d+)", text)[1]) > 0.75
