"""The image classifier: its data, its start, its promises."""

import json

import image_classifier
import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
from image_classifier import Config
from trainer_cases import FILES, check_refused, check_resume

import optlab as ol
from optlab.training import data

SMALL = ["--width", "8", "--blocks", "1", "--size", "8", "--batch-size", "8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Forty images of red and of green noise."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for channel, name in enumerate(("cherry", "lime")):
        (root / name).mkdir()
        for i in range(20):
            pixels = rng.integers(0, 100, (9, 9, 3), np.uint8)
            pixels[..., channel] += 150
            PIL.Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


def test_a_run_that_was_ended_goes_on_to_the_bit(folder, tmp_path, monkeypatch, capsys):
    whole = [*SMALL, "--images", str(folder), "--steps", "8", "--log-every", "2"]
    whole += ["--eval-every", "3", "--save-every", "3"]
    check_resume(image_classifier.main, whole, tmp_path, 4, monkeypatch, capsys)
    output = tmp_path / "two"
    assert {p.name for p in output.iterdir()} == FILES | {
        "params.npz",
        "test.json",
        "confusion.png",
    }
    found = json.loads((output / "test.json").read_text())
    assert np.sum(found["confusion"]) == 6
    assert "recall/cherry" in found
    record = json.loads((output / "run.json").read_text())
    assert record["classes"] == ["cherry", "lime"]
    assert record["shape"] == [8, 8, 3]


@pytest.mark.slow
def test_a_smoke_run_on_the_default_data_has_a_folder_of_its_own(tmp_path, capsys):
    assert image_classifier.main(["--smoke", *SMALL, "--output", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[-1].startswith("test accuracy: 0.")
    assert ", of the first five: " in text.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["smoke"]


def test_a_damaged_image_is_named_and_left_out_only_when_told_so(folder, tmp_path, capsys):
    root = tmp_path / "images"
    for name in ("cherry", "lime"):
        (root / name).mkdir(parents=True)
        for i in range(8):
            (root / name / f"{i}.png").write_bytes((folder / name / f"{i}.png").read_bytes())
    (root / "lime" / "9.png").write_bytes(b"no image")
    args = [*SMALL, "--images", str(root), "--output", str(tmp_path / "out")]
    assert image_classifier.main(args) == 2
    assert "9.png" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    with pytest.warns(UserWarning, match=r"9\.png"):
        parts = image_classifier.load(Config(images=root, size=8, blocks=1, skip_bad=True))
    assert sum(map(len, parts)) == 16


def test_default_images_are_the_same_every_time_and_parts_share_none():
    first, again = (image_classifier.digits_on_photographs(10) for _ in range(2))
    assert first.digest() == again.digest()
    images = first.column("image")
    assert images.dtype == np.float32
    assert 0 <= images.min() < images.max() <= 1
    parts = image_classifier.load(Config(size=10))
    assert sum(map(len, parts)) == len(first)
    seen = [image.tobytes() for part in parts for image in part.column("image")]
    assert len(set(seen)) == len(first)


def test_every_block_starts_as_its_shortcut():
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 8))
    block = image_classifier.Block(8, 1)
    y, variables = jax.jit(block.init_with_output)(jax.random.key(1), x)
    np.testing.assert_array_equal(y, jax.nn.relu(x))

    def loss(params):
        return jnp.sum(block.apply({"params": params}, x) ** 2)

    gradient = jax.jit(jax.grad(loss))(variables["params"])
    assert np.abs(gradient["GroupNorm_1"]["scale"]).max() > 0  # it can leave 0


def test_bytes_and_shares_of_one_are_the_same_image():
    model = image_classifier.model_of(Config(width=8, blocks=1), 3)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    floats = (pixels / 255).astype(np.float32)
    params = jax.jit(model.init)(jax.random.key(0), floats)
    np.testing.assert_allclose(model.apply(params, pixels), model.apply(params, floats), rtol=1e-5)


def test_the_step_changes_images_by_its_key_and_evaluation_does_not():
    config = Config(size=8)
    change = image_classifier.augmentation(config, 10)
    batch = {"image": jnp.asarray(np.random.default_rng(0).random((4, 8, 8, 3), np.float32))}
    batch["label"] = jnp.arange(4)
    one, same, other = (change(jax.random.key(i), batch)["image"] for i in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    labels = change(jax.random.key(0), batch)["label"]
    np.testing.assert_allclose(labels.max(1), 0.91, rtol=1e-6)


def test_only_own_images_are_mirrored(tmp_path):
    assert "random_flip" not in repr(image_classifier.augmentation(Config(), 10))
    assert "random_flip" in repr(image_classifier.augmentation(Config(images=tmp_path), 10))


def test_kernels_decay_and_norms_and_biases_do_not():
    config = Config(width=8, blocks=2)
    model = image_classifier.model_of(config, 10)
    image = jnp.zeros((1, 8, 8, 3))
    shapes = jax.eval_shape(model.init, jax.random.key(0), image)["params"]
    params = jax.tree.map(lambda s: jnp.ones(s.shape, s.dtype), shapes)
    tx = image_classifier.optimizer(config)
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = tx.update(zeros, tx.init(params), params)
    for path, update in jax.tree_util.tree_leaves_with_path(updates):
        name = path[-1].key
        assert (float(jnp.abs(update).max()) > 0) == (name == "kernel"), path
    begins = {name.rstrip("*") for name in image_classifier.layers(config)}
    assert all(any(name.startswith(b) for b in begins) for name in params)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("--learning-rate -1", "--learning-rate: a number > 0 expected, got -1.0"),
        ("--learning-rate nan", "--learning-rate: a number > 0 expected, got nan"),
        ("--learning-rate abc", "--learning-rate: a number expected, got 'abc'"),
        ("--batch-size 0", "--batch-size: a whole number from 1 to 2^31 - 1 expected, got 0"),
        ("--batch-size 5000", "batch_size=5000"),
        ("--warmup 30 --steps 20", "--warmup: a whole number from 0 to 20 expected, got 30"),
        ("--width 12", "--width: a multiple of 8 expected, got 12"),
        ("--blocks 0", "--blocks: a whole number from 1 to 8 expected, got 0"),
        ("--size 7", "--size: a whole number from 8 to 1024 expected, got 7"),
        ("--images nowhere", "nowhere"),
        ("--cifar10 nowhere", "nowhere: no such file or folder"),
        ("--cifar10 a --images b", "--images and --cifar10: one of them expected"),
        ("--cifar10 a --size 16", "--size: CIFAR-10 has 32, got 16"),
        ("--optimizer adam", "--optimizer is unknown"),
    ],
)
def test_a_bad_value_is_one_clear_line_and_exit_code_2(tmp_path, capsys, args, words):
    output = tmp_path / "out"
    given = ["--output", str(output), *args.split()]
    check_refused(image_classifier.main, given, words, "image_classifier.py", capsys)
    assert not output.exists()


def test_cifar10_is_read_and_divided(tmp_path):
    rng = np.random.default_rng(0)
    for name, count in (("data_batch_1", 40), ("test_batch", 10)):
        records = rng.integers(0, 256, (count, 3073), np.uint8)
        records[:, 0] = np.arange(count) % 2
        (tmp_path / f"{name}.bin").write_bytes(records.tobytes())
    train, validation, test = image_classifier.load(Config(cifar10=tmp_path))
    assert (len(train), len(validation), len(test)) == (34, 6, 10)
    assert isinstance(train, data.Source)
    assert train.info["classes"][0] == "airplane"
    assert isinstance(image_classifier.optimizer(Config()), ol.Transformation)
