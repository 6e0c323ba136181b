"""Built models, re-initialised leaf by leaf: fans, keys, node types, shardings, errors."""

import math

import equinox as eqx
import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from optlab import initializers, selectors
from optlab.initializers import he_normal, lecun_normal, reinitialize, xavier_normal, zeros

KEY = jax.random.key(0)
D = 64


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        x = x + nn.MultiHeadDotProductAttention(num_heads=4, name="attention")(x)
        return x + nn.Dense(D)(nn.LayerNorm()(x)), None


class Transformer(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(100, D)(tokens)
        x, _ = Block(name="first")(x, None)
        stack = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
        x, _ = nn.scan(Block, length=3, **stack)()(x, None)
        x = nn.vmap(nn.Dense, in_axes=None, axis_size=4, **stack)(D)(x).sum(0)
        return nn.Dense(10, name="head")(x)


class Images(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(16, (3, 3), use_bias=False)(x)
        return nn.ConvTranspose(8, (2, 2))(x)


class NnxModel(nnx.Module):
    def __init__(self, rngs):
        self.embed = nnx.Embed(100, D, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(4, D, decode=False, rngs=rngs)
        self.conv = nnx.Conv(8, 16, (3, 3), rngs=rngs)
        self.linear = nnx.Linear(D, 32, rngs=rngs)


EXPERTS = "VmapDense_0/**"
STACKED = {"ScanBlock_0/**": 1, EXPERTS: 1}


@pytest.fixture(scope="module")
def transformer():
    tokens = jnp.zeros((1, 5), jnp.int32)
    return jax.eval_shape(Transformer().init, KEY, tokens)["params"]


def assert_variance(w, variance):
    w = np.asarray(w, np.float64)
    assert w.var() == pytest.approx(variance, rel=5 * math.sqrt(2 / w.size))


@pytest.mark.parametrize(("make", "too_low"), [(lecun_normal, 2.83), (xavier_normal, 6.0)])
def test_attention_and_stacks_get_the_fans_a_shape_does_not_show(make, too_low):
    shapes = {"attention/query": (512, 8, 64), "attention/out": (8, 64, 512), "mlp": (12, 128, 128)}
    params = {k: {"kernel": jax.ShapeDtypeStruct(v, jnp.float32)} for k, v in shapes.items()}
    new = reinitialize(KEY, params, {"**/kernel": make()}, stacked={"mlp/*": 1})
    assert_variance(new["attention/query"]["kernel"], 1 / 512)
    assert_variance(new["attention/out"]["kernel"], 1 / 512)
    for layer in new["mlp"]["kernel"]:
        assert_variance(layer, 1 / 128)
    # How much too low the standard deviation is when the leaf's shape is all that is looked at.
    by_shape = make().variance((512, 8, 64))
    assert math.sqrt(1 / 512 / by_shape) == pytest.approx(too_low, abs=0.01)
    assert math.sqrt(1 / 128 / make().variance((12, 128, 128))) == pytest.approx(3.46, abs=0.01)


def test_every_kernel_of_a_linen_transformer_gets_its_own_fans(transformer):
    rules = {"**/kernel": xavier_normal(), "**/embedding": lecun_normal()}
    new = reinitialize(KEY, transformer, rules, stacked=STACKED)
    assert_variance(new["Embed_0"]["embedding"], 1 / D)
    for name in ("query", "key", "value", "out"):
        assert_variance(new["first"]["attention"][name]["kernel"], 1 / D)
        for layer in new["ScanBlock_0"]["attention"][name]["kernel"]:
            assert_variance(layer, 1 / D)
    for stack in (new["ScanBlock_0"]["Dense_0"], new["VmapDense_0"]):
        assert not np.array_equal(stack["kernel"][0], stack["kernel"][1])
        for layer in stack["kernel"]:
            assert_variance(layer, 1 / D)
    assert_variance(new["head"]["kernel"], 2 / (D + 10))
    norms = [tree["ScanBlock_0"]["LayerNorm_0"]["scale"] for tree in (new, transformer)]
    assert norms[0] is norms[1]


def test_convolutions_and_their_transposes_count_the_window():
    params = jax.eval_shape(Images().init, KEY, jnp.zeros((1, 8, 8, 12)))["params"]
    new = reinitialize(KEY, params, {"**/kernel": xavier_normal()})
    assert_variance(new["Conv_0"]["kernel"], 2 / (9 * 12 + 9 * 16))
    assert_variance(new["ConvTranspose_0"]["kernel"], 2 / (4 * 16 + 4 * 8))


def test_nnx_state_keeps_its_nodes_and_gets_the_right_fans():
    model = NnxModel(nnx.Rngs(0))
    state = nnx.state(model, nnx.Param)
    rules = {"**/kernel": xavier_normal(), "embed/*": lecun_normal(), "**/bias": zeros}
    new = reinitialize(KEY, state, rules)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    assert type(new["linear"]["kernel"]) is nnx.Param
    assert_variance(new["embed"]["embedding"].get_value(), 1 / D)
    for name in ("query", "key", "value", "out"):
        assert_variance(new["attention"][name]["kernel"].get_value(), 1 / D)
    assert_variance(new["conv"]["kernel"].get_value(), 2 / (72 + 144))
    assert_variance(new["linear"]["kernel"].get_value(), 2 / (D + 32))
    nnx.update(model, new)
    np.testing.assert_array_equal(model.linear.kernel[...], new["linear"]["kernel"].get_value())
    assert not model.attention.query.bias[...].any()


def test_linen_and_nnx_draw_the_same_for_the_same_paths():
    linear = nnx.state(nnx.Linear(6, 4, rngs=nnx.Rngs(0)), nnx.Param)
    params = {"kernel": jnp.ones((6, 4)), "bias": jnp.ones(4)}
    rules = {"kernel": he_normal()}
    ours = reinitialize(KEY, linear, rules)["kernel"].get_value()
    np.testing.assert_array_equal(ours, reinitialize(KEY, params, rules)["kernel"])


def test_boxed_linen_parameters_keep_their_boxes():
    kernel = nn.Partitioned(jnp.ones((6, 4)), names=("in", "out"))
    params = {"value": {"kernel": kernel, "bias": jnp.ones(4)}}
    rules = {"value/kernel": he_normal()}
    new = reinitialize(KEY, params, rules)["value"]["kernel"]
    assert isinstance(new, nn.Partitioned)
    assert new.names == ("in", "out")
    plain = reinitialize(KEY, nn.unbox(params), rules)["value"]["kernel"]
    np.testing.assert_array_equal(new.unbox(), plain)


def test_frozen_dicts_stay_frozen():
    params = flax.core.freeze({"Dense_0": {"kernel": jnp.ones((6, 4)), "bias": jnp.ones(4)}})
    new = reinitialize(KEY, params, {"**/kernel": he_normal()})
    assert isinstance(new, flax.core.FrozenDict)
    np.testing.assert_array_equal(new["Dense_0"]["bias"], jnp.ones(4))


def test_equinox_weights_are_outputs_by_inputs():
    model = eqx.nn.MLP(100, 10, 300, 1, key=KEY)
    new = reinitialize(KEY, model, {"**/weight": lecun_normal(), "**/bias": zeros})
    assert isinstance(new, eqx.nn.MLP)
    assert_variance(new.layers[0].weight, 1 / 100)
    assert_variance(new.layers[1].weight, 1 / 300)
    assert new(jnp.ones(100)).shape == (10,)


def test_selectors_are_rules(transformer):
    rules = {selectors.kernels & ~selectors.heads: he_normal(), selectors.biases: zeros}
    new = reinitialize(KEY, transformer, rules, stacked={selectors.path(g): 1 for g in STACKED})
    assert_variance(new["first"]["attention"]["query"]["kernel"], 2 / D)
    assert new["first"]["attention"]["query"]["bias"].shape == (4, 16)
    assert new["head"]["kernel"] is transformer["head"]["kernel"]


def test_adding_layers_or_rules_changes_no_other_layer():
    kernel = jnp.ones((6, 4))
    small = {"b": {"kernel": kernel}}
    large = {"a": {"kernel": kernel}, "b": {"kernel": kernel}, "c": {"kernel": kernel}}
    one = reinitialize(KEY, small, {"b/kernel": he_normal()})
    many = reinitialize(KEY, large, {"c/*": zeros, "[ab]/kernel": he_normal()})
    np.testing.assert_array_equal(one["b"]["kernel"], many["b"]["kernel"])
    assert not np.array_equal(many["a"]["kernel"], many["b"]["kernel"])


def test_keys_come_from_paths_and_stay_what_they_are():
    # Frozen: another value would change every user's initial parameters.
    new = reinitialize(KEY, {"a": {"kernel": jnp.ones((1, 2))}}, {"**": initializers.normal(1.0)})
    expected = jax.random.fold_in(jax.random.fold_in(KEY, 0x224D78B2), 0x88F51EB3)
    np.testing.assert_array_equal(new["a"]["kernel"], initializers.normal(1.0)(expected, (1, 2)))


def test_explicit_axes_win_and_stacks_fill_in_the_rest():
    params = {"joint": {"kernel": jnp.ones((3, 64, 2, 4, 8))}}
    init = lecun_normal(in_axis=-4, out_axis=(-2, -1), batch_axis=(0, -3))
    new = reinitialize(KEY, params, {"**": init})["joint"]["kernel"]
    assert_variance(new, 1 / 64)
    params = {"joint": {"kernel": jnp.ones((3, 64, 48))}}
    init = lecun_normal(in_axis=-1, out_axis=-2)
    new = reinitialize(KEY, params, {"**": init}, stacked={"**": 1})
    assert_variance(new["joint"]["kernel"], 1 / 48)
    params = {"Dense_0": {"kernel": jnp.ones((64, 3, 48))}}
    new = reinitialize(KEY, params, {"**": lecun_normal(batch_axis=1)})
    assert_variance(new["Dense_0"]["kernel"], 1 / 64)


def test_scaled_initializers_are_told_the_axes_too():
    params = {"attention": {"query": {"kernel": jnp.ones((64, 4, 16))}}}
    init = initializers.depth_scaled(lecun_normal(), layers=8)
    new = reinitialize(KEY, params, {"**/query/kernel": init})["attention"]["query"]["kernel"]
    assert_variance(new, 1 / 64 / 16)


def test_dtypes_are_kept():
    params = {"kernel": jnp.ones((6, 4), jnp.bfloat16)}
    assert reinitialize(KEY, params, {"*": he_normal()})["kernel"].dtype == jnp.bfloat16


def test_two_stars_stand_for_any_number_of_parts_and_one_for_one():
    params = {"b": jnp.ones(2), "x": {"b": jnp.ones(2), "y": {"b": jnp.ones(2)}}}

    def changed(glob):
        new = reinitialize(KEY, params, {glob: zeros})
        return [not leaf.any() for leaf in jax.tree.leaves(new)]

    assert changed("**/b") == changed("**") == [True, True, True]
    assert changed("*/b") == [False, True, False]
    assert changed("x/**") == [False, True, True]
    assert changed("x/**/b") == [False, True, True]
    assert changed("**/y/*") == [False, False, True]


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("jit", [False, True])
def test_shardings_are_kept(kind, jit):
    mesh = jax.make_mesh((4,), ("x",), axis_types=(kind,))
    sharding = NamedSharding(mesh, PartitionSpec("x"))

    def call(kernel):
        return reinitialize(KEY, {"kernel": kernel}, {"kernel": he_normal()})["kernel"]

    with jax.set_mesh(mesh):
        kernel = jax.device_put(jnp.ones((8, 4)), sharding)
        new = (jax.jit(call) if jit else call)(kernel)
    assert new.sharding.is_equivalent_to(sharding, 2)
    np.testing.assert_array_equal(new, call(jnp.ones((8, 4))))


def test_devices_are_kept_and_uncommitted_leaves_stay_free():
    device = jax.devices()[3]
    params = {"a": jax.device_put(jnp.ones((2, 2)), device), "b": jnp.ones((2, 2))}
    new = reinitialize(KEY, params, {"*": initializers.normal()})
    assert new["a"].devices() == {device}
    assert not new["b"].committed


def test_fixup_zeroes_the_last_kernels_and_scales_the_others():
    params = {
        "block": {
            "Conv_0": {"kernel": jnp.ones((3, 3, 8, 16))},
            "Conv_1": {"kernel": jnp.ones((3, 3, 16, 8))},
        },
        "head": {"kernel": jnp.ones((8, 10)), "bias": jnp.ones(10)},
    }
    inner, last = "**/Conv_0/kernel", "**/Conv_1/kernel"
    rules = initializers.fixup(branches=25, inner=inner, last=last, head="head/*")
    new = reinitialize(KEY, params, rules)
    assert_variance(new["block"]["Conv_0"]["kernel"], 2 / 72 / 25)
    for leaf in (new["block"]["Conv_1"]["kernel"], new["head"]["kernel"], new["head"]["bias"]):
        assert not leaf.any()
    bottleneck = initializers.fixup(branches=16, inner="a", last="b", layers_per_branch=3)
    assert bottleneck["a"].factor == pytest.approx(16 ** (-1 / 4))


TREE = {
    "encoder": {"Dense_0": {"kernel": jnp.ones((4, 4)), "bias": jnp.ones(4)}},
    "steps": jnp.zeros((), jnp.int32),
}
BAD = [
    (
        {"**/kernels": he_normal()},
        {},
        ValueError,
        "matches no parameter; the nearest paths are",
    ),
    ({"*/kernel": he_normal()}, {}, ValueError, "matches no parameter"),
    ({"**/kernel": zeros, "encoder/**": zeros}, {}, ValueError, "both match 'encoder/Dense_0/"),
    ({"**/bias": he_normal()}, {}, ValueError, "at 'encoder/Dense_0/bias': .*has no fans"),
    (
        {"**/kernel": jax.nn.initializers.he_normal()},
        {},
        TypeError,
        "must be an initializer of",
    ),
    ({"**/kernel": he_normal}, {}, TypeError, "must be an initializer of opt"),
    ({"steps": initializers.normal()}, {}, TypeError, "at 'steps': normal: the dtype must be"),
    ({3: zeros}, {}, TypeError, "neither a glob over paths"),
    ([("a", zeros)], {}, TypeError, "must be a dict of globs"),
    ({"**/kernel": zeros}, {"stacked": {"**/kernel": -1}}, ValueError, "stacked for 'encoder/"),
    ({"**/kernel": zeros}, {"stacked": {"**/kernel": 3}}, ValueError, "says that 3 leading axes"),
    ({"**/kernel": zeros}, {"stacked": {"decoder/**": 1}}, ValueError, "stacked entry 'decoder"),
    ({"**/kernel": he_normal()}, {"stacked": {"**/kernel": 1}}, ValueError, "has no fans"),
]


@pytest.mark.parametrize(("rules", "options", "kind", "message"), BAD)
def test_a_bad_rule_says_what_to_do(rules, options, kind, message):
    with pytest.raises(kind, match=message):
        reinitialize(KEY, TREE, rules, **options)


def test_undeclared_stacks_are_refused(transformer):
    with pytest.raises(ValueError, match=r'stacked=\{"\*\*/ScanBlock_0/\*\*": 1\}'):
        reinitialize(KEY, transformer, {"ScanBlock_0/Dense_0/kernel": he_normal()})
    shared = {"ScanBlock_0": {"Dense_0": {"kernel": jnp.ones((4, 4))}}}
    new = reinitialize(KEY, shared, {"**": he_normal()}, stacked={"**": 0})
    assert new["ScanBlock_0"]["Dense_0"]["kernel"].shape == (4, 4)


@pytest.mark.parametrize(
    ("layer", "kernel", "bias"),
    [
        ("query", (12, 64, 64), (12, 64)),  # a stack of plain layers with an attention's name
        ("Conv_0", (12, 3, 8, 16), (12, 16)),  # a stack of 1-D convolutions, not a 2-D one
        ("ConvTranspose_0", (3, 16, 8), (16,)),  # transpose_kernel=True
    ],
)
def test_a_bias_of_another_shape_betrays_misleading_names(layer, kernel, bias):
    params = {layer: {"kernel": jnp.ones(kernel), "bias": jnp.ones(bias)}}
    with pytest.raises(ValueError, match=f"'{layer}/bias' has .*name the axes"):
        reinitialize(KEY, params, {"*/kernel": he_normal()})


def test_equinox_functions_are_no_parameters():
    model = eqx.nn.MLP(2, 2, 2, 1, activation=jax.nn.relu, key=KEY)
    with pytest.raises(TypeError, match="'activation' is no array"):
        reinitialize(KEY, model, {"activation": zeros})


def test_no_rules_change_nothing():
    new = reinitialize(KEY, TREE, {})
    assert all(a is b for a, b in zip(jax.tree.leaves(new), jax.tree.leaves(TREE), strict=True))
