"""The built-in tasks: targets, baselines that reach them, and what their descriptions derive."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optlab.lab import Plan, Task, tasks
from optlab.lab._engine import Engine, Member
from optlab.lab._fingerprint import fingerprint
from optlab.lab.tasks._byte_lm import _attend
from optlab.lab.tasks._digits_cnn import _convolve

KEY = jax.random.key(0)
ALL = {name: getattr(tasks, name)() for name in tasks.__all__}
QUICK = {"quadratic", "rosenbrock", "noisy_quadratic"}


def test_there_are_ten():
    assert len(ALL) == 10


@pytest.mark.parametrize("name", ALL)
def test_each_has_a_target_a_budget_and_a_baseline(name):
    task = ALL[name]
    assert task.name == name
    assert task.target is not None
    assert task.baseline is not None
    assert task.metric != "train_loss"
    assert 100 <= task.steps <= 1000


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ALL]
)
def test_the_baseline_reaches_the_target_in_four_of_five_seeds(name):
    task = ALL[name]
    engine = Engine(task, steps=task.steps, evaluations=20, plan=Plan())
    chunks = engine.train([Member(0, seed, task.baseline) for seed in range(5)])
    outcomes = [outcome for chunk in chunks for outcome in chunk.outcomes]
    sign = 1 if task.mode == "min" else -1
    reached = [min(sign * outcome.metrics[task.metric]) for outcome in outcomes]
    assert sum(value <= sign * task.target for value in reached) >= 4, reached
    assert all(outcome.status == "done" for outcome in outcomes)


def test_the_target_of_the_quadratic_is_out_of_reach_of_gradient_descent():
    curvatures = np.geomspace(1, 1e-3, 50)
    rates = np.linspace(0.1, 2, 400)[:, None]
    left = (curvatures * (1 - rates * curvatures) ** 600).sum(1) / 2
    assert 90 * tasks.quadratic().target < left.min() < 1.1e-3


def test_the_noisy_quadratic_leaves_what_was_derived():
    curvatures = 1 / np.arange(1, 101)

    def left(rates):
        squares = np.ones(100)
        for rate in rates:
            squares = (1 - rate * curvatures) ** 2 * squares + rate**2 * curvatures
        return (curvatures * squares).sum() / 2

    constant = min(left([rate] * 300) for rate in np.geomspace(0.03, 1, 40))
    line = left(0.5 * (1 - np.arange(300) / 300))
    assert line < tasks.noisy_quadratic().target < constant
    np.testing.assert_allclose([left([]), constant, line], [2.59, 0.32, 0.20], atol=0.01)


def test_the_gradient_of_the_noisy_quadratic_has_the_hessian_as_its_covariance():
    task = tasks.noisy_quadratic(dimension=3, batch_size=2)

    def gradient(step):
        batch = task.batch_at(task.arrays, KEY, step)
        return jax.grad(task.scalar_loss)(jnp.zeros(3), batch, KEY)

    drawn = np.asarray(jax.vmap(gradient)(jnp.arange(10_000)))
    np.testing.assert_allclose(drawn.mean(0), 0, atol=0.02)
    np.testing.assert_allclose(np.cov(drawn.T), np.diag([1, 1 / 2, 1 / 3]) / 2, atol=0.02)


def test_the_convolution_is_one():
    random = np.random.default_rng(0)
    shapes = (2, 8, 8, 3), (3, 3, 3, 5)
    images, kernel = (jnp.float32(random.normal(size=shape)) for shape in shapes)
    expected = jax.lax.conv_general_dilated(
        images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    found = jax.jit(_convolve)({"kernel": kernel, "bias": jnp.full(5, 2.0)}, images)
    np.testing.assert_allclose(found, expected + 2, atol=1e-5)


@pytest.mark.slow
def test_the_deep_networks_start_badly():
    def sizes(task):
        batch = task.batch_at(task.arrays, KEY, jnp.int32(0))
        gradient = jax.jit(jax.grad(task.scalar_loss))(task.init(KEY), batch, KEY)
        norms = [float(optax.tree.norm(gradient[f"hidden_{i}"]["kernel"])) for i in range(12)]
        return np.array(norms)

    exploding, fading = sizes(ALL["deep_tanh"]), sizes(ALL["deep_relu"])
    assert exploding[0] > 3 * exploding[-1]
    assert fading.max() < 0.05


def test_attention_sees_no_future():
    random = np.random.default_rng(0)
    shapes = {"qkv": (8, 24), "out": (8, 8)}
    layer = {name: {"kernel": random.normal(size=shape)} for name, shape in shapes.items()}
    layer["norm"] = {"scale": np.ones(8)}
    x = random.normal(size=(1, 6, 8))
    changed = x + np.eye(6)[3][None, :, None]
    layer, both = jax.tree.map(jnp.float32, (layer, np.concatenate([x, changed])))
    first, second = jax.jit(lambda x: _attend(layer, x, 2))(both)
    np.testing.assert_array_equal(first[:3], second[:3])
    assert (np.abs(first[3:] - second[3:]).max(1) > 1e-3).all()


def test_the_held_out_digits_are_not_trained_on():
    task = ALL["digits_mlp"]
    train, held_out = (
        {row.tobytes() for row in np.asarray(part["image"])}
        for part in (task.batch, task.validation)
    )
    assert len(train) > 1400
    assert len(held_out) > 350
    assert not train & held_out


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: tasks.quadratic(condition=0.5), "condition must be a number >= 1"),
        (lambda: tasks.quadratic(dimension=1), "dimension must be a whole number >= 2"),
        (lambda: tasks.matrix_factorisation(observed=1.0), r"observed must be .* in \(0, 1\)"),
        (lambda: tasks.matrix_factorisation(rank=65), r"rank must be a whole number in \[1, 64\]"),
        (lambda: tasks.byte_lm(width=30, heads=4), "width must be a multiple of heads"),
        (lambda: tasks.digits_mlp(batch_size=2000), "batch_size 2000 is larger than the data"),
        (lambda: tasks.deep_relu(depth=0), "depth must be a whole number >= 1"),
    ],
)
def test_options_out_of_range_are_refused(make, problem):
    with pytest.raises(ValueError, match=problem):
        make()


# --- fingerprints


def test_tasks_have_different_fingerprints_and_the_same_task_one():
    found = {fingerprint(task) for task in ALL.values()}
    assert len(found) == 10
    assert fingerprint(tasks.rosenbrock()) == fingerprint(ALL["rosenbrock"])
    assert fingerprint(tasks.rosenbrock(steps=7)) == fingerprint(ALL["rosenbrock"])


def weighted(weights, factor=0.1, scale=1.0, jit=True, **changes):
    weights = np.asarray(weights, np.float32)

    def value(x):
        return (x * jnp.asarray(weights)).sum() * factor

    value = jax.jit(value) if jit else value
    fields = {
        "name": "weighted",
        "init": lambda key: {"x": jnp.full(3, scale)},
        "loss": lambda params, batch, key: value(params["x"]) + batch.sum(),
        "batch": np.arange(4.0, dtype=np.float32),
        "batch_size": 2,
    }
    return Task(**(fields | changes))


@pytest.mark.parametrize("jit", [True, False])
def test_a_fingerprint_sees_arrays_numbers_data_and_judgement(jit):
    base = weighted([1, 2, 3], jit=jit)
    others = [
        weighted([1, 2, 4], jit=jit),
        weighted([1, 2, 3], factor=0.1000001, jit=jit),
        weighted([1, 2, 3], scale=2.0, jit=jit),
        weighted([1, 2, 3], jit=jit, batch=np.array([0, 1, 2, 4], np.float32)),
        weighted([1, 2, 3], jit=jit, batch_size=4),
        weighted([1, 2, 3], jit=jit, mode="max"),
        weighted([1, 2, 3], jit=jit, evaluate=lambda params: {"x": params["x"][0]}),
        weighted([1, 2, 3], jit=jit, evaluate=lambda params: {"y": params["x"][0]}),
        *(
            weighted(
                [1, 2, 3],
                jit=jit,
                evaluate=lambda params, name=name: {"x": params["x"][0], name: params["x"][1]},
            )
            for name in ("y", "z")
        ),
    ]
    found = [fingerprint(task) for task in (base, *others)]
    assert len(set(found)) == len(found)
    assert fingerprint(weighted([1, 2, 3], jit=jit, name="other", target=1.0)) == found[0]
