"""Comparisons: protocol, verdicts, tables, pictures, reports; and what cannot be compared."""

import dataclasses
import math
import re
import sqlite3

import jax
import numpy as np
import pytest

import optlab as ol
from optlab import lab
from optlab.lab import _compare_inputs, _compare_plots, _html
from optlab.lab._compare import STUDY, TEST
from optlab.lab._compare_runs import Entry, Judge, Tuning
from optlab.lab._engine import Engine
from optlab.lab._outcome import Outcome

RATES = {"learning_rate": lab.log_uniform(1e-3, 1)}


def sgd(learning_rate):
    return ol.sgd(learning_rate)


def momentum(learning_rate):
    return ol.sgd(learning_rate, momentum=0.9)


# --- comparisons made of numbers, without training

JUDGE = Judge("bowl", "loss", "min", 1.0, 100, 10.0, 10.0)


def run(judge, value, trial=0, seed=0, reached=None):
    """A run whose metric falls from the start to a value, below the target from `reached` on."""
    evaluated = np.arange(10, 101, 10)
    if not math.isfinite(value):
        return Outcome(trial, seed, "diverged", 3, 3, np.zeros(3), np.zeros(0, int), {}, 0.1)
    metric = np.full(10, judge.start)
    metric[-1] = value
    if reached is not None:
        metric[evaluated >= reached] = min(value, judge.target or value)
        metric[-1] = value
    return Outcome(trial, seed, "done", 100, None, np.zeros(100), evaluated, {"loss": metric}, 0.1)


def entry(name, scores, results, judge=JUDGE):
    """An entry of the scores[study, trial] and results[study, trial, seed]."""
    tunings = []
    for tuned, tested in zip(scores, results, strict=True):
        rates = np.geomspace(1e-3, 1, len(tuned))
        tunings.append(
            Tuning(
                [{"learning_rate": float(rate)} for rate in rates],
                [[run(judge, value)] for value in tuned],
                {
                    place: [run(judge, value, reached=50) for value in row]
                    for place, row in enumerate(tested)
                },
            )
        )
    seeds = len(results[0][0])
    space = lab.check_space(RATES, sgd)
    return Entry(judge, name, space, tunings, "metric", seeds, 1.0, 4.0, "one run at a time")


def comparison(entries, **options):
    names = list(dict.fromkeys(name for _, name in entries))
    tasks = list(dict.fromkeys(task for task, _ in entries))
    first = entries[tasks[0], names[0]]
    options = {
        "trials": len(first.tunings[0].trials),
        "seeds": first.test_seeds,
        "studies": len(first.tunings),
        "tuning_seeds": 1,
        "tuned_for": "metric",
        "finalists": 10,
        "level": 0.05,
        "tolerance": 0.1,
        "notes": (),
        "seconds": 1.0,
    } | options
    return lab.Comparison(optimizers=names, tasks=tasks, entries=entries, **options)


def drawn(rng, shift, studies=3, trials=10, seeds=5):
    scores = shift + rng.random((studies, trials))
    return scores, scores[:, :, None] + 0.05 * rng.standard_normal((studies, trials, seeds))


def made(shifts, seed=0, judge=JUDGE, **options):
    rng = np.random.default_rng(seed)
    return comparison(
        {(judge.task, n): entry(n, *drawn(rng, s), judge) for n, s in shifts.items()}, **options
    )


def test_what_is_better_is_separated_and_what_is_alike_is_not():
    found = made({"good": 0.0, "also": 0.0, "bad": 2.0})
    assert found.separated("good", "bad")
    assert found.separated("bad", "good")
    assert found.verdict("bad", "good").better == "good"
    assert not found.separated("good", "also")
    assert not found.separated("good", "good")
    assert found.better_than("good") == ["bad"]
    assert found.better_than("bad") == []
    assert found.order("bowl")[-1] == "bad"


