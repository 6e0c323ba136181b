"""Records: what is checked when, what is equal to what, and what JAX may do with them."""

import copy
import dataclasses
import pickle
import unittest.mock
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_links import Line, Scale, count_traces
from hypothesis import given
from hypothesis import strategies as st

from optlab import core
from optlab.core import checks


class Point(core.Record):
    """A record with a number, an optional part and a flag."""

    x: Any = core.data(checks.finite)
    part: Any = core.data(default=None)
    label: str = core.static(default="p")


class Ordered(core.Record):
    low: Any = core.data(checks.finite)
    high: Any = core.data(checks.finite)

    def check(self):
        if checks.is_concrete(self.low, self.high) and self.low > self.high:
            raise ValueError(f"ordered: low must not exceed high, got {self.low} and {self.high}")


class Labelled(Point):
    """A record on top of a record."""

    extra: Any = core.data(checks.positive, default=1.0)


finite_floats = st.floats(allow_nan=False, allow_infinity=False)
points = st.builds(
    Point,
    x=finite_floats,
    part=st.none() | finite_floats | st.builds(Line, start=finite_floats),
    label=st.sampled_from(["p", "q"]),
)


def test_checks_run_when_a_record_is_built():
    with pytest.raises(ValueError, match="point: x must be a number \\(finite\\), got nan"):
        Point(float("nan"))
    with pytest.raises(ValueError, match="low must not exceed high, got 2"):
        Ordered(low=2, high=1)


def test_checks_do_not_run_when_jax_rebuilds_a_record():
    placeholder = object()
    rebuilt = jax.tree.map(lambda _: placeholder, Ordered(low=1.0, high=2.0))
    assert rebuilt.low is placeholder
    assert rebuilt.high is placeholder
    swapped = jax.tree.map(lambda x: -x, Ordered(low=1.0, high=2.0))
    assert (swapped.low, swapped.high) == (-1.0, -2.0)
    assert jax.tree.map(lambda _: None, Point(1.0)).x is None


def test_tracers_pass_checks_and_cross_checks():
    assert jax.jit(lambda low: Ordered(low=low, high=1.0).low)(5.0) == 5.0


def test_gradient_with_respect_to_a_record_is_a_record():
    slope = jax.grad(lambda point: point.x**2 * point.part.start)(Point(3.0, Line(2.0)))
    assert slope == Point(jnp.float32(12.0), Line(jnp.float32(9.0), jnp.float32(0.0)))


def test_vmap_over_a_record_maps_its_data():
    out = jax.vmap(lambda point: Point(point.x + 1, label=point.label))(Point(jnp.arange(3.0)))
    assert out == Point(jnp.arange(1.0, 4.0))


@given(points)
def test_flatten_and_unflatten_give_an_equal_record(point):
    leaves, structure = jax.tree.flatten(point)
    assert jax.tree.unflatten(structure, leaves) == point


@given(points, points)
def test_equal_records_hash_alike(a, b):
    assert (a == b) == (b == a)
    assert a.__ne__(b) is not a.__eq__(b)
    assert a != b or hash(a) == hash(b)


@given(points)
def test_copies_are_equal_and_hash_alike(point):
    for other in (copy.copy(point), copy.deepcopy(point), pickle.loads(pickle.dumps(point))):
        assert other is not point
        assert other == point
        assert hash(other) == hash(point)


def test_arrays_are_compared_by_dtype_shape_and_content():
    one = Point(jnp.array([1.0, 2.0]))
    assert one == Point(np.array([1.0, 2.0], np.float32))
    assert hash(one) == hash(Point(np.array([1.0, 2.0], np.float32)))
    assert one != Point(jnp.array([1.0, 3.0]))
    assert one != Point(jnp.array([[1.0, 2.0]]))
    assert Point(jnp.zeros(2)) != Point(jnp.zeros(2, jnp.int32))  # the same bytes
    assert one != Point(jnp.array([1.0, 2.0], jnp.bfloat16))


def test_random_keys_compare_hash_and_print():
    a, b = (Point(0.0, part=jax.random.key(seed)) for seed in (0, 1))
    assert a != b
    assert a == Point(0.0, part=jax.random.key(0))
    assert hash(a) == hash(Point(0.0, part=jax.random.key(0)))
    assert "key<fry>" in repr(a)


def test_records_of_other_types_or_flags_differ():
    assert Point(1.0) != Labelled(1.0)
    assert Point(1.0) != Point(1.0, label="q")
    assert Point(1.0) != 1.0
    assert Point(1.0) == unittest.mock.ANY  # the other side is asked too
    assert Point(1.0) != Point(1.0, part=1.0)


def test_tracers_equal_themselves_and_nothing_else():
    seen = {}

    @jax.jit
    def look(x, y):
        seen["same"] = Point(x) == Point(x) and hash(Point(x)) == hash(Point(x))
        seen["other"] = Point(x) == Point(y) or Point(x) == Point(1.0)
        return x

    look(1.0, 1.0)
    assert seen == {"same": True, "other": False}


