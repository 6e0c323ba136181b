"""Coordinate checks: slopes over the width, verdicts, refusals."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import pytest
from flax import nnx
from init_cases import Chain

from optlab import optimizers
from optlab.lab.init import coordinate_check

X = jax.random.normal(jax.random.key(0), (16, 12))
Y = jnp.sin(X.sum(1, keepdims=True))
WIDTHS = [16, 64, 256]


def loss(out, batch):
    return jnp.mean((out - batch[1]) ** 2)


def linear(width, scale=1.0):
    """Two layers as a function: the change of the output is known."""

    def init(key):
        a, b = jax.random.split(key)
        first = jax.random.normal(a, (12, width)) / 12**0.5
        return {"a": first, "b": scale * jax.random.normal(b, (width, 1)) / width**0.5}

    return (lambda params, batch: (batch[0] @ params["a"]) @ params["b"]), init


@pytest.fixture(scope="module")
def standard():
    return coordinate_check(linear, WIDTHS, optimizers.sgd(1e-2), (X, Y), loss=loss, steps=2)


def test_sgd_moves_the_output_with_the_width(standard):
    # One step of size r moves b by r * a's outputs: their inner product grows like the width.
    first, last = standard.layers
    assert (first["layer"], last["layer"]) == ("a", "b")
    assert last["verdict"] == "grows"
    assert last["slope"] == pytest.approx(1, abs=0.35)
    assert last["slope_at_start"] == pytest.approx(0, abs=0.25)
    assert first["verdict"] == "shrinks"  # a's gradient is b's size: 1/sqrt(width)
    assert not standard.stable
    assert "best learning rate falls with the width" in " ".join(str(standard).split())


def test_maximal_updates_are_stable():
    # muP for SGD: the output's kernel 1/width in size, the learning rate times the width for a,
    # over the width for b.
    def tx(width):
        rates = {"a": optimizers.sgd(0.02 * width), "b": optimizers.sgd(0.02 / width)}
        return optax.multi_transform(rates, lambda leaves: ["a", "b"])

    def small(width):
        return linear(width, width**-0.5)

    check = coordinate_check(small, WIDTHS, tx, (X, Y), loss=loss, steps=2)
    assert check.stable, check
    assert "Stable" in str(check)


def test_rows_have_every_width_seed_step_and_layer(standard):
    assert len(standard.rows) == 3 * 5 * 3 * 2
    assert {row["seed"] for row in standard.rows} == set(range(5))
    assert all(row["change"] == 0 for row in standard.rows if row["step"] == 0)
    row = next(r for r in standard.rows if (r["width"], r["layer"]) == (256, "a"))
    assert row["scale"] == pytest.approx(0.8, abs=0.1)  # mean |z| of a normal, times X's spread


@pytest.mark.slow
def test_nnx_modules_are_made_anew_for_every_seed():
    check = coordinate_check(
        lambda width, key: Chain(nnx.Rngs(key), width),
        [8, 16], optimizers.adam(1e-2), (X, Y), loss=loss, steps=1,
    )  # fmt: skip
    assert [x["layer"] for x in check.layers] == ["first", "rest/0", "rest/1", "head"]
    starts = {
        r["scale"] for r in check.rows if (r["width"], r["step"], r["layer"]) == (8, 0, "head")
    }
    assert len(starts) == 5


def test_the_plot_has_a_line_a_layer_on_logarithmic_axes(standard):
    ax = standard.plot()
    try:
        assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
        assert [list(line.get_xdata()) for line in ax.get_lines()] == [WIDTHS] * 2
        assert np.polyfit(*map(np.log, ax.get_lines()[1].get_data()), 1)[0] == pytest.approx(
            standard.layers[1]["slope"]
        )
    finally:
        plt.close(ax.figure)


def test_wrong_arguments_are_refused():
    def call(make=linear, widths=WIDTHS, **options):
        options = {"loss": loss, **options}
        return coordinate_check(make, widths, optimizers.sgd(1e-2), (X, Y), **options)

    with pytest.raises(ValueError, match=r"two or more that differ, got \[8, 8\]"):
        call(widths=[8, 8])
    with pytest.raises(ValueError, match="seeds must be >= 5"):
        call(seeds=2)
    with pytest.raises(TypeError, match="make_model must return"):
        call(lambda width: width)
    with pytest.raises(ValueError, match="must return a scalar"):
        call(loss=lambda out, batch: out)


def test_models_that_the_width_does_not_change_are_refused():
    def call(make, widths):
        return coordinate_check(make, widths, optimizers.sgd(1e-2), (X, Y), loss=loss, steps=1)

    with pytest.raises(ValueError, match="same shapes at widths 8 and 64, so the width changes"):
        call(lambda width: nn.Dense(5), [8, 64])
    with pytest.raises(ValueError, match="same shapes at widths 4 and 8"):
        call(lambda width: linear(max(width, 8)), [4, 8, 16])


@pytest.mark.parametrize("model", [nn.Dense(5), Chain(nnx.Rngs(0)), 3])
def test_a_model_is_not_taken_for_the_function_that_makes_it(model):
    with pytest.raises(TypeError, match=f"a function that .*; got the {type(model).__name__} its"):
        coordinate_check(model, WIDTHS, optimizers.sgd(1e-2), (X, Y), loss=loss)


@pytest.mark.slow
def test_models_and_losses_that_cannot_be_compared_are_refused():
    def call(make=linear, widths=WIDTHS, loss=loss):
        return coordinate_check(make, widths, optimizers.sgd(1e-2), (X, Y), loss=loss)

    with pytest.raises(ValueError, match="1 layers at width 16 and 2 at width 8"):
        call(
            lambda width: nn.Sequential([nn.Dense(width), nn.Dense(1)][: 2 if width == 8 else 1]),
            widths=[8, 16],
        )
    with pytest.raises(ValueError, match="not finite within 4 steps"):
        call(loss=lambda out, batch: jnp.exp(jnp.exp(jnp.exp(1e3 + out.sum()))))
