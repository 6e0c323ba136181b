"""Classification at the end of an evaluation, against scikit-learn and by hand; yes and no."""

import json
import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy.special import expit, softmax
from sklearn import metrics as sk

from optlab.training import metrics

nan = float("nan")


def make(seed=0, count=60, classes=4):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)
    logits = random.normal(size=(count, classes)) + 1.5 * np.eye(classes)[labels]
    return labels, logits.astype(np.float32)


def same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_allclose(left[name], right[name], rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("classes", [2, 4, 7])
def test_every_number_is_that_of_scikit_learn(classes, weighted):
    labels, logits = make(classes=classes)
    weights = np.random.default_rng(1).random(60) if weighted else None
    row = metrics.classification(labels, logits, weights=weights)
    guess, p = logits.argmax(1), softmax(logits.astype(np.float64), 1)
    given = {"sample_weight": weights}
    assert row["accuracy"] == pytest.approx(sk.accuracy_score(labels, guess, **given))
    assert row["top_1"] == pytest.approx(row["accuracy"])
    if classes > 5:
        top = sk.top_k_accuracy_score(labels, logits, k=5, labels=range(classes), **given)
        assert row["top_5"] == pytest.approx(top)
    for average in ("macro", "micro"):
        for name in ("precision", "recall", "f1"):
            expected = getattr(sk, f"{name}_score")(labels, guess, average=average, **given)
            assert row[f"{name}_{average}"] == pytest.approx(expected)
    for name in ("precision", "recall", "f1"):
        expected = getattr(sk, f"{name}_score")(labels, guess, average=None, **given)
        np.testing.assert_allclose([row[f"{name}/{i}"] for i in range(classes)], expected)
    np.testing.assert_allclose(row["confusion"], sk.confusion_matrix(labels, guess, **given))
    if classes == 2:
        area = sk.roc_auc_score(labels, p[:, 1], **given)
    else:
        area = sk.roc_auc_score(labels, p, multi_class="ovr", **given)
    assert row["roc_auc"] == pytest.approx(area)
    ones = [sk.roc_auc_score(labels == i, p[:, i], **given) for i in range(classes)]
    np.testing.assert_allclose([row[f"roc_auc/{i}"] for i in range(classes)], ones)


def test_a_small_example_by_hand():
    """Three cats, of which two are seen; one dog, seen; no bird, but a cat is taken for one."""
    scores = [[3, 1, 0], [3, 1, 0], [0, 1, 3], [1, 3, 0]]
    names = ["cat", "dog", "bird"]
    row = metrics.classification([0, 0, 0, 1], scores, classes=names, top_k=(1, 2))
    third = 1 / 3
    assert row["accuracy"] == row["f1_micro"] == row["top_1"] == row["top_2"] == 0.75
    assert row["confusion"] == [[2, 0, 1], [0, 1, 0], [0, 0, 0]]
    assert (row["precision/cat"], row["recall/cat"]) == (1, pytest.approx(2 * third))
    assert (row["precision/dog"], row["recall/dog"], row["f1/dog"]) == (1, 1, 1)
    assert (row["precision/bird"], row["recall/bird"], row["f1/bird"]) == (0, 0, 0)
    assert row["precision_macro"] == pytest.approx(2 * third)
    assert row["recall_macro"] == pytest.approx(5 * third * third)
    assert math.isnan(row["roc_auc/bird"])
    assert row["roc_auc"] == pytest.approx((row["roc_auc/cat"] + row["roc_auc/dog"]) / 2)


def test_a_class_that_neither_occurs_nor_is_predicted_has_no_part_in_the_means():
    labels, logits = make(classes=3)
    wider = np.concatenate([logits, np.full((60, 1), -np.inf)], 1)
    row, wide = metrics.classification(labels, logits), metrics.classification(labels, wider)
    for name in ("precision", "recall", "f1"):
        assert math.isnan(wide[f"{name}/3"])
        assert wide[f"{name}_macro"] == pytest.approx(row[f"{name}_macro"])
    assert wide["roc_auc"] == pytest.approx(row["roc_auc"])


def test_a_single_class_has_no_area_and_a_class_never_predicted_has_precision_zero():
    row = metrics.classification([0, 0], [[1.0, 0.0], [0.0, 1.0]])
    assert math.isnan(row["roc_auc"])
    assert row["precision/1"] == row["recall/1"] == row["f1/1"] == 0
    row = metrics.classification([0, 1], [[1.0, 0.0], [1.0, 0.0]])
    assert row["precision/1"] == row["recall/1"] == row["f1/1"] == 0


def test_padded_rows_of_weight_zero_may_hold_anything():
    labels, logits = make()
    padded = np.concatenate([logits, np.full((4, 4), nan)])
    valid = np.arange(64) < 60
    row = metrics.classification(np.concatenate([labels, [-1] * 4]), padded, weights=valid)
    same(row, metrics.classification(labels, logits))


def test_probabilities_give_the_areas_of_probabilities():
    labels, logits = make()
    p = softmax(logits.astype(np.float64), 1)
    rows = [
        metrics.classification(labels, logits),
        metrics.classification(labels, np.log(p)),
        metrics.classification(labels, p, probabilities=True),
    ]
    same(rows[0], rows[1])
    same(rows[0], rows[2])
    with pytest.raises(ValueError, match="of 60 rows of scores do not sum to 1"):
        metrics.classification(labels, logits, probabilities=True)


def test_confident_logits_of_two_classes_do_not_tie():
    logits = np.array([[0.0, 50.0], [0.0, 60.0], [0.0, 55.0]])
    assert metrics.classification([0, 1, 1], logits)["roc_auc"] == 1.0


def test_names_do_not_depend_on_the_data_and_values_are_json():
    rows = [
        metrics.classification(*make(seed, count), classes=list("abcd"), top_k=(1, 3))
        for seed, count in ((0, 60), (1, 1))
    ]
    assert rows[0].keys() == rows[1].keys()
    for name, value in rows[0].items():
        assert type(value) is float or name == "confusion"
    json.dumps(rows[0], allow_nan=False)
    short = metrics.classification(*make(), per_class=False)
    assert not [name for name in short if "/" in name]


@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(st.integers(0, 2**31), st.integers(2, 6), st.integers(2, 30))
def test_the_order_of_examples_changes_nothing_and_the_laws_hold(seed, classes, count):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)
    scores = random.integers(0, 3, (count, classes)).astype(np.float32)  # with ties
    row = metrics.classification(labels, scores, top_k=range(1, classes + 2))
    order = random.permutation(count)
    same(row, metrics.classification(labels[order], scores[order], top_k=range(1, classes + 2)))
    matrix = np.array(row["confusion"])
    assert matrix.sum() == count
    assert row["accuracy"] == pytest.approx(matrix.trace() / count)
    assert row["f1_micro"] == pytest.approx(row["accuracy"])
    tops = [row[f"top_{k}"] for k in range(1, classes + 2)]
    assert tops == sorted(tops)
    assert tops[0] == pytest.approx(row["accuracy"])
    assert tops[-1] == tops[-2] == 1
    same(
        metrics.from_confusion(matrix),
        {
            n: v
            for n, v in row.items()
            if n not in ("confusion", "roc_auc") and "top" not in n and "roc_auc" not in n
        },
    )


