"""Regression, language and ranking, against scikit-learn and by hand."""

import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from sklearn import metrics as sk

from optlab.training import metrics
from optlab.training.metrics import _inputs

nan = float("nan")


@pytest.mark.parametrize("shape", [(50,), (50, 3)])
def test_errors_of_regression_are_those_of_scikit_learn(shape):
    random = np.random.default_rng(0)
    targets = random.normal(size=shape).astype(np.float32)
    guess = (targets + random.normal(size=shape)).astype(np.float32)
    weights = random.random(50)
    for w in (None, weights):
        row = metrics.regression(targets, guess, weights=w)
        exact = targets.astype(np.float64), guess.astype(np.float64)
        assert row["mse"] == pytest.approx(sk.mean_squared_error(*exact, sample_weight=w))
        assert row["rmse"] == pytest.approx(math.sqrt(row["mse"]))
        assert row["mae"] == pytest.approx(sk.mean_absolute_error(*exact, sample_weight=w))
        assert row["r2"] == pytest.approx(sk.r2_score(*exact, sample_weight=w))
        assert all(type(value) is float for value in row.values())


def test_regression_by_hand_and_at_the_edges():
    row = metrics.regression([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 6.0])
    assert row == {"mse": 1.0, "rmse": 1.0, "mae": 0.5, "r2": pytest.approx(0.2)}
    assert math.isnan(metrics.regression([1.0], [2.0])["r2"])
    assert metrics.regression([1.0, 1.0], [1.0, 1.0])["r2"] == 1
    assert metrics.regression([1.0, 1.0], [1.0, 2.0])["r2"] == 0
    padded = metrics.regression([1.0, 2.0, nan], [1.0, 2.0, nan], weights=[1, 1, 0])
    assert padded["r2"] == 1
    big = np.float32(3e30) * np.ones(2, np.float32)
    assert metrics.regression(big, -big)["rmse"] == pytest.approx(6e30)  # float64 inside


def test_a_coin_a_byte_is_one_bit():
    row = metrics.language(np.float32(1024 * math.log(2)), np.int32(1024))
    assert row["bits_per_byte"] == pytest.approx(1)
    assert row["perplexity"] == pytest.approx(2)
    row = metrics.language(1000 * math.log(256), 1000)
    assert row["bits_per_byte"] == pytest.approx(8)
    words = metrics.language(10 * math.log(1024), 10, byte_count=50)
    assert words["bits_per_byte"] == pytest.approx(2)
    assert words["perplexity"] == pytest.approx(1024)


def test_a_perplexity_too_large_is_infinite():
    assert metrics.language(1e4, 1)["perplexity"] == math.inf
    assert metrics.language(math.inf, 3) == {
        "nll": math.inf,
        "perplexity": math.inf,
        "bits_per_byte": math.inf,
    }
    assert metrics.language(0.0, 1) == {"nll": 0.0, "perplexity": 1.0, "bits_per_byte": 0.0}


