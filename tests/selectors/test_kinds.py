"""What each leaf of usual models is taken for, and the near misses."""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.core import FrozenDict
from selector_models import MODELS

from optlab import selectors
from optlab.core import trees

KINDS = {
    "k": selectors.kernels,
    "b": selectors.biases,
    "n": selectors.norms,
    "e": selectors.embeddings,
}
ROLES = {"h": selectors.heads, "m": selectors.matrices}


@functools.cache
def model(name):
    make, table = MODELS[name]
    return make(), table


def marks(params):
    """The table of a tree, as `selector_models` writes it."""
    found = dict.fromkeys(selectors.everything.paths(params), "")
    for letter, selector in {**KINDS, **ROLES}.items():
        for path in selector.paths(params, allow_empty=True):
            found[path] += letter
    return found


def shaped(tree):
    return jax.tree.map(lambda shape: np.zeros(shape), tree, is_leaf=lambda x: type(x) is tuple)


@pytest.mark.parametrize("name", MODELS)
def test_every_leaf_of_usual_models_is_what_the_table_says(name):
    params, table = model(name)
    assert marks(params) == table


@pytest.mark.parametrize("name", MODELS)
def test_kinds_are_disjoint_and_cover_usual_models(name):
    params, _ = model(name)
    masks = [jax.tree.leaves(kind.mask(params, allow_empty=True)) for kind in KINDS.values()]
    assert all(sum(answers) == 1 for answers in zip(*masks, strict=True))


def test_attention_biases_are_biases_though_they_have_two_axes():
    params, _ = model("linen_transformer")
    attention = params["block"]["MultiHeadDotProductAttention_0"]
    assert attention["query"]["bias"].ndim == 2
    mask = selectors.biases.mask(params)["block"]["MultiHeadDotProductAttention_0"]
    assert mask["query"] == {"bias": True, "kernel": False}


def test_muon_would_get_the_same_matrices_with_and_without_scan():
    plain, scanned = model("linen_transformer")[0], model("linen_scanned")[0]
    assert selectors.matrices.paths(plain) == selectors.matrices.paths(scanned)
    assert "block/MultiHeadDotProductAttention_0/query/kernel" in selectors.matrices.paths(plain)


def test_a_collection_name_in_front_changes_nothing():
    params, table = model("nnx_transformer")  # its output is known by its place at the top
    assert marks({"params": params}) == {f"params/{path}": mark for path, mark in table.items()}


def test_frozen_dict_gives_the_same_answers():
    params, table = model("linen_cnn")
    assert marks(FrozenDict(params)) == table
    mask = selectors.kernels.mask(FrozenDict(params))
    chex.assert_trees_all_equal_structs(mask, FrozenDict(params))


def test_parameter_nodes_and_their_arrays_give_the_same_mask():
    boxed, table = model("nnx_transformer")
    arrays = trees.unbox(boxed)
    for selector in (*KINDS.values(), *ROLES.values(), selectors.path("attn/**")):
        chex.assert_trees_all_equal(selector.mask(boxed), selector.mask(arrays))
    assert marks(arrays) == table


def test_partitioned_boxes_do_not_change_names():
    kernel = nn.Partitioned(jnp.ones((2, 3)), names=("a", None))
    params = {"Dense_0": {"kernel": kernel, "bias": jnp.ones(3)}}
    assert marks(params) == {"Dense_0/bias": "b", "Dense_0/kernel": "km"}
    assert selectors.kernels.mask(params)["Dense_0"]["kernel"].value is True


