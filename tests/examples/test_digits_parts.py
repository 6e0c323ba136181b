"""What the digits example is made of: files, splits, diagnosis, figures, output."""

import gzip

import _console
import _digits
import _figures
import _idx
import _report
import numpy as np
import pytest
from _console import UserError
from _diagnose import diagnose
from digits_files import DAMAGE, idx, images_of, write_digits
from hypothesis import given, settings
from hypothesis import strategies as st

# --- IDX files


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_files_are_read_as_they_were_written(tmp_path, zipped):
    write_digits(tmp_path, zipped=zipped)
    images, labels = _idx.read_images_and_labels(tmp_path, "train")
    np.testing.assert_array_equal(labels, np.arange(240) % 10)
    np.testing.assert_array_equal(images, images_of(labels, 240))


def test_contents_not_names_say_whether_a_file_is_gzipped(tmp_path):
    array = np.arange(6).reshape(1, 2, 3)
    (tmp_path / "a.gz").write_bytes(idx(array))
    (tmp_path / "b").write_bytes(gzip.compress(idx(array)))
    for name in ("a.gz", "b"):
        np.testing.assert_array_equal(_idx.read_idx(tmp_path / name, dimensions=3), array)


@pytest.mark.parametrize("what", DAMAGE)
def test_damaged_files_are_named_and_explained_in_one_line(tmp_path, what):
    name, contents, words = DAMAGE[what]
    write_digits(tmp_path)
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(UserError) as error:
        _digits.load(tmp_path, seed=0)
    message = str(error.value)
    assert words in message
    assert "\n" not in message
    assert name in message or str(tmp_path) in message


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_a_missing_file_is_named(tmp_path, name):
    (write_digits(tmp_path) / name).unlink()
    with pytest.raises(UserError, match=f"has neither {name} nor {name}.gz"):
        _digits.load(tmp_path, seed=0)


def test_too_few_images_for_three_sets_are_refused(tmp_path):
    with pytest.raises(UserError, match="too few images"):
        _digits.load(write_digits(tmp_path, train=2, test=2), seed=0)


# --- splits and minibatches


@settings(max_examples=30, deadline=None)
@given(
    counts=st.lists(st.integers(0, 40), min_size=2, max_size=6).filter(any),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_split_covers_everything_once_in_the_same_proportions(counts, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    parts = _digits.split(labels, (0.7, 0.15, 0.15), seed)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))
    for digit, count in enumerate(counts):
        for part, share in zip(parts, (0.7, 0.15, 0.15), strict=True):
            assert abs(np.sum(labels[part] == digit) - share * count) <= 1


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 60), size=st.integers(1, 60), epoch=st.integers(0, 9))
def test_an_epoch_shows_no_image_twice_and_leaves_out_less_than_a_minibatch(count, size, epoch):
    images = _digits.Images(np.arange(count)[:, None], np.arange(count))
    batches = list(_digits.minibatches(images, size, 0, epoch))
    seen = [label for batch in batches for label in batch.labels]
    assert all(len(batch.labels) == size for batch in batches)
    assert len(set(seen)) == len(seen) == count // size * size
    for batch in batches:
        np.testing.assert_array_equal(batch.pixels[:, 0], batch.labels)


def test_epochs_have_orders_of_their_own_that_a_seed_repeats():
    images = _digits.Images(np.zeros((50, 1)), np.arange(50))
    orders = {
        (seed, epoch, again): tuple(next(_digits.minibatches(images, 50, seed, epoch)).labels)
        for seed in (0, 1)
        for epoch in (0, 1)
        for again in (0, 1)
    }
    assert len(set(orders.values())) == 4
    assert all(orders[s, e, 0] == orders[s, e, 1] for s, e, _ in orders)


def test_standardised_training_pixels_have_mean_0_and_deviation_1(tmp_path):
    data = _digits.load(write_digits(tmp_path), seed=0)
    assert data.train.pixels.dtype == np.float32
    assert data.train.pixels.mean() == pytest.approx(0, abs=1e-5)
    assert data.train.pixels.std() == pytest.approx(1, abs=1e-5)


# --- diagnosis


def network(kernels, bias=0.0):
    return {
        f"Dense_{i}": {"kernel": kernel, "bias": np.full(kernel.shape[1], bias)}
        for i, kernel in enumerate(kernels)
    }


