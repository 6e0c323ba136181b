"""store: any state in any storage, found by itself, and as honest as float32."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import optlab as ol
from optlab import storage

INT8 = {"first": storage.int8(), "second": storage.int8()}
FP8 = {"first": storage.fp8(), "second": storage.fp8()}
BF16 = {"first": storage.bf16(), "second": storage.bf16()}
FACTORED = {"first": storage.bf16(), "second": storage.factored()}
PARAMS = {
    "Dense_0": {"kernel": jnp.ones((16, 512)), "bias": jnp.ones(8192)},
    "Embed_0": {"embedding": jnp.ones((32, 256))},
    "Dense_1": {"kernel": jnp.ones((8, 8))},
}


def kinds(tree) -> dict[str, str]:
    """What is at each place of a tree that looks like the parameters."""
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda n: hasattr(n, "codes"))
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): str(getattr(n, "codes", n).dtype)
        for path, n in leaves
    }


def state_bytes(state) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(state))


def start(tx, params=PARAMS):
    return jax.jit(tx.init)(params)


# --- which arrays


def test_small_flat_and_embedding_arrays_stay_exact():
    moments = start(ol.store(ol.adamw(1e-3), INT8)).inner[0]
    exact = dict.fromkeys(("Dense_0/bias", "Dense_1/kernel", "Embed_0/embedding"), "float32")
    assert kinds(moments.first) == {"Dense_0/kernel": "int8", **exact}
    assert kinds(moments.second) == {"Dense_0/kernel": "uint8", **exact}
    assert moments.second_weight.dtype == jnp.float32


def test_where_and_min_size_say_what_names_mean():
    tx = ol.store(ol.adamw(1e-3), {"second": storage.bf16()}, where=ol.everything, min_size=65)
    moments = start(tx).inner[0]
    assert set(kinds(moments.first).values()) == {"float32"}
    assert kinds(moments.second) == {
        "Dense_0/bias": "bfloat16",
        "Dense_0/kernel": "bfloat16",
        "Dense_1/kernel": "float32",
        "Embed_0/embedding": "bfloat16",
    }


def test_selectors_mean_every_field_and_the_first_key_that_fits_decides():
    tx = ol.store(
        ol.adamw(1e-3),
        {ol.embeddings: storage.bf16(), "second": storage.int8(), ol.kernels: storage.exact()},
    )
    moments = start(tx).inner[0]
    assert kinds(moments.first)["Embed_0/embedding"] == "bfloat16"
    assert kinds(moments.second)["Embed_0/embedding"] == "bfloat16"
    assert kinds(moments.second)["Dense_0/kernel"] == "uint8"
    assert kinds(moments.first)["Dense_0/kernel"] == "float32"


def masked_trace():
    return optax.chain(
        optax.masked(optax.trace(0.9), {"Dense_0": True, "Embed_0": False, "Dense_1": True}),
        optax.scale(-0.1),
    )


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: optax.adamw(1e-3), {"mu": "int8", "nu": "uint8"}),
        (lambda: optax.adagrad(1e-3), {"sum_of_squares": "uint8"}),
        (lambda: optax.sgd(0.1, momentum=0.9), {"trace": "int8"}),
        (masked_trace, {"trace": "int8"}),
        (lambda: ol.lion(1e-3), {"momentum": "int8"}),
        (lambda: ol.amsgrad(1e-3), {"maximum": "uint8"}),
        (lambda: ol.adadelta(1e-3), {"gradients": "uint8", "steps": "uint8"}),
        (
            lambda: ol.route({ol.kernels: ol.adam(1e-3)}, ol.sgd(0.1, momentum=0.9)),
            {"first": "int8", "second": "uint8"},
        ),
        (lambda: ol.named_chain(first=ol.adam(1e-3), last=ol.scale(1.0)), {"second": "uint8"}),
    ],
    ids=lambda case: next(iter(case)) if isinstance(case, dict) else "",
)
def test_fields_are_found_in_any_state_and_their_signs_known(make, names):
    tx = ol.store(make(), dict.fromkeys(names, storage.int8()))
    state = start(tx)
    stored = {
        path.split("/Dense_0")[0].split("/")[-1]: kind
        for path, kind in kinds(state.inner).items()
        if "int8" in kind
    }
    assert stored == names
    updates, new = jax.jit(tx.update)(PARAMS, state, PARAMS)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    assert np.all(np.isfinite(jax.flatten_util.ravel_pytree(updates)[0]))


def test_factored_and_other_arrays_are_left_alone():
    inner = ol.accumulate_moments(second="factored", min_size=16)
    tx = ol.store(inner, {ol.everything: storage.bf16()}, min_size=0)
    second = start(tx).inner.second
    assert kinds(second["Dense_0"]["bias"]) == {"": "bfloat16"}
    assert set(kinds(second["Dense_0"]["kernel"]).values()) == {"float32"}  # rows and columns


def test_a_bare_array_is_a_tree_of_parameters():
    params = jnp.ones((16, 512))
    tx = ol.store(ol.adam(1e-3), INT8)
    state = start(tx, params)
    assert state.inner[0].first.codes.shape == (16, 512)
    updates, _ = jax.jit(tx.update)(params, state)
    np.testing.assert_allclose(updates, -1e-3, rtol=1e-5)


def test_parameters_called_like_fields_are_told_from_them():
    params = {"first": jnp.ones((16, 512)), "second": {"first": jnp.ones((16, 512))}}
    moments = start(ol.store(ol.adam(1e-3), {"second": storage.int8()}), params).inner[0]
    assert kinds(moments.first) == {"first": "float32", "second/first": "float32"}
    assert kinds(moments.second) == {"first": "uint8", "second/first": "uint8"}


def test_complex_arrays_stay_exact():
    params = {"kernel": jnp.ones((16, 512), jnp.complex64)}
    moments = start(ol.store(ol.adam(1e-3), INT8), params).inner[0]
    assert kinds(moments.first) == {"kernel": "complex64"}
    assert kinds(moments.second) == {"kernel": "uint8"}


# --- what it costs


@pytest.mark.parametrize(
    ("storages", "where", "most"),
    [(INT8, None, 2.1), (BF16, None, 4.02), (BF16, ol.everything, 4.001), (FACTORED, None, 2.1)],
    ids=["int8", "bf16", "bf16 everywhere", "bf16 and factored"],
)
def test_bytes_of_a_parameter_in_live_arrays(storages, where, most):
    params = {f"Dense_{i}": {"kernel": jnp.ones((256, 512)), "bias": jnp.ones(512)} for i in "01"}
    tx = ol.store(ol.adamw(1e-3), storages, where=where, min_size=512)
    state = jax.block_until_ready(start(tx, params))
    count = sum(p.size for p in jax.tree.leaves(params))
    assert state_bytes(state) / count <= most
    assert state_bytes(start(ol.adamw(1e-3), params)) / count > 8


# --- what it computes


def relative_error(got, expected) -> float:
    return float(np.mean(np.asarray(got, np.float64)) / expected - 1)


def moments_after(storages, phases, b1, b2):
    """Adam's moments of entries with gradients given by phases, beside others that stay at 1."""
    tx = ol.store(ol.accumulate_moments(b1=b1, b2=b2), storages)
    params = {"w": jnp.zeros((32, 256), jnp.bfloat16)}
    loud = (jnp.arange(256) % 64 == 0).astype(jnp.float32)  # block maxima that do not follow

    def step(state, g):
        gradient = jnp.broadcast_to(jnp.where(loud > 0, 1.0, g), (32, 256))
        return tx.update({"w": gradient.astype(jnp.bfloat16)}, state, params)[1], None

    gradients = np.concatenate([np.full(n, g, np.float32) for g, n in phases])
    state = jax.jit(lambda s: jax.lax.scan(step, s, gradients)[0])(tx.init(params))
    exact = [0.0, 0.0]
    for g in np.asarray(jnp.asarray(gradients).astype(jnp.bfloat16), np.float64):
        exact = [b1 * exact[0] + (1 - b1) * g, b2 * exact[1] + (1 - b2) * g * g]
    signs = {"first": False, "second": True}
    decoded = {
        name: kept.suited(nonnegative=signs[name]).decode(getattr(state.inner, name)["w"])
        for name, kept in storages.items()
    }
    quiet = np.asarray(loud) == 0
    return {n: relative_error(d[:, quiet], exact[n == "second"]) for n, d in decoded.items()}