def test_what_was_tuned_for_is_what_is_judged():
    rng = np.random.default_rng(0)
    scores, results = drawn(rng, 0.0)
    slow, fast = entry("slow", scores, results), entry("fast", scores, results)
    tunings = [
        tuning._replace(
            tuned=[[run(JUDGE, 0.5, reached=20)] for _ in tuning.tuned],
            tested={p: [run(JUDGE, 0.5, reached=20)] * 5 for p in tuning.tested},
        )
        for tuning in fast.tunings
    ]
    later = [
        tuning._replace(
            tuned=[[run(JUDGE, 0.5, reached=80)] for _ in tuning.tuned],
            tested={p: [run(JUDGE, 0.5, reached=80)] * 5 for p in tuning.tested},
        )
        for tuning in slow.tunings
    ]
    entries = {
        ("bowl", "slow"): slow._replace(tunings=later, tuned_for="steps"),
        ("bowl", "fast"): fast._replace(tunings=tunings, tuned_for="steps"),
    }
    found = comparison(entries, tuned_for="steps")
    assert found.verdict("slow", "fast").better == "fast"
    assert not found.separated("slow", "fast", measure="metric")
    assert found.score("bowl", "fast", "steps") == (20, 20, 20)
    assert "no difference" not in str(found)


def test_pairs_without_a_difference_are_listed():
    text = str(made({"a": 0.0, "b": 0.0, "c": 3.0}))
    assert "no difference of scores shown: a from b" in text
    assert "no difference of scores shown\n" in str(made({"a": 0.0, "b": 0.0}))


@pytest.mark.parametrize(("seeds", "said"), [(4, True), (5, False)])
def test_the_median_of_an_even_number_is_the_worse_middle_value_and_said_to_be(seeds, said):
    tests = np.zeros((1, 10, seeds)) + np.arange(seeds)
    scores = np.arange(10.0)[None]
    found = comparison({("bowl", n): entry(n, scores, tests) for n in "ab"})
    assert found.score("bowl", "a").value == 2
    assert ("of an even number the worse of the two middle ones" in str(found)) is said


def test_names_and_their_order_do_not_change_verdicts():
    shifts = {"a": 0.0, "b": 0.15, "c": 0.3}
    rng = np.random.default_rng(5)
    data = {name: drawn(rng, shift) for name, shift in shifts.items()}

    def verdicts(order, names):
        entries = {("bowl", names[n]): entry(names[n], *data[n]) for n in order}
        found = comparison(entries)
        back = {new: old for old, new in names.items()}
        pairs = [("a", "b"), ("a", "c"), ("b", "c")]
        verdicts = [found.verdict(names[x], names[y]) for x, y in pairs]
        return [(back.get(v.better), *v[1:]) for v in verdicts]

    plain = verdicts("abc", {"a": "a", "b": "b", "c": "c"})
    assert verdicts("cab", {"a": "zeta", "b": "<b>", "c": "0"}) == plain


def test_the_same_runs_under_two_names_are_never_separated():
    rng = np.random.default_rng(0)
    data = drawn(rng, 0.0)
    found = comparison({("bowl", name): entry(name, *data) for name in ("one", "other")})
    assert found.verdict("one", "other").better is None
    assert found.verdict("one", "other").share == 0.0


def test_more_is_better_where_the_task_says_so():
    judge = JUDGE._replace(mode="max", start=0.0)
    found = made({"low": 0.0, "high": 2.0}, judge=judge)
    assert found.verdict("low", "high").better == "high"
    score = found.score("bowl", "high")
    assert 2 < score.low <= score.value <= score.high
    assert found.order("bowl") == ["high", "low"]


def test_several_tasks_are_judged_apart_and_together():
    rng = np.random.default_rng(0)
    entries = {}
    for task, gap in (("easy", 2.0), ("hard", 0.0), ("third", 2.0)):
        for name, shift in (("a", 0.0), ("b", gap)):
            entries[task, name] = entry(name, *drawn(rng, shift), JUDGE._replace(task=task))
    found = comparison(entries)
    assert found.separated("a", "b", task="easy")
    assert not found.separated("a", "b", task="hard")
    assert found.verdict("a", "b").better == "a"
    assert "Over all tasks" in str(found)
    assert len(found.rows) == 6


