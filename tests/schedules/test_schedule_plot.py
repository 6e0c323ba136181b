"""Pictures: what is drawn, how far, and what happens without matplotlib."""

import sys

import jax
import numpy as np
import optax
import pytest
import schedule_cases as cases

from optlab import schedules

matplotlib = pytest.importorskip("matplotlib", reason="plots need matplotlib")
matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def test_a_plot_shows_the_values_at_every_count():
    schedule = schedules.warmup_cosine(0.3, 100, 10)
    ax = schedules.plot(schedule)
    (line,) = ax.get_lines()
    counts = line.get_xdata()
    assert counts.tolist() == list(range(111))
    np.testing.assert_allclose(line.get_ydata(), schedule(counts), 1e-6)
    assert "warmup_cosine(peak_value=0.3" in ax.get_title(loc="left")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("updates done", "value")


def test_several_schedules_are_told_apart_by_name_colour_and_dashes():
    many = {str(i): schedules.cosine(i, 50) for i in range(1, 6)}
    ax = schedules.plot(many, steps=40)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(many)
    assert len({(line.get_color(), line.get_linestyle()) for line in ax.get_lines()}) == 5
    blue, vermilion, *_ = colors = [line.get_color() for line in ax.get_lines()]
    assert (blue, vermilion, len(set(colors))) == ("#0072B2", "#D55E00", 5)  # not red and green
    assert ax.get_xlim() == (0, 40)


def test_a_plot_goes_into_given_axes_and_its_picture_is_800_pixels_wide(tmp_path):
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots()
    assert schedules.plot(schedules.constant(1.0), ax=ax) is ax
    assert plt.get_fignums() == [figure.number]
    own = schedules.plot(schedules.constant(1.0))
    own.figure.savefig(tmp_path / "plot.png")
    assert plt.imread(tmp_path / "plot.png").shape[:2] == (450, 800)


def test_a_long_schedule_is_drawn_from_few_points_first_and_last_included():
    (line,) = schedules.plot(schedules.linear(0.0, 1.0, 10**9)).get_lines()
    counts = line.get_xdata()
    assert len(counts) <= 2000
    assert (counts[0], counts[-1]) == (0, 1.1e9)


@pytest.mark.parametrize(
    "schedule",
    [*map(cases.build, cases.CASES), *(s for s, _ in cases.composites().values())],
    ids=lambda s: s.record_name,
)
def test_every_schedule_tells_how_much_of_it_is_worth_seeing(schedule):
    horizon = schedule.horizon()
    assert 0 < horizon < 1e4
    steps = getattr(schedule, "steps", 0)
    assert horizon > steps


def test_plain_functions_are_drawn_too_where_steps_are_given():
    with jax.numpy_dtype_promotion("standard"):
        ax = schedules.plot({"optax": optax.linear_schedule(1.0, 0.0, 10)}, steps=20)
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata()[5], 0.5)
    with pytest.raises(ValueError, match="'optax' does not tell how long it is; pass steps"):
        schedules.plot({"optax": optax.linear_schedule(1.0, 0.0, 10)})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((schedules.constant(1.0), 0), "plot: steps must be"),
        (({},), "at least one schedule"),
        ((0.1,), "plot: schedule must be a schedule"),
        (({"a": schedules.linear},), "plot: a must be a schedule.*forget to call"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        schedules.plot(*arguments)


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'pip install "optlab\[plot\]"'):
        schedules.plot(schedules.constant(1.0))


def test_importing_schedules_does_not_import_matplotlib():
    import subprocess

    code = "import sys, optlab.schedules; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