DROPS = {
    "1 to 0.01": ((1.0, 3000), (0.01, 6000)),
    "1 to 0": ((1.0, 300), (0.0, 5000)),
}


@pytest.mark.parametrize(
    "storages", [INT8, FP8, BF16, FACTORED], ids=["int8", "fp8", "bf16", "factored"]
)
@pytest.mark.parametrize("drop", DROPS)
def test_second_moment_follows_a_drop_of_the_gradient(storages, drop):
    assert abs(moments_after(storages, DROPS[drop], 0.9, 0.999)["second"]) < 0.05


def test_rounding_to_nearest_does_not_follow_a_drop():
    kept = storage.bf16("nearest")
    error = moments_after({"second": kept}, DROPS["1 to 0.01"], 0.9, 0.999)["second"]
    assert error > 100  # the x102 that stochastic rounding is for


@pytest.mark.parametrize("storages", [INT8, FP8, BF16], ids=["int8", "fp8", "bf16"])
@pytest.mark.parametrize("b1", [0.9, 0.99])
def test_first_moment_reaches_a_constant_gradient(storages, b1):
    error = moments_after(storages, ((0.1, 1500),), b1, 0.999)["first"]
    assert abs(error) < 0.01


@functools.cache
def ten_steps(how: str, seed: int = 0):
    tx = ol.store(ol.adam(1e-2), INT8, seed=seed)
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(10, 16, 512)).astype(np.float32)
    params = {"kernel": jnp.zeros((16, 512))}

    def step(carry, g):
        params, state = carry
        updates, state = tx.update({"kernel": g}, state, params)
        return (optax.apply_updates(params, updates), state), None

    carry = (params, tx.init(params))
    if how == "scan":
        return jax.jit(lambda c: jax.lax.scan(step, c, gradients)[0])(carry)
    jitted = jax.jit(step, donate_argnums=0)
    for i, g in enumerate(gradients):
        if how == "resumed" and i == 5:
            leaves, structure = jax.tree.flatten(carry)
            carry = jax.tree.unflatten(structure, [jnp.array(np.asarray(x)) for x in leaves])
        carry, _ = jitted(carry, g)
    return carry


