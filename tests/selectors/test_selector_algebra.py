"""Selectors combine, print, store and refuse."""

import json
import pickle
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optlab import core, selectors
from optlab.selectors import (
    biases,
    embeddings,
    everything,
    heads,
    kernels,
    matrices,
    norms,
    path,
)

PARAMS = {
    "embed": {"embedding": jnp.ones((5, 4))},
    "layers_0": {"Dense_0": {"kernel": jnp.ones((4, 4)), "bias": jnp.ones(4)}},
    "layers_10": {"norm": {"scale": jnp.ones(4), "bias": jnp.ones(4)}},
    "head": {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)},
}
NAMED = [kernels, biases, norms, embeddings, heads, matrices, everything]

atoms = st.sampled_from([*NAMED, path("head/*"), path("layers_?/**"), path("**/[bk]*")])
expressions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds(lambda a, b: a & b, inner, inner),
        st.builds(lambda a, b: a | b, inner, inner),
        st.builds(lambda a: ~a, inner),
    ),
    max_leaves=6,
)


def chosen(selector):
    return set(selector.paths(PARAMS, allow_empty=True))


ALL = chosen(everything)


@given(expressions, expressions)
@settings(max_examples=60, deadline=None)
def test_combinations_are_those_of_sets(a, b):
    assert chosen(a & b) == chosen(a) & chosen(b)
    assert chosen(a | b) == chosen(a) | chosen(b)
    assert chosen(~a) == ALL - chosen(a)


@given(expressions)
@settings(max_examples=60, deadline=None)
def test_the_printed_expression_makes_an_equal_selector(selector):
    again = eval(repr(selector), {name: getattr(selectors, name) for name in selectors.__all__})
    assert repr(again) == repr(selector)
    assert chosen(again) == chosen(selector)


@given(expressions)
@settings(max_examples=40, deadline=None)
def test_json_and_pickle_give_an_equal_selector(selector):
    stored = json.loads(json.dumps(core.to_dict(selector)))
    for again in (core.from_dict(stored), pickle.loads(pickle.dumps(selector))):
        assert again == selector
        assert hash(again) == hash(selector)


def test_expressions_print_as_they_are_written():
    assert repr(kernels & ~path("head/*")) == 'kernels & ~path("head/*")'
    assert repr((kernels | biases) & ~(heads & norms)) == "(kernels | biases) & ~(heads & norms)"
    assert repr(kernels & (biases & norms)) == "kernels & (biases & norms)"


def test_different_selectors_differ():
    assert len({*NAMED, path("a"), path("b"), kernels & biases, kernels | biases, ~kernels}) == 12


@pytest.mark.parametrize("name", ["kernels", "everything", "path"])
def test_selectors_are_registered_by_their_names(name):
    assert f"selectors.{name}" in core.registry


def test_a_selector_has_no_leaves_and_is_structure_under_jit():
    assert jax.tree.leaves(kernels & ~path("head/*")) == []
    compiled = jax.jit(lambda s, x: jax.tree.map(lambda m, v: v if m else -v, s.mask(x), x))
    out = compiled(heads, {"head": {"bias": jnp.ones(2)}, "body": {"bias": jnp.ones(2)}})
    assert (out["head"]["bias"] == 1).all()
    assert (out["body"]["bias"] == -1).all()


class Pair(NamedTuple):
    kernel: jax.Array
    bias: jax.Array | None


def test_the_mask_has_the_structure_of_the_parameters():
    params = {"a": Pair(jnp.ones((2, 2)), None), "b": [Pair(jnp.ones((2, 2)), jnp.ones(2))]}
    mask = kernels.mask(params)
    assert mask == {"a": Pair(True, None), "b": [Pair(True, False)]}


def test_shapes_stand_for_arrays():
    shapes = jax.eval_shape(lambda: PARAMS)
    for selector in NAMED:
        assert selector.mask(shapes) == selector.mask(PARAMS)