def test_without_a_target_nothing_is_said_of_steps():
    entries = {}
    for task in ("one", "two"):
        judge = JUDGE._replace(task=task, target=None)
        rng = np.random.default_rng(0)
        entries |= {(task, n): entry(n, *drawn(rng, s), judge) for n, s in (("a", 0), ("b", 2))}
    found = comparison(entries)
    for task in (None, "one"):
        assert not found.separated("a", "b", measure="steps", task=task)
        assert found.separated("a", "b", task=task)
    assert math.isnan(found.score("one", "a", "steps").value)
    assert found.rows[0]["steps_to_target"] is None
    assert "faster" not in str(found)


def test_each_family_is_corrected_for_its_size():
    found = made({"a": 0.0, "b": 0.5, "c": 2.0})
    for a, b in (("a", "b"), ("b", "c")):
        verdict = found.verdict(a, b)
        assert verdict.p <= verdict.adjusted <= 1
    smallest = min((found.verdict(a, b) for a, b in (("a", "b"), ("a", "c"), ("b", "c"))))[1:]
    assert smallest[1] == pytest.approx(3 * smallest[0])


def test_steps_to_the_target_are_the_first_evaluation_that_has_it_and_misses_are_infinite():
    assert JUDGE.value(run(JUDGE, 0.5, reached=40), "steps") == 40
    assert JUDGE.value(run(JUDGE, 5.0), "steps") == math.inf
    assert JUDGE.value(run(JUDGE, math.inf), "steps") == math.inf
    assert JUDGE._replace(target=None).value(run(JUDGE, 0.5), "steps") == math.inf
    found = made({"a": 0.0, "b": 5.0})
    assert found.score("bowl", "b", "steps").value in (50.0, math.inf)


def test_a_target_never_reached_is_said():
    scores = np.full((1, 6), 5.0)
    entries = {}
    for name in "ab":
        one = entry(name, scores, np.full((1, 6, 3), 5.0))
        tested = {p: [run(JUDGE, 5.0)] * 3 for p in range(6)}
        entries["bowl", name] = one._replace(tunings=[one.tunings[0]._replace(tested=tested)])
    found = comparison(entries)
    assert "no winner reached the target 1" in str(found)
    assert "never [never, never]" in str(found)
    assert found.rows[0]["steps_to_target"] == math.inf
    assert found.rows[0]["seconds_to_target"] == math.inf


def test_an_optimizer_all_of_whose_trials_diverge_loses_and_is_named():
    rng = np.random.default_rng(0)
    lost = entry("lost", np.full((3, 10), np.inf), np.zeros((3, 10, 5)))
    lost = lost._replace(tunings=[t._replace(tested={}) for t in lost.tunings])
    fine = entry("fine", *drawn(rng, 0.0))
    found = comparison({("bowl", "fine"): fine, ("bowl", "lost"): lost})
    assert found.verdict("fine", "lost").better == "fine"
    assert "lost: every trial has a run that diverged" in str(found)
    assert "failed [failed, failed]" in str(found)
    assert found.rows[1]["hyperparameters"] == [None] * 3
    assert found.rows[1]["seconds_to_target"] == math.inf
    both = comparison({("bowl", "x"): lost, ("bowl", "y"): lost})
    assert not both.separated("x", "y")
    assert "x, y: every trial has a run that diverged" in str(both)
    _html.report(both)


def test_good_rates_are_the_share_of_trials_that_keep_the_improvement_times_the_range():
    scores = np.array([[10.0, 9.0, 0.4, 0.0, 0.9, np.inf]])  # improvement 10, tolerance 1
    one = entry("a", scores, np.zeros((1, 6, 2)))
    assert one.width(0.1) == pytest.approx(3 / 6 * 3)  # three decades
    assert one.width(0.03) == pytest.approx(1 / 6 * 3)
    worse = entry("a", np.full((1, 6), 11.0), np.zeros((1, 6, 2)))
    assert worse.width(0.1) is None