def test_a_resumed_run_is_the_same_run():
    jax.tree.map(np.testing.assert_array_equal, ten_steps("loop"), ten_steps("resumed"))


def test_scan_steps_as_a_loop_does():
    a, b = ten_steps("loop")[0]["kernel"], ten_steps("scan")[0]["kernel"]
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_another_seed_rounds_otherwise():
    a, b = ten_steps("loop")[0]["kernel"], ten_steps("loop", seed=1)[0]["kernel"]
    assert 1e-7 < np.std(a - b) < 0.1 * np.std(a)


def test_it_stays_near_float32():
    rng = np.random.default_rng(0)
    exact, state = {"kernel": jnp.zeros((16, 512))}, None
    tx = ol.adam(1e-2)
    state = tx.init(exact)
    update = jax.jit(tx.update)
    for g in rng.normal(size=(10, 16, 512)).astype(np.float32):
        updates, state = update({"kernel": g}, state, exact)
        exact = optax.apply_updates(exact, updates)
    got = ten_steps("loop")[0]["kernel"]
    assert np.std(got - exact["kernel"]) < 0.05 * np.std(exact["kernel"])


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_a_sharded_step_is_that_of_one_device(kind):
    tx = ol.store(ol.adam(1e-2), INT8)
    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(kind, kind))
    whole = {"kernel": jnp.asarray(np.random.default_rng(0).normal(size=(16, 1024)), jnp.float32)}

    def three(params):
        state = tx.init(params)
        for _ in range(3):
            updates, state = tx.update(params, state, params)
            params = optax.apply_updates(params, updates)
        return params, state

    expected = jax.device_get(jax.jit(three)(whole))
    with jax.set_mesh(mesh):
        spread = NamedSharding(mesh, PartitionSpec("data", "model"))
        state = jax.jit(tx.init)(jax.device_put(whole, spread))
        codes = state.inner[0].second["kernel"].codes
        assert codes.sharding.is_equivalent_to(spread, 2)
        got = jax.jit(three)(jax.device_put(whole, spread))
    got = jax.device_get(got)
    np.testing.assert_allclose(got[0]["kernel"], expected[0]["kernel"], rtol=1e-5, atol=1e-5)
    a, b = (x[1].inner[0].second["kernel"].codes.astype(int) for x in (got, expected))
    assert np.mean(a != b) < 1e-3  # only where the last bit of the maths decides


