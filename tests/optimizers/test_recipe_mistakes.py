"""What tutorials get wrong, shown, and first steps that can be computed by hand."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optlab as ol


def steps(tx, gradients, start):
    """The parameters after each update."""
    p, state, update, out = start, tx.init(start), jax.jit(tx.update), []
    for g in gradients:
        u, state = update(g, state, p)
        p = p + u
        out.append(p)
    return out


def test_adam_with_an_l2_penalty_is_not_adamw():
    """The penalty is divided by the gradient's size, so the noisier weight decays less."""
    noise = jnp.asarray([1.0, 100.0])
    gradients = [noise * sign for sign in (1, -1) * 50]
    start = jnp.asarray([1.0, 1.0])

    def decayed(tx):
        undecayed = steps(ol.adam(1e-3), gradients, start)[-1]
        return undecayed - steps(tx, gradients, start)[-1]

    coupled = decayed(ol.chain(ol.add_l2(0.1), ol.adam(1e-3)))
    decoupled = decayed(ol.adamw(1e-3, weight_decay=0.1))
    np.testing.assert_allclose(decoupled[1], decoupled[0], rtol=1e-3)
    assert coupled[0] > 50 * coupled[1] > 0


def test_for_plain_sgd_an_l2_penalty_is_decoupled_decay():
    gradients, start = [jnp.asarray([1.0, -2.0])] * 5, jnp.asarray([3.0, 4.0])
    penalty = ol.sgd(0.1, l2=0.5)
    decay = ol.chain(ol.add_decayed_weights(0.5), ol.scale_by_learning_rate(0.1))
    chex.assert_trees_all_close(
        steps(penalty, gradients, start), steps(decay, gradients, start), rtol=1e-6
    )


def test_adamw_without_bias_correction_takes_first_steps_three_times_as_long():
    tx = ol.adamw(1e-3, eps=0.0, weight_decay=0.0)
    without = ol.chain(
        ol.accumulate_moments(), ol.divide_by_rms(0.0), ol.scale_by_learning_rate(1e-3)
    )
    gradients, start = [jnp.asarray([2.0, -0.1])] * 3, jnp.zeros(2)
    right, wrong = steps(tx, gradients, start), steps(without, gradients, start)
    np.testing.assert_allclose(right[0], [-1e-3, 1e-3], rtol=1e-6)
    np.testing.assert_allclose(wrong[0] / right[0], 0.1 / 0.001**0.5, rtol=1e-5)  # 3.16
    assert np.all((wrong[2] - wrong[1]) / (right[2] - right[1]) > 3)


def test_a_decay_not_multiplied_by_the_learning_rate_is_a_thousand_times_stronger():
    gradients, start = [jnp.zeros(1)], jnp.ones(1)
    usual = steps(ol.adamw(1e-3, weight_decay=0.01), gradients, start)[0]
    independent = steps(
        ol.adamw(1e-3, weight_decay=0.01, coupling="independent"), gradients, start
    )[0]
    np.testing.assert_allclose((1 - independent) / (1 - usual), 1000, rtol=0.01)


def test_eps_is_not_the_decay_though_tutorials_write_one_letter_for_both():
    assert set(ol.hyperparameters(ol.adamw(1e-3))) >= {
        "divide_by_rms/eps",
        "add_decayed_weights/weight_decay",
    }


@pytest.mark.parametrize(
    "tx",
    [
        ol.adam(0.5, eps=0.0),
        ol.adamax(0.5, eps=0.0),
        ol.amsgrad(0.5, eps=0.0),
        ol.nadam(0.5, b1=0.0, eps=0.0),
        ol.lion(0.5, weight_decay=0.0),
        ol.adagrad(0.5, eps=0.0),
        ol.rmsprop(0.5, eps=0.0, bias_correction=True),
    ],
    ids=lambda tx: tx.link.links[0].record_name,
)
def test_the_first_step_is_the_learning_rate_whatever_the_gradient(tx):
    g = jnp.asarray([3.0, -1e-15, 1e10])
    np.testing.assert_allclose(steps(tx, [g], jnp.zeros(3))[0], [-0.5, 0.5, -0.5], rtol=1e-5)


def test_radam_starts_as_unnormalised_momentum():
    g = jnp.asarray([3.0, -1e-3])
    five = steps(ol.radam(0.5), [g] * 5, jnp.zeros(2))
    np.testing.assert_allclose(five[-1], -0.5 * 5 * g, rtol=1e-5)
    sixth = steps(ol.radam(0.5), [g] * 6, jnp.zeros(2))[-1] - five[-1]
    np.testing.assert_allclose(jnp.abs(sixth), jnp.abs(sixth[0]) * jnp.ones(2), rtol=1e-3)


