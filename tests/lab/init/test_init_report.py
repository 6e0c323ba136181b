"""Reports: what is measured, found, recommended, and refused."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from init_cases import KEY, Deep, X, drawn
from matplotlib.figure import Figure

from optlab import initializers, optimizers
from optlab.lab.init import init_report

RELU = Deep(8, 32)


@pytest.fixture(scope="module")
def relu():
    """Eight ReLU layers with Flax's default variance."""
    return init_report(RELU, drawn(RELU), X, tx=optimizers.adam(1e-3))


@pytest.fixture(scope="module")
def sigmoid():
    model = Deep(6, 32, nn.sigmoid)
    return init_report(model, drawn(model), X)


@pytest.fixture(scope="module")
def tenfold():
    """Layers of a tenth each, under which the float ends; and a candidate that is no better."""
    params = {f"w{i}": jnp.eye(12) * (1 if i == 0 else 0.1) for i in range(50)}

    def forward(params, x):
        for i in range(50):
            x = jnp.tanh(x @ params[f"w{i}"])
        return x

    return init_report(forward, params, 0.1 * X, candidates={"same": lambda key: params})


def kinds(report):
    return {finding.kind for finding in report.findings}


def by_name(report):
    return {row["candidate"]: row for row in report.candidates}


# --- what is measured


def test_statistics_are_those_of_the_layers(relu):
    params = drawn(RELU)
    pre = X @ params["Dense_0"]["kernel"]
    first, second, last = (relu.layers("as given")[i] for i in (0, 1, -1))
    assert first["pre_std"] == pytest.approx(float(pre.std()), rel=1e-4)
    assert first["signal"] == pytest.approx(float(jnp.sqrt(pre.var(0).mean())), rel=1e-4)
    assert first["post_mean"] == pytest.approx(float(jax.nn.relu(pre).mean()), rel=1e-4)
    assert first["fan_in"], first["fan_out"] == (12, 32)
    out = jax.nn.relu(jax.nn.relu(pre) @ params["Dense_1"]["kernel"])
    assert second["dead"] == pytest.approx(float((out == 0).all(0).mean()))
    assert second["kernel_scale"] == pytest.approx(
        float((params["Dense_1"]["kernel"] ** 2).mean()) * 32, rel=1e-4
    )
    assert last["activation"] == "none"
    assert last["gradient"] == pytest.approx(1, rel=0.3)  # a random direction of length about 1


def test_gradients_are_those_of_the_loss():
    model = Deep(3)
    params, targets = drawn(model), jnp.ones((32, 4))

    def loss(out, batch):
        return jnp.mean((out - batch[1]) ** 2)

    report = init_report(model, params, (X, targets), loss=loss, candidates=["lecun_normal"])
    expected = jax.grad(lambda p: loss(model.apply({"params": p}, X), (X, targets)))(params)
    for row in report.layers("as given"):
        kernel = expected[row["layer"]]["kernel"]
        assert row["parameter_gradient"] == pytest.approx(float(jnp.linalg.norm(kernel)), rel=1e-4)
        assert row["update_ratio"] is None


def test_update_ratios_are_those_of_the_optimizer(relu):
    # Adam's first update is the learning rate in every entry that has a gradient.
    params = drawn(RELU)["Dense_7"]["kernel"]
    expected = 1e-3 * np.sqrt(params.size) / float(jnp.linalg.norm(params))
    assert relu.layers("as given")[7]["update_ratio"] == pytest.approx(expected, rel=0.2)


def test_candidates_are_drawn_five_times_and_judged_by_their_worst(relu):
    assert {row["candidate"]: row["seeds"] for row in relu.candidates} == {
        "as given": 1, "lecun_normal": 5, "xavier_uniform": 5, "he_normal": 5, "orthogonal": 5,
        "lsuv": 5, "mirrored": 5,
    }  # fmt: skip
    assert len(relu.rows) == 7 * 8


def test_the_jacobian_of_mirrored_layers_is_orthogonal(relu):
    # f(z) - f(-z) = z: the network starts as a product of matrices with orthonormal columns.
    row = by_name(relu)["mirrored"]
    assert row["condition"] < 2
    assert by_name(relu)["he_normal"]["condition"] > 10


