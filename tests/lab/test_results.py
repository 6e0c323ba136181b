"""Results: the tables, the order of the trials, and what is said when all of them failed."""

import csv
import json
import math

import numpy as np
import pytest

from optlab import lab


def run(trial, seed=0, values=(1.0, 0.5), status="done", diverged_at=None, name="error", **extra):
    values = np.float32(values)
    evaluated = 10 * (1 + np.arange(len(values)))
    return lab.Outcome(
        trial=trial,
        seed=seed,
        status=status,
        steps=int(evaluated[-1]) if len(values) else 0,
        diverged_at=diverged_at,
        losses=np.zeros(10 * len(values), np.float32),
        evaluated=evaluated,
        metrics={name: values, **{k: np.float32(v) for k, v in extra.items()}},
        seconds=0.25,
    )


def results(outcomes, *, hyperparameters=None, mode="min", target=None, **rest):
    count = 1 + max((outcome.trial for outcome in outcomes), default=0)
    hyperparameters = hyperparameters or [{"learning_rate": 0.1 * (i + 1)} for i in range(count)]
    trials = [lab.Trial(i, hp) for i, hp in enumerate(hyperparameters)]
    return lab.Results(
        task_name="valley",
        metric="error",
        mode=mode,
        target=target,
        trials=trials,
        outcomes=outcomes,
        **rest,
    )


def order(found):
    return [ranked.trial for ranked in found.ranking()]


# --- ranking


def test_the_best_trial_is_that_with_the_best_mean_over_seeds():
    outcomes = [run(0, 0, [0.3]), run(0, 1, [0.3]), run(1, 0, [0.1]), run(1, 1, [0.4])]
    assert order(results(outcomes)) == [1, 0]
    assert order(results(outcomes, mode="max")) == [0, 1]
    best = results(outcomes).best()
    assert best.value == pytest.approx(0.25)
    assert best.std == pytest.approx(0.3 / math.sqrt(2))
    assert (best.seeds, best.steps, best.status) == (2, 10, "done")


def test_one_run_that_diverged_makes_its_trial_the_worst():
    outcomes = [run(0, 0, [0.01]), run(0, 1, [0.0], "diverged", 7), run(1, 0, [9]), run(1, 1, [9])]
    for mode, worst in (("min", math.inf), ("max", -math.inf)):
        found = results(outcomes, mode=mode)
        assert order(found) == [1, 0]
        assert found.ranking()[1].value == worst


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_metric_that_is_not_finite_counts_as_diverged(value):
    found = results([run(0, 0, [1.0, value]), run(1, 0, [5.0, 5.0])])
    assert order(found) == [1, 0]
    assert found.ranking()[1].status == "diverged"


def test_a_trial_stopped_early_comes_after_those_that_were_not():
    stopped = run(0, 0, [0.1], "stopped")
    assert order(results([stopped, run(1, 0, [3, 2]), run(2, 0, [9, 9, 9], "diverged")])) == [
        1,
        0,
        2,
    ]


def test_a_trial_that_lacks_a_seed_comes_after_complete_ones():
    assert order(results([run(0, 0, [0.1]), run(1, 0, [3]), run(1, 1, [2])])) == [1, 0]


def test_equal_trials_stand_in_the_order_of_their_numbers():
    assert order(results([run(2, 0, [1]), run(0, 0, [1]), run(1, 0, [1])])) == [0, 1, 2]


def test_when_all_diverged_best_says_so_and_keeps_the_rows():
    found = results([run(0, 0, [2], "diverged", 5), run(1, 0, [2], "diverged", 3)])
    with pytest.raises(
        ValueError, match=r"every trial .* diverged, the first at step 3\. Look at the loss"
    ):
        found.best()
    assert [row["diverged_at"] for row in found.rows] == [5, 3]
    assert "every trial has a run that diverged" in repr(found)