def test_ranks_by_hand():
    scores = [[4.0, 3.0, 2.0, 1.0], [4.0, 3.0, 2.0, 1.0]]
    relevant = np.array([[False, True, False, True], [False, False, True, False]])
    row = metrics.ranking(scores, relevant, k=(1, 2, 3))
    second, third, fourth = 1 / math.log2(3), 1 / math.log2(4), 1 / math.log2(5)
    del fourth
    assert row["users"] == 2
    assert row["mrr"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert [row[f"hit_rate@{k}"] for k in (1, 2, 3)] == [0, 0.5, 1]
    ideal = 1 + second
    assert row["ndcg@2"] == pytest.approx(second / ideal / 2)
    assert row["ndcg@3"] == pytest.approx((second / ideal + third) / 2)


def test_excluded_items_take_no_place():
    scores = np.array([[4.0, 3.0, nan, 1.0]])
    exclude = np.array([[True, False, True, False]])
    row = metrics.ranking(scores, [3], k=1, exclude=exclude)
    assert row["mrr"] == 0.5
    row = metrics.ranking(scores, [1], k=1, exclude=exclude)
    assert row["hit_rate@1"] == row["ndcg@1"] == row["mrr"] == 1
    low = metrics.ranking([[-np.inf, 3.0]], [0], k=1, exclude=np.array([[False, True]]))
    assert low["mrr"] == 1


def test_equal_scores_are_the_worst_case():
    relevant = np.array([[False, True, False, True, False]])
    row = metrics.ranking(np.zeros((1, 5)), relevant, k=(3, 4))
    assert row["hit_rate@3"] == row["ndcg@3"] == 0
    assert row["hit_rate@4"] == 1
    assert row["mrr"] == 0.25


def test_users_without_a_relevant_item_are_left_out():
    scores = np.array([[1.0, 0.0], [nan, 0.0]])
    row = metrics.ranking(scores, np.array([[True, False], [False, False]]), k=1)
    assert (row["users"], row["mrr"]) == (1, 1.0)


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(st.integers(0, 2**31), st.integers(1, 5), st.integers(2, 12))
def test_ranking_agrees_with_scikit_learn_and_keeps_its_laws(seed, users, items):
    random = np.random.default_rng(seed)
    scores = random.permuted(np.tile(np.arange(items), (users, 1)), axis=1).astype(np.float32)
    relevant = random.random((users, items)) < 0.4
    relevant[:, 0] = True
    ks = range(1, items + 3)
    row = metrics.ranking(scores, relevant, k=list(ks))
    order = random.permutation(users)
    again = metrics.ranking(scores[order], relevant[order], k=list(ks))
    for name, value in row.items():
        assert again[name] == pytest.approx(value)
    for k in ks:
        assert row[f"ndcg@{k}"] == pytest.approx(sk.ndcg_score(relevant, scores, k=k))
        assert 0 <= row[f"ndcg@{k}"] <= 1
    hits = [row[f"hit_rate@{k}"] for k in ks]
    assert hits == sorted(hits)
    assert hits[-1] == 1
    perfect = metrics.ranking(relevant + scores / 100, relevant, k=list(ks))
    assert all(value == 1 for name, value in perfect.items() if name != "users")
    by_name = metrics.ranking(scores, scores.argmin(1), k=1)
    assert by_name["mrr"] == pytest.approx(1 / items)
    tied = metrics.ranking(np.floor(scores / 2), relevant, k=list(ks))  # ties never help
    assert all(tied[name] <= row[name] + 1e-12 for name in row)


FLAGS = np.array([[True, False]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.regression([1.0, nan], [1.0, 1.0]), "1 of 2 targets are NaN"),
        (lambda: metrics.regression([1.0, 1.0], [np.inf, nan]), "2 of 2 predictions"),
        (lambda: metrics.regression([1.0, 1.0], [[1.0], [1.0]]), "Squeeze"),
        (lambda: metrics.regression([], []), "no example"),
        (lambda: metrics.language(nan, 3), "nll_sum.*nan"),
        (lambda: metrics.language(-1.0, 3), "nll_sum.*-1"),
        (lambda: metrics.language(1.0, 0), "tokens.*0"),
        (lambda: metrics.language(1.0, 3, 0), "byte_count.*0"),
        (lambda: metrics.ranking([[nan, 1.0]], FLAGS), "1 of 2 scores are NaN"),
        (lambda: metrics.ranking([1.0, 2.0], FLAGS), r"\(users, items\)"),
        (lambda: metrics.ranking([[1.0, 2.0]], ~FLAGS & FLAGS), "none of 1 users"),
        (lambda: metrics.ranking([[1.0, 2.0]], [2]), "1 items in 0 ... 1"),
        (lambda: metrics.ranking([[1.0, 2.0]], FLAGS, k=0), "k must be"),
        (lambda: metrics.ranking([[1.0, 2.0]], FLAGS, exclude=FLAGS), "1 items are both"),
        (lambda: metrics.ranking([[1.0, 2.0]], FLAGS, exclude=[[1, 0]]), "exclude must be"),
        (lambda: metrics.ranking([[1.0, 2.0]], [[1.0, 0.0]]), "relevant must be booleans"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_missing_scikit_learn_says_what_to_install(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(_inputs.importlib, "import_module", missing)
    with pytest.raises(ModuleNotFoundError, match=r"optlab\[examples\]"):
        metrics.regression([1.0, 2.0], [1.0, 2.0])


def test_text_is_refused():
    with pytest.raises(TypeError, match="targets must be real numbers"):
        metrics.regression(["a", "b"], ["a", "b"])
