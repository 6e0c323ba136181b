"""The cause is named: biases that leave no kernel a chance, axes read wrongly; chance is not."""

import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from init_cases import KEY, Deep, Fused, Images, X, drawn

from optlab import initializers, optimizers
from optlab.lab.init import _findings, _layers, _model, init_report

MODEL = Deep(3, 32)


def with_biases(params, value):
    return jax.tree.map(lambda w: w + (value if w.ndim == 1 else 0), params)


@pytest.fixture(scope="module")
def dead():
    """Three ReLU layers whose biases are all -10."""
    return init_report(MODEL, with_biases(drawn(MODEL), -10.0), X)


def test_biases_that_no_kernel_makes_up_for_are_named_first(dead):
    cause = dead.findings[0]
    assert (cause.kind, cause.layers) == ("biases", ("Dense_0", "Dense_1"))
    assert "root mean square 10" in cause.text
    assert cause.fix == "Set them to 0."
    assert {x.kind for x in dead.findings} == {"biases", "dead units"}
    assert "0 for the biases of Dense_0, Dense_1" in str(dead.recommendation)
    assert "residual connections" not in str(dead)


@pytest.mark.parametrize("candidate", [None, "zero biases", "he_normal", "lsuv"])
def test_candidates_without_the_biases_let_gradients_through(dead, candidate):
    params = dead.apply(KEY, candidate)
    hidden = [np.asarray(params[f"Dense_{i}"]["bias"]) for i in range(2)]
    assert not any(bias.any() for bias in hidden)
    np.testing.assert_array_equal(params["Dense_2"]["bias"], -10)  # a head's may be meant
    gradients = jax.grad(lambda p: MODEL.apply({"params": p}, X).sum())(params)
    assert all(bool(leaf.any()) for leaf in jax.tree.leaves(gradients))


def test_rules_of_candidates_without_the_biases_set_them_too(dead):
    given = with_biases(drawn(MODEL), -10.0)
    kept = dead.apply(KEY, "zero biases")
    np.testing.assert_array_equal(kept["Dense_1"]["kernel"], given["Dense_1"]["kernel"])
    report = init_report(MODEL, given, X, candidates=["he_normal"])
    new = initializers.reinitialize(KEY, given, report.recommendation.rules)
    assert not new["Dense_0"]["bias"].any()
    assert new["Dense_2"]["bias"].all()


@pytest.mark.slow
def test_biases_of_scanned_layers_are_all_named():
    params = jax.tree_util.tree_map_with_path(
        lambda path, w: w - 10.0 if "bias" in jax.tree_util.keystr(path) else w,
        Images().init(KEY, X)["params"],
    )
    report = init_report(Images(), params, X, candidates=["he_normal"])
    assert report.findings[0].layers == ("Conv_0", *(f"scanned/Dense_0[{i}]" for i in range(3)))
    assert "0 for the biases of Conv_0 to scanned/Dense_0[2]" in report.recommendation.formula
    assert not report.params["scanned"]["Dense_0"]["bias"].any()


@pytest.mark.slow
def test_parameters_without_the_biases_train(dead):
    targets = jnp.tile(X[:, :1] > 0, 4).astype(X.dtype)

    def loss(params):
        return jnp.mean((MODEL.apply({"params": params}, X) - targets) ** 2)

    @jax.jit
    def trained(params):
        tx = optimizers.adam(1e-2)

        def step(_, carry):
            params, state = carry
            updates, state = tx.update(jax.grad(loss)(params), state, params)
            return jax.tree.map(jnp.add, params, updates), state

        return loss(jax.lax.fori_loop(0, 300, step, (params, tx.init(params)))[0])

    assert trained(dead.params) < 0.02 < 10 < trained(with_biases(drawn(MODEL), -10.0))


def test_biases_that_do_no_harm_are_left_alone():
    report = init_report(MODEL, with_biases(drawn(MODEL), 0.1), X, candidates=["he_normal"])
    assert "biases" not in {x.kind for x in report.findings}
    assert list(report.draws) == ["as given", "he_normal"]
    np.testing.assert_allclose(report.apply(KEY, "he_normal")["Dense_0"]["bias"], 0.1)


# --- axes


def test_planted_fan_axis_errors_are_found_and_mended():
    params = drawn(Fused())
    for name in ("qkv", "experts"):  # as Flax's lecun_normal reads their shapes
        fan_in = initializers.fans(params[name].shape).fan_in
        params[name] *= (params[name].shape[0] / fan_in) ** 0.5
    report = init_report(Fused(), params, X, candidates=["lecun_normal"])
    found = {x.layers[0]: x for x in report.findings if x.kind == "fan axes"}
    assert set(found) == {"qkv", "experts"}
    assert "in_axis=0, out_axis=(1, 2, 3)" in found["qkv"].fix
    assert "fan_in 384" in found["qkv"].text
    assert "sums 32 inputs" in found["qkv"].text
    assert "in_axis=1" in found["experts"].fix
    scale = {row["layer"]: row["kernel_scale"] for row in report.layers("lecun_normal")}
    assert scale["qkv"] == pytest.approx(1, rel=0.1)
    assert scale["experts"] == pytest.approx(1, rel=0.1)
    rules = report.recommendation.rules or {}
    assert report.recommendation.name == "lecun_normal"
    assert (rules["qkv"].in_axis, rules["qkv"].out_axis) == ((0,), (1, 2, 3))


def heads(params, x):
    return jnp.einsum("bd,dhk->bhk", x, params["w"])


@pytest.mark.parametrize(("factor", "found"), [(0.79, False), (1.27, False), (0.5, True)])
def test_a_variance_by_chance_is_not_told_as_wrong_axes(factor, found):
    # (16, 2, 8) sums 16 inputs; read as a convolution it has fan_in 32. 256 entries: the standard
    # error of their variance is 9%.
    w = np.random.default_rng(0).standard_normal((16, 2, 8))
    w *= (factor / 16 / w.var()) ** 0.5
    x = jax.random.normal(KEY, (8, 16))
    report = init_report(heads, {"w": jnp.asarray(w, "f")}, x, candidates=["lecun_normal"])
    assert ("fan axes" in {x.kind for x in report.findings}) == found


@pytest.mark.slow
@pytest.mark.parametrize("width", [16, 32, 64])
def test_flax_s_attention_is_right_about_its_axes_at_every_seed(width):
    model = nn.MultiHeadDotProductAttention(num_heads=2)
    x = jax.random.normal(KEY, (4, 5, width))
    init = jax.jit(lambda key: model.init(key, x)["params"])
    params = init(KEY)
    layers = _layers.find_layers(_model.read_model("test", model, params, x))
    for seed in range(200):
        leaves = jax.tree.leaves(init(jax.random.key(seed)))
        start = types.SimpleNamespace(layers=layers, leaves=leaves)
        assert not list(_findings._fan_axes(start)), seed
