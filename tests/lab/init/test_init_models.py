"""Reports on models of every kind: how each is run, and what is said where it cannot be."""

import traceback

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from init_cases import CAPTURED, KEY, Chain, Deep, X, captured, drawn

from optlab import optimizers
from optlab.lab.init import coordinate_check, init_report


class Regular(nn.Module):
    """Dropout, and BatchNorm if asked for, as told."""

    batch_norm: bool = False
    rate: float = 0.5

    @nn.compact
    def __call__(self, x, train):
        x = nn.Dropout(self.rate, deterministic=not train)(nn.Dense(16)(x))
        if self.batch_norm:
            x = nn.BatchNorm(use_running_average=not train)(x)
        return nn.Dense(4)(nn.relu(x))


class Deterministic(nn.Module):
    @nn.compact
    def __call__(self, x, deterministic):
        x = nn.Dropout(0.5)(nn.Dense(16, name="Dense_0")(x), deterministic=deterministic)
        return nn.Dense(4, name="Dense_1")(nn.relu(x))


class Plain(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(16)(x))
        return nn.Dense(4)(x)


class Trained(nnx.Module):
    def __init__(self, rngs):
        self.first, self.last = nnx.Linear(12, 8, rngs=rngs), nnx.Linear(8, 2, rngs=rngs)

    def __call__(self, x, training):
        return self.last(jnp.tanh(self.first(x))) * (jnp.nan if training else 1.0)


def report_of(model, params, batch=X, **options):
    return init_report(model, params, batch, candidates=["he_normal"], **options)


@pytest.mark.slow
def test_nnx_modules_get_states_back():
    model = Chain(nnx.Rngs(0))
    report = init_report(model, None, X, candidates=["orthogonal"])
    params = report.apply(KEY, "orthogonal")
    assert isinstance(params, nnx.State)
    graph, _, rest = nnx.split(model, nnx.Param, ...)
    assert nnx.merge(graph, params, rest)(X).shape == (32, 1)
    kernel = np.asarray(params["rest"][0]["kernel"][...])
    gram = kernel.T @ kernel
    np.testing.assert_allclose(gram / gram[0, 0], np.eye(16), atol=1e-5)


def test_functions_with_captured_outputs_are_measured():
    report = init_report(captured, CAPTURED, X, candidates=["xavier_uniform", "lsuv"])
    assert [row["layer"] for row in report.layers("lsuv")] == ["a", "b", "c"]
    for row in report.layers("lsuv"):
        assert row["pre_std"] == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("model", [Regular(), Deterministic()])
def test_modules_that_are_told_whether_they_train_run_without_dropout(model):
    params = drawn(Plain())
    expected = report_of(Plain(), params).rows
    assert report_of(model, params).rows == expected


def test_nnx_modules_that_are_told_whether_they_train_evaluate():
    report = report_of(Trained(nnx.Rngs(0)), None)
    assert "non-finite" not in {finding.kind for finding in report.findings}


def test_batch_norm_normalises_by_the_batch_and_dropout_is_off():
    variables = Regular(True).init(KEY, X, False)
    params = jax.tree.map(lambda w: 100 * w if w.ndim > 1 else w, variables["params"])
    report = report_of(Regular(True), {**variables, "params": params})
    rows = report.layers("as given")
    assert rows[0]["normalized"]
    assert rows[0]["pre_std"] > 50
    assert rows[0]["post_std"] < 1
    without = report_of(Regular(True, 0.0), {**variables, "params": params})
    assert report.rows == without.rows


def test_batch_norm_of_nnx_modules_normalises_by_the_batch():
    class Normalized(nnx.Module):
        def __init__(self, rngs):
            self.first, self.last = nnx.Linear(12, 8, rngs=rngs), nnx.Linear(8, 2, rngs=rngs)
            self.norm = nnx.BatchNorm(8, rngs=rngs)

        def __call__(self, x, train):
            x = self.norm(100 * self.first(x), use_running_average=not train)
            return self.last(jnp.tanh(x))

    rows = report_of(Normalized(nnx.Rngs(0)), None).layers("as given")
    assert rows[0]["normalized"]
    assert rows[0]["post_std"] < 1


def test_a_coordinate_check_tells_modules_that_they_evaluate():
    class Wide(nn.Module):
        width: int

        @nn.compact
        def __call__(self, x, deterministic):
            x = nn.Dropout(0.5, deterministic=deterministic)(nn.Dense(self.width)(x))
            return nn.Dense(1)(x)

    check = coordinate_check(
        Wide, [4, 8], optimizers.sgd(0.0), X, loss=lambda out, x: jnp.mean(out**2), steps=1
    )
    assert all(row["change"] == 0 for row in check.rows)


@pytest.mark.parametrize("params", [None, {}])
def test_linen_parameters_that_are_missing_are_asked_for(params):
    message = r"params are missing, got (None|\{\})\. .* model\.init\(.*\)\[\"params\"\]"
    with pytest.raises(ValueError, match=message):
        report_of(Deep(3), params)


def test_batch_norm_without_its_statistics_is_asked_for_them():
    params = Regular(True).init(KEY, X, False)["params"]
    with pytest.raises(ValueError, match=r"besides its params \(batch_stats\)\. Pass all"):
        report_of(Regular(True), params)


class Masked(nn.Module):
    @nn.compact
    def __call__(self, x, mask):
        return nn.Dense(4)(x * mask)


@pytest.mark.parametrize(
    "call",
    [
        lambda: report_of(Masked(), drawn(Plain())),
        lambda: report_of(lambda params, x: x @ params["w"] @ x, {"w": jnp.ones((5, 3))}),
        lambda: report_of(Plain(), drawn(Plain()), loss=lambda out, batch: out),
        lambda: coordinate_check(
            lambda width: Masked(), [4, 8], optimizers.sgd(0.1), X, loss=lambda out, x: out.mean()
        ),
    ],
)
def test_errors_are_one_line_without_jax_s_words_on_frames(call):
    with pytest.raises(ValueError, match=r"^(init_report|coordinate_check): ") as caught:
        call()
    text = "".join(traceback.format_exception_only(caught.value))
    assert text.count("\n") == 1