@pytest.mark.parametrize(
    ("later", "said"),
    [
        (0, "at the first step already: the loss itself is not finite. Look at the data"),
        (1, "after one update at most: the gradient may not be finite"),
        (9, "the first at step 0. Look at the loss, search smaller learning rates"),
    ],
)
def test_when_all_diverged_at_once_it_is_not_laid_on_the_rates(later, said):
    found = results([run(0, 0, [], "diverged", 0), run(1, 0, [], "diverged", later)])
    with pytest.raises(ValueError, match=said):
        found.best()


def test_divergence_at_one_step_whatever_the_hyperparameters_is_laid_on_its_batch():
    runs = [run(i, seed, [], "diverged", 40 + seed) for i in range(3) for seed in (0, 1)]
    level = [r._replace(losses=np.ones(40 + r.seed, np.float32)) for r in runs]
    with pytest.raises(ValueError, match=r"the first is 40\)\. Look at the examples of that batch"):
        results(level).best()
    rising = [r._replace(losses=np.arange(1, 41 + r.seed, dtype=np.float32)) for r in runs]
    with pytest.raises(ValueError, match=r"the first at step 40\. Look at the loss, search"):
        results(rising).best()


def test_divergence_beside_metrics_that_are_not_finite_is_told_apart():
    found = results([run(0, 0, [2], "diverged", 5), run(1, 0, [math.nan])])
    with pytest.raises(ValueError, match="1 of 2 trials have a run that diverged, the others end"):
        found.best()


def test_a_metric_that_is_not_finite_is_not_called_divergence():
    found = results([run(0, 0, [math.nan]), run(1, 0, [math.nan])])
    with pytest.raises(
        ValueError, match="every trial ends with a value of error that is not finite, though"
    ):
        found.best()
    assert "2 ended with a value of error that is not finite" in repr(found)
    assert "diverged" not in repr(found)
    assert [row["status"] for row in found.rows] == ["done", "done"]


def test_without_runs_best_says_so():
    with pytest.raises(ValueError, match="no runs yet"):
        results([]).best()
    assert "no runs yet" in repr(results([]))
    assert "1 not run" in repr(results([]))


# --- tables


def test_rows_hold_everything_about_a_run():
    found = results([run(0, 3, [0.9, 0.2, 0.4], train_loss=[3, 2, 1])], target=0.5)
    assert found.rows == [
        {
            "trial": 0,
            "seed": 3,
            "learning_rate": 0.1,
            "status": "done",
            "steps": 30,
            "diverged_at": None,
            "error": pytest.approx(0.4),
            "train_loss": 1.0,
            "best_error": pytest.approx(0.2),
            "best_step": 20,
            "steps_to_target": 20,
            "seconds": 0.25,
        }
    ]


@pytest.mark.parametrize(("mode", "target", "step"), [("min", 0.5, 20), ("max", 0.85, 10)])
def test_the_target_is_reached_when_the_metric_is_as_good(mode, target, step):
    found = results([run(0, 0, [0.9, 0.5])], mode=mode, target=target)
    assert found.rows[0]["steps_to_target"] == step


def test_a_target_that_is_never_reached_is_none():
    found = results([run(0), run(1, 0, [0.1]), run(1, 1, [0.001])], target=0.01)
    assert [row["steps_to_target"] for row in found.rows] == [None, None, 10]
    assert "no trial reached the target" in repr(found)
    assert "1 of 2 trials reached the target" in repr(results(found.outcomes, target=0.3))
    assert "steps_to_target" not in results([run(0)]).rows[0]


def test_a_trial_that_diverged_after_it_reached_the_target_is_not_counted():
    found = results([run(0, 0, [0.1], "diverged", 15), run(1, 0, [0.1, 0.9])], target=0.3)
    assert "1 of 2 trials reached the target at some evaluation, with every seed" in repr(found)


