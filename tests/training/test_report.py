"""What a run leaves behind: a summary that is right, and curves that can be read."""

import itertools
import json
import math
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optlab.training import _curves
from optlab.training._files import as_json
from optlab.training._report import curves, summary, table

NAN = math.nan


def rows_of(count=200, **changes):
    """A run: reports each 10 steps, an evaluation each 100."""
    rows = []
    for step in range(10, 10 * count + 1, 10):
        row = {
            "step": step,
            "loss": 2.3 * math.exp(-step / 400) + 0.01,
            "learning_rate": 1e-3 * (1 - step / (10 * count)),
            "gradient_norm": 1.0 + (step % 70) / 70,
            "examples_per_second": 100.0 + step,
            "bad_steps": 0.0,
        }
        if step % 100 == 0:
            row |= {"validation_loss": 0.5 + abs(step - 700) / 1000, "validation_accuracy": 0.9}
        rows.append(row | changes)
    return rows


# --- summary


def test_a_summary_has_the_last_and_the_best_of_every_metric():
    found = summary(rows_of(), reason="finished", seconds=12.5)
    assert (found["steps"], found["reason"], found["seconds"]) == (2000, "finished", 12.5)
    assert found["final"]["loss"] == rows_of()[-1]["loss"]
    assert found["final"]["validation_loss"] == pytest.approx(1.8)
    assert found["best"] == {
        "validation_loss": {"value": 0.5, "step": 700},
        "validation_accuracy": {"value": 0.9, "step": 100},  # the earliest of equal ones
    }


def test_the_speed_is_the_median_so_that_a_pause_does_not_count():
    speeds = [100.0, 101.0, 0.001, NAN, 99.0, 100.0]
    rows = [{"step": i, "examples_per_second": speed} for i, speed in enumerate(speeds)]
    assert summary(rows, reason="x")["examples_per_second"] == 100.0


def test_what_is_not_finite_is_never_best_and_json_all_the_same():
    values = [NAN, 0.4, -math.inf, 0.3, NAN]
    rows = [{"step": i, "validation_loss": value} for i, value in enumerate(values)]
    found = summary(rows, reason="diverged")
    assert found["best"] == {"validation_loss": {"value": 0.3, "step": 3}}
    assert math.isnan(found["final"]["validation_loss"])
    assert json.loads(as_json(found))["final"] == {"validation_loss": None}
    nothing = summary([{"step": 1, "validation_loss": NAN}], reason="diverged")
    assert nothing["best"] == {}


def test_no_rows_are_a_summary_too():
    found = summary([], reason="interrupted")
    assert found == {
        "steps": 0, "reason": "interrupted", "seconds": None, "examples_per_second": None,
        "final": {}, "best": {},
    }  # fmt: skip


def test_a_metric_is_not_guessed_about():
    rows = [{"step": i, "validation_margin": value} for i, value in enumerate([1.0, 2.0, 1.5])]
    assert summary(rows, reason="x")["best"] == {}
    told = summary(rows, reason="x", directions={"validation_margin": "max"})
    assert told["best"]["validation_margin"] == {"value": 2.0, "step": 1}


def test_text_in_rows_is_no_metric():
    rows = [{"step": 1, "loss": 1.0, "note": "text", "flag": True}]
    assert summary(rows, reason="x")["final"] == {"loss": 1.0}


# --- table


def test_a_table_aligns_its_columns():
    assert table(["name", "n"], [["a", "10"], ["bcdef", "9"]]).splitlines() == [
        "name    n",
        "a      10",
        "bcdef   9",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.98765, "0.9877"), (1e-7, "1e-07"), (123456.0, "1.235e+05"), (0.0, "0.0000"), (3, "3"),
     (None, "-"), (NAN, "-"), (np.float64(0.5), "0.5000"), ("a\nb", "a b"), (True, "True")],
)  # fmt: skip
def test_cells_are_short(value, text):
    assert table(["x"], [[value]]).splitlines()[1] == text


def test_a_table_of_no_rows_is_its_head():
    assert table(["a", "b"], []) == "a  b"


def test_a_row_of_another_length_is_named():
    with pytest.raises(ValueError, match=r"must have 2 cells like the head, got \['c'\]"):
        table(["a", "b"], [["c"]])


# --- smoothing