def test_repr_reads_like_the_call():
    assert repr(Point(1.0)) == "point(x=1.0)"
    assert repr(Point(1.0, Line(2.0, 0.5), label="q")) == (
        "point(x=1.0, part=line(start=2.0, slope=0.5), label='q')"
    )
    assert repr(Point(jnp.array([1.0, 2.0]))) == "point(x=array([1., 2.], float32))"
    assert repr(Point(0.0, part=(Line(1.0, 0.5), np.mean))) == (
        "point(x=0.0, part=(line(start=1.0, slope=0.5), mean))"
    )
    assert repr(Point(0.0, part=(1.0,))) == "point(x=0.0, part=(1.0,))"
    assert len(repr(Point(jnp.arange(10_000.0)))) < 200


def test_repr_of_a_traced_record_shows_its_type():
    shown = []
    jax.jit(lambda x: shown.append(repr(Point(x))) or x)(1.0)
    assert shown == ["point(x=traced float32[])"]


@given(points)
def test_equal_records_print_alike(point):
    assert repr(pickle.loads(pickle.dumps(point))) == repr(point)


def test_repr_evaluates_to_an_equal_record():
    point = Point(0.1, part=2.5, label="q")
    assert eval(repr(point), {"point": Point}) == point


@pytest.mark.parametrize("value", [np.float64(0.5), np.float32(0.5), 0.5])
def test_numpy_scalars_become_python_floats(value):
    assert type(Point(value).x) is float  # a NumPy float64 would be strongly typed under jit


@pytest.mark.parametrize("value", [3, np.int32(3), np.int64(3)])
def test_integers_given_for_real_numbers_become_floats(value):
    assert type(Point(value).x) is float
    assert jax.grad(lambda p: p.x * 2.0)(Point(value)).x == 2.0


@pytest.mark.parametrize("value", [jnp.float32(2), np.array(2.0), jnp.bfloat16(2), jnp.int32(2)])
def test_scalar_arrays_are_kept_as_they_are(value):
    assert Point(value).x is value


@pytest.mark.parametrize(
    "value", [True, np.True_, "1", None, 1j, [1.0], jnp.array(True), np.array(["a"]), object()]
)
def test_what_is_no_number_is_a_type_error(value):
    with pytest.raises(TypeError, match="point: x must be a number") as error:
        Point(value)
    if not isinstance(value, jax.Array | np.ndarray):
        assert f"of type {type(value).__name__}." in str(error.value)


def test_a_record_cannot_be_changed_or_shortened():
    point = Point(1.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        point.x = 2.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        del point.x


def test_static_fields_must_be_hashable():
    for value in ([1, 2], {"a": 1}, np.zeros(2)):
        with pytest.raises(TypeError, match=r"point: label .* must be hashable"):
            Point(1.0, label=value)


def test_a_new_static_value_means_a_new_trace_and_a_new_number_does_not():
    double, traces = count_traces(lambda point: point.x * 2)
    for x in (1.0, 2.0, 3.0):
        assert double(Point(x)) == 2 * x
    assert len(traces) == 1
    double(Point(1.0, label="q"))
    assert len(traces) == 2
    double(Point(9.0, label="q"))
    assert len(traces) == 2


def test_with_values_copies_without_checking():
    point = Point(1.0, label="q")
    assert point.with_values(x="anything").x == "anything"
    assert point.with_values(x=2.0).label == "q"
    assert point.x == 1.0
    with pytest.raises(TypeError, match="point has no field 'z'"):
        point.with_values(z=1)


def test_with_child_copies_with_checking():
    with pytest.raises(ValueError, match="finite"):
        Point(1.0).with_child("x", float("inf"))


def test_fields_of_a_base_record_come_first():
    assert [f.name for f in dataclasses.fields(Labelled)] == ["x", "part", "label", "extra"]
    assert jax.tree.leaves(Labelled(1.0, part=2.0, extra=3.0)) == [1.0, 2.0, 3.0]


def test_leaves_are_named_by_field():
    paths = [
        jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(Point(1.0, Line(2.0)))
    ]
    assert paths == [".x", ".part.start", ".part.slope"]


def test_a_field_must_say_whether_it_is_data():
    with pytest.raises(TypeError, match=r"Vague\.x must be declared as data\(...\) or static"):

        class Vague(core.Record):
            x: float = 1.0


def test_names_come_from_the_class_or_a_keyword():
    class RMSNorm2D(core.Record, name="rms"):
        pass

    class DivideByRms(core.Record):
        pass

    assert (RMSNorm2D.record_name, DivideByRms.record_name) == ("rms", "divide_by_rms")
    assert repr(RMSNorm2D()) == "rms()"


def define(name, /, **keywords):
    """A class statement at the top level of this module."""
    place = {"__module__": __name__, "__qualname__": name}
    return type(name, (core.Record,), place, **keywords)


def test_two_records_cannot_share_a_stored_name():
    with pytest.raises(ValueError, match=r"would be stored as '.*\.point'.*Give it a name"):
        define("Other", name="point")
    assert core.registry[f"{__name__}.point"] is Point


def test_a_record_defined_again_replaces_the_old_one():
    for _ in range(2):
        again = define("Again")
    assert core.registry[f"{__name__}.again"] is again


def test_a_record_can_be_a_static_part_of_another():
    class Holder(core.Record):
        inner: Any = core.static()

    assert Holder(Scale(factor=1.0)) == Holder(Scale(factor=1.0))
    assert hash(Holder(Point(jnp.ones(2)))) == hash(Holder(Point(jnp.ones(2))))
    assert jax.tree.leaves(Holder(Point(1.0))) == []
