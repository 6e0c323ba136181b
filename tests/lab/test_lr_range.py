"""`lr_range`: what it suggests, where it says that training diverges, and what it refuses."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optlab as ol
from optlab.lab import Task
from optlab.lab._lr_range import lr_range
from optlab.lab._ramped import Ramped, of_rate, require_use_of_rate

STEPS = 80


def parabola(curvature=1.0, noise=0.0, **changes):
    """`curvature * x² / 2`: gradient descent diverges above 2 / curvature."""
    fields = {
        "name": "parabola",
        "init": lambda key: 1 + 0.1 * jax.random.normal(key, (3,)),
        "loss": lambda x, batch, key: curvature * jnp.square(x + batch).sum() / 2,
        "batch": lambda key, step: noise * jax.random.normal(key, (3,)),
        "steps": STEPS,
    }
    return Task(**(fields | changes))


def find(task, make_tx, **changes):
    given = {"low": 1e-4, "high": 100.0, "seeds": 2, "plan": "exact", "progress": False}
    return lr_range(task, make_tx, **(given | changes))


@functools.cache
def found_for(curvature, ramp):
    return find(parabola(curvature), ol.sgd, ramp=ramp)


@pytest.mark.parametrize("ramp", [pytest.param(True, marks=pytest.mark.slow), False])
def test_rates_scale_as_the_loss_is_scaled_down(ramp):
    found = [found_for(curvature, ramp) for curvature in (10.0, 1.0)]
    assert np.isclose(found[1].suggestion / found[0].suggestion, 10, rtol=0.05)
    assert np.isclose(found[1].diverges_at / found[0].diverges_at, 10, rtol=0.05)


@pytest.mark.parametrize("ramp", [True, False])
def test_the_suggestion_lies_below_where_gradient_descent_diverges(ramp):
    found = found_for(1.0, ramp)
    assert 0.3 < found.suggestion < 2
    assert 1.7 < found.diverges_at < (20 if ramp else 4)  # a ramp grows back from nothing
    assert found.losses.shape == (2, len(found.rates))
    assert np.isclose(found.start, 1.5, rtol=0.3)
    assert not found.note


def test_a_ramp_makes_each_step_with_its_own_rate():
    rates = np.geomspace(0.01, 1, 5)
    tx = Ramped(of_rate(ol.sgd), 0.01, 1.0, 5)
    params = jnp.zeros(())
    state = tx.init(params)
    for rate in rates:
        update, state = tx.update(jnp.ones(()), state, params)
        np.testing.assert_allclose(update, -rate, rtol=1e-5)
    assert jax.tree.structure(tx.init(params)) == jax.tree.structure(state)


def test_a_ramp_carries_the_optimizer_s_state_on():
    tx = Ramped(of_rate(lambda rate: ol.sgd(rate, 0.5)), 1.0, 1.0001, 10)
    params = jnp.zeros(())
    state = tx.init(params)
    updates = []
    for _ in range(3):
        update, state = tx.update(jnp.ones(()), state, params)
        updates.append(float(update))
    np.testing.assert_allclose(updates, [-1, -1.5, -1.75], rtol=1e-3)


def keyword_only(*, learning_rate):
    return ol.sgd(learning_rate)


@pytest.mark.parametrize(
    "make_tx",
    [keyword_only, lambda rate: optax.sgd(rate), lambda **given: ol.sgd(**given)],
    ids=["keyword", "first argument, Optax", "any keyword"],
)
def test_any_factory_of_a_learning_rate_will_do(make_tx):
    expected = found_for(1.0, True)
    np.testing.assert_allclose(find(parabola(), make_tx).mean, expected.mean, rtol=1e-5)


def test_a_factory_that_looks_at_the_rate_needs_short_trials():
    def choosy(learning_rate):
        return ol.sgd(learning_rate if learning_rate < 1 else 1.0)

    with pytest.raises(TypeError, match=r"traced rate, which it does not take.*ramp=False"):
        find(parabola(), choosy)


def test_noise_in_the_loss_is_no_fall():
    task = parabola(noise=1.0)
    found = find(task, ol.sgd, low=1e-9, high=1e-7, ramp=False)
    assert found.suggestion is None
    assert "fell at none of these rates" in found.note
    assert "no learning rate" in str(found)


def test_a_minimum_at_an_end_is_said():
    assert "raise `high`" in find(parabola(), ol.sgd, high=0.1).note
    assert "lower `low`" in find(parabola(), ol.sgd, low=1.0, steps=20, ramp=False).note


@pytest.mark.parametrize("ramp", [True, False])
@pytest.mark.parametrize("low", [5.0, 1e20])
def test_rates_of_which_the_lowest_diverges_are_to_be_lower(ramp, low):
    found = find(parabola(), ol.sgd, low=low, high=low * 1e3, steps=40, ramp=ramp)
    assert found.suggestion is None
    assert found.diverges_at == pytest.approx(low)
    assert found.note == "Training diverges at the first of these rates already: lower `low`."
    assert "parabola: no learning rate;" in str(found)
    assert found.rule not in str(found)


@pytest.mark.parametrize("ramp", [True, False])
def test_a_loss_that_is_never_finite_is_not_the_rate_s_fault(ramp):
    task = parabola(loss=lambda x, batch, key: jnp.log(-jnp.square(x).sum()))
    found = find(task, ol.sgd, steps=60, ramp=ramp)
    assert (found.suggestion, found.diverges_at) == (None, None)
    assert "not finite at any of these rates, from the first step on" in found.note
    json.dumps(found.to_dict(), allow_nan=False)
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    figure = found.plot().figure
    figure.canvas.draw()
    matplotlib.pyplot.close(figure)


def test_what_was_found_prints_and_becomes_json():
    found = found_for(1.0, True)
    assert str(found).startswith(f"parabola: {found.suggestion:.2g} (the rate of the least")
    assert f"diverges from {found.diverges_at:.2g} on" in str(found)
    read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert read["suggestion"] == found.suggestion
    assert len(read["rates"]) == len(read["losses"][1]) == STEPS


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"low": 0.0}, "low must be a number > 0, got 0.0"),
        ({"low": 1.0, "high": 1.0}, "low must be less than high, got 1 and 1"),
        ({"steps": 20}, "a ramp over 6.0 decades needs at least 60 steps, got 20"),
        ({"seeds": []}, "seeds must be different whole numbers"),
        ({"seeds": [1, 1]}, "seeds must be different whole numbers"),
        ({"seeds": 0}, "seeds must be a whole number >= 1"),
    ],
)
def test_mistakes_are_named_before_anything_runs(changes, problem):
    with pytest.raises(ValueError, match=problem):
        find(parabola(), ol.sgd, **changes)


ADAMS = {
    "optlab": lambda rate: ol.adam(1e-3),
    "Optax": lambda rate: optax.adam(1e-3),
    "a schedule made anew": lambda rate: ol.sgd(lambda step: 0.1 / (1 + step)),
    "Optax, a schedule made anew": lambda rate: optax.sgd(lambda step: 0.1 / (1 + step)),
}


@pytest.mark.parametrize("make_tx", ADAMS.values(), ids=ADAMS)
@pytest.mark.parametrize("ramp", [True, False])
def test_a_factory_that_ignores_the_rate_is_refused(make_tx, ramp):
    with pytest.raises(ValueError, match=r"same transformation at the rates 0.0001 and 100, so"):
        find(parabola(), make_tx, ramp=ramp)


SCHEDULED = {
    "optlab, a record": lambda rate: ol.sgd(ol.schedules.cosine(rate, 100)),
    "optlab, a function": lambda rate: ol.sgd(lambda step: rate / (1 + step)),
    "Optax": lambda rate: optax.sgd(optax.cosine_decay_schedule(rate, 100)),
    "Optax, from zero": lambda rate: optax.sgd(optax.linear_schedule(0.0, rate, 10)),
}


def in_state(rate):
    return optax.inject_hyperparams(optax.sgd)(learning_rate=rate)


@pytest.mark.parametrize("make_tx", SCHEDULED.values(), ids=SCHEDULED)
def test_a_rate_within_a_schedule_is_used(make_tx):
    require_use_of_rate(of_rate(make_tx), parabola(), 1e-4, 100.0, ramp=True)


def test_a_rate_that_stays_in_the_state_is_refused_for_a_ramp_alone():
    with pytest.raises(ValueError, match=r"keeps its learning rate in its state .*or ramp=False"):
        find(parabola(), in_state)
    require_use_of_rate(of_rate(in_state), parabola(), 1e-4, 100.0, ramp=False)


@pytest.mark.parametrize(
    ("make_tx", "problem"),
    [
        (ol.adam(1e-3), r"got a transformation, whose rate is fixed. Pass what makes it, such as"),
        (optax.adam(1e-3), r"got a transformation, whose rate is fixed"),
        ("adam", r"must be a function of a learning rate .* got 'adam'. Pass one, such as"),
        (lambda: ol.adam(1e-3), r"cannot be called with a rate alone: its arguments are \(\)"),
        (lambda b1, learning_rate: None, r"its arguments are \(b1, learning_rate\)"),
        (lambda rate: None, r"make_tx must return a gradient transformation, got NoneType"),
    ],
    ids=["transformation", "Optax's", "name", "no argument", "two arguments", "nothing"],
)
def test_what_makes_no_transformation_of_a_rate_is_refused(make_tx, problem):
    with pytest.raises(TypeError, match=problem):
        find(parabola(), make_tx)


@pytest.mark.parametrize(
    ("task", "problem"),
    [
        ("digits_mlp", r"lr_range: expected a Task, got 'digits_mlp'.*tasks.digits_mlp\(\)"),
        (ol.lab.tasks.digits_mlp, r"lr_range: expected a Task, .* call it: digits_mlp\(\)"),
    ],
    ids=["name", "not called"],
)
def test_what_is_no_task_is_refused_with_the_remedy(task, problem):
    with pytest.raises(TypeError, match=problem):
        lr_range(task, ol.adam, low=-1.0)


def test_a_task_without_a_budget_asks_for_steps():
    with pytest.raises(ValueError, match="does not say how many steps"):
        find(parabola(steps=None), ol.sgd)


@pytest.mark.parametrize("ramp", [True, False])
def test_the_picture_shows_the_suggestion_and_the_divergence(ramp, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    from matplotlib import pyplot

    found = found_for(1.0, ramp)
    ax = found.plot()
    try:
        texts = [text.get_text() for text in ax.get_legend().get_texts()]
        assert f"suggested: {found.suggestion:.2g}" in texts
        assert f"diverges from {found.diverges_at:.2g}" in texts
        assert ax.get_xscale() == "log"
        assert ax.figure.get_window_extent().width == 800
        (curve,) = (line for line in ax.lines if "mean loss" in str(line.get_label()))
        np.testing.assert_array_equal(curve.get_xdata(), found.rates)
    finally:
        pyplot.close(ax.figure)