@settings(max_examples=40, deadline=None)
@given(
    slope=st.floats(-10, 10), level=st.floats(-10, 10), count=st.integers(1, 300),
    holes=st.sets(st.integers(0, 299), max_size=100),
)  # fmt: skip
def test_a_straight_line_stays_as_it_is_to_its_ends(slope, level, count, holes):
    line = level + slope * np.arange(count) / 100
    values = line.copy()
    values[[i for i in holes if i < count]] = np.nan
    smoothed = _curves.smooth(values)
    assert (np.isnan(smoothed) == np.isnan(values)).all()
    known = ~np.isnan(values)
    np.testing.assert_allclose(smoothed[known], line[known], atol=1e-6)


def test_smoothing_takes_noise_away():
    noise = np.random.default_rng(0).normal(size=800)
    assert np.abs(_curves.smooth(noise)).max() < 1.0
    assert _curves.smooth(noise).std() < 0.4


# --- curves


@pytest.fixture
def drawn(monkeypatch):
    """Draws, and gives the figure instead of the bytes; warnings are errors here."""

    def draw(rows, title="a run"):
        figures, png = [], _curves._png

        def keep(figure):
            figures.append(figure)
            return png(figure)

        monkeypatch.setattr(_curves, "_png", keep)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert curves(rows, title).startswith(b"\x89PNG\r\n")
        monkeypatch.setattr(_curves, "_png", png)
        return figures[0]

    return draw


def titles(figure):
    return [axis.get_title() for axis in figure.axes]


def labels(axis):
    return axis.get_legend_handles_labels()[1]


def ticks(axis):
    """Labels of the ticks that are seen."""
    low, high = axis.get_ylim()
    places = zip(axis.get_yticks(), axis.get_yticklabels(), strict=True)
    return [label.get_text() for place, label in places if low <= place <= high]


def test_there_is_a_panel_for_what_exists_and_for_nothing_else(drawn):
    assert titles(drawn(rows_of())) == ["loss", "accuracy", "learning rate", "gradient norm"]
    assert titles(drawn([{"step": 1, "loss": 1.0}])) == ["loss"]
    assert titles(drawn([{"step": 1, "validation_f1": 1.0}])) == ["f1"]
    assert titles(drawn([])) == []


def test_the_loss_is_shown_raw_smoothed_and_as_evaluated(drawn):
    loss = drawn(rows_of()).axes[0]
    raw, smoothed, judged, best = loss.lines
    assert labels(loss) == [
        "training, as reported", "training, smoothed", "validation", "best: 0.5 at step 700",
    ]  # fmt: skip
    assert raw.get_color() == _curves._RAW
    assert len({raw.get_color(), smoothed.get_color(), judged.get_color()}) == 3
    assert judged.get_linestyle() == "--"  # told apart in grey too
    np.testing.assert_array_equal(raw.get_ydata(), [row["loss"] for row in rows_of()])
    assert list(judged.get_xdata()) == list(range(100, 2001, 100))
    assert (best.get_xdata()[0], best.get_ydata()[0]) == (700, 0.5)


def test_panels_share_their_steps(drawn):
    rows = rows_of()
    for row in rows[50:]:
        row["loss"] = NAN
    figure = drawn(rows)
    assert len({axis.get_xlim() for axis in figure.axes}) == 1


def test_an_axis_is_logarithmic_where_values_are_far_apart(drawn):
    wide = [{"step": i, "loss": 10.0 ** (-i / 10)} for i in range(50)]
    assert drawn(wide).axes[0].get_yscale() == "log"
    assert drawn(rows_of()).axes[0].get_yscale() == "log"
    assert drawn([{"step": i, "loss": 2.0 - i / 50} for i in range(50)]).axes[0].get_yscale() == (
        "linear"
    )
    wide[3]["loss"] = 0.0
    assert drawn(wide).axes[0].get_yscale() == "linear"
    rates = [{"step": i, "learning_rate": 10.0**-i} for i in range(5)]
    assert drawn(rates).axes[0].get_yscale() == "linear"


@pytest.mark.parametrize("value", [0.0, 0.123456789, -3.0, 1e-30, 1e30, 123456789.0])
def test_a_constant_has_a_scale_whose_ticks_differ(drawn, value):
    axis = drawn([{"step": i, "loss": value} for i in range(60)]).axes[0]
    low, high = axis.get_ylim()
    assert low < value < high
    assert len(set(ticks(axis))) == len(ticks(axis)) >= 2


