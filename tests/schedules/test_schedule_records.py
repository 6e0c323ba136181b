"""Schedules as records: printed, compared, pickled, stored as JSON, listed and changed."""

import json
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import schedule_cases as cases

from optlab import core, schedules

EVERY = [
    *(cases.build(case) for case in cases.CASES),
    *(s for s, _ in cases.composites().values()),
]
every = pytest.mark.parametrize("schedule", EVERY, ids=lambda s: s.record_name)


@every
def test_a_schedule_survives_pickle_json_and_its_own_repr(schedule):
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    stored = json.loads(json.dumps(core.to_dict(schedule)))
    assert stored["type"] == f"schedules.{schedule.record_name}"
    assert core.from_dict(stored) == schedule
    assert eval(repr(schedule), vars(schedules)) == schedule
    assert hash(core.from_dict(stored)) == hash(schedule)


def test_schedules_print_like_the_call_that_made_them():
    assert repr(schedules.warmup_cosine(1, 100, 10)) == (
        "warmup_cosine(peak_value=1.0, steps=100, warmup_steps=10)"
    )
    assert repr(schedules.piecewise(1, {20: 0.1, 10: 0.5})) == (
        "piecewise(init_value=1.0, factors={10: 0.5, 20: 0.1})"
    )
    joined = schedules.join(
        [schedules.constant(1), schedules.scale(schedules.step(1, 0.5, 9), 2)], [5]
    )
    assert repr(joined) == (
        "join(schedules=(constant(value=1.0), scale(schedule=step(init_value=1.0, factor=0.5, "
        "every=9), factor=2.0)), boundaries=(5,))"
    )


def test_schedules_differ_if_any_field_or_kind_does():
    assert schedules.linear(0, 1, 10) == schedules.linear(0.0, 1.0, steps=10)
    assert schedules.linear(0, 1, 10) != schedules.linear(0, 1, 11)
    assert schedules.step(1, 0.5, 10) != schedules.exponential(1, 0.5, 10)
    assert schedules.wsd(1, 9, 1, 1) != schedules.wsd(1, 9, 1, 1, shape="cosine")
    assert len({schedules.constant(1), schedules.constant(1.0), schedules.constant(2)}) == 2


def test_fields_cannot_be_assigned():
    with pytest.raises(AttributeError):
        schedules.constant(1.0).value = 2.0


def test_numpy_numbers_become_python_numbers():
    schedule = schedules.linear(np.float64(0.1), np.float32(0.5), np.int64(10))
    assert [type(leaf) for leaf in jax.tree.leaves(schedule)] == [float, float, int]
    factors = schedules.piecewise(1.0, {np.int32(5): np.float64(0.5)})
    assert (factors.boundaries, factors.factors) == ((5,), (0.5,))
    assert type(factors.boundaries[0]) is int


def test_every_number_of_a_schedule_is_listed_by_path():
    joined = schedules.join([schedules.constant(1), schedules.cosine(1, 10)], [5])
    assert core.hyperparameters(joined) == {
        "schedules/0/value": 1.0,
        "schedules/1/init_value": 1.0,
        "schedules/1/steps": 10,
        "schedules/1/end_value": 0.0,
        "boundaries/0": 5,
    }
    assert core.hyperparameters(schedules.piecewise(1, {5: 0.5})) == {
        "init_value": 1.0,
        "factors/0": 0.5,
        "boundaries/0": 5,
    }


def test_numbers_are_replaced_by_path_and_checked_again():
    joined = schedules.join([schedules.constant(1), schedules.cosine(1, 10)], [5])
    changed = core.replace(joined, {"schedules/1/steps": 20, "boundaries/0": 7})
    assert changed == schedules.join([schedules.constant(1), schedules.cosine(1, 20)], [7])
    factors = schedules.piecewise(1, {5: 0.5, 9: 0.1})
    assert core.replace(factors, {"factors/1": 0.2}) == schedules.piecewise(1, {5: 0.5, 9: 0.2})
    with pytest.raises(ValueError, match="boundaries must increase"):
        core.replace(factors, {"boundaries/0": 10})


def test_a_plain_function_is_carried_but_cannot_be_stored():
    optax_schedule = optax.linear_schedule(1.0, 0.0, 10)
    joined = schedules.join([schedules.constant(1.0), optax_schedule], [5])
    assert joined(10) == 0.5
    with pytest.raises(TypeError, match=r"join/schedules\[1\].*cannot be stored"):
        core.to_dict(joined)


def test_a_plain_function_may_use_python_control_flow_outside_of_jit():
    scaled = schedules.scale(lambda count: 1.0 if count < 5 else 0.1, 2.0)
    assert (scaled(4), scaled(5)) == (2.0, np.float32(0.2))


def test_a_plain_function_never_sees_a_negative_count():
    assert schedules.shift(lambda count: count, -5)(2) == 0.0
    joined = schedules.join([schedules.constant(0.0), lambda count: 1 / (count + 1)], [5])
    assert joined(4) == 0.0
    assert joined(6) == 0.5


def test_a_subclass_of_ones_own_is_a_schedule_like_the_others():
    class sawtooth(schedules.Schedule):
        period: int = core.data()

        def evaluate(self, count):
            return (count % self.period).astype(jnp.float32)

        def turns(self, first, last):
            return [self.period - 1]

    schedule = schedules.scale(sawtooth(5), 0.5)
    assert [float(schedule(c)) for c in (0, 4, 5, 7)] == [0.0, 2.0, 0.0, 1.0]
    assert schedule.peak() == 2.0
