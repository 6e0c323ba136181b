"""Fine-tuning: whose body it takes, what it moves and how far, what it refuses."""

import json
import shutil

import digits_mlp
import finetune
import image_classifier
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from digits_files import write_digits
from finetune import Config
from trainer_cases import check_refused, check_resume

from optlab.training import read_npz

LAYERS = ["hidden_0", "hidden_1", "head"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of another trainer, on small data."""
    folder = tmp_path_factory.mktemp("trained")
    images = write_digits(folder / "mnist")
    args = ["--data-dir", str(images), "--steps", "6", "--eval-every", "3", "--batch-size", "50"]
    assert digits_mlp.main([*args, "--output", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def broken(trained, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(trained, tmp_path / "broken")


def few(trained, *args):
    return ["--run", str(trained), "--steps", "4", "--batch-size", "8", "--labelled", "20", *args]


def test_frozen_layers_stay_to_the_bit_and_the_others_move(trained, tmp_path):
    assert finetune.main(few(trained, "--output", str(tmp_path))) == 0
    before, after = (read_npz(folder / "params.npz") for folder in (trained, tmp_path))
    np.testing.assert_array_equal(after["hidden_0/kernel"], before["hidden_0/kernel"])
    np.testing.assert_array_equal(after["hidden_0/bias"], before["hidden_0/bias"])
    moved = np.abs(after["hidden_1/kernel"] - before["hidden_1/kernel"]).max()
    assert 0 < moved < 4 * 1e-3  # four steps of less than the learning rate
    assert after["head/kernel"].shape == (128, 2)
    found = json.loads((tmp_path / "test.json").read_text())
    assert np.sum(found["confusion"]) == 60
    assert "recall/odd" in found


@pytest.mark.slow
def test_a_run_that_was_ended_goes_on_to_the_bit(trained, tmp_path, monkeypatch, capsys):
    whole = few(trained, "--log-every", "1", "--eval-every", "3", "--save-every", "2")
    check_resume(finetune.main, whole, tmp_path, 2, monkeypatch, capsys)


@pytest.mark.parametrize("freeze", [0, 1, 99])
def test_each_layer_has_its_rate_its_decay_or_none(freeze):
    config = Config(freeze=freeze, layer_decay=0.5, weight_decay=0.2, learning_rate=0.1, warmup=0)
    tx = finetune.optimizer(config, LAYERS)
    params = {name: {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)} for name in LAYERS}
    gradient = jax.tree.map(lambda x: 1e-3 * jnp.ones_like(x), params)
    updates, _ = tx.update(gradient, tx.init(params), params)
    frozen = min(freeze, 2)
    for i, name in enumerate(LAYERS):
        share = 0.0 if i < frozen else 0.5 ** (2 - i)
        # Adam's first step is the rate; decay is added to it, and falls by the same share.
        np.testing.assert_allclose(updates[name]["bias"], -0.1 * share, rtol=1e-4)
        expected = -0.1 * share * (1 + 0.2 * share)
        np.testing.assert_allclose(updates[name]["kernel"], expected, rtol=1e-4)


def test_the_new_task_takes_so_many_images_of_the_training_part_and_all_of_the_test(trained):
    record = json.loads((trained / "run.json").read_text())
    options = digits_mlp.Config(data_dir=record["options"]["data_dir"])
    train, _, test = finetune.load(Config(labelled=20), digits_mlp, options)
    old, _, old_test = digits_mlp.load(options)
    assert len(train) == 20
    known = {image.tobytes() for image in old.column("image")}
    assert all(image.tobytes() in known for image in train.column("image"))
    np.testing.assert_array_equal(test.column("label"), old_test.column("label") % 2)
    again = finetune.load(Config(labelled=20, seed=1), digits_mlp, options)[0]
    assert again.digest() != train.digest()


def test_another_architecture_is_refused_with_names_and_shapes(broken, tmp_path, capsys):
    record = json.loads((broken / "run.json").read_text())
    record["classes"] = record["classes"][:7]
    (broken / "run.json").write_text(json.dumps(record))
    assert finetune.main(few(broken, "--output", str(tmp_path / "out"))) == 2
    said = capsys.readouterr().err
    assert "head/kernel" in said
    assert "128x10" in said.replace(" ", "") or "128,10" in said.replace(" ", "")
    assert "classes = 7" in said
    assert not (tmp_path / "out").exists()


def test_a_damaged_checkpoint_is_refused_by_name(broken, tmp_path, capsys):
    files = [p for p in (broken / "checkpoints").rglob("*") if p.is_file() and "/d/" in str(p)]
    assert files
    for file in files:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    assert finetune.main(few(broken, "--output", str(tmp_path / "out"))) == 2
    assert "is damaged" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("--learning-rate -1", "--learning-rate: a number > 0 expected, got -1.0"),
        ("--learning-rate nan", "--learning-rate: a number > 0 expected, got nan"),
        ("--learning-rate abc", "--learning-rate: a number expected, got 'abc'"),
        ("--batch-size 0", "--batch-size: a whole number from 1"),
        ("--batch-size 21", "batch_size=21"),
        ("--warmup 30 --steps 20", "--warmup: a whole number from 0 to 20 expected, got 30"),
        ("--layer-decay 1.5", "--layer-decay: a number in (0, 1] expected, got 1.5"),
        ("--weight-decay -1", "--weight-decay: a number >= 0 expected, got -1.0"),
        ("--freeze -1", "--freeze: a whole number from 0"),
        ("--labelled 500", "--labelled: a whole number from 2 to 200 expected, got 500"),
        ("--images .", "--images: needs a run of image_classifier.py"),
        ("--run nowhere", "--run: no folder nowhere; train image_classifier.py first"),
        ("--run .", "has no run.json of image_classifier or digits_mlp"),
        ("--optimizer adam", "--optimizer is unknown"),
    ],
)
def test_a_bad_value_is_one_clear_line_and_exit_code_2(trained, tmp_path, capsys, args, words):
    output = tmp_path / "out"
    given = [*few(trained), "--output", str(output), *args.split()]
    check_refused(finetune.main, given, words, "finetune.py", capsys)
    assert not output.exists()


def test_the_run_of_another_trainer_is_refused(broken, tmp_path, capsys):
    record = json.loads((broken / "run.json").read_text()) | {"trainer": "byte_lm"}
    (broken / "run.json").write_text(json.dumps(record))
    words = "has no run.json of image_classifier or digits_mlp"
    check_refused(finetune.main, few(broken), words, "finetune.py", capsys)


def test_a_run_on_several_devices_is_refused(broken, capsys):
    record = json.loads((broken / "run.json").read_text())
    record["options"]["mesh"] = "data=2"
    (broken / "run.json").write_text(json.dumps(record))
    words = "divided its optimizer among --mesh data=2"
    check_refused(finetune.main, few(broken), words, "finetune.py", capsys)


@pytest.mark.slow
def test_a_network_of_convolutions_gets_a_head_too(tmp_path, capsys):
    small = ["--width", "8", "--blocks", "1", "--size", "8", "--smoke"]
    assert image_classifier.main([*small, "--output", str(tmp_path)]) == 0
    args = ["--run", str(tmp_path / "smoke"), "--output", str(tmp_path / "new"), "--smoke"]
    assert finetune.main(args) == 0
    before = read_npz(tmp_path / "smoke" / "params.npz")
    after = read_npz(tmp_path / "new" / "smoke" / "params.npz")
    for name in ("stem/kernel", "stem_norm/scale"):
        np.testing.assert_array_equal(before[name], after[name])
    assert not np.array_equal(before["block_0/Conv_0/kernel"], after["block_0/Conv_0/kernel"])
    assert finetune.main([*args, "--scratch", "--output", str(tmp_path / "scratch")]) == 0
