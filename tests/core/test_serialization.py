"""Records as JSON-ready dicts, and what happens when somebody edits them."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from core_links import Line, decay, ema, scale
from hypothesis import given
from hypothesis import strategies as st

from optlab import core


class Bag(core.Record):
    content: Any = core.data(default=None)
    axes: tuple[int, ...] = core.static(default=())


def through_json(record):
    return core.from_dict(json.loads(json.dumps(core.to_dict(record))))


numbers = st.floats(-1, 1) | st.builds(Line, st.floats(-1, 1), st.floats(-1, 1))
links = st.one_of(
    st.builds(scale, numbers, st.booleans()),
    st.builds(ema, st.floats(0, 0.99)),
    st.builds(decay, st.floats(0, 9)),
)
txs = st.one_of(
    links,
    st.lists(links, max_size=3).map(lambda parts: core.chain(*parts)),
    st.dictionaries(st.sampled_from("abc"), links, max_size=3).map(lambda d: core.named_chain(**d)),
)


@given(txs)
def test_a_trip_through_json_gives_an_equal_object(tx):
    back = through_json(tx)
    assert back == tx
    assert hash(back) == hash(tx)
    assert repr(back) == repr(tx)
    assert jax.tree.structure(back) == jax.tree.structure(tx)


def test_the_form_is_readable():
    assert core.to_dict(core.chain(ema(0.5))) == {
        "type": "core.chain",
        "links": [{"type": "core_links.ema", "decay": 0.5}],
        "names": None,
    }


def test_a_schedule_comes_back_as_a_schedule_and_a_link_as_a_transformation():
    assert through_json(Line(1.0)) == Line(1.0)
    assert isinstance(through_json(scale(1.0)), core.Transformation)


@pytest.mark.parametrize(
    "content",
    [
        jnp.array([0.1, 0.2]),
        jnp.zeros((2, 0, 3)),
        jnp.array([1.5, -2], jnp.bfloat16),
        jnp.arange(6).reshape(2, 3),
        np.array([0.1], np.float64),
        jnp.float32(0.1),
        jnp.array([1e-38, jnp.inf, -jnp.inf]),
        (1, 2.5, None, "text", True, (3,)),
        float("inf"),
    ],
    ids=str,
)
def test_arrays_and_tuples_come_back_equal(content):
    bag = Bag(content, axes=(0, -1))
    back = through_json(bag)
    assert back == bag
    assert jax.tree.map(jnp.shape, back) == jax.tree.map(jnp.shape, bag)


def test_float64_arrays_come_back_exact_under_x64():
    with jax.enable_x64(True):
        bag = Bag(jnp.array([0.1], jnp.float64))
        assert through_json(bag) == bag


def test_numpy_scalars_become_python_numbers():
    assert core.to_dict(Bag(np.float32(0.5)))["content"] == 0.5


@pytest.mark.parametrize(
    ("record", "path"),
    [
        (core.chain(ema(0.5), scale(lambda count: 1.0)), r"chain/links\[1\]/factor"),
        (core.chain(optax.scale(1.0)), r"chain/links\[0\]"),
        (Bag((1, optax.sgd(0.1))), r"bag/content\[1\]"),
        (Bag(np.sin), "bag/content"),
    ],
)
def test_functions_are_refused_by_path(record, path):
    with pytest.raises(TypeError, match=f"^{path}"):
        core.to_dict(record)


def test_traced_values_are_refused():
    with pytest.raises(TypeError, match="scale/factor: a traced value cannot be stored"):
        jax.jit(lambda x: core.to_dict(scale(x)))(1.0)


def test_what_cannot_be_written_is_refused_by_path():
    with pytest.raises(TypeError, match=r"^bag/content: cannot store .* of type object"):
        core.to_dict(Bag(object()))
    with pytest.raises(TypeError, match=r"^bag/content: cannot store [\s\S]* of type PRNGKeyArray"):
        core.to_dict(Bag(jax.random.key(0)))
    for value in (optax.adam(0.1), {"type": "x"}, 3):
        with pytest.raises(TypeError, match="expected an optlab record"):
            core.to_dict(value)


@pytest.mark.parametrize("value", [None, 3, "chain", [{"type": "core.chain"}]])
def test_only_a_dict_describes_an_object(value):
    with pytest.raises(TypeError, match="expected a dict of to_dict"):
        core.from_dict(value)


SCALE = {"type": "core_links.scale", "factor": 1.0, "flip": False}
ARRAY = {"array": [1.0, 2.0], "shape": [2], "dtype": "float32"}


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({}, "unknown type None"),
        ({"type": "core_links.scal"}, "did you mean 'core_links.scale'"),
        ({"type": ["core_links.scale"]}, "unknown type"),
        ({"type": "core.link"}, "unknown type 'core.link'"),
        ({"type": "core.plain_function", "function": "os.system"}, "unknown type"),
        ({"type": "core.foreign", "tx": None}, "unknown type"),
        ({"type": "builtins.eval"}, "unknown type"),
        (SCALE | {"factro": 1.0}, "has no field 'factro'; did you mean 'factor'"),
        ({"type": "core_links.scale"}, "cannot build core_links.scale .*factor"),
        (SCALE | {"factor": "1.0"}, "cannot build core_links.scale .*must be a number"),
        (SCALE | {"factor": [1.0]}, "cannot build core_links.scale"),
        (SCALE | {"flip": 1}, "cannot build core_links.scale .*flip must be True or False"),
        (SCALE | {"factor": {"type": "nonsense"}}, "unknown type 'nonsense'"),
        ({"type": "core_links.ema", "decay": 1.5}, "ema: decay must be"),
        ({"type": "core.chain", "links": [1]}, "cannot build core.chain .*must be Links"),
        ({"type": "core.chain", "links": 1}, "cannot build core.chain"),
        ({"type": "core.chain", "links": [SCALE], "names": ["a", "b"]}, "need as many names"),
        ({"type": "core.chain", "links": [SCALE], "names": ["a/b"]}, "contain '/'"),
        ({"type": "core_links.ema", "decay": {"array": [0.5]}}, "stored as array, shape and dtype"),
        (SCALE | {"factor": ARRAY | {"dtype": "float33"}}, "stored as array, shape and dtype"),
        (SCALE | {"factor": ARRAY | {"dtype": None}}, "stored as array, shape and dtype"),
        (SCALE | {"factor": ARRAY | {"shape": [3]}}, "stored as array, shape and dtype"),
        (SCALE | {"factor": ARRAY | {"array": [[1], [2, 3]]}}, "stored as array, shape and dtype"),
        (SCALE | {"factor": ARRAY | {"array": ["a", "b"]}}, "stored as array, shape and dtype"),
        (SCALE | {"factor": ARRAY | {"array": [1.0, float("nan")]}}, "factor must be a number"),
    ],
)
def test_a_tampered_description_is_a_value_error(description, message):
    with pytest.raises(ValueError, match=message):
        core.from_dict(description)


def test_missing_static_fields_take_their_default():
    assert core.from_dict({"type": "core_links.scale", "factor": 2.0}) == scale(2.0)


def test_the_description_is_not_changed():
    description = core.to_dict(core.chain(scale(Line(1.0))))
    before = json.dumps(description)
    core.from_dict(description)
    assert json.dumps(description) == before