def test_unit_variance_is_reached_in_every_layer(sigmoid):
    for row in sigmoid.layers("lsuv"):
        assert row["signal"] == pytest.approx(1, rel=1e-3)
        assert row["pre_mean"] == pytest.approx(0, abs=1e-4)


def test_effective_depth_counts_layers_that_are_reached(sigmoid):
    given = by_name(sigmoid)["as given"]
    signal = [row["signal"] for row in sigmoid.layers("as given")]
    reached = [s / signal[0] > 1e-3 for s in signal]
    assert given["signal_depth"] == reached.index(False) if False in reached else 6
    assert given["signal_depth"] < 6
    assert by_name(sigmoid)["lsuv"]["signal_depth"] == 6


# --- what is found and recommended


def test_relu_with_too_little_variance_is_told_and_mended(relu):
    finding = next(x for x in relu.findings if x.kind == "signal vanishes")
    assert "relu with Var(w) = 1" in finding.text
    assert "LeCun" in finding.text
    assert relu.recommendation.name == "mirrored"
    assert "By rule alone, " in str(relu.recommendation)
    before, after = relu.recommendation.before, relu.recommendation.after
    assert before.signal < 0.1 < 0.5 < after.signal < 2
    assert before.gradient < 0.2 < 0.5 < after.gradient < 2


def test_sigmoids_are_centred(sigmoid):
    assert {"signal vanishes", "gradient vanishes", "examples alike"} <= kinds(sigmoid)
    assert sigmoid.recommendation.name == "lsuv"
    assert "mean 0" in sigmoid.recommendation.formula
    assert sigmoid.recommendation.rules is None
    biases = [layer["bias"] for layer in sigmoid.params.values()]
    assert all(bias.any() for bias in biases[1:])


@pytest.mark.slow
def test_recommended_parameters_have_the_numbers_of_the_report(relu):
    again = init_report(RELU, relu.params, X, candidates=["lecun_normal"])
    assert again.recommendation.name == "as given"
    assert again.recommendation.before.score == pytest.approx(
        relu.recommendation.after.score, abs=0.1
    )
    assert not kinds(again)
    assert str(again.recommendation).startswith("Keep what you have")


def test_rules_draw_what_the_report_measured(relu):
    params = relu.apply(KEY, "he_normal")
    assert jax.tree.structure(params) == jax.tree.structure(drawn(RELU))
    assert params["Dense_3"]["kernel"].var() == pytest.approx(2 / 32, rel=0.15)
    other = relu.apply(jax.random.key(9), "he_normal")
    assert not np.array_equal(params["Dense_3"]["kernel"], other["Dense_3"]["kernel"])
    with pytest.raises(ValueError, match="no candidate 'he'; this report has as given, lecun"):
        relu.apply(KEY, "he")


def test_zero_kernels_are_told_once_and_not_by_all_their_effects():
    model = Deep(4, 16)
    report = init_report(model, drawn(model, 0.0), X, candidates=["he_normal"])
    assert kinds(report) == {"zero kernel", "zero head"}
    assert report.recommendation.name == "he_normal"
    assert report.recommendation.before.signal == 0
    assert "nan" not in str(report.recommendation)


def test_what_stays_dead_behind_a_zero_kernel_is_told():
    model = Deep(4, 16)
    params = drawn(model)
    params["Dense_1"]["kernel"] *= 0
    report = init_report(model, params, X, candidates=["he_normal"])
    assert {"zero kernel", "dead units"} <= kinds(report)


def test_units_that_are_copies_are_found():
    model = Deep(4, 16, jnp.tanh)
    params = jax.tree.map(lambda w: jnp.full_like(w, 0.1), drawn(model))
    report = init_report(model, params, X, candidates=["lecun_normal", "he_normal"])
    assert report.findings[0].kind == "equal units"
    assert len(report.findings[0].layers) == 4
    assert report.recommendation.name != "as given"
    assert by_name(report)["he_normal"]["copies"] == 0


