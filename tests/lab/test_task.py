"""`Task`: what it accepts and refuses, and the order in which a run sees its examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optlab.lab import Task
from optlab.lab._order import examples, permuted

KEY = jax.random.key(0)
DATA = {"x": np.arange(12, dtype=np.float32).reshape(6, 2), "y": np.arange(6)}


def make(**changes):
    fields = {
        "name": "test",
        "init": lambda key: jnp.zeros(2),
        "loss": lambda params, batch, key: jnp.square(batch["x"] - params[None]).mean(),
        "batch": DATA,
        "batch_size": 2,
    }
    return Task(**(fields | changes))


def test_a_task_prints_in_short_without_its_data():
    expected = "Task(name='test', steps=None, metric='train_loss', mode='min', examples=6)"
    assert repr(make()) == expected
    function = make(batch=lambda key, step: {"x": jnp.ones((3, 2))}, batch_size=None, steps=5)
    assert repr(function) == "Task(name='test', steps=5, metric='train_loss', mode='min')"


# --- batches


@pytest.mark.parametrize(("count", "batch_size"), [(1, 1), (7, 3), (64, 16)])
def test_every_example_comes_once_an_epoch(count, batch_size):
    steps = count // batch_size
    drawn = jax.vmap(lambda i: examples(KEY, i, count=count, batch_size=batch_size))
    epochs = np.asarray(drawn(jnp.arange(3 * steps))).reshape(3, -1)
    for epoch in epochs:
        assert len(set(epoch)) == steps * batch_size
        assert set(epoch) <= set(range(count))
    if count > 5:
        assert (epochs[0] != epochs[1]).any()
        assert (epochs[1] != epochs[2]).any()


def test_the_order_is_a_permutation_that_the_key_decides():
    orders = {
        tuple(np.asarray(permuted(jax.random.key(seed), jnp.arange(9), 9)).tolist())
        for seed in range(4)
    }
    assert len(orders) == 4
    assert all(sorted(order) == list(range(9)) for order in orders)
    again = permuted(jax.random.key(0), jnp.arange(9), 9)
    assert tuple(np.asarray(again).tolist()) in orders


def test_permutations_are_equally_likely():
    keys = jax.random.split(KEY, 6000)
    drawn = jax.vmap(lambda key: permuted(key, jnp.arange(3), 3))(keys)
    codes, counts = np.unique(np.asarray(drawn) @ np.array([9, 3, 1]), return_counts=True)
    assert len(codes) == 6
    assert ((counts - 1000) ** 2 / 1000).sum() < 20.5  # chi-square of 5 degrees, p = 0.001


def test_a_batch_takes_the_same_examples_of_every_array():
    task = make()
    batch = task.batch_at(task.arrays, KEY, jnp.int32(4))
    np.testing.assert_array_equal(np.asarray(batch["x"])[:, 0], 2 * np.asarray(batch["y"]))


def test_a_batch_may_be_a_function():
    task = make(batch=lambda key, step: {"x": jnp.full((3, 2), step, jnp.float32)}, batch_size=None)
    batch = task.batch_at(task.arrays, KEY, jnp.int32(4))
    np.testing.assert_array_equal(batch["x"], jnp.full((3, 2), 4.0))
    assert task.arrays == {"train": None, "validation": None}


def test_a_batch_function_that_ignores_the_step_still_draws_anew_at_every_step():
    task = make(batch=lambda key, step: {"x": jax.random.normal(key, (3, 2))}, batch_size=None)
    drawn = [task.batch_at(task.arrays, KEY, jnp.int32(step))["x"] for step in (0, 1, 1)]
    assert not np.array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(drawn[1], drawn[2])


# --- what judges


@pytest.mark.parametrize(
    ("name", "mode"), [("accuracy", "max"), ("loss", "min"), ("size", "min"), ("f1_macro", "max")]
)
def test_what_is_better_is_told_by_the_metrics_name(name, mode):
    assert make(evaluate=lambda params: {name: params.sum()}).mode == mode
    assert make(evaluate=lambda params: {name: params.sum()}, mode="min").mode == "min"


@pytest.mark.parametrize(("target", "error"), [("0.9", TypeError), (float("nan"), ValueError)])
def test_a_target_is_a_finite_number(target, error):
    with pytest.raises(error, match="Task: target must be a number"):
        make(target=target)


def test_the_training_loss_judges_where_nothing_else_does():
    task = make()
    assert (task.metric, task.metrics(task.arrays, jnp.zeros(2))) == ("train_loss", {})


def test_evaluation_takes_validation_data_where_there_are_any():
    task = make(evaluate=lambda params: {"size": params.sum()})
    assert task.metrics(task.arrays, jnp.ones(2)) == {"size": 2}
    task = make(
        evaluate=lambda params, data: {"size": params.sum() + data}, validation=jnp.float32(3)
    )
    assert task.metrics(task.arrays, jnp.ones(2)) == {"size": 5}
    assert task.metric == "size"


def test_the_worst_follows_the_mode():
    low, high = make(), make(mode="max")
    assert (low.worst, high.worst) == (np.inf, -np.inf)


def test_an_aux_is_not_looked_at_and_the_loss_is_float32_at_least():
    def loss(params, batch, key):
        return params.sum().astype(jnp.bfloat16), "anything"

    value = make(loss=loss).scalar_loss(jnp.ones(2), DATA, KEY)
    assert (value.dtype, float(value)) == (jnp.float32, 2.0)


# --- what is refused


@pytest.mark.parametrize(
    ("changes", "error", "problem"),
    [
        ({"init": 3}, TypeError, "init must be a function, got int"),
        ({"mode": "least"}, ValueError, 'mode must be "min" or "max", got \'least\''),
        ({"steps": 0}, ValueError, "steps must be a whole number >= 1, got 0"),
        ({"batch_size": None}, ValueError, "6 examples to take batches from"),
        ({"batch_size": 7}, ValueError, "batch_size 7 is larger than the data, 6 examples"),
        ({"batch": {}}, ValueError, "neither a function nor a pytree of arrays"),
        ({"batch": {"x": np.zeros((3, 2)), "y": np.zeros(4)}}, ValueError, r"\(3, 2\), \(4,\)"),
        ({"batch": {"x": np.zeros(3), "y": np.float32(1)}}, ValueError, "one leading axis"),
        ({"batch": lambda key, step: DATA}, ValueError, "batch is a function here"),
        ({"loss": lambda p, b, k: p}, ValueError, r"real scalar .*, got float32\[2\]"),
        ({"loss": lambda p, b, k: jnp.int32(1)}, ValueError, r"real scalar .*, got int32\[\]"),
        ({"metric": "accuracy"}, ValueError, "metric 'accuracy' is none of train_loss"),
        ({"evaluate": lambda p: {"a": p}}, ValueError, r"return scalars, 'a' has the shape \(2,\)"),
    ],
)
def test_mistakes_come_up_before_anything_runs(changes, error, problem):
    with pytest.raises(error, match=problem):
        make(**changes)


def test_validation_data_that_do_not_fit_are_named():
    def evaluate(params, data):
        return {"error": jnp.mean(data["x"] @ params)}

    wide = {"x": np.zeros((5, 3), np.float32)}
    with pytest.raises(ValueError, match="evaluate fails on validation") as error:
        make(evaluate=evaluate, validation=wide)
    assert "whose arrays are float32[5, 3]; the training data are float32[6, 2]" in str(error.value)
    assert isinstance(error.value.__cause__, TypeError)
    assert make(evaluate=evaluate, validation=DATA).metric == "error"
