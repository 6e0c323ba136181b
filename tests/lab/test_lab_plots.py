"""Pictures: what is in them, at 800 pixels, and what is said when there is nothing to draw."""

import math
import sys

import numpy as np
import pytest
from drawn import FOUR, GRID, RATE, TWO, results

from optlab import lab

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.text import Text  # noqa: E402


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def drawn(ax):
    """The picture, checked: it draws, is 800 pixels wide, and nothing covers its title."""
    ax.figure.canvas.draw()
    assert ax.figure.canvas.get_width_height()[0] == 800
    text = ax.get_title(loc="left")
    extents = [t.get_window_extent() for t in ax.findobj(Text) if text and t.get_text() == text]
    if ax.get_legend():
        legend = ax.get_legend().get_window_extent()
        assert not any(legend.overlaps(extent) for extent in extents)
        extents.append(legend)
    assert all(0 <= extent.x0 <= extent.x1 <= 800 for extent in extents)
    return ax


def texts(ax):
    legend = [text.get_text() for text in ax.get_legend().get_texts()] if ax.get_legend() else []
    return [*legend, *(text.get_text() for text in ax.texts), ax.get_title(loc="left")]


def lines(ax, marker):
    return [line for line in ax.lines if line.get_marker() == marker]


# --- curves


def test_curves_show_the_best_trials_with_their_seeds_and_the_others_in_grey():
    found = results(RATE, 12)
    ax = drawn(found.plot("curves", trials=3))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("updates done", "accuracy")
    best = found.best()
    assert (
        texts(ax)[0]
        == f"trial {best.trial}: learning_rate {best.hyperparameters['learning_rate']:.3g}"
    )
    assert len(ax.collections) == 3  # bands
    labelled = [line for line in ax.lines if line.get_label().startswith("trial")]
    assert len(labelled) == 3
    assert len({str(line.get_linestyle()) + line.get_marker() for line in labelled}) == 3
    runs = [o.metrics["accuracy"] for o in found.outcomes if o.trial == best.trial]
    np.testing.assert_allclose(labelled[0].get_ydata(), np.mean(runs, axis=0))
    assert "target 0.95" in texts(ax)


def test_curves_take_any_metric_and_any_trials():
    ax = drawn(results(RATE, 6).plot("curves", metric="train_loss", trials=[1, 4]))
    assert "train_loss" in ax.get_ylabel()
    assert [text[:7] for text in texts(ax)[:2]] == ["trial 1", "trial 4"]
    assert not any("target" in text for text in texts(ax))


def test_curves_of_positive_values_far_apart_are_logarithmic():
    ax = drawn(results(RATE, 12, mode="min").plot("curves", metric="train_loss", trials=[0]))
    assert ax.get_yscale() == "log"
    assert ax.get_ylabel() == "train_loss (log scale)"


# --- sensitivity


@pytest.mark.parametrize("mode", ["min", "max"])
def test_sensitivity_shows_every_trial_the_best_and_those_that_diverged(mode):
    found = results(RATE, 24, mode=mode)
    ax = drawn(found.plot())
    assert ax.get_xscale() == "log"
    assert ax.get_xlabel() == "learning_rate (log scale)"
    assert ax.get_ylabel().endswith("after 300 updates")
    bad = [r for r in found.ranking() if r.status == "diverged"]
    (star,), (points,), (crosses,) = (lines(ax, marker) for marker in "*ox")
    best = found.best()
    assert star.get_xdata()[0] == best.hyperparameters["learning_rate"]
    assert star.get_ydata()[0] == best.value
    assert (len(points.get_xdata()), len(crosses.get_xdata())) == (24 - len(bad), len(bad))
    assert len(bad) >= 2
    assert f"diverged ({len(bad)})" in texts(ax)


def bowl(rates, values, mode="max", decays=None):
    """One run a rate, with this metric; NaN diverges."""
    trials = [lab.Trial(i, {"learning_rate": rate}) for i, rate in enumerate(rates)]
    if decays is not None:
        trials = [
            lab.Trial(i, {**t.hyperparameters, "decay": decay})
            for (i, t), decay in zip(enumerate(trials), decays, strict=True)
        ]
    outcomes = [
        lab.Outcome(i, 0, "done", 1, None, np.zeros(1), np.array([1]), {"m": np.array([v])}, 0.0)
        for i, v in enumerate(values)
    ]
    return lab.Results(task_name="t", metric="m", mode=mode, trials=trials, outcomes=outcomes)


