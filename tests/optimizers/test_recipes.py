"""Laws that hold for every recipe: what it is made of, and what its numbers may do."""

import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe_rows as rows

import optlab as ol
from optlab import core, optimizers

every_recipe = pytest.mark.parametrize("name", optimizers.__all__)

ADAM = ["accumulate_moments", "correct_bias", "divide_by_rms"]
RATE = "scale_by_learning_rate"
CHAINS = {
    "sgd(0.1)": [RATE],
    "sgd(0.1, 0.0)": ["accumulate_momentum", RATE],
    "sgd(0.1, 0.9, True)": ["accumulate_momentum", RATE],
    "sgd(0.1, l2=0.0)": ["add_l2", RATE],
    "sgd(0.1, 0.9, l2=0.1)": ["add_l2", "accumulate_momentum", RATE],
    "adagrad(0.1)": ["accumulate_moments", "divide_by_rms", RATE],
    "adadelta()": ["scale_by_adadelta", RATE],
    "rmsprop(0.1)": ["accumulate_moments", "divide_by_rms", RATE],
    "rmsprop(0.1, momentum=0.9, centered=True, bias_correction=True)": [
        "accumulate_moments",
        "correct_bias",
        "subtract_squared_mean",
        "divide_by_rms",
        "accumulate_momentum",
        RATE,
    ],
    "adam(0.1)": [*ADAM, RATE],
    "adamw(0.1)": [*ADAM, "add_decayed_weights", RATE],
    "adamw(0.1, coupling='independent')": [*ADAM, RATE, "add_decayed_weights"],
    "adamax(0.1)": [*ADAM, RATE],
    "nadam(0.1)": ["accumulate_moments", "look_ahead", "correct_bias", "divide_by_rms", RATE],
    "radam(0.1)": ["accumulate_moments", "divide_by_rectified_rms", RATE],
    "amsgrad(0.1)": ["accumulate_moments", "keep_maximum", "correct_bias", "divide_by_rms", RATE],
    "amsgrad(0.1, convention='optax')": [*ADAM[:2], "keep_maximum", "divide_by_rms", RATE],
    "adabelief(0.1)": [*ADAM, RATE],
    "yogi(0.1)": [*ADAM, RATE],
    "lion(0.1)": ["interpolate_momentum", "sign", "add_decayed_weights", RATE],
    "lamb(0.1)": [*ADAM, "add_decayed_weights", "scale_by_trust_ratio", RATE],
    "lars(0.1)": ["scale_by_trust_ratio", RATE, "accumulate_momentum"],
    "lars(0.1, convention='optax')": [
        "add_decayed_weights",
        "scale_by_trust_ratio",
        RATE,
        "accumulate_momentum",
    ],
    "adafactor()": [
        "accumulate_moments",
        "divide_by_rms",
        "clip_by_rms",
        "scale_by_parameter_rms",
        RATE,
    ],
    "adafactor(momentum=0.9, weight_decay=0.1)": [
        "accumulate_moments",
        "divide_by_rms",
        "clip_by_rms",
        "scale_by_parameter_rms",
        "accumulate_average",
        "add_decayed_weights",
        RATE,
    ],
    "adafactor(clipping_threshold=None, multiply_by_parameter_scale=False)": [
        "accumulate_moments",
        "divide_by_rms",
        RATE,
    ],
}
# Numbers without a slope: a sign or a threshold hides them, or nothing is left of them at step 1.
FLAT = {
    ("lion", "interpolate_momentum/b1"),
    ("lion", "interpolate_momentum/b2"),
    ("radam", "divide_by_rectified_rms/threshold"),
    ("adafactor", "accumulate_moments/initial_value"),  # the decay of step 1 is 0
    ("adamax", "accumulate_moments/initial_value"),  # the first gradients are larger
    ("adamax", "divide_by_rms/eps_root"),  # takes no root
}


@pytest.mark.parametrize("call", CHAINS)
def test_recipe_is_the_promised_chain(call):
    tx = eval(call, vars(optimizers))
    assert [core.link_name(link) for link in tx.link.links] == CHAINS[call]


def test_every_recipe_has_its_rows_here():
    assert set(rows.RECIPES) == set(optimizers.__all__)
    assert {call.partition("(")[0] for call in CHAINS} == set(optimizers.__all__)


@every_recipe
def test_default_call_needs_a_learning_rate_at_most(name):
    parameters = inspect.signature(getattr(optimizers, name)).parameters.values()
    assert {p.name for p in parameters if p.default is p.empty} <= {"learning_rate"}


@every_recipe
def test_zero_gradient_without_decay_leaves_parameters_to_the_bit(name):
    changes = {rows.DECAY[name]: 0.0} if name in rows.DECAY else {}
    tx = rows.recipe(name, **changes)
    chex.assert_trees_all_equal(rows.run(tx, 3, slopes=0.0)[-1], rows.params())


@every_recipe
def test_zero_gradient_without_eps_leaves_parameters_to_the_bit(name):
    changes = dict.fromkeys(("eps", "eps_root", "initial_accumulator_value", "initial_scale"), 0.0)
    changes = {k: v for k, v in changes.items() if k in rows.numbers(name)}
    changes |= {rows.DECAY[name]: 0.0} if name in rows.DECAY else {}
    if name == "adadelta":  # whose eps sets the size of its steps and must be positive
        changes = {"eps": 1e-30}
    chex.assert_trees_all_equal(
        rows.run(rows.recipe(name, **changes), 3, slopes=0.0)[-1], rows.params()
    )


