"""A schedule stands for any hyperparameter of a chain, not only for the learning rate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optlab import core, schedules, transforms

learning_rate = schedules.warmup_cosine(0.5, 20, 4)
max_norm = schedules.piecewise(4.0, {3: 0.5})
GRADIENT = {"w": jnp.array([3.0, 4.0])}


def build():
    return core.chain(
        transforms.clip_by_global_norm(max_norm), transforms.scale_by_learning_rate(learning_rate)
    )


def test_each_update_uses_the_value_at_the_number_of_updates_before_it():
    tx = build()
    step, state = jax.jit(tx.update), tx.init(GRADIENT)
    for count in range(8):
        updates, state = step(GRADIENT, state)
        length = learning_rate(count) * max_norm(count)
        np.testing.assert_allclose(np.linalg.norm(updates["w"]), length, 1e-5)
        seen = core.read(state)
        np.testing.assert_allclose(seen["learning_rate"], learning_rate(count), 1e-6)
        np.testing.assert_allclose(seen["max_norm"], max_norm(count), 1e-6)


def test_the_numbers_of_a_schedule_are_hyperparameters_of_the_chain():
    tx = build()
    peak = "scale_by_learning_rate/learning_rate/peak_value"
    assert core.hyperparameters(tx)[peak] == 0.5
    assert core.hyperparameters(tx)["clip_by_global_norm/max_norm/boundaries/0"] == 3
    changed = core.replace(tx, {"peak_value": 0.25, "factors/0": 0.25})
    assert jax.tree.structure(changed) == jax.tree.structure(tx)
    assert core.hyperparameters(changed)[peak] == 0.25
    assert core.from_dict(core.to_dict(changed)) == changed


def test_a_population_of_schedules_trains_under_one_vmap():
    def first_update(peak_value, warmup_steps):
        schedule = schedules.warmup_cosine(peak_value, 20, warmup_steps)
        tx = core.chain(transforms.scale_by_learning_rate(schedule))
        return tx.update(GRADIENT, tx.init(GRADIENT))[0]["w"]

    updates = jax.jit(jax.vmap(first_update))(jnp.array([0.5, 1.0]), jnp.array([1, 4]))
    np.testing.assert_allclose(updates, [[-1.5, -2.0], [-0.75, -1.0]], 1e-6)


def test_a_loss_after_some_updates_has_a_gradient_by_the_schedule():
    def final_loss(schedule):
        tx = core.chain(transforms.scale_by_learning_rate(schedule))
        params = jnp.array([1.0, -2.0])

        def step(carry, _):
            params, state = carry
            updates, state = tx.update(params, state)
            return (params + updates, state), None

        (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), length=5)
        return jnp.sum(params**2)

    schedule = schedules.exponential(0.1, 0.8, 2)
    slope = jax.grad(final_loss, allow_int=True)(schedule)
    h = 1e-2
    ends = [final_loss(schedules.exponential(v, 0.8, 2)) for v in (0.1 - h, 0.1 + h)]
    np.testing.assert_allclose(slope.init_value, (ends[1] - ends[0]) / (2 * h), 0.05)
    assert np.isfinite(slope.factor)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_a_schedule_keeps_the_dtype_of_the_parameters(dtype):
    tx = build()
    params = jnp.ones(2, dtype)
    updates, _ = tx.update(params, tx.init(params), params)
    assert updates.dtype == dtype