def test_tuning_for_steps_prefers_reaching_the_target_to_a_lower_end():
    judge = JUDGE
    slow = [run(judge, 0.0, reached=100)]
    fast = [run(judge, 0.9, reached=30)]
    miss = [run(judge, 2.0)]
    one = entry("a", np.zeros((1, 3)), np.zeros((1, 3, 2)))
    tuning = one.tunings[0]._replace(tuned=[miss, slow, fast])
    assert one._replace(tunings=[tuning], tuned_for="steps").winners == [2]
    assert one._replace(tunings=[tuning]).winners == [1]
    assert one._replace(tunings=[tuning._replace(tuned=[miss] * 2 + [fast])]).winners == [2]


def test_rows_are_tidy_and_dicts_are_json(tmp_path):
    import csv
    import json

    found = made({"a": 0.0, "b": 2.0})
    row = found.rows[0]
    assert (row["task"], row["optimizer"], row["better_than"]) == ("bowl", "a", ["b"])
    assert len(row["hyperparameters"]) == 3
    assert row["score_low"] <= row["score"] <= row["score_high"]
    found.to_csv(tmp_path / "rows.csv")
    with open(tmp_path / "rows.csv", newline="") as file:
        assert [line["optimizer"] for line in csv.DictReader(file)] == ["a", "b"]
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["protocol"]["trials"] == 10


def test_unknown_names_are_refused_with_the_nearest():
    found = made({"adam": 0.0, "sgd": 2.0})
    with pytest.raises(ValueError, match=r"no optimizer 'adm'.*adam"):
        found.separated("adm", "sgd")
    with pytest.raises(ValueError, match=r"no task 'bowls'.*bowl"):
        found.separated("adam", "sgd", task="bowls")
    with pytest.raises(ValueError, match="measure must be"):
        found.separated("adam", "sgd", measure="loss")


# --- reports and pictures


def test_the_report_is_one_file_without_links_and_escapes_names(tmp_path):
    bad = '<script>alert("x")</script>'
    found = made({bad: 0.0, "b & c": 2.0, "$x$": 1.0}, notes=("<img src=x onerror=y>",))
    found.to_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert "onerror=y>" not in page
    assert "&lt;script&gt;" in page
    assert "b &amp; c" in page
    links = re.findall(r"<[^>]*\b(?:src|href)\s*=\s*\"?([^\"\s>]*)", page)
    assert len(links) == 4
    assert all(link.startswith("data:image/svg+xml;base64,") for link in links)
    assert not re.search(r"https?:|url\(|@import", re.sub(r"base64,[^\"]*", "", page))
    assert page.count("<img alt=") == 4
    assert 'name="viewport"' in page


def test_pictures_have_every_optimizer_and_close_their_figures():
    import matplotlib.pyplot as plt

    found = made({"a": 0.0, "b": 2.0, "c": np.inf})
    before = plt.get_fignums()
    for title, figure in _compare_plots.pictures(found, "bowl"):
        (axis,) = figure.axes
        named = {text.get_text() for text in axis.get_yticklabels()}
        for legend in figure.legends:
            named |= {text.get_text() for text in legend.get_texts()}
        assert {"a", "b"} <= named, title
        assert ("line: running median" in title) is title.startswith("Trials by")
    assert plt.get_fignums() == before
    figure = found.plot()
    assert len(figure.axes) == 4
    plt.close(figure)


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("values", [[0.02, 0.03, 0.05, 900.0], [-3.0, 1.0], [5.0], [1e-12, 2.0]])
def test_axes_fit_any_range_of_values(mode, values):
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots()
    for start in (None, 0.5):  # warnings are errors here
        _compare_plots._vertical(axis, JUDGE._replace(mode=mode), values, start)
        low, high = axis.get_ylim()
        assert low <= (min(values) if mode == "min" else max(values)) <= high
        assert low <= JUDGE.target <= high
    plt.close(figure)