def test_width_is_the_range_around_the_best_that_is_nearly_as_good():
    rates = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0]
    found = lab.plots.width(bowl(rates, [0.99, 0.5, 0.97, 1.0, 0.96, math.nan]))
    assert found == pytest.approx((0.1, 0.01, 1.0, 2.0))  # not 1e-4, beyond a gap
    assert lab.plots.width(bowl(rates, [0.5, 0.5, 0.5, 1, 0.5, 0.5])).decades == 0
    error = bowl(rates, [9, 1.04, 1.06, 1.0, 1.04, 2], "min")
    assert lab.plots.width(error).decades == pytest.approx(1)
    assert lab.plots.width(error, within=0.1).decades == pytest.approx(3)


def test_width_takes_the_best_in_each_tenth_where_others_vary_too():
    rates = np.repeat(np.geomspace(1e-5, 1, 6), 2)
    values = [0.1, 0.2, 0.3, 0.1, 0.1, 0.96, 1.0, 0.1, 0.1, 0.97, 0.5, 0.1]
    found = lab.plots.width(bowl(list(rates), values, decays=[0, 1] * 6))
    assert found == pytest.approx((1e-2, 1e-3, 1e-1, 2))


def test_width_of_something_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="nesterov is not a number"):
        lab.plots.width(results(FOUR, 8), "nesterov")


def test_sensitivity_to_a_choice_has_one_place_for_each():
    ax = drawn(results(FOUR, 12).plot("sensitivity", name="nesterov"))
    assert [label.get_text() for label in ax.get_xticklabels()] == ["True", "False"]
    assert "learning_rate, weight_decay, momentum vary too" in texts(ax)[-1]


# --- heat map


def test_a_heat_map_of_ranges_is_a_point_a_trial():
    found = results(TWO, 16)
    ax = drawn(found.plot())
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert (ax.get_xlabel(), ax.get_ylabel()) == (
        "learning_rate (log scale)",
        "weight_decay (log scale)",
    )
    good = [r for r in found.ranking() if r.status != "diverged"]
    assert len(ax.collections[0].get_offsets()) == len(good)
    assert len(lines(ax, "x")[0].get_xdata()) == 16 - len(good)
    assert ax.collections[0].colorbar.ax.get_ylabel() == "accuracy after 300 updates"


def test_a_heat_map_of_a_grid_has_a_number_in_each_cell():
    found = results(GRID)
    ax = drawn(found.plot())
    values = {tuple(r.hyperparameters.values()): r.value for r in found.ranking()}
    written = {text.get_text() for text in ax.texts}
    assert written == {f"{value:.3g}" for value in values.values() if math.isfinite(value)}
    table = np.asarray(ax.images[0].get_array().filled(np.nan))
    assert table.shape == (3, 4)
    assert table[1, 2] == values[0.1, 1e-4]
    assert np.isnan(table[:, 3]).all()


@pytest.mark.parametrize("mode", ["min", "max"])
def test_light_is_good_and_a_few_terrible_trials_do_not_hide_the_others(mode):
    values = [*np.linspace(0.9, 0.5, 19).tolist(), -5.0]
    values = values if mode == "max" else [1 - v for v in values]
    found = bowl([0.1 * (i + 1) for i in range(20)], values, mode, decays=range(20))
    picture = drawn(found.plot("heat_map")).collections[0]
    colors = picture.to_rgba(picture.get_array())
    light = colors[:, :3] @ [0.299, 0.587, 0.114]
    assert light[0] > 0.8
    assert light[0] - light[17] > 0.6
    assert picture.colorbar.extend == ("max" if mode == "min" else "min")


# --- parallel axes


def test_parallel_axes_show_every_trial():
    found = results(FOUR, 20)
    ax = drawn(found.plot())
    labels = [label.get_text().split("\n")[0] for label in ax.get_xticklabels()]
    assert labels == ["learning_rate", "weight_decay", "momentum", "nesterov", "accuracy"]
    bad = sum(r.status == "diverged" for r in found.ranking())
    across = [line for line in ax.lines if len(line.get_xdata()) > 2]
    assert sorted(len(line.get_xdata()) for line in across) == [4] * bad + [5] * (20 - bad)
    assert texts(ax)[:4] == ["best", "2nd", "3rd", f"diverged ({bad})"]


# --- layers


def test_layers_mark_what_vanishes_explodes_or_is_not_finite():
    values = {"in": [1e-5, 1e-4, 0.5], "mid": [1, 2e3, 1], "out": [1, math.nan, math.inf]}
    ax = drawn(lab.plots.layers(values, [0, 100, 200], label="gradient norm"))
    marks = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
    assert marks == {
        "under 0.001": [[0, 0.5], [100, 0.5]],
        "over 1000": [[100, 1.5]],
        "not finite": [[100, 2.5], [200, 2.5]],
    }
    assert [label.get_text() for label in ax.get_yticklabels()] == ["in", "mid", "out"]
    assert ax.yaxis_inverted()


