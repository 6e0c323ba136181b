"""Bad hyperparameters: each is refused where it is written, by a message that says what to do."""

import dataclasses
import inspect
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transform_cases import CASES, once, tree

from optlab import core
from optlab import transforms as t

BELOW_ZERO, AT_ZERO, DECAYS = (-1e-3, -1), (0.0, -1.0), (-0.1, 1.0, 1.5)
OUT_OF_RANGE = {  # the allowed range as the message gives it, and values outside of it
    "clip_by_value": {"max_value": ("> 0", AT_ZERO)},
    "clip_by_norm": {"max_norm": ("> 0", AT_ZERO)},
    "clip_by_global_norm": {"max_norm": ("> 0", AT_ZERO)},
    "adaptive_clip": {"clipping": ("> 0", AT_ZERO), "eps": ("> 0", AT_ZERO)},
    "accumulate_momentum": {
        "decay": ("in [0, 1)", DECAYS),
        "dampening": ("in [0, 1]", (-0.1, 1.1)),
    },
    "accumulate_average": {"decay": ("in [0, 1)", DECAYS)},
    "accumulate_moments": {
        "b1": ("in [0, 1)", DECAYS),
        "b2": ("in [0, 1)", DECAYS),
        "offset": (">= 0", BELOW_ZERO),
        "initial_value": (">= 0", BELOW_ZERO),
    },
    "look_ahead": {"momentum_decay": (">= 0", BELOW_ZERO)},
    "divide_by_rms": {"eps": (">= 0", BELOW_ZERO), "eps_root": (">= 0", BELOW_ZERO)},
    "divide_by_rectified_rms": {"eps": (">= 0", BELOW_ZERO), "threshold": (">= 4", (3.9, -5.0))},
    "interpolate_momentum": {"b1": ("in [0, 1)", DECAYS), "b2": ("in [0, 1)", DECAYS)},
    "scale_by_adadelta": {"rho": ("in [0, 1)", DECAYS), "eps": ("> 0", AT_ZERO)},
    "scale_by_trust_ratio": {
        "coefficient": ("> 0", AT_ZERO),
        "weight_decay": (">= 0", BELOW_ZERO),
        "eps": (">= 0", BELOW_ZERO),
    },
    "scale_by_parameter_rms": {"min_scale": ("> 0", AT_ZERO)},
    "clip_by_rms": {"max_rms": ("> 0", AT_ZERO)},
    "add_decayed_weights": {
        "weight_decay": (">= 0", BELOW_ZERO),
        "peak_learning_rate": ("> 0", AT_ZERO),
    },
    "add_l1": {"strength": (">= 0", BELOW_ZERO)},
    "add_l2": {"strength": (">= 0", BELOW_ZERO)},
    "add_gradient_noise": {"variance": (">= 0", BELOW_ZERO), "annealing": (">= 0", BELOW_ZERO)},
    "scale": {"factor": ("(finite)", ())},
    "scale_by_learning_rate": {"learning_rate": (">= 0", BELOW_ZERO)},
}
NUMBERS = [(name, n) for name, numbers in OUT_OF_RANGE.items() for n in numbers]
OPTIONAL = {
    ("accumulate_moments", "b1"),
    ("look_ahead", "momentum_decay"),
    ("add_decayed_weights", "peak_learning_rate"),
}
every_number = pytest.mark.parametrize(("name", "number"), NUMBERS)


def build(name, **given):
    """The factory called with one bad value and whatever else it requires."""
    factory = getattr(t, name)
    required = {
        p.name: 1.0
        for p in inspect.signature(factory).parameters.values()
        if p.default is p.empty and p.name not in given
    }
    return factory(**required, **given)


def test_the_table_knows_every_number():
    known = {(name.split("[")[0], n) for name, case in CASES.items() for n in case.numbers}
    assert known <= set(NUMBERS)


def record_of(name):
    """The record behind a factory, or None."""
    module = vars(sys.modules[getattr(t, name).__module__])
    records = (x for x in module.values() if isinstance(x, type) and issubclass(x, core.Link))
    return next((x for x in records if x.record_name == name), None)


@pytest.mark.parametrize("name", [name for name in t.__all__ if record_of(name)])
def test_a_factory_and_its_record_have_the_same_defaults(name):
    given = inspect.signature(getattr(t, name)).parameters
    for field in dataclasses.fields(record_of(name)):
        if field.name in given and field.default is not dataclasses.MISSING:
            default = given[field.name].default
            assert default in (field.default, inspect.Parameter.empty), field.name