def explain(params, losses=(2.3, 0.1), accuracy=0.9):
    pixels = np.random.default_rng(1).normal(size=(20, 4))
    return diagnose(params, params, pixels, np.array(losses), accuracy)


@pytest.fixture
def kernels():
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape) for shape in ((4, 8), (8, 6), (6, 3))]


def test_nothing_is_said_of_a_network_that_learned(kernels):
    assert explain(network(kernels)) == []


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_equal_units_are_called_symmetry_whatever_their_value(kernels, value):
    kernels[1] = np.full((8, 6), value)
    (reason,) = explain(network(kernels))
    assert reason.startswith("symmetry: the 6 units of Dense_1")


def test_units_that_are_always_0_are_called_dead(kernels):
    (reason, *_) = explain(network(kernels, bias=-1e3))
    assert reason.startswith("dead units: all 8 units of Dense_0")


def test_the_first_loss_that_is_not_finite_is_named(kernels):
    (reason,) = explain(network(kernels), losses=(2.0, 9.0, np.inf, np.nan))
    assert "minibatch 3 is inf" in reason


def test_an_unexplained_failure_shows_the_losses(kernels):
    (reason,) = explain(network(kernels), losses=(2.3, 2.2), accuracy=0.12)
    assert "from 2.3 to 2.2 in 2 updates" in reason


# --- figures, tables, files


def history(scale=1.0):
    return {
        "loss": scale * np.geomspace(2, 0.1, 8),
        "learning_rate": np.linspace(1, 0, 8),
        "train_loss": scale * np.array([1.0, 0.2]),
        "validated": np.array([0, 4, 8]),
        "validation_loss": scale * np.array([2.3, 0.8, 0.3]),
        "validation_accuracy": np.array([0.1, 0.8, 0.9]),
    }


def test_figures_are_png_images_even_of_a_diverged_run():
    broken = history(np.nan)
    for figure in (
        _figures.training_figure("one", history(), 2, np.eye(10, dtype=int)),
        _figures.training_figure("one", broken, 0, np.zeros((10, 10), int)),
        _figures.comparison_figure("two", {"a": history(), "b": broken}),
    ):
        assert figure.startswith(b"\x89PNG")
        assert len(figure) > 10_000


def test_ten_lines_of_a_comparison_all_look_different(monkeypatch):
    drawn = []
    monkeypatch.setattr(_figures, "_png", drawn.append)
    _figures.comparison_figure("ten", {str(i): history() for i in range(10)})
    lines = drawn[0].axes[0].lines
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 10


def test_a_table_aligns_its_columns():
    assert _report.table(["name", "n"], [["a", "10"], ["bcdef", "9"]]).splitlines() == [
        "name    n",
        "a      10",
        "bcdef   9",
    ]


def test_files_are_written_all_or_none(tmp_path):
    _report.write_all(tmp_path, {"a": b"old", "b": b"old"})
    (tmp_path / "c").mkdir()
    with pytest.raises(UserError, match="c is a folder"):
        _report.write_all(tmp_path, {"a": b"new", "b": b"new", "c": b"new"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "c"]


def test_checking_an_output_folder_leaves_no_trace(tmp_path):
    _report.check_writable(tmp_path / "new" / "folder")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Not a directory"):
        _report.check_writable(tmp_path / "file" / "folder")


def test_json_has_null_for_what_it_cannot_say():
    text = _report.as_json({"a": np.array([1.0, np.nan, np.inf]), "b": {"c": np.float32(2)}})
    assert text == b'{\n"a": [1.0, null, null],\n"b": {"c": 2.0}\n}\n'


# --- the command line


@pytest.mark.parametrize(
    ("box", "line"),
    [
        ("╭─ T ─╮\n│ Missing a │\n│ value. │\n│ ── │\n│ For help │\n╰──╯", "Missing a value"),
        ("a plain message", "a plain message"),
    ],
)
def test_a_boxed_message_becomes_one_line(box, line):
    assert _console.one_line(box) == line


def test_progress_is_about_ten_lines_where_there_is_no_terminal(capsys):
    with _console.Progress("train", 1000) as progress:
        for step in range(0, 1001, 5):
            progress.show(step, "note")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11
    assert lines[-1] == "train  step 1000/1000  note"


def test_progress_is_a_bar_in_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with _console.Progress("train", 10) as progress:
        progress.show(10, "loss 0.5")
    out = capsys.readouterr().out
    assert "10/10" in out
    assert "loss 0.5" in out