# --- spaces and names


def test_a_space_is_for_all_or_by_optimizer():
    made = _compare_inputs.named_spaces(RATES, {"a": sgd, "b": momentum})
    assert made["a"].to_dict() == made["b"].to_dict()
    other = {"a": RATES, "b": {"learning_rate": lab.log_uniform(1e-2, 1)}}
    made = _compare_inputs.named_spaces(other, {"a": sgd, "b": momentum})
    assert made["b"].dimensions["learning_rate"].low == 1e-2


def test_spaces_of_other_sizes_are_remarked_on():
    def remarks(**spaces):
        checked = {name: lab.check_space(s, lambda **k: None) for name, s in spaces.items()}
        return " ".join(_compare_inputs.remarks(checked, 20))

    wide = {"learning_rate": lab.log_uniform(1e-9, 1)}
    both = {**RATES, "momentum": lab.uniform(0.0, 1.0)}
    assert remarks(a=RATES, b=RATES) == ""
    assert "differ in size" in remarks(a=RATES, b=wide)
    assert "3 decades of learning_rate; b: 9 decades" in remarks(a=RATES, b=wide)
    assert "differ in size" in remarks(a=RATES, b=both)
    assert "2 points" in remarks(a={"x": lab.grid([1, 2])}, b={"x": lab.grid([1, 2])})


def test_budgets_that_can_show_nothing_are_remarked_on():
    assert _compare_inputs.too_little(20, 3, 5, 15, 0.05) == []
    (text,) = _compare_inputs.too_little(5, 1, 5, 15, 0.05)
    assert "So little can show no difference: with trials=5, studies=1" in text


TASK = lab.Task(
    name="valley",
    init=lambda key: 1 + 0.1 * jax.random.normal(key, (2,)),
    loss=lambda x, batch, key: (x[0] ** 2 + 100 * x[1] ** 2) / 200,
    batch=lambda key, step: (),
    steps=60,
    target=1e-3,
)
VALLEY = {"learning_rate": lab.log_uniform(1e-2, 1.9)}
TWO = {"sgd": sgd, "momentum": momentum}


