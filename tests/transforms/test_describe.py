"""The table: right numbers, aligned, without allocating anything."""

import re

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx
from flax.core import FrozenDict

from optlab.core import Link, Transformation, as_link, chain, data, named_chain
from optlab.selectors import embeddings, everything, kernels, matrices, norms, path
from optlab.transforms import (
    accumulate_moments,
    accumulate_momentum,
    add_decayed_weights,
    clip_by_global_norm,
    correct_bias,
    divide_by_rms,
    scale,
    scale_by_learning_rate,
)
from optlab.transforms._describe import describe
from optlab.transforms._freeze import freeze
from optlab.transforms._route import route


def shape(*sizes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(sizes, dtype)


PARAMS = {
    "Dense_0": {"bias": shape(3), "kernel": shape(2, 3)},
    "norm": {"scale": shape(3, dtype=jnp.bfloat16)},
}


def block(width, heads):
    dense = lambda *kernel: {"kernel": shape(*kernel), "bias": shape(kernel[-1])}  # noqa: E731
    head = lambda: {  # noqa: E731
        "kernel": shape(width, heads, width // heads),
        "bias": shape(heads, width // heads),
    }
    return {
        "MultiHeadDotProductAttention_0": {
            **{name: head() for name in ("query", "key", "value")},
            "out": {"kernel": shape(heads, width // heads, width), "bias": shape(width)},
        },
        "LayerNorm_0": {"scale": shape(width), "bias": shape(width)},
        "Dense_0": dense(width, 4 * width),
        "Dense_1": dense(4 * width, width),
    }


TRANSFORMER = {
    "token_embed": {"embedding": shape(50_257, 768)},
    **{f"encoder_layers_{i}": block(768, 12) for i in range(2)},
    "lm_head": {"kernel": shape(768, 50_257)},
}


def table(text):
    """The cells of each line by path, the legend, and the totals."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("links:"))
    cells = {line[0]: line[1:] for line in (re.split(r"  +", x) for x in lines[2:start])}
    return cells, " ".join(lines[start:-1]), lines[-1]


def test_lists_every_parameter_with_its_group_links_and_state():
    tx = chain(
        clip_by_global_norm(1.0),
        route(
            {
                kernels: chain(accumulate_momentum(0.9), scale_by_learning_rate(0.1)),
                norms: freeze(),
            },
            default=scale(-0.1),
        ),
    )
    cells, legend, totals = table(describe(tx, PARAMS))
    assert cells == {
        "Dense_0/bias": ["3", "float32", "default", "1,5", "0"],
        "Dense_0/kernel": ["2x3", "float32", "kernels", "1-3", "24"],
        "norm/scale": ["3", "bfloat16", "norms", "1,4", "0"],
        "(shared)": cells["(shared)"],
    }
    names = ["clip_by_global_norm", "route/kernels/accumulate_momentum"]
    names += ["route/kernels/scale_by_learning_rate", "route/norms/freeze", "route/default/scale"]
    listed = ", ".join(f"{i} {name}" for i, name in enumerate(names, start=1))
    assert re.sub(r"\s+", " ", legend) == f"links: {listed}"
    state = 24 + int(cells["(shared)"][-1])
    assert totals == (
        f"12 parameters in 3 arrays, 42 bytes; state {state} bytes, {state / 12:.2f} a parameter"
    )


@pytest.mark.parametrize(
    "tx",
    [
        optax.adamw(1e-3),
        optax.contrib.prodigy(),
        optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1, momentum=0.9)),
        optax.masked(optax.adam(1e-3), lambda p: jax.tree.map(lambda x: len(x.shape) > 1, p)),
        optax.partition({"a": optax.adam(1e-3), "b": optax.set_to_zero()}, lambda p: "a"),
        chain(accumulate_moments(), correct_bias(), divide_by_rms(), optax.scale(-0.1)),
        named_chain(first=accumulate_moments(), second=divide_by_rms()),
        route({kernels: optax.adam(0.1)}, default=freeze()),
    ],
    ids=range(8),
)
def test_the_total_is_the_size_of_the_real_state(tx):
    params = jax.tree.map(lambda s: jnp.ones(s.shape, s.dtype), PARAMS)
    with jax.numpy_dtype_promotion("standard"):
        real = sum(leaf.nbytes for leaf in jax.tree.leaves(tx.init(params)))
    text = describe(tx, PARAMS)
    cells, _, totals = table(text)
    assert f"; state {real:,} byte" in totals
    assert sum(int(cell[-1].replace(",", "")) for cell in cells.values()) == real
    assert text == describe(tx, params)


def test_the_state_of_each_parameter_is_its_own():
    cells, _, _ = table(describe(optax.adam(0.1), PARAMS))
    assert {name: cell[-1] for name, cell in cells.items()} == {
        "Dense_0/bias": "24",
        "Dense_0/kernel": "48",
        "norm/scale": "12",  # bfloat16, as Optax keeps them
        "(shared)": "4",
    }
    cells, _, _ = table(describe(chain(optax.adam(0.1)), PARAMS))
    assert cells["norm/scale"][-1] == "24"  # float32 within an optlab chain


def test_a_path_within_another_does_not_take_its_state():
    params = {"b": shape(5), "a": {"b": shape(7)}, "mu": shape(11)}
    cells, _, _ = table(describe(optax.adam(0.1), params))
    assert [cells[name][-1] for name in ("b", "a/b", "mu")] == ["40", "56", "88"]


def test_links_with_where_touch_what_it_selects():
    tx = chain(add_decayed_weights(0.1, where=kernels), scale_by_learning_rate(0.1))
    cells, _, _ = table(describe(tx, PARAMS))
    assert [cells[name][-2] for name in ("Dense_0/bias", "Dense_0/kernel")] == ["2", "1-2"]
    with pytest.raises(ValueError, match="selects none"):
        describe(add_decayed_weights(0.1, where=path("nowhere")), PARAMS)


def test_nested_routes_name_every_group():
    inner = route({path("Dense_0/kernel"): scale(1.0)}, default=freeze())
    cells, legend, _ = table(describe(route({norms: scale(1.0)}, default=inner), PARAMS))
    assert cells["Dense_0/kernel"][2] == "default/…Dense_0.kernel)"
    assert cells["Dense_0/bias"][2] == "default/default"
    assert "2 default/path(Dense_0.kernel)/scale" in legend


def test_a_transformer_is_readable_at_100_columns():
    adam = chain(accumulate_moments(), correct_bias(), divide_by_rms(), scale(-1e-3))
    tx = route({matrices: accumulate_momentum(0.9), embeddings: adam}, default=optax.adamw(1e-3))
    text = describe(tx, TRANSFORMER)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    head = lines[0]
    for title in ("shape", "dtype", "group", "links"):
        column = head.index(title)
        assert all(
            line[column - 1] == " " and line[column] != " "
            for line in lines[2:]
            if line.startswith(("token", "encoder", "lm"))
        )
    rows = [line for line in lines if line.startswith(("token", "encoder", "lm"))]
    assert len(rows) == len(jax.tree.leaves(TRANSFORMER))
    assert len({len(line) for line in rows}) == 1
    shared = int(table(text)[0]["(shared)"][-1])
    assert shared < 20
    assert lines[-1] == (  # one float32 for each entry of a matrix, two for the others
        "91,367,424 parameters in 30 arrays, 365,469,696 bytes; "
        f"state {56_623_104 + 617_693_184 + shared:,} bytes, 7.38 a parameter"
    )


def test_long_paths_are_cut_in_the_middle():
    params = {"a" * 60: {"b" * 60: {"kernel": shape(2, 3)}}}
    lines = describe(route({kernels: optax.adam(0.1)}), params).splitlines()
    assert len(lines[2]) <= 100
    assert lines[2].startswith("aaa")
    assert "…" in lines[2].split()[0]
    assert lines[2].split()[0].endswith("b/kernel")


def test_numbers_of_links_are_joined_to_ranges():
    tx = chain(*[scale(1.0)] * 3, add_decayed_weights(0.1, where=kernels), scale(1.0))
    cells, legend, _ = table(describe(tx, PARAMS))
    assert cells["Dense_0/kernel"][-2] == "1-5"
    assert cells["Dense_0/bias"][-2] == "1-3,5"
    assert "3 scale[2]" in legend


ONE = "1 parameter in 1 array, 4 bytes; state 4 bytes, 4.00 a parameter"


@pytest.mark.parametrize(
    ("params", "first", "totals"),
    [
        ({}, None, "0 parameters in 0 arrays, 0 bytes; state 0 bytes"),
        (
            shape(),
            "(bare array)",
            "1 parameter in 1 array, 4 bytes; state 4 bytes, 4.00 a parameter",
        ),
        ({"a": 1.5}, "a", "1 parameter in 1 array, 4 bytes; state 4 bytes, 4.00 a parameter"),
        ({"a": None}, None, "0 parameters in 0 arrays, 0 bytes; state 0 bytes"),
        ({"a": shape(0, 3)}, "a", "0 parameters in 1 array, 0 bytes; state 0 bytes"),
    ],
)
def test_unusual_trees(params, first, totals):
    lines = describe(optax.trace(0.9), params).splitlines()
    assert lines[-1] == totals
    assert first is None or lines[2].startswith(first)
    assert ("  scalar  " in lines[2]) == (totals == ONE)


def test_nothing_is_allocated():
    text = describe(chain(optax.adam(0.1)), {"kernel": shape(1 << 24, 1 << 24)})
    assert text.endswith("state 2,251,799,813,685,252 bytes, 8.00 a parameter")


class _Around(Link, name="around_for_describe_tests"):
    inner: Link = data()

    def init(self, params):
        return self.inner.start(params)


def test_what_a_wrapper_holds_is_listed_behind_it():
    inner = chain(scale(1.0), add_decayed_weights(0.1, where=kernels))
    tx = chain(scale(2.0), Transformation(_Around(inner=as_link(inner))))
    cells, legend, _ = table(describe(tx, PARAMS))
    name = "around_for_describe_tests"
    assert f"2 {name}, 3 {name}/inner/scale, " in legend
    assert cells["Dense_0/bias"][-2] == "1-3"
    assert cells["Dense_0/kernel"][-2] == "1-4"


def test_parameter_nodes_and_frozen_dicts():
    boxed = nnx.state(nnx.eval_shape(lambda: nnx.Linear(2, 3, rngs=nnx.Rngs(0))), nnx.Param)
    for params in (boxed, FrozenDict({"kernel": shape(2, 3), "bias": shape(3)})):
        cells, _, _ = table(describe(chain(optax.trace(0.9)), params))
        assert {name: cell[-1] for name, cell in cells.items()} == {"bias": "12", "kernel": "24"}


def test_random_keys_in_a_state_are_counted():
    cells, _, _ = table(describe(optax.add_noise(0.1, 0.5, jax.random.key(0)), PARAMS))
    assert int(cells["(shared)"][-1]) == 4 + 8


def test_uncovered_parameters_and_other_things_are_errors():
    with pytest.raises(ValueError, match="no group has"):
        describe(route({kernels: scale(1.0)}), PARAMS)
    with pytest.raises(TypeError, match="expected a gradient transformation"):
        describe(0.1, PARAMS)
    assert "1 everything/scale" in describe(route({everything: scale(1.0)}), PARAMS)
