"""Accumulation: several micro-batches are one step, counted once, and cost one more copy."""

import chex
import jax
import jax.numpy as jnp
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wrapper_cases import (
    INF,
    NAN,
    OPTIMIZERS,
    bits,
    every_optimizer,
    gradients,
    is_zero,
    moves,
    params,
    poisoned,
    schedule,
)

from optlab import core, optimizers
from optlab import transforms as t


def run(tx, many, state=None, p=None):
    """All updates and the last state, jitted."""
    p = params() if p is None else p
    update, updates = jax.jit(tx.update), []
    state = tx.init(p) if state is None else state
    for g in many:
        u, state = update(g, state, p)
        updates.append(u)
    return updates, state


def mean(*many):
    return jax.tree.map(lambda *g: sum(g) / len(g), *many)


@every_optimizer
def test_every_micro_batches_are_one_step_on_their_mean(name):
    bare = core.chain(OPTIMIZERS[name]())
    micro = [gradients(i) for i in range(6)]
    got, state = run(t.accumulate_gradients(OPTIMIZERS[name](), every=3), micro)
    want, bare_state = run(bare, [mean(*micro[:3]), mean(*micro[3:])])
    assert all(map(is_zero, [*got[:2], *got[3:5]]))
    chex.assert_trees_all_close([got[2], got[5]], want, rtol=2e-5, atol=1e-7)
    chex.assert_trees_all_close(
        jax.tree.leaves(state.inner), jax.tree.leaves(bare_state), rtol=2e-5, atol=1e-7
    )