@pytest.mark.parametrize(
    ("tasks", "optimizers", "options", "message"),
    [
        (TASK, {"sgd": sgd}, {}, "at least 2 optimizers, got 1"),
        (TASK, [("sgd", sgd), ("sgd", momentum)], {}, "different names, got 'sgd'"),
        ([TASK, TASK], TWO, {}, "tasks must have different names, got 'valley'"),
        ([], TWO, {}, "needs a task"),
        (TASK, TWO, {"space": {"sgd": RATES, "momentun": RATES}}, "'momentun'.*momentum"),
        (TASK, TWO, {"space": {"sgd": RATES}}, "no entry for 'momentum'"),
        (TASK, TWO, {"space": {"rate": lab.log_uniform(1e-3, 1)}}, "no argument 'rate'"),
        (TASK, TWO, {"space": {"learning_rate": 0.1}}, "constants only"),
        (TASK, TWO, {"trials": {"sgd": 10, "momentum": 20}}, "the same budget for all"),
        (TASK, TWO, {"trials": 0}, "trials must be"),
        (TASK, TWO, {"seeds": 501}, "seeds must be"),
        (TASK, TWO, {"level": 1.0}, "level must be"),
        (TASK, TWO, {"tune_for": "time"}, "tune_for must be"),
        (TASK, TWO, {"sampler": "tpe"}, "sampler must be"),
        (dataclasses.replace(TASK, target=None), TWO, {"tune_for": "steps"}, "no target to tune"),
        (dataclasses.replace(TASK, steps=None), TWO, {}, "how many steps"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_runs(
    tasks, optimizers, options, message, monkeypatch
):
    monkeypatch.setattr(lab.Task, "batch_at", None)
    with pytest.raises(ValueError, match=message):
        lab.compare(tasks, optimizers, **{"space": RATES, "progress": False} | options)


@pytest.mark.parametrize(
    ("tasks", "optimizers", "space", "message"),
    [
        (TASK, {"sgd": ol.sgd(0.1), "other": sgd}, RATES, "must be a function"),
        (TASK, ["sgd", "adam"], RATES, "pairs of a name and a function"),
        (TASK, {1: sgd, 2: momentum}, RATES, "names of optimizers are strings"),
        ("quadratic", TWO, RATES, "expected a Task"),
        (TASK, TWO, {"sgd": RATES, "learning_rate": 0.1}, "mixes a space by optimizer"),
        (TASK, TWO, 3, "space must be a dict"),
    ],
)
def test_what_is_of_another_kind_is_refused(tasks, optimizers, space, message):
    with pytest.raises(TypeError, match=message):
        lab.compare(tasks, optimizers, space=space, progress=False)


# --- with training


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A comparison, and the store that it kept."""
    store = tmp_path_factory.mktemp("compare") / "store.db"
    options = {"space": VALLEY, "trials": 8, "seeds": 3, "studies": 3, "progress": False}
    options |= {"plan": "exact", "store": store}
    return lab.compare(TASK, TWO, **options), options


def test_momentum_is_better_than_none_in_a_valley(trained):
    found, _ = trained
    assert found.verdict("sgd", "momentum").better == "momentum"
    assert found.verdict("sgd", "momentum", measure="steps").better != "sgd"
    text = str(found)
    assert "momentum is better than sgd" in text
    assert "8 trials of its own in each of 3 studies" in text


def test_budgets_are_equal_draws_are_their_own_and_test_seeds_untouched(trained):
    found, _ = trained
    seen = []
    for entry in found.entries.values():
        for study, tuning in enumerate(entry.tunings):
            seen.append(tuple(t["learning_rate"] for t in tuning.trials))
            assert len(tuning.tuned) == 8
            assert {o.seed for few in tuning.tuned for o in few} == {STUDY * study}
            tested = {o.seed for few in tuning.tested.values() for o in few}
            assert tested == {STUDY * study + TEST + i for i in range(3)}
            assert len(tuning.tested) == found.finalists
    assert len(set(seen)) == 6
    assert all(len(set(rates)) == 8 for rates in seen)


def test_costs_are_those_of_the_optimizer(trained):
    found, _ = trained
    rows = {row["optimizer"]: row for row in found.rows}
    momenta = rows["momentum"]["state_bytes"] - rows["sgd"]["state_bytes"]
    assert momenta >= 4.0  # one float32 a parameter
    assert all(row["compile_seconds"] > 0 and row["step_seconds"] > 0 for row in rows.values())


def test_a_store_goes_on_where_it_was_without_training_again(trained, monkeypatch):
    found, options = trained
    made, train = [], Engine.train

    def counted(self, members, **options):
        made.extend((member.trial, member.seed) for member in members)
        return train(self, members, **options)

    monkeypatch.setattr(Engine, "train", counted)
    with sqlite3.connect(options["store"]) as file:
        before = file.execute("SELECT count(*) FROM outcomes").fetchone()[0]
        file.execute("DELETE FROM outcomes WHERE trial = 3")
    file.close()
    again = lab.compare(TASK, TWO, **options)
    for key, entry in found.entries.items():
        for one, other in zip(entry.tunings, again.entries[key].tunings, strict=True):
            assert one.trials == other.trials
            for few, same in zip(one.tuned, other.tuned, strict=True):
                np.testing.assert_array_equal(few[0].losses, same[0].losses)
    assert {trial for trial, _ in made} == {3}
    assert again.verdict("sgd", "momentum")[:3] == found.verdict("sgd", "momentum")[:3]
    with lab.Store(options["store"]) as store:
        assert len(store.outcomes()) == before


def test_a_store_of_another_comparison_is_refused(trained):
    _, options = trained
    with pytest.raises(ValueError, match=r"another study.*trials"):
        lab.compare(TASK, TWO, **options | {"trials": 9})


def test_a_store_of_other_tasks_names_them(trained):
    _, options = trained
    other = dataclasses.replace(TASK, name="other")
    with pytest.raises(
        ValueError,
        match=f"study: the task {TASK.name!r} is missing here; the task "
        "'other' is missing there; steps",
    ):
        lab.compare(other, TWO, **options)


def test_a_store_of_other_optimizers_of_the_same_names_is_refused(trained):
    _, options = trained
    changed = {
        **TWO,
        "sgd": lambda learning_rate: ol.sgd(learning_rate, nesterov=True, momentum=0.1),
    }
    with pytest.raises(ValueError, match=r"study: the optimizer 'sgd' computes .* made\. Name"):
        lab.compare(TASK, changed, **options)


def test_a_store_of_a_comparison_is_none_of_a_sweep_nor_the_reverse(trained, tmp_path):
    _, options = trained
    store = options["store"]
    with pytest.raises(ValueError, match=r"is the store of a comparison, this is a sweep\. Name"):
        lab.sweep(TASK, sgd, RATES, budget=2, store=store, progress=False)
    with pytest.raises(ValueError, match="is the store of a comparison; load reads"):
        lab.load(store, TASK)
    lab.sweep(TASK, sgd, {"learning_rate": 0.1}, steps=2, store=tmp_path / "s.db", progress=False)
    with pytest.raises(ValueError, match=r"is the store of a sweep, this is a comparison\. Name"):
        lab.compare(TASK, TWO, **options | {"store": tmp_path / "s.db"})


def test_what_was_run_before_an_interruption_is_kept(tmp_path):
    calls = []

    def interrupted(learning_rate):
        calls.append(learning_rate)
        if len(calls) > 5:
            raise KeyboardInterrupt
        return momentum(learning_rate)

    options = {"space": RATES, "trials": 4, "seeds": 2, "progress": False, "plan": "exact"}
    with pytest.raises(KeyboardInterrupt):
        lab.compare(
            TASK, {"sgd": sgd, "x": interrupted}, **options, store=tmp_path / "store.db", studies=2
        )
    with lab.Store(tmp_path / "store.db") as store:
        assert {o.trial for o in store.outcomes()} == set(range(8))  # all of sgd's


# --- slow: on built-in tasks


@pytest.mark.slow
def test_one_optimizer_under_two_names_is_declared_different_in_at_most_five_percent():
    """100 comparisons of 3 studies each, made in one go and judged apart."""
    count, each = 100, 3
    everything = lab.compare(
        lab.tasks.noisy_quadratic(),
        dict.fromkeys(("one", "other"), lambda learning_rate: ol.adam(learning_rate)),
        space={"learning_rate": lab.log_uniform(1e-4, 10)},
        studies=count * each,
        finalists=5,
        progress=False,
    )
    different = {"metric": 0, "steps": 0}
    for i in range(count):
        part = slice(each * i, each * (i + 1))
        entries = {k: e._replace(tunings=e.tunings[part]) for k, e in everything.entries.items()}
        found = dataclasses.replace(everything, entries=entries, studies=each)
        for measure in different:
            different[measure] += found.separated("one", "other", measure=measure)
    assert max(different.values()) <= 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "better", "worse"),
    [
        ("quadratic", lambda learning_rate: ol.adam(learning_rate), sgd),
        ("quadratic", momentum, sgd),
        ("sparse_logistic", lambda learning_rate: ol.adagrad(learning_rate), sgd),
    ],
)
def test_known_orders_are_found(task, better, worse):
    found = lab.compare(
        getattr(lab.tasks, task)(),
        {"better": better, "worse": worse},
        space={"learning_rate": lab.log_uniform(1e-4, 10)},
        studies=3,
        progress=False,
    )
    assert found.verdict("better", "worse").better == "better"