class Residual(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(16)(x)
        for _ in range(6):
            x = x + nn.Dense(16)(nn.relu(nn.Dense(16)(x)))
        return nn.Dense(4)(x)


def test_residual_branches_are_scaled_by_their_number():
    params = drawn(Residual(), 2.0)
    report = init_report(Residual(), params, X, candidates=["he_normal", "depth_scaled"])
    rows = by_name(report)
    assert rows["he_normal"]["signal"] > 5 > 2 > rows["depth_scaled"]["signal"]
    assert report.recommendation.name == "depth_scaled"
    assert "6 residual branches over sqrt(6)" in report.recommendation.formula


@pytest.mark.slow
def test_first_updates_that_are_too_large_are_found():
    report = init_report(
        RELU, drawn(RELU, 2.0), X, tx=optimizers.adam(0.5), candidates=["he_normal"]
    )
    assert "updates large" in kinds(report)
    assert "lower the learning rate" in str(report.recommendation)


@pytest.mark.slow
def test_inputs_that_are_not_standardised_are_found():
    report = init_report(RELU, drawn(RELU, 2.0), 100 * X, candidates=["he_normal"])
    assert report.findings[0].kind == "inputs"
    assert "Standardise the inputs first" in str(report.recommendation)


@pytest.mark.slow
def test_overflow_is_found():
    params = jax.tree.map(lambda w: w * 1e6, drawn(RELU))
    report = init_report(RELU, params, X, candidates=["he_normal"])
    assert "non-finite" in kinds(report)
    assert report.recommendation.name == "he_normal"


@pytest.mark.slow
def test_what_initialisation_cannot_do_is_said():
    # Squares: no constant factor keeps a signal that is squared at every layer.
    model = Deep(5, 16, jnp.square)
    report = init_report(model, drawn(model), X, candidates=["lecun_normal", "xavier_uniform"])
    assert "residual connections or normalisation" in str(report.recommendation)


# --- candidates of one's own


@pytest.mark.slow
def test_candidates_may_be_initializers_rules_or_functions():
    candidates = {
        "small": initializers.normal(0.01),
        "rules": {"**/kernel": initializers.he_normal()},
        "function": lambda key: drawn(RELU, 2.0, int(jax.random.randint(key, (), 0, 999))),
    }
    rows = by_name(init_report(RELU, drawn(RELU), X, candidates=candidates))
    assert list(rows) == ["as given", *candidates]
    assert rows["small"]["signal"] < 1e-3
    assert rows["rules"]["signal"] > 0.1
    assert rows["function"]["signal"] > 0.1


# --- how it is shown


def test_the_text_fits_in_100_columns(relu, sigmoid):
    for report in (relu, sigmoid):
        lines = str(report).splitlines()
        assert max(map(len, lines)) <= 100
        assert any(line.startswith("1. ") for line in lines)
        assert any(line.startswith("Recommendation: ") for line in lines)
    assert repr(relu) == f"InitReport({len(relu.findings)} findings, recommends 'mirrored')"


def test_the_plot_has_a_line_a_candidate_on_logarithmic_axes(relu):
    figure = relu.plot()
    upper, lower = figure.axes
    try:
        for axis, column in ((upper, "signal"), (lower, "gradient")):
            assert axis.get_yscale() == "log"
            lines = [x for x in axis.get_lines() if len(x.get_xdata()) == 8]
            assert len(lines) == 7
            given = [row[column] for row in relu.layers("as given")]
            np.testing.assert_allclose(lines[0].get_ydata(), given)
        assert figure.get_size_inches()[0] * figure.dpi == 800
    finally:
        plt.close(figure)


def test_a_report_is_drawn_into_the_figure_given(relu):
    for figure in (Figure(), Figure(layout="constrained").subfigures(1, 2)[0]):
        assert relu.plot(figure) is figure
        assert len(figure.axes) == 2
        assert len(figure.legends) == 1


# --- bad input


def test_wrong_arguments_are_refused():
    params = drawn(RELU)
    with pytest.raises(ValueError, match="batch has 1 example"):
        init_report(RELU, params, X[:1])
    with pytest.raises(ValueError, match=r"at 'Dense_0/bias' .* has shape \(32,\), params"):
        init_report(RELU, drawn(Deep(8, 16)), X)
    with pytest.raises(ValueError, match=r"at 'Dense_7/.*no such parameter"):
        init_report(RELU, {k: v for k, v in params.items() if k != "Dense_7"}, X)
    bad = {**params, "Dense_3": {**params["Dense_3"], "bias": jnp.full(32, jnp.nan)}}
    with pytest.raises(ValueError, match="'Dense_3/bias' has 32 non-finite of 32"):
        init_report(RELU, bad, X)
    with pytest.raises(ValueError, match="batch has non-finite numbers"):
        init_report(RELU, params, X.at[0, 0].set(jnp.inf))
    with pytest.raises(ValueError, match="no layer was found"):
        init_report(lambda p, x: x + p["shift"], {"shift": jnp.ones((1, 12))}, X)
    with pytest.raises(ValueError, match="cannot be run with these parameters"):
        init_report(lambda p, x: x @ p["w"], {"w": jnp.ones((5, 3))}, X)
    with pytest.raises(ValueError, match="no floating-point array"):
        init_report(lambda p, x: x, {}, X)
    with pytest.raises(TypeError, match="model must be a Linen or NNX module"):
        init_report(Deep, params, X)
    with pytest.raises(TypeError, match="got a dict"):
        init_report(RELU, params, {"image": X})
    with pytest.raises(ValueError, match="seeds must be a whole number >= 5, got 3"):
        init_report(RELU, params, X, seeds=3)
    with pytest.raises(TypeError, match="loss must be a function"):
        init_report(RELU, params, X, loss=3.0)
    with pytest.raises(TypeError, match="tx must be an optimizer"):
        init_report(RELU, params, X, tx="adam")


@pytest.mark.parametrize("candidates", [[], {}])
def test_no_candidates_are_refused(candidates):
    with pytest.raises(ValueError, match="candidates is empty"):
        init_report(RELU, drawn(RELU), X, candidates=candidates)


def test_unknown_candidates_are_refused():
    params = drawn(RELU)
    with pytest.raises(ValueError, match=r"unknown candidate 'he_norm'.*did you mean 'he_normal'"):
        init_report(RELU, params, X, candidates=["he_norm"])
    with pytest.raises(TypeError, match="candidate 'x' must be an initializer"):
        init_report(RELU, params, X, candidates={"x": 3})


@pytest.mark.slow
def test_candidates_of_another_structure_are_refused():
    with pytest.raises(ValueError, match="made parameters of another structure"):
        init_report(RELU, drawn(RELU), X, candidates={"x": lambda key: {"w": jnp.ones(3)}})


def test_a_loss_that_is_no_scalar_is_refused():
    with pytest.raises(ValueError, match="must return a scalar, got the shape"):
        init_report(RELU, drawn(RELU), X, loss=lambda out, batch: out)


def test_findings_are_plain_records(relu):
    finding = relu.findings[0]
    assert dataclasses.is_dataclass(finding)
    assert str(finding).startswith("Dense_0 to Dense_")


def test_copies_of_one_example_are_refused():
    same = jnp.ones_like(X)
    message = f"all {len(X)} examples of the batch are the same"
    for batch in (same, (same, X)):
        with pytest.raises(ValueError, match=message):
            init_report(RELU, drawn(RELU), batch)


def test_factors_are_those_of_layers_above_rounding(tenfold):
    signal, gradient = (f for f in tenfold.findings if f.kind.endswith("vanishes"))
    assert "(measured 0.01)" in signal.text
    assert float(gradient.text.split("multiplied by ")[1].split()[0]) == pytest.approx(
        0.1, rel=0.03
    )


def test_a_finding_points_at_a_recommendation_only_where_there_is_one(relu, tenfold):
    assert relu.recommendation.name != "as given"
    assert "See the recommendation." in str(relu)
    assert tenfold.recommendation.name == "as given"
    assert "See the recommendation." not in str(tenfold)
    assert "No candidate is clearly better: add residual connections" in str(tenfold)


def test_no_curve_strikes_through_the_words_of_a_level(sigmoid):
    figure = sigmoid.plot()
    figure.canvas.draw()
    for axis in figure.axes:
        words = [text.get_window_extent() for text in axis.texts]
        assert words
        curves = [line.get_path() for line in axis.lines if len(line.get_xdata()) > 2]
        curves = [axis.transData.transform_path(path) for path in curves]
        assert not any(path.intersects_bbox(box, filled=False) for path in curves for box in words)
    plt.close(figure)