NEAR_MISSES = {
    # biases of norms, and biases that only look like them
    "norm_scale_and_bias": ({"x": {"scale": (4,), "bias": (4,)}}, "x/bias", "n"),
    "norm_in_a_list": ({"ln": {"0": {"bias": (4,)}}}, "ln/0/bias", "n"),
    "final_norm_bias_only": ({"final_norm": {"bias": (4,)}}, "final_norm/bias", "n"),
    "bias_beside_kernel_and_scale": (
        {"x": {"kernel": (4, 4), "bias": (4,), "scale": (4,)}},
        "x/bias",
        "b",
    ),
    "dense_inside_norm": ({"norm": {"Dense_0": {"bias": (4,)}}}, "norm/Dense_0/bias", "b"),
    "dense_named_after_norm": ({"norm_proj": {"bias": (4,)}}, "norm_proj/bias", "b"),
    "normal_is_no_norm": ({"normal": {"bias": (4,)}}, "normal/bias", "b"),
    "bias_beside_temperature": (
        {"logit_scale": (), "bias": (4,), "x": {"kernel": (4, 4)}},
        "bias",
        "b",
    ),
    "relative_bias_table": (
        {"relative_attention_bias": {"embedding": (32, 8)}},
        "relative_attention_bias/embedding",
        "e",
    ),
    "weight_norm_gain": ({"Dense_0": {"kernel": {"scale": (4,)}}}, "Dense_0/kernel/scale", "n"),
    "beta_of_gamma": ({"x": {"gamma": (4,), "beta": (4,)}}, "x/beta", "n"),
    "haiku_offset_alone": ({"linear": {"w": (4, 4), "offset": (4,)}}, "linear/offset", "b"),
    # `weight` is three things
    "stacked_linear_weight": ({"x": {"weight": (2, 5, 4), "bias": (2, 5)}}, "x/weight", "km"),
    "stacked_layer_norm": ({"x": {"weight": (2, 4), "bias": (2, 4)}}, "x/bias", "n"),
    "stacked_rms_norm": ({"norm1": {"weight": (2, 4)}}, "norm1/weight", "n"),
    "linear_named_norm": ({"norm_x": {"weight": (5, 4), "bias": (5,)}}, "norm_x/weight", "km"),
    "projection_of_embedding": ({"embed_proj": {"weight": (5, 4)}}, "embed_proj/weight", "km"),
    "linear_called_embed": ({"embed": {"weight": (5, 4), "bias": (5,)}}, "embed/weight", "km"),
    "patch_embed": ({"patch_embed": {"weight": (8, 3, 2, 2)}}, "patch_embed/weight", "k"),
    "haiku_linear_called_embed": ({"embed": {"w": (5, 4)}}, "embed/w", "km"),
    "conv_called_embedding": ({"embedding": {"kernel": (2, 2, 3, 8)}}, "embedding/kernel", "k"),
    "embedding_norm": ({"embedding_norm": {"scale": (4,)}}, "embedding_norm/scale", "n"),
    # LoRA
    "lora_b_is_no_bias": ({"lora": {"a": (4, 2), "b": (2, 4)}}, "lora/b", "km"),
    "haiku_b_is_a_bias": ({"linear": {"w": (4, 2), "b": (2,)}}, "linear/b", "b"),
    # arrays named like layers
    "gemma_einsum": ({"mlp": {"gating_einsum": (2, 4, 8)}}, "mlp/gating_einsum", "km"),
    "raw_projection": ({"attn": {"q_proj": (4, 4)}}, "attn/q_proj", "km"),
    "raw_patch_embedding": ({"patch_embedding": (12, 8)}, "patch_embedding", "km"),
    "raw_vector": ({"x": {"linear": (4,)}}, "x/linear", ""),
    "unknown": ({"x": {"A_log": (4, 4)}}, "x/A_log", ""),
    # heads, and what only sounds like one
    "lm_head_array": ({"x": {"kernel": (4, 4)}, "lm_head": (4, 9)}, "lm_head", "kh"),
    "deep_head": ({"a": {"k": (4, 4)}, "m": {"head": {"w": (4, 9)}}}, "m/head/w", "kh"),
    "head_of_two_layers": (
        {"a": {"k": (4, 4)}, "mlp_head": {"Dense_1": {"kernel": (4, 9)}}},
        "mlp_head/Dense_1/kernel",
        "kh",
    ),
    "value_head": ({"z": (1,), "value_head": {"kernel": (4, 1)}}, "value_head/kernel", "kh"),
    "head_norm": ({"a": {"k": (4, 4)}, "head_norm": {"scale": (4,)}}, "head_norm/scale", "n"),
    "attention_head": (
        {"MultiHeadAttention_0": {"Head_0": {"proj": {"kernel": (4, 2)}}}, "z": (1,)},
        "MultiHeadAttention_0/Head_0/proj/kernel",
        "km",
    ),
    "head_with_queries": (
        {"heads": [{"query": {"kernel": (4, 2)}}], "z": (1,)},
        "heads/0/query/kernel",
        "km",
    ),
    "multi_head": ({"multi_head": {"kernel": (4, 2)}, "z": (1,)}, "multi_head/kernel", "km"),
    "pooling_head": (
        {"MAPHead_0": {"Dense_0": {"kernel": (4, 2)}}, "z": (1,)},
        "MAPHead_0/Dense_0/kernel",
        "km",
    ),
    "attention_alone": (
        {"query": {"w": (4, 4)}, "key": {"w": (4, 4)}, "out": {"w": (4, 4)}},
        "out/w",
        "km",
    ),
    "whole_model_called_classifier": (
        {"classifier": {"Dense_0": {"kernel": (4, 4)}, "Dense_1": {"kernel": (4, 4)}}},
        "classifier/Dense_1/kernel",
        "km",
    ),
    "output_at_the_top": ({"z": (1,), "output": {"kernel": (4, 9)}}, "output/kernel", "kh"),
    "output_of_a_layer": (
        {"a": {"k": (4, 4)}, "layer": {"output": {"kernel": (4, 4)}}},
        "layer/output/kernel",
        "km",
    ),
    "block_called_output": (
        {"z": (1,), "output": {"Dense_0": {"kernel": (4, 4)}}},
        "output/Dense_0/kernel",
        "km",
    ),
    "head_with_projections": (
        {"heads": [{"q_proj": {"w": (4, 2)}}], "z": (1,)},
        "heads/0/q_proj/w",
        "km",
    ),
    "head_with_einsums": (
        {"heads": [{"kv_einsum": {"w": (4, 2)}}], "z": (1,)},
        "heads/0/kv_einsum/w",
        "km",
    ),
    "output_alone": ({"out": {"kernel": (4, 9), "bias": (9,)}}, "out/bias", "bh"),
    # convolutions
    "conv_1d": ({"Conv_0": {"kernel": (3, 4, 8), "bias": (8,)}}, "Conv_0/kernel", "k"),
    "attention_projection": ({"attn": {"proj": {"w": (3, 2, 4, 8)}}}, "attn/proj/w", "km"),
    "haiku_stacked": ({"linear": {"w": (2, 3, 4, 8), "b": (2, 3, 8)}}, "linear/w", "km"),
    "unnamed_conv": ({"stem": {"w": (3, 3, 4, 8), "b": (8,)}}, "stem/w", "k"),
    "haiku_conv": ({"conv1_d": {"w": (3, 4, 8)}}, "conv1_d/w", "k"),
    "stacked_dense_twice": (
        {"Dense_0": {"kernel": (2, 3, 4, 8), "bias": (2, 3, 8)}},
        "Dense_0/kernel",
        "km",
    ),
    "experts": ({"moe": {"wi": (2, 3, 4, 8)}}, "moe/wi", "km"),
    "gemma_kv": ({"attn": {"kv_einsum": {"w": (2, 1, 4, 8)}}}, "attn/kv_einsum/w", "km"),
    "equinox_stacked_conv": (
        {"x": {"weight": (2, 8, 4, 3), "bias": (2, 8, 1)}},
        "x/weight",
        "k",
    ),
    "vector_of_weights": ({"w": (4,)}, "w", "k"),
}


@pytest.mark.parametrize("case", NEAR_MISSES)
def test_near_misses(case):
    tree, path, expected = NEAR_MISSES[case]
    assert marks(shaped(tree))[path] == expected


def test_a_masked_neighbour_still_tells_a_norm_from_a_bias():
    params = {"x": {"scale": jnp.ones(4), "bias": jnp.ones(4)}}
    group = {"x": {"scale": optax.MaskedNode(), "bias": jnp.ones(4)}}
    assert selectors.norms.mask(params) == {"x": {"scale": True, "bias": True}}
    assert selectors.norms.mask(group) == {"x": {"scale": optax.MaskedNode(), "bias": True}}
    assert selectors.biases.paths(group, allow_empty=True) == ()