def test_layers_take_one_step_and_equal_values():
    drawn(lab.plots.layers({"a": [1.0], "b": [1.0]}, [0], label="ratio"))
    drawn(lab.plots.layers({"a": [0.0, 0.0]}, [0, 1], label="ratio"))


@pytest.mark.parametrize(
    ("values", "rest", "message"),
    [
        ({}, {}, "at least one layer"),
        ({"a": [1, 2, 3]}, {}, r"'a' have the shape \(3,\), there are 2 steps"),
        ({"a": [1, 2]}, {"low": 2, "high": 1}, "low below high, got 2, 1"),
    ],
)
def test_layers_that_do_not_fit_are_refused(values, rest, message):
    with pytest.raises(ValueError, match=message):
        lab.plots.layers(values, [0, 1], label="x", **rest)


# --- what is refused, and small results


KINDS = ["curves", "sensitivity", "heat_map", "parallel"]


@pytest.mark.parametrize("kind", KINDS)
def test_trials_stopped_early_are_kept_apart(kind):
    found = results(TWO, 24, stop=True)
    stopped = [r for r in found.ranking() if r.status == "stopped"]
    full = [r for r in found.ranking() if r.status == "done"]
    assert min(len(stopped), len(full)) > 3
    ax = drawn(found.plot(kind))
    if kind != "curves":
        assert f"stopped early ({len(stopped)})" in texts(ax)
    if kind == "sensitivity":
        by_color = {line.get_color(): len(line.get_xdata()) for line in lines(ax, "o")}
        assert by_color == {"#0072B2": len(full), "#7F7F7F": len(stopped)}
    if kind == "heat_map":
        assert len(ax.collections[0].get_offsets()) == len(full)
    if kind == "parallel":
        assert sum(len(line.get_xdata()) == 3 for line in ax.lines) == len(full)


def test_a_stopped_trial_is_not_nearly_as_good_whatever_it_had_reached():
    found = bowl([0.01, 0.1, 1.0], [1.0, 1.0, 0.98])
    stopped = found.outcomes[0]._replace(status="stopped", steps=0)
    found = lab.Results(
        task_name="t", metric="m", mode="max", trials=found.trials,
        outcomes=[stopped, *found.outcomes[1:]],
    )  # fmt: skip
    assert lab.plots.width(found) == pytest.approx((0.1, 0.1, 1.0, 1.0))


@pytest.mark.parametrize("kind", KINDS)
def test_two_trials_of_one_seed_are_enough(kind):
    drawn(results(TWO, 2, seeds=1).plot(kind))


def test_one_trial_is_drawn_as_curves():
    ax = drawn(results({"learning_rate": 0.1}, seeds=1).plot())
    assert ax.get_xlabel() == "updates done"
    drawn(results({"learning_rate": 0.1}, seeds=1).plot("sensitivity"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_goes_into_the_axes_given(kind):
    ax = plt.figure().add_subplot()
    assert results(TWO, 4).plot(kind, ax=ax) is ax


@pytest.mark.parametrize("kind", KINDS)
def test_when_all_diverged_there_is_nothing_to_draw(kind):
    space = {**TWO, "learning_rate": lab.uniform(2, 3)}
    with pytest.raises(ValueError, match=r"every trial diverged.*see results\.rows"):
        results(space, 4).plot(kind)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("pie", {}, "kind must be one of 'curves', 'sensitivity', 'heat_map', 'parallel'"),
        ("curves", {"metric": "f1"}, "metric 'f1' is none of accuracy, train_loss"),
        ("curves", {"trials": [99]}, "no runs of trial 99"),
        ("sensitivity", {"name": "rate"}, "no hyperparameter 'rate'; there are learning_rate"),
        ("heat_map", {}, "needs two hyperparameters that vary; here: learning_rate"),
    ],
)
def test_what_cannot_be_drawn_is_named(kind, options, message):
    with pytest.raises(ValueError, match=message):
        results(RATE, 4).plot(kind, **options)


def test_parallel_axes_need_something_that_varies():
    with pytest.raises(ValueError, match="no hyperparameter varies"):
        results({"learning_rate": 0.1}).plot("parallel")


def test_without_matplotlib_what_to_install_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'pip install "optlab\[plot\]"'):
        results(RATE, 4).plot()