@pytest.mark.parametrize("name", ["adamw", "lion", "adafactor"])
def test_zero_gradient_with_decay_shrinks_by_learning_rate_times_decay(name):
    tx = rows.recipe(name, learning_rate=0.5, weight_decay=0.1)
    expected = jax.tree.map(lambda p: 0.95**3 * p, rows.params())
    chex.assert_trees_all_close(rows.run(tx, 3, slopes=0.0)[-1], expected, rtol=1e-6)


@every_recipe
def test_learning_rate_zero_leaves_parameters_to_the_bit(name):
    trajectory = rows.run(rows.recipe(name, learning_rate=0.0), 3)
    chex.assert_trees_all_equal(trajectory[-1], rows.params())


@every_recipe
def test_descends_a_quadratic(name):
    first, *_, last = rows.run(rows.recipe(name), 100)
    assert rows.loss(last) < 0.05 * rows.loss(rows.params())
    assert rows.loss(first) < rows.loss(rows.params())


@every_recipe
def test_one_trace_serves_many_values(name):
    tx = rows.recipe(name)
    key = str(jax.tree.structure(tx))
    for factor in (1.0, 0.95, 0.9, 0.85):
        rows.run(ol.replace(tx, {p: factor * v for p, v in ol.hyperparameters(tx).items()}), 2)
    assert rows.traces[key] == 1


def accepts_a_schedule(name, argument):
    """Asks the recipe itself."""
    try:
        rows.recipe(name, **{argument: lambda count: 0.5})
    except TypeError:
        return False
    return True


@every_recipe
def test_a_scheduled_recipe_is_another_recipe_at_every_step(name):
    """Its learning rate changes; every other number that may have a schedule has a constant one."""
    values = {k: v for k, v in rows.numbers(name).items() if accepts_a_schedule(name, k)}
    assert {"learning_rate", "b1", "b2", "weight_decay"} & set(rows.numbers(name)) <= set(values)
    rates = [0.1, 0.05, 0.2, 0.01]

    def constant(value):
        return lambda count: jnp.asarray(value, jnp.float32)

    schedules = {k: constant(v) for k, v in values.items()}
    schedules["learning_rate"] = lambda count: jnp.asarray(rates)[count]
    expected = rows.run(rows.recipe(name, **schedules), len(rates))

    p, tx = rows.params(), rows.recipe(name)
    state = tx.init(p)
    for rate, there in zip(rates, expected, strict=True):
        tx = ol.replace(tx, {"learning_rate": rate})
        p, state = rows.step(tx, rows.gradient(p), state, p)
        chex.assert_trees_all_close(p, there, rtol=2e-5, atol=1e-6)
        assert ol.read(state)["learning_rate"] == np.float32(rate)


@every_recipe
def test_recipe_can_be_built_inside_jit_from_traced_numbers(name):
    def first_step(values):
        tx, p = rows.recipe(name, **values), rows.params()
        return rows.plain_step(tx, rows.gradient(p), tx.init(p), p)[0]

    chex.assert_trees_all_equal_shapes_and_dtypes(
        jax.eval_shape(first_step, rows.numbers(name)), rows.params()
    )


def after_eight_steps(tx):
    def body(carry, _):
        p, state = carry
        return rows.plain_step(tx, rows.gradient(p), state, p), None

    p = rows.params()["matrix"]
    (p, _), _ = jax.lax.scan(body, (p, tx.init(p)), length=8)
    return rows.loss(p)


@every_recipe
def test_every_number_vmaps_and_its_derivative_is_the_slope(name):
    """One batch: the recipe itself, and each number in turn a little less and a little more."""
    with jax.enable_x64(True):
        tx = rows.recipe(name)
        zeros = {path: 0.05 for path, v in ol.hyperparameters(tx).items() if v == 0}
        tx = ol.replace(tx, zeros)
        values = ol.hyperparameters(tx)
        small = {path: 1e-5 * v for path, v in values.items()}
        table = np.tile(np.array(list(values.values())), (1 + 2 * len(values), 1))
        for i, path in enumerate(values):
            table[1 + 2 * i, i] -= small[path]
            table[2 + 2 * i, i] += small[path]
        batch = ol.replace(tx, dict(zip(values, jnp.asarray(table).T, strict=True)))
        losses, slopes = jax.vmap(jax.value_and_grad(after_eight_steps))(batch)
        assert jnp.all(jnp.isfinite(losses))
        chex.assert_tree_all_finite(slopes)
        derivatives, losses = ol.hyperparameters(slopes), np.asarray(losses)
        with jax.disable_jit():
            alone = after_eight_steps(tx)

    np.testing.assert_allclose(losses[0], alone, rtol=1e-9)
    for i, path in enumerate(values):
        derivative = float(derivatives[path][0])
        slope = (losses[2 + 2 * i] - losses[1 + 2 * i]) / (2 * small[path])
        np.testing.assert_allclose(derivative, slope, rtol=1e-4, atol=1e-7, err_msg=path)
        assert (derivative != 0) == ((name, path) not in FLAT), path