def test_moments_count_as_the_leaf_they_are_about():
    one = core.Estimate(jnp.ones((4, 4)), jnp.ones(()))
    nodes = jax.tree.map(lambda p: core.Moments(p, one, one), PARAMS)
    assert matrices.mask(nodes) == matrices.mask(PARAMS)


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("head/*", {"head/kernel", "head/bias"}),
        ("head", set()),
        ("*", set()),
        ("**", ALL),
        ("*/*", {"embed/embedding", "head/kernel", "head/bias"}),
        ("layers_?/**", {"layers_0/Dense_0/kernel", "layers_0/Dense_0/bias"}),
        ("layers_*/**", {p for p in ALL if p.startswith("layers")}),
        ("**/bias", {p for p in ALL if p.endswith("/bias")}),
        ("**/Dense_0/**", {"layers_0/Dense_0/kernel", "layers_0/Dense_0/bias"}),
        ("layers_[!0]*/**", {"layers_10/norm/scale", "layers_10/norm/bias"}),
        ("layers_[01]/**", {"layers_0/Dense_0/kernel", "layers_0/Dense_0/bias"}),
        ("Head/*", set()),
        ("head.kernel", set()),
        ("head?kernel", set()),
        ("head*kernel", set()),
        ("layers_0**", {"layers_0/Dense_0/kernel", "layers_0/Dense_0/bias"}),
    ],
)
def test_globs(glob, expected):
    assert chosen(path(glob)) == expected


def test_leading_stars_also_match_at_the_top():
    assert path("**/bias").paths({"bias": jnp.ones(2), "kernel": jnp.ones(2)}) == ("bias",)


def test_a_bare_array_is_everything_and_nothing_else():
    assert everything.mask(jnp.ones(3)) is True
    assert path("**").mask(jnp.ones(3)) is True
    with pytest.raises(ValueError, match="kernels selects none of the 1 parameters"):
        kernels.mask(jnp.ones(3))


@pytest.mark.parametrize("selector", [*NAMED, path("a/**"), kernels & biases])
def test_an_empty_tree_is_no_error(selector):
    assert selector.mask({}) == {}
    assert selector.mask({"a": None}) == {"a": None}


def test_selecting_nothing_names_the_nearest_paths():
    with pytest.raises(ValueError, match=r"selects none of the 7 .*'layers_0/Dense_0/kernel'"):
        path("layers_0/Dense/kernel").mask(PARAMS)
    with pytest.raises(ValueError, match=r"Did you mean path\('layers_0/\*\*'\)"):
        path("layers_0").mask(PARAMS)
    with pytest.raises(ValueError, match=r"kernels & biases selects none .*'embed/embedding'"):
        (kernels & biases).paths(PARAMS)


def test_parts_of_an_expression_may_be_empty():
    assert chosen(heads | path("nowhere/**")) == {"head/kernel", "head/bias"}
    assert not any(jax.tree.leaves(path("nowhere").mask(PARAMS, allow_empty=True)))


def test_what_is_masked_away_counts_as_found():
    group = jax.tree.map(lambda _: optax.MaskedNode(), PARAMS) | {"head": PARAMS["head"]}
    assert path("embed/*").paths(group) == ()
    assert jax.tree.leaves(path("embed/*").mask(group)) == [False, False]
    with pytest.raises(ValueError, match="selects none"):
        path("nowhere").mask(group)


def test_a_branch_masked_as_a_whole_may_hold_anything():
    assert norms.paths(PARAMS | {"layers_10": optax.MaskedNode()}) == ()


@pytest.mark.parametrize("bad", [3, None, b"a", ["a"]])
def test_a_glob_must_be_text(bad):
    with pytest.raises(TypeError, match="must be a string"):
        path(bad)


@pytest.mark.parametrize("bad", ["", "/a", "a/", "a//b"])
def test_a_glob_must_have_no_empty_part(bad):
    with pytest.raises(ValueError, match="empty part"):
        path(bad)


def test_an_impossible_range_is_refused_early():
    with pytest.raises(ValueError, match="cannot read the glob"):
        path("layer_[9-0]")


def test_python_words_for_logic_are_refused():
    with pytest.raises(TypeError, match=r"&, \| and ~"):
        _ = kernels and biases
    with pytest.raises(TypeError, match=r"&, \| and ~"):
        _ = not kernels


@pytest.mark.parametrize("other", ["biases", True, None, {"a": True}])
def test_selectors_combine_with_selectors_only(other):
    with pytest.raises(TypeError):
        kernels & other
    with pytest.raises(TypeError):
        other | kernels


def test_a_stored_selector_is_checked_like_one_made_by_hand():
    stored = {"type": "selectors.and", "left": {"type": "selectors.kernels"}, "right": 3}
    with pytest.raises(ValueError, match="right must be a selector"):
        core.from_dict(stored)
