"""Each rule on a network that has exactly its illness, and on healthy ones."""

import ill_networks
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ill_networks import adam, network, train

from optlab import optimizers, transforms
from optlab.lab.health import _rules, gradient_report

HE, DEEP = jax.nn.initializers.he_normal(), 8
CONSTANT, ZEROS = jax.nn.initializers.constant(0.1), jax.nn.initializers.zeros


def quiet_head():
    """A network whose first loss is that of guessing."""
    params = network(0)
    params["Dense_2"]["kernel"] *= 0.05
    return params


def saturated(tx):
    """Sigmoids at their flat ends, those of the outputs too."""
    params = network(0, make=jax.nn.initializers.normal(8.0))
    return train(tx, params=params, sigmoid=True, squared=True)


ILL = {
    "diverging": lambda: train(transforms.scale(-1e4), batch=512),
    "loss is not finite": lambda: (train()[0], np.full(300, np.nan)),
    "zero initialisation": lambda: train(params=network(0, make=ZEROS)),
    "symmetric units": lambda: train(params=network(0, make=CONSTANT)),
    "exploding": lambda: train(params=network(0, DEEP, make=jax.nn.initializers.normal(1.5))),
    "vanishing": lambda: train(
        adam(1e-3), params=network(0, DEEP, make=jax.nn.initializers.lecun_normal()), sigmoid=True
    ),
    "dead units": lambda: train(params=network(0, bias=-8.0)),
    "learning rate too large": lambda: train(adam(1.0)),
    "learning rate at the edge of stability": lambda: train(transforms.scale(-0.5), batch=512),
    "always clipped": lambda: train(adam(max_norm=0.05)),
    "noise-dominated": lambda: train(batch=1, label_noise=1.0),
    "learning rate too small": lambda: train(adam(1e-6)),
    "saturated units": lambda: saturated(adam(1e-3)),
    "uphill": lambda: train(transforms.scale(1e-3), batch=512),
    "stalled": lambda: train(adam(1e-4), batch=512, label_noise=1.0, params=quiet_head()),
}
CONSEQUENCES = {"learning rate too large": {"dead units"}, "diverging": {"learning rate too large"}}


def rules_of(run):
    state, losses = run
    return {finding.rule for finding in gradient_report(state, losses=losses).findings}


DEEP_ONES = ("exploding", "vanishing")  # a program of their own to compile


@pytest.mark.parametrize(
    "rule", [pytest.param(r, marks=pytest.mark.slow if r in DEEP_ONES else ()) for r in ILL]
)
def test_an_illness_is_found_and_no_other(rule):
    found = rules_of(ILL[rule]())
    assert rule in found
    assert found <= {rule} | CONSEQUENCES.get(rule, set())


def test_every_rule_has_its_illness():
    assert {rule.name for rule in _rules.RULES} == set(ILL)


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_found_in_a_healthy_training(seed):
    state, losses = train(seed=seed)
    assert losses[-20:].mean() < 0.3
    assert gradient_report(state, losses=losses).findings == ()
    assert gradient_report(state).findings == ()  # the probe was told the losses


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "tx",
    [optimizers.sgd(0.01, momentum=0.9), optimizers.adamw(1e-2), optimizers.lion(1e-3)],
    ids=str,
)
def test_nothing_is_found_with_other_optimizers(tx, seed):
    assert rules_of(train(tx, seed)) == set()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_found_in_a_deep_network_that_is_well_initialised(seed):
    assert rules_of(train(seed=seed, params=network(seed, DEEP, make=HE))) == set()


def test_the_data_can_be_learned():
    _, losses = train(seed=0)
    assert losses[:5].mean() > 2 * losses[-20:].mean()
    assert ill_networks.CLASSES == 4


def test_layers_whose_gradient_has_vanished_altogether_are_among_the_vanishing():
    tx = transforms.probe(optimizers.sgd(1e-3), every=1)
    params = {f"Dense_{i}": {"kernel": jnp.eye(2)} for i in range(4)}
    gradient = {f"Dense_{i}": {"kernel": jnp.eye(2) * x} for i, x in enumerate((0, 0, 1e-9, 1))}
    state, update = tx.init(params), jax.jit(tx.update)
    for _ in range(3):
        _, state = update(gradient, state, params)
    found = {finding.rule: finding.groups for finding in gradient_report(state).findings}
    assert found["vanishing"] == ("Dense_0", "Dense_1", "Dense_2")


def finding_of(run):
    (finding,) = gradient_report(run[0], losses=run[1]).findings
    return finding


def test_small_steps_of_small_gradients_are_not_blamed_on_the_rate_alone():
    finding = finding_of(saturated(transforms.scale(-0.05)))
    assert finding.rule == "learning rate too small"
    assert "gradients are next to nothing beside the weights in every layer" in finding.advice
    assert "init_report" in finding.advice


def test_small_steps_of_sound_gradients_are_the_rate_s():
    finding = finding_of(ILL["learning rate too small"]())
    assert finding.rule == "learning rate too small"
    assert "Multiply the learning rate by 10" in finding.advice
    assert "saturated" not in finding.advice


def test_saturation_is_told_of_the_layers_that_have_it():
    finding = finding_of(saturated(adam(1e-3)))
    assert finding.groups == ("Dense_1", "Dense_2")  # the first is fed by numbers, not by sigmoids
    assert "not the learning rate" in finding.advice


def test_layers_behind_dead_ones_are_not_dead():
    run = ILL["dead units"]()
    columns = gradient_report(run[0]).samples.columns
    assert columns["dead_fraction"][-1].tolist() == [1, 1, 1]
    assert finding_of(run).groups == ("Dense_0", "Dense_1")


def test_noise_is_told_with_what_the_loss_has_kept():
    state, losses = ILL["noise-dominated"]()
    kept = losses[-30:].mean() / losses[:15].mean()
    assert f"the loss, which has kept {kept:.0%} of its start" in finding_of((state, losses)).advice
    only_samples = gradient_report(
        [row | {"loss": np.nan} for row in gradient_report(state).rows]
    ).findings
    assert [finding.rule for finding in only_samples] == ["noise-dominated"]
    assert "loss" not in only_samples[0].advice


@pytest.mark.parametrize("fall", ["to its end", "early"])
def test_noise_that_a_loss_falls_through_is_no_illness(fall):
    state, _ = ILL["noise-dominated"]()
    noise = np.random.default_rng(0).normal(size=300) * 0.05
    course = (
        np.linspace(1.7, 1.5, 300) if fall == "to its end" else 1.5 + 0.2 * 0.9 ** np.arange(300)
    )
    assert rules_of((state, course + noise)) == set()
    assert "noise-dominated" in rules_of((state, 1.5 + noise))
