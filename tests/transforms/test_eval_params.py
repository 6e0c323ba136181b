"""The average out of any state: wrappers, chains, groups, masks, frameworks, Optax's own."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from flax import nnx, struct
from flax.core import FrozenDict
from flax.training.train_state import TrainState

import optlab as ol

PARAMS = {"Dense_0": {"kernel": jnp.full((2, 2), 4.0), "bias": jnp.full(2, 2.0)}}
GRADS = jax.tree.map(jnp.ones_like, PARAMS)


def swa(rate=1.0):
    return ol.average_params(ol.sgd(rate), "swa")


def after(tx, steps=2, params=PARAMS):
    """Parameters and state after steps against gradients of ones: -1, -2 ... for `swa()`."""
    state = tx.init(params)
    for _ in range(steps):
        grads = jax.tree.map(jnp.ones_like, params)
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def moved(by, params=PARAMS):
    return jax.tree.map(lambda p: p + jnp.asarray(by, p.dtype), params)


NESTINGS = {
    "bare": swa,
    "chain": lambda: ol.chain(ol.clip_by_global_norm(100.0), swa()),
    "last link": lambda: ol.chain(ol.sgd(1.0), ol.average_params(ema="swa")),
    "named_chain": lambda: ol.named_chain(clip=ol.clip_by_global_norm(100.0), step=swa()),
    "optax.chain": lambda: optax.chain(optax.clip(10.0), swa()),
    "guard": lambda: ol.transforms.guard(ol.chain(swa())),
    "accumulate": lambda: ol.transforms.accumulate_gradients(swa(), every=1),
    "scheduled": lambda: ol.average_params(ol.sgd(lambda n: 1.0), lambda n: 0.9999999),
    "route": lambda: ol.route({ol.kernels: swa(), ol.biases: swa()}),
    "lookahead": lambda: ol.lookahead(ol.sgd(1.0), 2, 0.75),
    "tail": lambda: ol.average_params(ol.sgd(1.0), "tail", tail_fraction=0.9),
    "schedule_free": lambda: ol.schedule_free(ol.sgd(1.0), b1=0.0),
    "optax.MultiSteps": lambda: optax.MultiSteps(swa(), 1).gradient_transformation(),
    "optax schedule_free": lambda: optax.contrib.schedule_free(optax.sgd(1.0), 1.0, b1=1.0),
    "inject_hyperparams": lambda: optax.inject_hyperparams(swa)(rate=1.0),
}


@pytest.mark.parametrize("name", NESTINGS)
def test_the_average_is_found_whatever_the_nesting(name):
    with jax.numpy_dtype_promotion("standard"):
        params, state = after(NESTINGS[name]())
        got = ol.eval_params(state, params)
    chex.assert_trees_all_close(got, moved(-1.5), rtol=1e-6)
    chex.assert_trees_all_equal_shapes_and_dtypes(got, params)


def test_groups_of_a_route_are_put_together():
    tx = ol.route({ol.kernels: swa(), ol.biases: ol.lookahead(ol.sgd(1.0), 2, 0.5)})
    params, state = after(tx)
    got = ol.eval_params(state, params)["Dense_0"]
    np.testing.assert_allclose(got["kernel"], 4.0 - 1.5)
    np.testing.assert_allclose(got["bias"], 2.0 - 1.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ol.route({ol.kernels: swa()}, default=ol.sgd(1.0)),
        lambda: optax.partition(
            {"a": swa(), "b": ol.sgd(1.0)}, {"Dense_0": {"kernel": "a", "bias": "b"}}
        ),
        lambda: optax.chain(
            optax.masked(swa(), {"Dense_0": {"kernel": True, "bias": False}}),
            optax.masked(ol.sgd(1.0), {"Dense_0": {"kernel": False, "bias": True}}),
        ),
    ],
)
def test_what_is_not_averaged_is_the_parameter_itself(make):
    params, state = after(make())
    got = ol.eval_params(state, params)["Dense_0"]
    np.testing.assert_allclose(got["kernel"], 4.0 - 1.5)
    np.testing.assert_array_equal(got["bias"], params["Dense_0"]["bias"])


def test_a_whole_branch_may_be_masked():
    params = {"a": {"x": jnp.ones(2), "y": jnp.ones(1)}, "b": jnp.ones(3)}
    tx = optax.chain(
        optax.masked(swa(), {"a": False, "b": True}),
        optax.masked(ol.sgd(1.0), {"a": True, "b": False}),
    )
    params, state = after(tx, params=params)
    got = ol.eval_params(state, params)
    np.testing.assert_allclose(got["b"], -0.5)
    chex.assert_trees_all_equal(got["a"], params["a"])


# --- containers, dtypes, frameworks


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_the_result_has_the_dtypes_of_the_parameters(dtype):
    params = jax.tree.map(lambda p: p.astype(dtype), PARAMS)
    params, state = after(swa(), params=params)
    chex.assert_trees_all_equal_shapes_and_dtypes(ol.eval_params(state, params), params)


@struct.dataclass
class Weights:
    kernel: jax.Array
    none: None = None


@pytest.mark.parametrize(
    "params",
    [
        jnp.ones(3),
        jnp.ones(()),
        {},
        [jnp.ones(1), (jnp.ones(2), None)],
        FrozenDict({"a": {"b": jnp.ones(2)}}),
        Weights(jnp.ones(2)),
        {"linear/~/w": jnp.ones(2), "linear": {"~": {"w": jnp.zeros(1)}}},
    ],
    ids=str,
)
def test_the_result_has_the_containers_of_the_parameters(params):
    new, state = after(swa(), params=params)
    got = ol.eval_params(state, new)
    assert jax.tree.structure(got) == jax.tree.structure(params)
    chex.assert_trees_all_close(got, moved(-1.5, params), rtol=1e-6)


def test_a_train_state_can_be_given_as_it_is():
    state = TrainState.create(apply_fn=None, params=PARAMS, tx=swa())
    for _ in range(2):
        state = state.apply_gradients(grads=GRADS)
    chex.assert_trees_all_close(ol.eval_params(state, state.params), moved(-1.5), rtol=1e-6)


def test_nnx_parameters_come_back_as_nnx_parameters():
    class Model(nnx.Module):
        def __init__(self):
            self.w = nnx.Param(jnp.full(2, 4.0, jnp.bfloat16))

    model = Model()
    optimizer = nnx.Optimizer(model, swa().as_optax(), wrt=nnx.Param)
    with jax.numpy_dtype_promotion("standard"):
        for _ in range(2):
            grads = jax.tree.map(jnp.ones_like, nnx.state(model, nnx.Param))
            optimizer.update(model, grads)
    params = nnx.state(model, nnx.Param)
    got = ol.eval_params(optimizer.opt_state, params)
    assert isinstance(got["w"], nnx.Param)
    assert got["w"].get_value().dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.asarray(got["w"].get_value(), np.float32), [2.5, 2.5])
    nnx.update(model, got)


def test_it_works_inside_jit_and_vmap():
    tx = swa()

    @jax.jit
    @jax.vmap
    def run(start):
        params, state = after(tx, params=start)
        return ol.eval_params(state, params)

    np.testing.assert_allclose(run(jnp.array([1.0, 2.0])), [-0.5, 0.5])


def test_the_result_shares_no_buffer_with_state_or_parameters():
    for steps in (0, 1):
        tx = ol.route({ol.kernels: swa()}, default=ol.freeze())
        params, state = after(tx, steps, jax.tree.map(jnp.copy, PARAMS))
        got = ol.eval_params(state, params)
        jax.jit(lambda s, p: (s, p), donate_argnums=(0, 1))(state, params)
        jax.block_until_ready(jax.tree.map(lambda x: x + 1, got))


# --- several, none, others'


def test_no_average_is_an_error_with_a_remedy():
    params, state = after(ol.adam(0.1), 1)
    with pytest.raises(ValueError, match=r"keeps no average.*default=params"):
        ol.eval_params(state, params)


def test_no_average_can_be_given_a_default():
    params, state = after(ol.adam(0.1), 1)
    assert ol.eval_params(state, params, default=params) is params
    assert ol.eval_params(state, params, default=None) is None


def test_several_averages_are_an_error_naming_their_places():
    tx = ol.chain(ol.scale(1.0), ol.average_params(ol.schedule_free(ol.sgd(1.0)), ema=0.9))
    params, state = after(tx)
    message = (
        r"2 averages of the parameter 'Dense_0/bias': 1/average_params, "
        r"1/average_params/schedule_free"
    )
    with pytest.raises(ValueError, match=message):
        ol.eval_params(state, params)


def test_of_several_averages_one_can_be_chosen():
    tx = ol.average_params(ol.lookahead(ol.sgd(1.0), 2, 0.75), "swa")
    params, state = after(tx)
    slow = ol.eval_params(state, params, which="lookahead")
    chex.assert_trees_all_close(slow, moved(-1.5), rtol=1e-6)
    mean = ol.eval_params(state, params, which="average_params")
    chex.assert_trees_all_close(mean, moved((-1.0 - 1.5) / 2), rtol=1e-6)
    with pytest.raises(ValueError, match="which='lokahead' is no average of this state; did you"):
        ol.eval_params(state, params, which="lokahead")
    two = ol.chain(ol.average_params(ol.sgd(0.0)), ol.average_params(ol.sgd(0.0)))
    params, state = after(two)
    with pytest.raises(ValueError, match="fits 2 averages; give one of 0/average_params, 1/"):
        ol.eval_params(state, params, which="average_params")


def test_parameters_of_another_model_are_refused_by_path_and_shape():
    _, state = after(swa())
    with pytest.raises(ValueError, match=r"has shape \(2, 2\) at 'Dense_0/kernel'.*\(3, 2\)"):
        ol.eval_params(state, {"Dense_0": {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}})
    with pytest.raises(ValueError, match="keeps nothing for 'Dense_1/kernel'"):
        ol.eval_params(state, {"Dense_1": {"kernel": jnp.ones((2, 2))}})


def test_lookahead_pairs_of_optax_give_their_slow_half():
    tx = optax.lookahead(optax.sgd(0.1), 2, 0.5)
    pair = optax.LookaheadParams.init_synced(jnp.ones(2))
    assert ol.eval_params(tx.init(pair), pair) is pair.slow


def test_an_average_kept_in_fewer_bits_is_read_too():
    storage = {"average": ol.storage.bf16("nearest")}
    tx = ol.store(swa(), storage, where=ol.everything, min_size=0)
    params, state = after(tx)
    chex.assert_trees_all_close(ol.eval_params(state, params), moved(-1.5), rtol=1e-2)


def test_an_average_in_codes_is_refused_with_a_remedy():
    tx = ol.store(swa(), {"average": ol.storage.int8()}, where=ol.everything, min_size=0)
    params, state = after(tx)
    with pytest.raises(ValueError, match=r"average_params\(store"):
        ol.eval_params(state, params)


def test_users_may_offer_averages_of_their_own():
    @jax.tree_util.register_pytree_node_class
    class Mine:
        def __init__(self, tree):
            self.tree = tree

        def averaged(self):
            return self.tree, jnp.array(True)

        def tree_flatten(self):
            return (self.tree,), None

        @classmethod
        def tree_unflatten(cls, _, children):
            return cls(*children)

    np.testing.assert_array_equal(ol.eval_params(Mine(jnp.ones(2)), jnp.zeros(2)), [1, 1])