@given(every=st.integers(1, 4), steps=st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_micro_steps_and_optimizer_steps_are_counted(every, steps):
    tx = t.accumulate_gradients(core.chain(t.scale_by_learning_rate(schedule)), every)
    ones, state, seen = jnp.ones(1), tx.init(jnp.ones(1)), []
    for _ in range(steps):
        updates, state = tx.update(ones, state, ones)
        seen.append(float(updates[0]))
    assert core.read(state)["micro_step"] == steps % every
    assert state.inner[0].count == steps // every
    want = [0.0 if (i + 1) % every else -(0.5 ** ((i + 1) // every)) for i in range(steps)]
    assert seen == want


def test_the_sum_is_taken_where_the_mean_is_not_wanted():
    tx = t.accumulate_gradients(t.scale_by_learning_rate(0.5), 2, mean=False)
    updates, _ = run(tx, [gradients(0), gradients(1)])
    total = jax.tree.map(lambda a, b: -0.5 * (a + b), gradients(0), gradients(1))
    chex.assert_trees_all_close(updates[1], total, rtol=1e-6)


def test_every_1_is_the_bare_optimizer():
    many = [gradients(i) for i in range(2)]
    got, _ = run(t.accumulate_gradients(optimizers.adamw(1e-2), 1), many)
    want, _ = run(optimizers.adamw(1e-2), many)
    chex.assert_trees_all_equal(got, want)


@pytest.mark.parametrize("where", [0, 1, 2])
@pytest.mark.parametrize("bad", [NAN, INF])
def test_a_nan_micro_batch_costs_the_step_it_belongs_to_and_no_other(bad, where):
    tx = t.accumulate_gradients(optimizers.adam(1e-2), 3)
    micro = [gradients(i) for i in range(9)]
    dirty = [*micro[:3], *micro[3:6], *micro[6:]]
    dirty[3 + where] = poisoned(bad)
    updates, state = run(tx, dirty)
    clean, clean_state = run(tx, [*micro[:3], *micro[6:]])
    assert all(map(is_zero, updates[3:6]))
    chex.assert_trees_all_equal(updates[8], clean[5])
    assert bits(state.inner) == bits(clean_state.inner)
    assert core.read(state)["skipped"] == 1


@every_optimizer
def test_between_steps_the_inner_state_stays_to_the_bit(name):
    tx = t.accumulate_gradients(OPTIMIZERS[name](), 2)
    _, state = run(tx, [gradients(0), gradients(1)])
    _, between = run(tx, [gradients(2)], state)
    assert bits(between.inner) == bits(state.inner)
    _, after = run(tx, [poisoned(NAN)], between)
    assert bits(after.inner) == bits(state.inner)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_low_precision_gradients_are_summed_in_float32(dtype):
    tx = t.accumulate_gradients(t.scale(1.0), 512, mean=False)
    one = jnp.ones(1, dtype)
    state = tx.init(one)
    assert state.total.dtype == jnp.float32
    (_, state), updates = jax.lax.scan(
        lambda c, _: ((c[0], (r := tx.update(c[0], c[1], c[0]))[1]), r[0]), (one, state), length=512
    )
    assert updates[-1][0] == 512  # bf16 would stop at 256
    assert updates.dtype == dtype


def test_the_learning_rate_is_read_and_overridden_through_it():
    tx = t.accumulate_gradients(core.chain(t.scale_by_learning_rate(schedule)), 2)
    ones = jnp.ones(1)
    state = tx.init(ones)
    assert core.read(state)["learning_rate"] == 0.5
    state = core.override(state, {"learning_rate": 0.125})
    updates, _ = run(tx, [ones, ones], state, ones)
    assert updates[1][0] == -0.125


def test_decay_behind_it_is_told_its_learning_rate():
    tx = core.chain(
        t.accumulate_gradients(t.scale_by_learning_rate(0.5), 1), t.add_decayed_weights(0.5)
    )
    updates, _ = run(tx, [jax.tree.map(jnp.zeros_like, params())])
    chex.assert_trees_all_close(updates[0], jax.tree.map(lambda p: -0.25 * p, params()))


def test_extra_arguments_of_the_last_micro_batch_reach_the_optimizer():
    class TimesValue(core.Link):
        def update(self, updates, state, params=None, *, value, **extra):
            return jax.tree.map(lambda u: value * u, updates), state

    tx = t.accumulate_gradients(core.Transformation(TimesValue()), 2)
    ones = jnp.ones(1)
    _, state = tx.update(ones, tx.init(ones), ones, value=3.0)
    assert tx.update(ones, state, ones, value=5.0)[0][0] == 5.0


def test_another_number_of_micro_batches_fits_the_same_state():
    many = [gradients(i) for i in range(3)]
    _, state = run(t.accumulate_gradients(optimizers.adam(1e-2), 4), many)
    updates, state = run(t.accumulate_gradients(optimizers.adam(1e-2), 2), many[:1], state)
    assert moves(updates[0])
    assert core.read(state)["micro_step"] == 0


@pytest.mark.parametrize(
    ("every", "error"), [(0, ValueError), (1.5, ValueError), (-1, ValueError), ("2", TypeError)]
)
def test_what_is_no_number_of_micro_batches_is_refused(every, error):
    with pytest.raises(error, match="accumulate_gradients: every must be a whole number"):
        t.accumulate_gradients(t.scale(1.0), every)


def test_gradients_of_other_shapes_are_refused_by_path():
    tx = t.accumulate_gradients(t.scale(1.0), 2)
    with pytest.raises(ValueError, match=r"differ at 'kernel'"):
        tx.update({"kernel": jnp.ones((3, 3)), "bias": jnp.ones(3)}, tx.init(params()))


def test_temporaries_are_at_most_those_of_the_optimizer_and_one_copy_of_the_parameters():
    p = {"kernel": jnp.zeros((512, 512))}
    size = 512 * 512 * 4

    def copies(tx):
        def step(p, state, x):
            g = jax.grad(lambda p: jnp.sum((x @ p["kernel"]) ** 2))(p)
            updates, state = tx.update(g, state, p)
            return optax.apply_updates(p, updates), state

        state = jax.eval_shape(tx.init, p)
        lowered = jax.jit(step, donate_argnums=(0, 1)).lower(p, state, jnp.zeros((4, 512)))
        return lowered.compile().memory_analysis().temp_size_in_bytes / size

    with jax.numpy_dtype_promotion("standard"):
        theirs = copies(optax.MultiSteps(optax.adamw(1e-3), 4).gradient_transformation())
    ours = copies(t.accumulate_gradients(optimizers.adamw(1e-3), 4))
    bare = copies(optimizers.adamw(1e-3))
    assert ours <= bare + 1.01
    assert ours < theirs