def test_ties_are_broken_as_in_the_evaluation_step():
    labels = np.arange(60, dtype=np.int32) % 4
    scores = np.random.default_rng(0).integers(0, 3, (60, 4)).astype(np.float32)
    row = metrics.classification(labels, scores, top_k=(1, 2))
    for k in (1, 2):
        steps = np.asarray(metrics.in_top_k(labels, scores, k)).mean()
        assert steps == pytest.approx(row[f"top_{k}"])


def test_the_numbers_of_a_confusion_are_those_of_the_scores_that_made_it():
    labels, logits = make()
    counts = metrics.confusion(labels.astype(np.int32), logits.argmax(1).astype(np.int32), 4)
    row = metrics.from_confusion(counts, classes=list("abcd"))
    whole = metrics.classification(labels, logits, classes=list("abcd"))
    same(row, {name: whole[name] for name in row})


def test_yes_and_no_by_scikit_learn():
    random = np.random.default_rng(0)
    logits = random.normal(size=80).astype(np.float32)
    labels = (random.random(80) < expit(2 * logits)).astype(np.float32)
    weights = random.random(80)
    for threshold in (0.5, 0.3):
        row = metrics.binary(labels, logits, threshold, weights=weights)
        p = expit(logits.astype(np.float64))
        yes, given = p >= threshold, {"sample_weight": weights}
        for name in ("accuracy", "precision", "recall", "f1"):
            expected = getattr(sk, f"{name}_score")(labels, yes, **given)
            assert row[name] == pytest.approx(expected)
        assert row["specificity"] == pytest.approx(sk.recall_score(1 - labels, ~yes, **given))
        assert row["roc_auc"] == pytest.approx(sk.roc_auc_score(labels, p, **given))
        area = sk.average_precision_score(labels, p, **given)
        assert row["average_precision"] == pytest.approx(area)
        assert row["loss"] == pytest.approx(sk.log_loss(labels, p, **given))
        np.testing.assert_allclose(row["confusion"], sk.confusion_matrix(labels, yes, **given))