def test_all_rows_have_the_same_keys_whatever_their_trial_holds():
    space = [{"learning_rate": 1.0}, {"momentum": 0.9}]
    found = results([run(0), run(1)], hyperparameters=space)
    assert list(found.rows[0]) == list(found.rows[1])
    assert found.rows[0]["momentum"] is None


def test_a_hyperparameter_with_the_name_of_a_column_is_kept_apart():
    row = results([run(0)], hyperparameters=[{"steps": 7, "error": 2}]).rows[0]
    assert row["steps"] == 20
    assert row["hyperparameters.steps"] == 7
    assert row["hyperparameters.error"] == 2


def test_history_holds_every_evaluation():
    history = results([run(0, 0, [0.5, 0.25]), run(1, 4, [2])]).history
    assert history == [
        {"trial": 0, "seed": 0, "step": 10, "error": 0.5},
        {"trial": 0, "seed": 0, "step": 20, "error": 0.25},
        {"trial": 1, "seed": 4, "step": 10, "error": 2.0},
    ]


def test_a_run_that_was_never_evaluated_has_no_metrics():
    row = results([run(0, 0, [], "diverged", 0), run(1)], target=0.1).rows[0]
    assert row["error"] is row["best_error"] is row["best_step"] is row["steps_to_target"] is None


def test_csv_reads_back(tmp_path):
    found = results([run(0), run(1, 0, [math.nan])])
    found.to_csv(tmp_path / "rows.csv")
    found.to_csv(tmp_path / "history.csv", "history")
    with open(tmp_path / "rows.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(found.rows[0])
    assert float(rows[0]["learning_rate"]) == 0.1
    assert (rows[0]["diverged_at"], rows[1]["error"]) == ("", "nan")
    with open(tmp_path / "history.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 3


def test_json_reads_back_with_null_for_what_is_not_finite(tmp_path):
    found = results([run(0), run(1, 0, [math.inf])], plan="one by one")
    content = json.loads(found.to_json(tmp_path / "results.json"))
    assert content == json.loads((tmp_path / "results.json").read_text())
    assert content["rows"][0] == found.rows[0]
    assert content["rows"][1]["error"] is None
    assert (content["task_name"], content["plan"], content["seconds"]) == (
        "valley",
        "one by one",
        None,
    )


def test_pandas_reads_the_tables():
    pytest.importorskip("pandas")
    found = results([run(0), run(1)])
    frame = found.to_pandas()
    assert list(frame.columns) == list(found.rows[0])
    assert frame["error"].tolist() == [0.5, 0.5]
    assert len(found.to_pandas("history")) == 4


def test_another_table_is_refused(tmp_path):
    with pytest.raises(ValueError, match='"rows" or "history", got \'runs\''):
        results([run(0)]).to_csv(tmp_path / "x.csv", "runs")


def test_runs_of_a_trial_that_is_not_there_are_refused():
    with pytest.raises(ValueError, match="runs of trial 3, but no such trial"):
        results([run(3)], hyperparameters=[{}])


def test_the_print_names_the_best_and_counts_the_rest():
    outcomes = [run(i, s, [0.1 * (i + 1)]) for i in range(7) for s in range(2)]
    outcomes += [run(7, 0, [0.1], "diverged", 3), run(8, 0, [], "stopped")]
    text = repr(results(outcomes, target=0.05, plan="map, 4 at a time", seconds=12.345))
    assert text.splitlines() == [
        "valley: 9 trials, 2 seeds each, 10 steps, 12.3 s",
        "error at the end, less is better, target 0.05:",
        "  trial  error  std  learning_rate",
        "      0    0.1    0            0.1",
        "      1    0.2    0            0.2",
        "      2    0.3    0            0.3",
        "      3    0.4    0            0.4",
        "      4    0.5    0            0.5",
        "  and 3 more",
        "no trial reached the target at some evaluation, with every seed",
        "1 stopped early",
        "1 diverged",
        "plan: map, 4 at a time",
    ]
