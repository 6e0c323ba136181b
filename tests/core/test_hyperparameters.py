"""Hyperparameters by path: listed, replaced, and refused when the path is not clear."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest
from core_links import Line, Scale, decay, ema, scale
from hypothesis import given
from hypothesis import strategies as st

from optlab import core
from optlab.core import checks


class Steps(core.Record):
    """A schedule with a tuple of numbers and a tuple of schedules."""

    values: Any = core.data()
    parts: Any = core.data(default=())
    limit: Any = core.data(checks.optional(checks.positive), default=None)

    def __call__(self, count):
        return jnp.asarray(self.values)[jnp.minimum(count, len(self.values) - 1)]


links = st.one_of(
    st.builds(ema, st.floats(0, 0.9)),
    st.builds(scale, st.floats(-1, 1), st.booleans()),
    st.builds(lambda start, slope: decay(Line(start, slope)), st.floats(0, 1), st.floats(-1, 1)),
    st.builds(lambda *values: scale(Steps(values=values)), st.floats(0, 1), st.floats(0, 1)),
    st.just(optax.scale(2.0)),
)
chains = st.recursive(
    st.lists(links, max_size=4).map(lambda txs: core.chain(*txs)),
    lambda inner: st.lists(inner | links, max_size=3).map(lambda txs: core.chain(*txs)),
    max_leaves=5,
)


@given(chains)
def test_hyperparameters_are_the_leaves_in_order(tx):
    assert list(core.hyperparameters(tx).values()) == jax.tree.leaves(tx)


@given(chains, st.data())
def test_every_path_can_be_replaced_and_nothing_else_changes(tx, data):
    before = core.hyperparameters(tx)
    if not before:
        return
    path = data.draw(st.sampled_from(sorted(before)))
    changed = core.replace(tx, {path: 0.125})
    assert core.hyperparameters(changed) == before | {path: 0.125}
    assert core.hyperparameters(tx) == before
    assert jax.tree.structure(changed) == jax.tree.structure(tx)
    assert core.replace(changed, {path: before[path]}) == tx


@given(chains)
def test_replacing_by_the_same_values_changes_nothing(tx):
    assert core.replace(tx, core.hyperparameters(tx)) == tx


def test_the_end_of_a_path_is_enough_where_it_is_unique():
    def make(smooth=0.5, rate=0.1, start=1.0):
        return core.chain(ema(smooth), decay(rate), scale(Line(start, 0.5)))

    tx = make()
    assert core.replace(tx, {"rate": 0.2}) == make(rate=0.2)
    assert core.replace(tx, {"start": 3.0, "ema/decay": 0.25}) == make(smooth=0.25, start=3.0)
    assert core.replace(tx, {"factor/slope": 0.0}) == core.replace(tx, {"slope": 0.0})


def test_an_ambiguous_name_lists_the_candidates():
    tx = core.chain(scale(1.0), scale(2.0))
    with pytest.raises(KeyError, match=r"ambiguous: scale\[0\]/factor, scale\[1\]/factor\."):
        core.replace(tx, {"factor": 3.0})
    assert core.replace(tx, {"scale[1]/factor": 3.0}) == core.chain(scale(1.0), scale(3.0))


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(KeyError, match="no hyperparameter 'factr'; did you mean 'factor'"):
        core.replace(scale(1.0), {"factr": 2.0})
    with pytest.raises(KeyError, match="no hyperparameter 'actor'"):  # part of a name is no name
        core.replace(scale(1.0), {"actor": 2.0})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_new_value_is_checked(value):
    with pytest.raises(ValueError, match="scale: factor must be a number"):
        core.replace(core.chain(scale(1.0)), {"factor": value})
    with pytest.raises(TypeError, match="scale: factor must be a number"):
        core.replace(scale(1.0), {"factor": "big"})
    with pytest.raises(ValueError, match="line: start must be"):
        core.replace(scale(Line(1.0)), {"start": value})


def test_a_number_can_become_a_schedule_and_back():
    tx = core.chain(scale(1.0))
    scheduled = core.replace(tx, {"factor": Line(2.0)})
    assert scheduled == core.chain(scale(Line(2.0)))
    assert core.replace(scheduled, {"scale/factor": 1.0}) == tx
    assert core.replace(scheduled, {"factor": lambda count: 1.0}) != scheduled


def test_replacements_are_made_in_order():
    tx = core.replace(scale(1.0), {"factor": Line(2.0), "factor/start": 5.0})
    assert tx == scale(Line(5.0))
    with pytest.raises(KeyError, match="no hyperparameter 'start'"):
        core.replace(scale(Line(1.0)), {"factor": 1.0, "start": 2.0})


def test_flags_and_whole_links_can_be_replaced():
    tx = core.chain(ema(0.5), scale(1.0))
    assert core.replace(tx, {"flip": True}) == core.chain(ema(0.5), scale(1.0, flip=True))
    assert core.replace(tx, {"ema": decay(0.1)}) == core.chain(decay(0.1), scale(1.0))
    assert core.replace(tx, {"ema": core.chain()}) == core.chain(core.chain(), scale(1.0))
    assert core.hyperparameters(core.replace(tx, {"ema": optax.sgd(0.1)})) == {"scale/factor": 1.0}
    with pytest.raises(TypeError, match="expected a gradient transformation"):
        core.replace(tx, {"ema": 0.5})
    with pytest.raises(TypeError, match="flip must be True or False"):
        core.replace(tx, {"flip": 1})


def test_named_chains_keep_their_names():
    tx = core.replace(core.named_chain(a=ema(0.5), b=scale(1.0)), {"a/decay": 0.25})
    assert tx == core.named_chain(a=ema(0.25), b=scale(1.0))


def test_parts_of_tuples_have_paths():
    tx = scale(Steps(values=(1.0, 2.0), parts=(Line(3.0), Line(4.0, 0.5))))
    assert core.hyperparameters(tx) == {
        "factor/values/0": 1.0,
        "factor/values/1": 2.0,
        "factor/parts/0/start": 3.0,
        "factor/parts/0/slope": 0.0,
        "factor/parts/1/start": 4.0,
        "factor/parts/1/slope": 0.5,
    }
    changed = core.replace(tx, {"values/1": 9.0, "parts/0/start": 8.0, "parts/1": Line(7.0)})
    assert changed == scale(Steps(values=(1.0, 9.0), parts=(Line(8.0), Line(7.0))))
    assert core.replace(tx, {"values": (5.0,)}).link.factor.values == (5.0,)


def test_absent_values_are_not_listed_but_can_be_given():
    schedule = Steps(values=(1.0,))
    assert "limit" not in core.hyperparameters(schedule)
    assert core.replace(schedule, {"limit": 2.0}) == Steps(values=(1.0,), limit=2.0)


def test_what_is_inside_a_static_part_is_not_listed():
    class Fixed(core.Record):
        inner: Any = core.static()

    fixed = Fixed(inner=Line(1.0))
    assert core.hyperparameters(fixed) == {}
    assert core.replace(fixed, {"inner/start": 2.0}) == Fixed(inner=Line(2.0))


def test_schedules_can_be_looked_at_on_their_own():
    assert core.hyperparameters(Line(1.0, 2.0)) == {"start": 1.0, "slope": 2.0}
    assert core.replace(Line(1.0), {"slope": 3.0}) == Line(1.0, 3.0)
    assert isinstance(core.replace(scale(1.0), {"factor": 2.0}), core.Transformation)
    assert core.replace(Scale(factor=1.0), {"factor": 2.0}) == Scale(factor=2.0)


def test_it_works_on_traced_values():
    out = jax.jit(lambda x: core.hyperparameters(core.replace(scale(1.0), {"factor": x})))(2.0)
    assert out == {"factor": 2.0}


@pytest.mark.parametrize("value", [optax.adam(0.1), {"factor": 1.0}, None, 1.0])
def test_only_optlab_objects_have_visible_hyperparameters(value):
    for function in (core.hyperparameters, lambda tx: core.replace(tx, {})):
        with pytest.raises(TypeError, match="expected an optlab Transformation or schedule"):
            function(value)
