"""What is read from a traced model: layers, roles of axes, activations, residual branches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from init_cases import CAPTURED, Chain, Deep, Images, X, Zoo, captured, drawn

from optlab import initializers
from optlab.lab.init import _activations, _layers, _model, _program


def layers_of(model, params, batch=X):
    found = _layers.find_layers(_model.read_model("test", model, params, batch))
    return {layer.name: layer for layer in found}


@pytest.fixture(scope="module")
def zoo():
    return layers_of(Zoo(), drawn(Zoo()))


def test_layers_come_in_the_order_of_the_computation(zoo):
    assert [name for name in zoo if "/" not in name] == [
        *("leaky", "normed", "split", "joined", "inner", "last", "experts", "head")
    ]
    assert [name for name in zoo if name.startswith("attention")] == [
        f"attention/{part}" for part in ("query", "key", "value", "out")
    ]


def test_what_follows_a_layer_is_told_from_its_values(zoo):
    follows = {name: layer.activation.name for name, layer in zoo.items()}
    assert follows["leaky"] == "leaky_relu(0.2)"
    assert follows["normed"] == "tanh"
    assert zoo["normed"].normalized
    assert not zoo["split"].normalized
    assert (follows["split"], follows["joined"], follows["inner"]) == ("gelu", "silu", "relu")
    assert (follows["experts"], follows["last"], follows["attention/key"]) == (
        *("sigmoid", "none", "none"),
    )
    assert follows["attention/query"] == "times 0.5"  # 1 / sqrt(d_head)


def test_axes_have_the_roles_that_the_product_gives_them(zoo):
    axes = {name: tuple(layer.axes) for name, layer in zoo.items()}
    assert axes["leaky"] == ((0,), (1,), ())
    assert axes["split"] == axes["attention/query"] == ((0,), (1, 2), ())
    assert axes["joined"] == axes["attention/out"] == ((0, 1), (2,), ())
    assert axes["experts"] == ((1,), (0, 2), ())
    assert zoo["experts"].fan_in == 8


def test_the_last_layer_of_a_residual_branch_is_known(zoo):
    assert [name for name, layer in zoo.items() if layer.branch_end] == ["last"]


def test_biases_belong_to_their_layers(zoo):
    model = _model.read_model("test", Zoo(), drawn(Zoo()), X)
    for name, layer in zoo.items():
        if name in ("inner", "experts"):
            assert layer.bias is None
        else:
            path = model.paths[model.varied[layer.bias]]
            assert path == layer.path.replace("kernel", "bias")


def test_convolutions_have_windows_and_scanned_layers_are_pieces():
    found = layers_of(Images(), drawn(Images()))
    assert tuple(found["Conv_0"].axes) == ((2,), (3,), ())
    assert (found["Conv_0"].fan_in, found["Conv_0"].fan_out) == (9, 54)
    names = [f"scanned/Dense_0[{i}]" for i in range(3)]
    assert list(found) == ["Conv_0", *names, "Dense_0"]
    for i, name in enumerate(names):
        assert found[name].piece == {0: i}
        assert tuple(found[name].axes) == ((1,), (2,), (0,))
        assert found[name].alone
    assert found[names[1]].source == 1


@pytest.mark.parametrize("params", [None, "state"])
def test_nnx_modules_are_read_with_their_own_or_given_parameters(params):
    model = Chain(nnx.Rngs(0))
    state = None if params is None else nnx.state(model, nnx.Param)
    found = layers_of(model, state)
    assert [x.path for x in found.values()] == [
        *("first/kernel", "rest/0/kernel", "rest/1/kernel", "head/kernel")
    ]
    assert [x.activation.name for x in found.values()] == ["tanh"] * 3 + ["none"]


def test_dropout_of_nnx_modules_is_off_and_stays_on_in_the_module_given():
    model = Chain(nnx.Rngs(0), dropout=0.5)
    found = layers_of(model, None)
    assert [x.activation.name for x in found.values()] == ["tanh"] * 3 + ["none"]
    assert not model.dropout.deterministic


def test_functions_that_return_outputs_by_path_are_read_too():
    found = layers_of(captured, CAPTURED)
    assert list(found) == ["a", "b", "c"]
    assert [x.activation.name for x in found.values()] == ["tanh", "tanh", "none"]


def test_an_output_that_no_product_made_is_taken_as_it_is():
    def apply(params, batch):
        first = batch @ params["a"]
        return {"a": first, "b": jnp.sum(first[:, :, None] * params["b"][None], 1)}

    found = layers_of(apply, {"a": CAPTURED["a"], "b": CAPTURED["b"]})
    assert [x.kind for x in found.values()] == ["dense", "captured"]
    assert found["b"].fan_in == 16


def test_a_kernel_used_twice_has_a_row_for_each_use():
    kernel = jnp.eye(12)
    found = layers_of(lambda p, x: jnp.tanh(x @ p["w"]) @ p["w"], {"w": kernel})
    assert list(found) == ["w", "w#2"]
    assert not any(layer.alone for layer in found.values())


def test_a_program_computes_what_the_function_does():
    model, params = Images(), drawn(Images())
    traced = _model.read_model("test", model, params, X)
    env = dict(zip(traced.program.inputs, [*traced.leaves(params), X], strict=True))
    _program.evaluate(traced.program.nodes, env)
    out = _program.read(env, traced.program.outputs)[0]
    np.testing.assert_allclose(out, model.apply({"params": params}, X), rtol=1e-5, atol=1e-6)


def test_gradients_of_custom_rules_survive():
    # max(x, 0) alone has the slope 1/2 at 0, jax.nn.relu the slope 0.
    traced = _model.read_model(
        "test", lambda p, x: jax.nn.relu(x @ p["w"]), {"w": jnp.zeros((12, 2))}, X
    )

    def loss(leaf):
        env = dict(zip(traced.program.inputs, [leaf, X], strict=True))
        _program.evaluate(traced.program.nodes, env)
        return _program.read(env, traced.program.outputs)[0].sum()

    assert not jax.grad(loss)(jnp.zeros((12, 2))).any()


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (jax.nn.relu, "relu"),
        (jax.nn.sigmoid, "sigmoid"),
        (jnp.tanh, "tanh"),
        (jax.nn.softplus, "softplus"),
        (lambda x: jax.nn.gelu(x, approximate=False), "gelu"),
        (lambda x: 3 * x, "times 3"),
        (lambda x: x + 0.0, "none"),
        (lambda x: jnp.tanh(x) * x, "?"),
    ],
)
def test_functions_are_named_by_their_values(function, name):
    assert _activations.measure(lambda z: np.asarray(function(jnp.asarray(z)))).name == name


@pytest.mark.parametrize("name", ["relu", "gelu", "silu", "elu", "mish"])
def test_measured_gains_are_those_of_the_library(name):
    function = getattr(jax.nn, name)
    found = _activations.measure(lambda z: np.asarray(function(jnp.asarray(z))))
    assert found.gain == pytest.approx(initializers.gain(name), rel=2e-3)
    is_pair = name in ("relu", "gelu", "silu")
    assert (found.odd_part is not None) == is_pair
    if is_pair:
        assert found.odd_part == pytest.approx(1, abs=1e-3)


def test_bounded_functions_have_ends():
    sigmoid = _activations.measure(lambda z: np.asarray(jax.nn.sigmoid(jnp.asarray(z))))
    assert (sigmoid.low, sigmoid.high, sigmoid.at_zero) == (0.0, 1.0, 0.5)
    relu = _activations.measure(lambda z: np.maximum(z, 0))
    assert not relu.bounded
    assert relu.keeps_zero


def test_functions_that_differ_from_unit_to_unit_are_mixed():
    slopes = jnp.linspace(0.1, 1.0, 16)
    found = layers_of(
        lambda p, x: jnp.tanh((x @ p["a"]) * slopes[None]) @ p["b"],
        {"a": CAPTURED["a"], "b": CAPTURED["b"]},
    )
    assert found["a"].activation.name == "mixed"


def test_bfloat16_activations_keep_their_names():
    params = jax.tree.map(lambda w: w.astype(jnp.bfloat16), drawn(Deep(3)))
    found = layers_of(
        lambda p, x: Deep(3, activation=jax.nn.gelu).apply({"params": p}, x),
        params,
        X.astype(jnp.bfloat16),
    )
    assert [x.activation.name for x in found.values()] == ["gelu", "gelu", "none"]