def test_the_noise_of_a_last_digit_is_not_blown_up(drawn):
    axis = drawn([{"step": i, "loss": 0.7 + 1e-8 * (i % 2)} for i in range(60)]).axes[0]
    low, high = axis.get_ylim()
    assert high - low > 0.01


@pytest.mark.parametrize("broken", [NAN, math.inf, -math.inf])
def test_the_first_value_that_is_not_finite_is_marked(drawn, broken):
    rows = rows_of()
    for row in rows[60:]:
        row["loss"] = broken
    axis = drawn(rows).axes[0]
    assert "not finite at step 610" in labels(axis)
    assert np.isfinite(axis.get_ylim()).all()


def test_nothing_finite_is_drawn_as_nothing(drawn):
    figure = drawn([{"step": i, "loss": NAN, "validation_loss": NAN} for i in range(1, 5)])
    assert "not finite at step 1" in labels(figure.axes[0])
    assert ticks(figure.axes[0]) == []


def test_one_row_is_seen(drawn):
    for axis in drawn(rows_of()[9:10]).axes:
        assert axis.lines[0].get_marker() == "o"
        assert axis.get_xlim() == (99, 101)


def test_many_rows_are_drawn_as_a_band_soon_enough(drawn):
    values = 1.0 + np.random.default_rng(0).random(30_000)
    values[:100] = NAN
    rows = [{"step": i, "loss": value} for i, value in enumerate(values)]
    axis = drawn(rows).axes[0]
    assert labels(axis)[0] == "training, least to largest"
    assert max(len(line.get_xdata()) for line in axis.lines) <= 500
    band = axis.collections[0].get_datalim(axis.transData)
    assert (band.y0, band.y1) == pytest.approx((np.nanmin(values), np.nanmax(values)))


def test_more_metrics_than_panels_are_named(drawn):
    names = [f"validation_metric{i}" for i in range(15)]
    figure = drawn([{"step": 1, "loss": 1.0, **dict.fromkeys(names, 0.5)}])
    assert len(figure.axes) == 9
    assert all(f"metric{i}" in figure.get_supxlabel() for i in range(8, 15))


@pytest.mark.parametrize("title", ["", "$x^{", "100 $ of_ \\alpha", "漢字", "word " * 100])
def test_any_title_is_drawn_as_it_is(drawn, title):
    figure = drawn([{"step": 1, "loss": 1.0, "validation_$x": 1.0}], title)
    assert figure.get_suptitle().split() == title.split()[: len(figure.get_suptitle().split())]


def test_no_words_overlap_or_are_cut_off(drawn):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = drawn(rows_of(), "A title that is longer than its picture is wide, " * 3)
    renderer = FigureCanvasAgg(figure).get_renderer()
    whole = figure.bbox
    texts = [*figure.texts, *(axis.title for axis in figure.axes)]
    for axis in figure.axes:
        texts += [*axis.get_xticklabels(), *axis.get_yticklabels(), axis.xaxis.label]
        low, high = axis.get_ylim()
        places = zip(axis.get_yticks(), axis.get_yticklabels(), strict=True)
        seen = [label.get_window_extent(renderer) for y, label in places if low <= y <= high]
        for first, second in itertools.pairwise(seen):
            assert not first.overlaps(second)
    boxes = [text.get_window_extent(renderer) for text in texts if text.get_text()]
    headings = boxes[: 1 + len(figure.axes)]
    for i, box in enumerate(headings):
        assert whole.x0 <= box.x0 <= box.x1 <= whole.x1
        assert whole.y0 <= box.y0 <= box.y1 <= whole.y1
        assert not any(box.overlaps(other) for other in headings[:i])


def test_the_same_rows_give_the_same_picture():
    assert curves(rows_of(), "a run") == curves(list(reversed(rows_of())), "a run")


def test_drawing_opens_no_window_and_leaves_no_figure():
    from matplotlib import pyplot

    open_before = pyplot.get_fignums()
    curves(rows_of(20), "a run")
    assert pyplot.get_fignums() == open_before


def test_without_matplotlib_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'matplotlib, .*pip install "optlab\[plot\]"'):
        curves(rows_of(1), "a run")
