"""Inside Optax's wrappers, Flax, NNX and Equinox, as their users write it."""

import chex
import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import pytest
from core_links import count_traces, decay, ema, params_and_grads, scale, signature
from flax import nnx, serialization
from flax.training.train_state import TrainState

import optlab as ol
from optlab import core


@pytest.fixture(autouse=True)
def default_promotion():
    """These frameworks do not run under strict promotion."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def sentence(rate=0.1):
    return core.chain(
        ol.clip_by_global_norm(10.0), ema(0.5), decay(0.01), ol.scale_by_learning_rate(rate)
    )


def train(tx, steps=3):
    params, grads = params_and_grads()
    state = tx.init(params)
    for _ in range(steps):
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


# --- Optax


def test_masked_moves_only_what_is_selected():
    params, grads = params_and_grads()
    mask = {"dense": {"kernel": True, "bias": False}, "gain": False}
    tx = optax.masked(sentence(), mask)
    updates, _ = tx.update(grads, tx.init(params), params)
    chex.assert_trees_all_equal(updates["gain"], grads["gain"])
    alone = {"kernel": params["dense"]["kernel"]}
    expected, _ = sentence().update(
        {"kernel": grads["dense"]["kernel"]}, sentence().init(alone), alone
    )
    chex.assert_trees_all_close(updates["dense"]["kernel"], expected["kernel"], rtol=1e-6)


def test_partition_gives_each_label_its_transformation():
    labels = {"dense": {"kernel": "a", "bias": "b"}, "gain": "b"}
    tx = optax.partition({"a": scale(2.0), "b": core.chain(scale(3.0), ema(0.0))}, labels)
    params, grads = params_and_grads()
    updates, _ = jax.jit(tx.update)(grads, tx.init(params), params)
    chex.assert_trees_all_close(updates["dense"]["kernel"], 2 * grads["dense"]["kernel"])
    chex.assert_trees_all_close(updates["gain"], 3 * grads["gain"])


def test_multi_steps_of_equal_gradients_are_one_step():
    params, grads = params_and_grads()
    multi = optax.MultiSteps(sentence(), 2)
    step = jax.jit(multi.update)
    state = multi.init(params)
    first, state = step(grads, state, params)
    chex.assert_trees_all_equal(first, jax.tree.map(jnp.zeros_like, grads))
    second, _ = step(grads, state, params)
    expected, _ = sentence().update(grads, sentence().init(params), params)
    chex.assert_trees_all_close(second, expected, rtol=1e-6)


def test_apply_if_finite_skips_a_nan_and_keeps_the_state():
    params, grads = params_and_grads()
    tx = optax.apply_if_finite(sentence(), 2)
    state = tx.init(params)
    updates, after = jax.jit(tx.update)(jax.tree.map(lambda g: g * jnp.nan, grads), state, params)
    chex.assert_trees_all_equal(updates, jax.tree.map(jnp.zeros_like, grads))
    chex.assert_trees_all_equal(after.inner_state, state.inner_state)
    chex.assert_tree_all_finite(jax.jit(tx.update)(grads, after, params)[0])


def test_inject_hyperparams_passes_traced_values():
    tx = optax.inject_hyperparams(sentence)(rate=0.1)
    params, grads = params_and_grads()
    state = tx.init(params)
    state.hyperparams["rate"] = jnp.asarray(0.2)
    updates, _ = jax.jit(tx.update)(grads, state, params)
    expected, _ = sentence(0.2).update(grads, sentence(0.2).init(params), params)
    chex.assert_trees_all_close(updates, expected, rtol=1e-6)


def test_map_params_finds_the_moments():
    tx, (params, _) = sentence(), params_and_grads()
    state = optax.tree.map_params(tx, lambda x: x + 1.0, tx.init(params))
    chex.assert_trees_all_equal(state[1].mean, jax.tree.map(jnp.ones_like, params))
    assert state[3].count == 0


def test_optax_tree_get_and_set_find_the_learning_rate():
    _, state = train(sentence())
    assert optax.tree.get(state, "learning_rate") == jnp.float32(0.1)
    changed = optax.tree.set(state, learning_rate=jnp.float32(0.5))
    assert optax.tree.get(changed, "learning_rate") == 0.5


# --- Flax


def test_a_flax_train_state_trains_and_traces_once():
    params, grads = params_and_grads()
    state = TrainState.create(apply_fn=None, params=params, tx=sentence())
    step, traces = count_traces(lambda state, grads: state.apply_gradients(grads=grads))
    for _ in range(3):
        state = step(state, grads)
    assert len(traces) == 1
    chex.assert_trees_all_close(state.params, train(sentence())[0], rtol=1e-5, atol=1e-7)
    assert core.read(state.opt_state)["learning_rate"] == jnp.float32(0.1)


def test_an_equal_optimizer_made_anew_does_not_trace_again():
    params, grads = params_and_grads()
    step, traces = count_traces(lambda state, grads: state.apply_gradients(grads=grads))
    for _ in range(2):  # each cell of a notebook run again makes a new one
        step(TrainState.create(apply_fn=None, params=params, tx=sentence()), grads)
    assert len(traces) == 1


def test_a_flax_state_survives_msgpack():
    _, state = train(sentence())
    blank = sentence().init(params_and_grads()[0])
    back = serialization.from_bytes(blank, serialization.to_bytes(state))
    chex.assert_trees_all_equal(back, state)
    assert jax.tree.structure(back) == jax.tree.structure(state)


@pytest.mark.parametrize("make", [sentence, lambda: sentence().as_optax()], ids=["data", "optax"])
def test_nnx_optimizer_trains(make):
    model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, make(), wrt=nnx.Param)
    x = jnp.ones((4, 3))

    @nnx.jit
    def step(model, optimizer):
        loss, grads = nnx.value_and_grad(lambda m: jnp.mean(m(x) ** 2))(model)
        optimizer.update(model, grads)
        return loss

    losses = [float(step(model, optimizer)) for _ in range(4)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]
    values = {k.split("/")[-1]: v for k, v in core.read(optimizer.opt_state).items()}
    assert float(jnp.asarray(values["learning_rate"])) == pytest.approx(0.1)


def test_nnx_nodes_and_their_arrays_have_the_same_state():
    model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    nodes = nnx.state(model, nnx.Param)
    arrays = nnx.to_pure_dict(nodes)
    tx = sentence()
    chex.assert_trees_all_equal(jax.tree.leaves(tx.init(nodes)), jax.tree.leaves(tx.init(arrays)))
    state = tx.init(nodes)
    updates, after = tx.update(nodes, state, nodes)
    assert signature(after) == signature(state)
    assert jax.tree.structure(updates) == jax.tree.structure(nodes)


# --- Equinox


class Model(eqx.Module):
    weight: jax.Array
    name: str = eqx.field(static=True, default="model")
    activation: object = jax.nn.relu

    def __call__(self, x):
        return self.activation(x @ self.weight)


def test_equinox_models_train():
    model = Model(jnp.ones((3, 2)))
    tx = sentence()
    state = tx.init(eqx.filter(model, eqx.is_array))
    x = jnp.ones((4, 3))

    @eqx.filter_jit
    def step(model, state, tx):
        loss, grads = eqx.filter_value_and_grad(lambda m: jnp.mean(m(x) ** 2))(model)
        updates, state = tx.update(grads, state, eqx.filter(model, eqx.is_inexact_array))
        return eqx.apply_updates(model, updates), state, loss

    losses = []
    for _ in range(3):
        model, state, loss = step(model, state, tx)
        losses.append(float(loss))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


def test_an_unfiltered_equinox_model_is_refused_by_path():
    with pytest.raises(TypeError, match="params at 'activation' is"):
        sentence().init(Model(jnp.ones((3, 2))))


def test_a_transformation_may_be_part_of_an_equinox_module():
    class Trainer(eqx.Module):
        tx: core.Transformation
        params: jax.Array

    trainer = Trainer(scale(jnp.float32(2.0)), jnp.ones(2))

    @eqx.filter_jit
    def update(trainer):
        return trainer.tx.update(trainer.params, trainer.tx.init(trainer.params))[0]

    chex.assert_trees_all_equal(update(trainer), jnp.full((2,), 2.0))
    slope = eqx.filter_grad(lambda t: update(t).sum())(trainer)
    assert slope.tx.link.factor == 2.0
