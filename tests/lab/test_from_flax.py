"""Tasks from Flax modules, Linen and NNX."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import optlab as ol
from optlab.lab import Task

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(size=(24, 4)).astype(np.float32)
DATA = {"image": IMAGES, "label": IMAGES[:, :3].argmax(1).astype(np.int32)}
KEY = jax.random.key(0)


class Linen(nn.Module):
    rate: float = 0.0

    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.relu(nn.Dense(8)(x))
        x = nn.Dropout(self.rate, deterministic=not train)(x)
        return nn.Dense(3)(x)


class Graph(nnx.Module):
    def __init__(self, rate=0.0, *, rngs):
        self.layers = nnx.List([nnx.Linear(4, 8, rngs=rngs), nnx.Linear(8, 3, rngs=rngs)])
        self.dropout = nnx.Dropout(rate, rngs=rngs)

    def __call__(self, x):
        x = self.dropout(nnx.relu(self.layers[0](x)))
        return self.layers[1](x)


def build(rate=0.0):
    return lambda rngs: Graph(rate, rngs=rngs)


def cross_entropy(outputs, batch):
    return optax.losses.softmax_cross_entropy_with_integer_labels(outputs, batch["label"])


def right(outputs, batch):
    return {"accuracy": outputs.argmax(-1) == batch["label"]}


def make(module, **kwargs):
    given = {"batch_size": 8, "validation": DATA, "evaluate": right, **kwargs}
    return Task.from_flax(module, cross_entropy, DATA, **given)


def batch(task, seed=0):
    return task.batch_at(task.arrays, jax.random.key(seed), jnp.int32(0))


MODULES = {"linen": lambda rate=0.0: Linen(rate), "nnx": build}


@pytest.mark.parametrize("kind", ["nnx", pytest.param("linen", marks=pytest.mark.slow)])
def test_a_flax_task_learns(kind):
    task = make(MODULES[kind]())
    tx = ol.adam(0.05)

    @jax.jit
    def trained(params):
        def step(carry, i):
            params, state = carry
            batch = task.batch_at(task.arrays, KEY, i)
            gradient = jax.grad(task.scalar_loss)(params, batch, KEY)
            updates, state = tx.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, tx.init(params)), jnp.arange(60))[0][0]

    params, judge = jax.jit(task.init)(KEY), jax.jit(task.metrics)
    before, after = (judge(task.arrays, p) for p in (params, trained(params)))
    assert set(after) == {"accuracy", "loss"}
    assert after["loss"] < before["loss"] / 2
    assert after["accuracy"] > 0.8


@pytest.mark.parametrize("kind", MODULES)
def test_parameters_are_plain_dictionaries_that_depend_on_the_seed(kind):
    task = make(MODULES[kind]())
    init = jax.jit(task.init)
    first, again, other = (init(jax.random.key(seed)) for seed in (0, 0, 1))
    assert type(first) is dict
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(first))
    first, again, other = (
        np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)])
        for tree in (first, again, other)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


@pytest.mark.parametrize("kind", MODULES)
def test_dropout_follows_the_key_in_training_and_is_off_in_evaluation(kind):
    task, plain = make(MODULES[kind](0.5)), make(MODULES[kind](0.0))
    params, data = jax.jit(task.init)(KEY), DATA
    loss = jax.jit(task.scalar_loss)
    losses = {float(loss(params, data, jax.random.key(i))) for i in range(3)}
    assert len(losses) == 3
    assert float(loss(params, data, jax.random.key(1))) in losses
    judged, expected = (jax.jit(t.metrics)(t.arrays, params) for t in (task, plain))
    assert judged == expected


def test_linen_and_nnx_compute_what_the_modules_compute():
    params = jax.jit(make(build()).init)(KEY)
    dense = {
        f"Dense_{i}": {name: params["layers"][i][name] for name in ("kernel", "bias")}
        for i in range(2)
    }
    apply = jax.jit(lambda params: Linen().apply({"params": params}, DATA["image"], False))
    expected = cross_entropy(apply(dense), DATA).mean()
    for task, tree in ((make(build()), params), (make(Linen()), dense)):
        found = jax.jit(task.metrics)(task.arrays, tree)["loss"]
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_an_nnx_module_itself_is_the_start_of_every_seed():
    module = Graph(rngs=nnx.Rngs(3))
    task = make(module)
    first, other = (task.init(jax.random.key(seed)) for seed in (0, 1))
    kernel = np.asarray(module.layers[0].kernel.get_value())
    for params in (first, other):
        np.testing.assert_array_equal(params["layers"][0]["kernel"], kernel)


def test_with_validation_the_loss_judges_and_without_it_the_training_loss():
    assert (make(Linen()).metric, make(Linen()).name) == ("loss", "Linen")
    task = make(Linen(), validation=None, evaluate=None, name="digits")
    assert (task.metric, task.name) == ("train_loss", "digits")
    assert make(Linen(), metric="accuracy", mode="max").metric == "accuracy"


def test_inputs_are_found_or_named():
    data = (DATA["image"], DATA["label"])
    task = Task.from_flax(nn.Dense(2), lambda out, batch: out.sum(1), data, batch_size=4)
    assert jax.eval_shape(task.init, KEY)["kernel"].shape == (4, 2)
    renamed = {"pixels": DATA["image"], "label": DATA["label"]}
    task = Task.from_flax(Linen(), cross_entropy, renamed, batch_size=4, inputs="pixels")
    assert jax.eval_shape(task.init, KEY)["Dense_0"]["kernel"].shape == (4, 8)
    task = Task.from_flax(
        nn.Dense(2), lambda out, batch: out.sum(1), renamed, batch_size=4,
        inputs=lambda batch: batch["pixels"][:, :3],
    )  # fmt: skip
    assert jax.eval_shape(task.init, KEY)["kernel"].shape == (3, 2)
    with pytest.raises(ValueError, match=r"inputs must say which part .* 'label', 'pixels'"):
        Task.from_flax(Linen(), cross_entropy, renamed, batch_size=4)
    with pytest.raises(ValueError, match="got 'pixel'"):
        Task.from_flax(Linen(), cross_entropy, renamed, batch_size=4, inputs="pixel")
    with pytest.raises(ValueError, match="names a part of a dictionary, but a batch is a tuple"):
        Task.from_flax(Linen(), cross_entropy, data, batch_size=4, inputs="x")


def test_data_may_be_a_function_of_key_and_step():
    def stream(key, step):
        x = jax.random.normal(key, (5, 4))
        return {"x": x, "label": jnp.zeros(5, jnp.int32)}

    task = Task.from_flax(Linen(), cross_entropy, stream)
    assert jax.eval_shape(lambda: batch(task))["x"].shape == (5, 4)
    loss = jax.eval_shape(lambda key: task.scalar_loss(task.init(key), batch(task), key), KEY)
    assert loss.shape == ()


def test_targets_that_spread_over_the_outputs_are_refused():
    x = np.zeros((16, 4), np.float32)
    data = {"x": x, "y": x[:, 0]}
    message = r"\(8, 1\) make a loss of shape \(8, 8\)\. .*give both one shape"
    with jax.numpy_rank_promotion("allow"), pytest.raises(ValueError, match=message):
        Task.from_flax(nn.Dense(1), lambda o, b: (o - b["y"]) ** 2, data, batch_size=8)
    Task.from_flax(nn.Dense(1), lambda o, b: (o[:, 0] - b["y"]) ** 2, data, batch_size=8)


def test_a_module_may_return_its_own_loss():
    class Own(nn.Module):
        @nn.compact
        def __call__(self, x):
            return jnp.mean(nn.Dense(1)(x) ** 2)

    x = np.zeros((16, 4), np.float32)
    assert Task.from_flax(Own(), lambda o, b: o, {"x": x}, batch_size=8).metric == "train_loss"


@pytest.mark.parametrize(
    ("data", "loss", "message"),
    [
        ({"x": [[0.0], [1.0]]}, None, r"data\['x'\]\[0\]\[0\] is one number, .*numpy.asarray"),
        (
            {"x": np.zeros((2, 4)), "label": ["a", "b"]},
            None,
            r"\[0\] is of dtype <U1",
        ),
        ({"x": np.zeros((2, 4)), "label": np.array(["a", "b"])}, None, "return_inverse=True"),
        ({"x": np.zeros((2, 4), np.float32)}, lambda outputs, batch: None, "loss returned None"),
    ],
)
def test_data_and_losses_that_jax_cannot_hold_are_named(data, loss, message):
    with pytest.raises(TypeError, match=message):
        Task.from_flax(Linen(), loss or cross_entropy, data, batch_size=2)


class NormalisedLinen(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool):
        return nn.BatchNorm(use_running_average=not train)(nn.Dense(3)(x))


class NormalisedGraph(nnx.Module):
    def __init__(self, rngs):
        self.norm = nnx.BatchNorm(4, rngs=rngs)

    def __call__(self, x):
        return self.norm(x)


@pytest.mark.parametrize(
    ("module", "others"), [(NormalisedLinen(), "batch_stats"), (NormalisedGraph, "BatchStat")]
)
def test_batch_statistics_are_refused(module, others):
    with pytest.raises(ValueError, match=f"variables that are no parameters: {others}.*LayerNorm"):
        make(module)


@pytest.mark.parametrize(
    ("module", "problem"),
    [
        (Linen, r"Linen is a class; pass a module: Linen\(\.\.\.\)"),
        (lambda rngs: 3, "must be a Linen module, an NNX module, or a function"),
        (3, "must be a Linen module, an NNX module, or a function.*got int"),
    ],
)
def test_what_is_no_module_is_refused(module, problem):
    with pytest.raises(TypeError, match=problem):
        make(module)


def test_mistakes_are_named():
    with pytest.raises(TypeError, match="loss must be a function, got str"):
        Task.from_flax(Linen(), "mse", DATA, batch_size=4)
    with pytest.raises(ValueError, match="evaluate needs data to judge on"):
        make(Linen(), validation=None)
    with pytest.raises(ValueError, match="say how many at a time"):
        make(Linen(), batch_size=None)