@every_number
def test_values_out_of_range_are_refused_with_range_and_value(name, number):
    allowed, bad = OUT_OF_RANGE[name][number]
    for value in (*bad, np.nan, np.inf, -np.inf, *(jnp.float32(b) for b in bad[:1])):
        message = f"{name}: {number} must be a number {allowed}, got {value!r}."
        with pytest.raises(ValueError, match=re.escape(message)):
            build(name, **{number: value})


@every_number
@pytest.mark.parametrize("value", ["0.1", True, None, [0.1], 0.1j, {}, jnp.ones(2, bool)], ids=repr)
def test_other_kinds_are_refused_with_value_and_type(name, number, value):
    if value is None and (name, number) in OPTIONAL:
        build(name, **{number: value})
        return
    if value is None and (name, number) == ("accumulate_moments", "b2"):
        error, message = ValueError, "second='square' needs a decay b2, got None"
    else:
        error, message = TypeError, f"{name}: {number} must be a number "
    with pytest.raises(error, match=re.escape(message)):
        build(name, **{number: value})


@every_number
def test_a_schedule_class_that_was_not_called_is_refused(name, number):
    class Schedule:
        pass

    if number == "initial_value":
        return
    with pytest.raises(TypeError, match=r"got the class Schedule\. Did you forget to call it"):
        build(name, **{number: Schedule})


@every_number
def test_traced_values_pass(name, number):
    inside = {"threshold": 5.0}.get(number, 0.5)
    tx = jax.jit(lambda value: build(name, **{number: value}))(inside)
    path = number
    assert float(core.hyperparameters(tx)[path]) == inside


@every_number
def test_an_array_of_values_is_an_error_where_it_is_used(name, number):
    if number == "initial_value":
        pytest.skip("used at init, where it must broadcast")
    given = {number: jnp.full(2, 5.0 if number == "threshold" else 0.5)}
    needed = {"peak_learning_rate": {"coupling": "schedule"}}.get(number, {})
    tx = build(name, **given, **needed)
    if name in ("look_ahead", "divide_by_rms", "divide_by_rectified_rms"):
        tx = core.chain(t.accumulate_moments(), tx)
    with pytest.raises(ValueError, match=rf"{name}: {number} must be a scalar.*\(2,\).*jax.vmap"):
        tx.init(tree(0))


FLAGS = [
    (lambda: t.accumulate_moments(min_size=0), "min_size must be a whole number >= 1, got 0"),
    (lambda: t.accumulate_moments(min_size=2.5), "min_size must be a whole number >= 1, got 2.5"),
    (lambda: t.accumulate_moments(second=None), "second must be 'square' | 'sum'"),
    (lambda: t.add_gradient_noise(0.1, seed=-1), "seed must be a whole number >= 0, got -1"),
    (lambda: t.add_gradient_noise(0.1, seed=1.5), "seed must be a whole number >= 0, got 1.5"),
    (lambda: t.add_decayed_weights(coupling="lrr"), "got 'lrr'; did you mean 'lr'?"),
    (lambda: t.add_decayed_weights(0.1, "kernels"), "where must be a selector"),
    (lambda: t.add_l1(0.1, None), "where must be a selector"),
    (lambda: t.add_l2(0.1, 3), "where must be a selector"),
    (lambda: t.adaptive_clip(0.1, where=True), "where must be a selector"),
    (lambda: t.scale_by_trust_ratio(where="x"), "where must be a selector"),
    (lambda: t.accumulate_momentum(nesterov=1), "nesterov must be True or False, got 1"),
    (lambda: t.divide_by_rectified_rms(convention="torch"), "did you mean 'pytorch'?"),
]


@pytest.mark.parametrize(("make", "message"), FLAGS, ids=[message for _, message in FLAGS])
def test_flags_names_and_selectors_are_checked(make, message):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        make()


TAKES_MOMENTS = ["correct_bias", "keep_maximum", "subtract_squared_mean", "look_ahead",
                 "divide_by_rms", "divide_by_rectified_rms"]  # fmt: skip


@pytest.mark.parametrize("name", sorted({name.split("[")[0] for name in CASES}))
def test_links_of_the_wrong_kind_name_the_missing_link(name):
    link, params = build(name), jnp.ones((2, 2))
    if name in TAKES_MOMENTS:
        tx, message = link, f"{name} takes Moments.*Put accumulate_moments.* before {name}"
    else:
        tx = core.chain(t.accumulate_moments(), link)
        message = f"{name} takes plain updates.*Put divide_by_rms.* before {name}"
    with pytest.raises(TypeError, match=message):
        once(tx, params, params)