def test_yes_and_no_at_the_edges():
    row = metrics.binary([0, 0], [-1.0, -2.0])
    assert (row["accuracy"], row["precision"], row["recall"], row["specificity"]) == (1, 0, 0, 1)
    assert math.isnan(row["roc_auc"])
    assert math.isnan(row["average_precision"])
    row = metrics.binary([1, 0, 1], [np.inf, -np.inf, 3.0])
    assert (row["accuracy"], row["roc_auc"]) == (1, 1)
    assert row["loss"] == pytest.approx(np.logaddexp(0, -3.0) / 3)
    assert metrics.binary([0], [np.inf])["loss"] == np.inf
    assert metrics.binary([1], [0.0])["recall"] == 1  # at the threshold: yes
    assert metrics.binary([1], [1000.0], 1.0)["recall"] == 0
    assert metrics.binary([0, 1], [-1000.0, 0.0], 0.0)["confusion"] == [[0, 1], [0, 1]]
    padded = metrics.binary([1, 0, -1], [1.0, -1.0, nan], weights=[True, True, False])
    assert padded["accuracy"] == 1


LABELS, LOGITS = make(count=5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: metrics.classification(LABELS, np.where(LOGITS[1] == LOGITS, nan, LOGITS)),
            "4 of 20 scores are NaN",
        ),
        (lambda: metrics.classification(LABELS, LOGITS * np.inf), r"rows of scores .* \+inf"),
        (lambda: metrics.classification(LABELS, LOGITS[:, 0]), r"\(N, C\).*metrics.binary"),
        (lambda: metrics.classification(LABELS[:3], LOGITS), "labels must have one row"),
        (lambda: metrics.classification(LABELS + 2, LOGITS), "labels are outside 0 ... 3"),
        (lambda: metrics.classification(LABELS * 1.0, LOGITS), "whole numbers.*argmax"),
        (lambda: metrics.classification(LABELS[:0], LOGITS[:0]), "no example"),
        (lambda: metrics.classification(LABELS, LOGITS, weights=np.zeros(5)), "no example"),
        (lambda: metrics.classification(LABELS, LOGITS, weights=-np.ones(5)), "weights"),
        (lambda: metrics.classification(LABELS, LOGITS, classes=["a", "b"]), "4 different names"),
        (lambda: metrics.classification(LABELS, LOGITS, top_k=(0,)), "top_k"),
        (lambda: metrics.from_confusion(np.zeros((2, 2))), "not all 0"),
        (lambda: metrics.from_confusion(np.zeros((2, 3))), "square"),
        (lambda: metrics.binary([0, 1], [nan, 1.0]), "1 of 2 logits are NaN"),
        (lambda: metrics.binary([0, 2], [1.0, 1.0]), "neither 0 nor 1, such as 2.0"),
        (lambda: metrics.binary([0, 1], [[1.0], [1.0]]), "Squeeze"),
        (lambda: metrics.binary([0, 1], [1.0, 1.0], 1.5), "threshold"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_arguments_in_the_other_order_are_recognised():
    with pytest.raises(ValueError, match=r"Labels come first: classification\(labels, scores\)"):
        metrics.classification([[2.0, 1.0], [0.0, 3.0]], [0, 1])
