"""Bad arguments are refused where they are given, in words that name them."""

import inspect
import math

import jax
import jax.numpy as jnp
import pytest
import recipe_rows as rows

import optlab as ol
from optlab import optimizers, selectors

NAN = math.nan
RATE = [-0.1, NAN, math.inf, "fast", True]
DECAY = [1.0, 1.5, -0.1, NAN, "0.9", False]
SIZE = [-1e-3, NAN, math.inf, "small", True]
POSITIVE = [*SIZE, 0.0]
FLAG = [1, 0.0, "yes", None]
NAME = ["tensorflow", 3, None]

# By argument, whatever the recipe; what is listed by recipe and argument comes instead.
BAD = {
    "learning_rate": [*RATE, None],
    "b1": [*DECAY, None],
    "b2": [*DECAY, None],
    "decay": [*DECAY, None],
    "rho": [*DECAY, None],
    "momentum": DECAY,
    "dampening": [-0.1, 1.1, NAN, "half", True],
    "l2": SIZE,
    "weight_decay": SIZE,
    "eps": [*SIZE, None],
    "eps_root": [*SIZE, None],
    "initial_accumulator_value": [*SIZE, None],
    "initial_scale": [*SIZE, None],
    "momentum_decay": [*SIZE, None],
    "trust_coefficient": [*POSITIVE, None],
    "decay_rate": [*POSITIVE, None],
    "clipping_threshold": POSITIVE,
    "min_scale": [*POSITIVE, None],
    "min_dim_size_to_factor": [0, -2, 1.5, "big", True, None],
    "nesterov": FLAG,
    "centered": FLAG,
    "bias_correction": FLAG,
    "multiply_by_parameter_scale": FLAG,
    "where": [3, None],
    "coupling": NAME,
    "convention": NAME,
}
INSTEAD = {
    ("adadelta", "eps"): [*POSITIVE, None],
    ("adafactor", "learning_rate"): RATE,  # None is the paper's
    ("lars", "momentum"): [*DECAY, None],
}
MINIMAL = {"adadelta": {}, "adafactor": {}}  # every other recipe needs a learning rate


def arguments(name):
    return inspect.signature(getattr(optimizers, name)).parameters


CASES = [
    pytest.param(name, argument, value, id=f"{name}({argument}={value!r})")
    for name in optimizers.__all__
    for argument in arguments(name)
    for value in INSTEAD.get((name, argument), BAD[argument])
]


def kind_of_error(argument, value):
    """ValueError for a value of the right kind, TypeError for the wrong kind."""
    if BAD[argument] is NAME:
        return ValueError if isinstance(value, str) else TypeError
    if BAD[argument] is FLAG or argument == "where" or isinstance(value, bool):
        return TypeError
    return ValueError if isinstance(value, float | int) else TypeError


@pytest.mark.parametrize(("name", "argument", "value"), CASES)
def test_bad_argument_is_refused_by_its_name(name, argument, value):
    given = MINIMAL.get(name, {"learning_rate": 0.1}) | {argument: value}
    if argument == "where" and name in rows.DECAY:
        given |= {rows.DECAY[name]: 0.1}
    with pytest.raises(kind_of_error(argument, value)) as error:
        getattr(optimizers, name)(**given)
    message = str(error.value)
    assert f"{argument} must be" in message
    assert repr(value) in message


@pytest.mark.parametrize("name", optimizers.__all__)
def test_learning_rate_has_no_default_unless_the_method_has_one(name):
    if name not in MINIMAL:
        with pytest.raises(TypeError, match="learning_rate"):
            getattr(optimizers, name)()


@pytest.mark.parametrize("options", [{"nesterov": True}, {"dampening": 0.5}])
def test_options_of_momentum_need_momentum(options):
    with pytest.raises(ValueError, match=r"sgd: .* momentum is None. Pass momentum=0.9"):
        ol.sgd(0.1, **options)
    if "nesterov" in options:
        with pytest.raises(ValueError, match=r"rmsprop: nesterov=True needs momentum"):
            ol.rmsprop(0.1, **options)


def test_a_selector_of_decay_needs_decay():
    with pytest.raises(ValueError, match="where=kernels selects the leaves of l2, but l2 is None"):
        ol.sgd(0.1, where=selectors.kernels)
    with pytest.raises(ValueError, match="where=kernels selects the leaves of weight_decay"):
        ol.adafactor(where=selectors.kernels)


def test_nesterov_and_dampening_exclude_each_other():
    with pytest.raises(ValueError, match="nesterov needs dampening 0"):
        ol.sgd(0.1, 0.9, True, dampening=0.5)


@pytest.mark.parametrize("coupling", ["schedule", "corrected"])
def test_couplings_that_need_a_peak_say_so_of_a_schedule_that_tells_none(coupling):
    tx, p = ol.adamw(lambda count: 0.1, coupling=coupling), rows.params()
    with pytest.raises(ValueError, match="needs the peak of the learning rate"):
        tx.update(p, tx.init(p), p)


@pytest.mark.parametrize("name", sorted(rows.DECAY))
def test_a_recipe_that_decays_asks_for_the_parameters(name):
    tx, p = rows.recipe(name), rows.params()
    with pytest.raises(ValueError, match="needs the parameters"):
        tx.update(p, tx.init(p))


@pytest.mark.parametrize("name", optimizers.__all__)
def test_arrays_are_as_good_as_python_numbers(name):
    values = {k: jnp.asarray(v) for k, v in rows.numbers(name).items()}
    first = rows.recipe(name, **values)
    assert jax.tree.structure(first) == jax.tree.structure(rows.recipe(name))