@pytest.mark.parametrize("convention", ["pytorch", "optax"])
def test_amsgrad_remembers_a_spike_that_adam_forgets(convention):
    gradients = [jnp.ones(1), 100 * jnp.ones(1)] + [jnp.ones(1)] * 200

    def last_step(tx):
        trajectory = steps(tx, gradients, jnp.zeros(1))
        return float(trajectory[-2][0] - trajectory[-1][0])

    assert last_step(ol.adam(1.0, b2=0.9)) == pytest.approx(1.0, rel=1e-2)
    assert last_step(ol.amsgrad(1.0, b2=0.9, convention=convention)) < 0.1


def test_lamb_changes_every_leaf_by_the_learning_rate_of_its_norm():
    start = {"large": jnp.asarray([30.0, 40.0]), "small": jnp.asarray(0.01)}
    tx = ol.lamb(0.1)
    g = {"large": jnp.asarray([1.0, -5.0]), "small": jnp.asarray(2.0)}
    u, _ = tx.update(g, tx.init(start), start)
    np.testing.assert_allclose(jnp.linalg.norm(u["large"]), 5.0, rtol=1e-5)
    np.testing.assert_allclose(u["small"], -0.001, rtol=1e-5)


def test_lars_counts_the_norms_of_gradient_and_decay_apart_unless_told_otherwise():
    start, g = jnp.asarray([3.0, 4.0]), jnp.asarray([0.0, 2.0])
    options = {"weight_decay": 0.5, "trust_coefficient": 1.0}
    direction = g + 0.5 * start
    paper = ol.lars(1.0, **options)
    other = ol.lars(1.0, convention="optax", **options)
    u, _ = paper.update(g, paper.init(start), start)
    np.testing.assert_allclose(u, -5 / (2 + 0.5 * 5) * direction, rtol=1e-6)
    u, _ = other.update(g, other.init(start), start)
    np.testing.assert_allclose(u, -5 / jnp.linalg.norm(direction) * direction, rtol=1e-6)


def test_adafactor_steps_are_relative_to_the_parameters():
    g = jnp.asarray([[1.0, -2.0], [3.0, -4.0]])
    tx = ol.adafactor(0.1, min_dim_size_to_factor=2)
    small, large = jnp.full((2, 2), 0.1), jnp.full((2, 2), 10.0)
    steps_of = [tx.update(g, tx.init(p), p)[0] for p in (small, large)]
    chex.assert_trees_all_close(steps_of[1], 100 * steps_of[0], rtol=1e-5)


def test_adafactor_without_a_learning_rate_takes_the_papers():
    """min(peak, 1 / sqrt(t)); a peak above 0.01 shows the second part within a few steps."""
    tx, p = ol.replace(ol.adafactor(), {"peak_value": 0.6}), jnp.ones(2)
    state, rates = tx.init(p), []
    for _ in range(4):
        _, state = tx.update(p, state, p)
        rates.append(float(ol.read(state)["learning_rate"]))
    np.testing.assert_allclose(rates, [0.6, 0.6, 3**-0.5, 0.5], rtol=1e-6)


def test_adabelief_steps_grow_where_gradients_are_steady():
    trajectory = steps(ol.adabelief(0.1), [jnp.ones(1)] * 100, jnp.zeros(1))
    adam = steps(ol.adam(0.1), [jnp.ones(1)] * 100, jnp.zeros(1))
    assert trajectory[-1][0] < 3 * adam[-1][0] < 0


def test_centred_and_corrected_rmsprop_divides_its_first_gradient_by_eps_root_alone():
    tx = ol.rmsprop(0.1, eps=0.0, eps_root=0.25, centered=True, bias_correction=True)
    np.testing.assert_allclose(steps(tx, [jnp.asarray([2.0])], jnp.zeros(1))[0], [-0.4], rtol=1e-5)


@pytest.mark.parametrize(
    "tx", [ol.lamb(0.1, eps=0.0), ol.lars(0.1), ol.lars(0.1, convention="optax")]
)
def test_layerwise_steps_leave_zero_parameters(tx):
    g = jnp.asarray([2.0, -2.0])
    first = steps(tx, [g], jnp.zeros(2))[0]
    assert jnp.all(first * g < 0)