# --- mistakes


def test_a_name_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(ValueError, match="'second_moment'; did you mean 'second'"):
        ol.store(ol.adam(1e-3), {"second_moment": storage.int8()}).init(PARAMS)
    with pytest.raises(ValueError, match=r"known: mu, nu\."):
        ol.store(optax.adam(1e-3), {"first": storage.int8()}).init(PARAMS)


def test_a_field_the_inner_transformation_rounds_itself_is_refused():
    tx = ol.store(optax.adam(1e-3, mu_dtype=jnp.bfloat16), {"mu": storage.int8()})
    with pytest.raises(ValueError, match="'0/mu/Dense_0/kernel' in bfloat16"):
        tx.init(PARAMS)


@pytest.mark.parametrize(
    "other",
    [
        ol.adam(1e-3),
        ol.store(ol.adam(1e-3), BF16),
        ol.store(ol.adam(1e-3), {n: storage.int8(block=128) for n in INT8}),
        ol.store(ol.adam(1e-3), INT8, where=ol.path("Embed_0/*")),
    ],
    ids=["exact", "bf16", "block", "where"],
)
def test_the_state_of_other_storages_is_refused_by_path(other):
    tx = ol.store(ol.adam(1e-3), INT8)
    state = start(other)
    state = state if hasattr(state, "inner") else start(tx)._replace(inner=state)
    with pytest.raises(ValueError, match=r"store: the state .*0/first/.*migrate the old one"):
        jax.eval_shape(tx.update, PARAMS, state, PARAMS)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (({},), ValueError, "there is no storage"),
        ((storage.int8(),), TypeError, "must be a dict"),
        (({"first": storage.int8},), TypeError, "Did you forget to call it"),
        (({"first": "int8"},), TypeError, "must be Storages"),
        (({3: storage.int8()},), TypeError, "must be a selector"),
    ],
)
def test_arguments_of_other_kinds_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        ol.store(ol.adam(1e-3), *arguments)


def test_averages_of_parameters_are_not_coded_by_accident():
    averaged = ol.average_params(ol.adam(1e-3))
    with pytest.raises(ValueError, match=r"^store: kernels means averages .* int8\(\)"):
        ol.store(ol.chain(averaged), {ol.kernels: storage.int8()})
    ol.store(averaged, {ol.kernels: storage.bf16()})
    ol.store(averaged, {"first": storage.int8()})


# --- the contract, where something is stored


def contract_params():
    rng = np.random.default_rng(0)
    shapes = {"matrix": (16, 300), "vector": (5,), "scalar": ()}
    return {n: rng.normal(size=shape).astype(np.float32) for n, shape in shapes.items()}


ALLOWED = {
    "permutation_of_axes": "rounding belongs to an entry's place, scales to its block",
    "nan_recovery": "a NaN gradient stays in the running statistics until they are reset",
}


@pytest.mark.slow
@pytest.mark.parametrize("storages", [INT8, BF16, FACTORED], ids=["int8", "bf16", "factored"])
def test_it_keeps_the_contract_with_stored_arrays(storages):
    report = ol.testing.check_transformation(
        lambda: ol.store(ol.adam(1e-2), storages, min_size=1000),
        params=contract_params(),
        allow=ALLOWED,
    )
    assert report, str(report)
