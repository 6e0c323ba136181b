"""What every initializer promises, whatever it draws: dtypes, keys, jit, vmap, meshes, errors."""

import inspect
import json
import pickle

import chex
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from optlab import core, initializers

KEY = jax.random.key(0)
EVERY = {
    "zeros": initializers.zeros,
    "ones": initializers.ones,
    "constant": initializers.constant(0.25),
    "uniform": initializers.uniform(-0.3, 0.1),
    "normal": initializers.normal(0.02),
    "truncated_normal": initializers.truncated_normal(0.02, -1.0, 2.5),
    "fan_out": initializers.variance_scaling(1.5, "fan_out", "normal"),
    "fan_geo_avg": initializers.variance_scaling(1.5, "fan_geo_avg", "uniform"),
    "he_normal": initializers.he_normal(slope=0.2),
    "orthogonal": initializers.orthogonal(1.5),
    "delta_orthogonal": initializers.delta_orthogonal(),
    "identity": initializers.identity(2.0),
    "scaled": initializers.depth_scaled(initializers.he_normal(), 12),
}
RANDOM = {name: init for name, init in EVERY.items() if init.random}
SHAPE = (3, 4, 8)  # one shape, and few calls: each new one compiles
every = pytest.mark.parametrize("init", EVERY.values(), ids=EVERY)
every_random = pytest.mark.parametrize("init", RANDOM.values(), ids=RANDOM)
FEW = ("constant", "uniform", "he_normal", "orthogonal", "scaled")
few = pytest.mark.parametrize("init", [EVERY[name] for name in FEW], ids=FEW)


def bits(x):
    return np.asarray(x).tobytes()


@every
def test_the_signature_is_that_of_jax_initializers(init):
    ours = list(inspect.signature(init).parameters)
    theirs = list(inspect.signature(jax.nn.initializers.he_normal()).parameters)
    assert ours == theirs


@every
def test_the_default_dtype_is_float32(init):
    assert init(KEY, SHAPE).dtype == jnp.float32


@few
def test_bfloat16_is_the_float32_draw_rounded_once(init):
    result = init(KEY, SHAPE, jnp.bfloat16)
    assert result.dtype == jnp.bfloat16
    assert not result.weak_type
    assert bits(result) == bits(init(KEY, SHAPE).astype(jnp.bfloat16))


def test_float16_is_the_float32_draw_rounded_once():
    init = initializers.he_normal()
    assert bits(init(KEY, SHAPE, jnp.float16)) == bits(init(KEY, SHAPE).astype(jnp.float16))


@few
def test_float64_is_drawn_in_float64(init):
    with jax.enable_x64(True):
        result = init(KEY, SHAPE, jnp.float64)
        assert result.dtype == jnp.float64
        if init.random:
            assert not np.array_equal(result, result.astype(jnp.float32).astype(jnp.float64))


@every
def test_jitted_is_eager_bit_for_bit(init):
    eager = init(KEY, SHAPE)
    assert bits(jax.jit(lambda key: init(key, SHAPE))(KEY)) == bits(eager)


@few
def test_passed_as_an_argument_it_draws_the_same(init):
    draw = jax.jit(lambda init, key: init(key, SHAPE))
    assert bits(draw(init, KEY)) == bits(init(KEY, SHAPE))


@every
def test_it_is_reproducible(init):
    assert bits(init(KEY, SHAPE)) == bits(init(jax.random.key(0), SHAPE))


def test_raw_keys_draw_what_typed_keys_draw():
    init = initializers.he_normal()
    assert bits(init(jax.random.PRNGKey(0), SHAPE)) == bits(init(KEY, SHAPE))


@every_random
def test_other_keys_give_other_values(init):
    assert not np.array_equal(init(KEY, SHAPE), init(jax.random.key(1), SHAPE))


@every
def test_vmap_over_keys_is_a_loop(init):
    keys = jax.random.split(KEY, 3)
    mapped = jax.vmap(lambda key: init(key, SHAPE))(keys)
    assert bits(mapped) == bits(np.stack([init(key, SHAPE) for key in keys]))


@every
@pytest.mark.parametrize("shape", [(3, 0, 6), (0, 0, 0)])
def test_a_size_of_zero_gives_an_empty_array(init, shape):
    assert init(KEY, shape).shape == shape
    assert np.isfinite(init.variance(shape))


@every
def test_json_and_pickle_give_an_equal_initializer_back(init):
    assert core.from_dict(json.loads(json.dumps(core.to_dict(init)))) == init
    assert pickle.loads(pickle.dumps(init)) == init
    assert hash(pickle.loads(pickle.dumps(init))) == hash(init)


@few
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize(("named", "jit"), [(True, False), (False, True)])
def test_sharded_is_unsharded(init, kind, named, jit):
    mesh = jax.make_mesh((4,), ("x",), axis_types=(kind,))
    spec = PartitionSpec(None, None, "x")
    sharding = NamedSharding(mesh, spec) if named else spec

    def draw(key):
        return init(key, SHAPE, out_sharding=sharding)

    with jax.set_mesh(mesh):
        result = (jax.jit(draw) if jit else draw)(KEY)
    assert result.sharding.is_equivalent_to(NamedSharding(mesh, spec), 3)
    assert bits(result) == bits(init(KEY, SHAPE))


@every
def test_eval_shape_and_abstract_keys_work(init):
    out = jax.eval_shape(lambda key: init(key, SHAPE, jnp.bfloat16), KEY)
    assert (out.shape, out.dtype) == (SHAPE, jnp.bfloat16)


@pytest.mark.parametrize(
    "name", ["uniform", "truncated_normal", "normal", "he_normal", "orthogonal"]
)
def test_complex_draws_have_the_promised_variance_or_are_refused(name):
    init, shape = RANDOM[name], (3, 40, 60)
    if name in ("uniform", "truncated_normal"):
        with pytest.raises(TypeError, match="floating, got complex64"):
            init(KEY, shape, jnp.complex64)
        return
    draw = np.asarray(init(KEY, shape, jnp.complex64))
    assert draw.dtype == np.complex64
    assert np.mean(np.abs(draw) ** 2) == pytest.approx(init.variance(shape), rel=0.1)
    assert np.mean(draw**2) == pytest.approx(0, abs=0.1 * init.variance(shape))


NUMBERS = [
    (initializers.uniform, "high", {}),
    (initializers.truncated_normal, "upper", {"stddev": 1.0}),
    (initializers.constant, "value", {}),
    (initializers.variance_scaling, "scale", {"distribution": "truncated_normal"}),
    (initializers.orthogonal, "scale", {}),
    (initializers.he_normal, "slope", {}),
    (lambda factor: initializers.scaled(initializers.he_normal(), factor), "factor", {}),
]


@pytest.mark.parametrize(("make", "field", "rest"), NUMBERS)
def test_hyperparameters_map_and_differentiate(make, field, rest):
    values = jnp.array([0.5, 1.5], jnp.float32)

    def draw(value):
        return make(**{field: value}, **rest)(KEY, (4, 6))

    def variance(value):
        return make(**{field: value}, **rest).variance((4, 6))

    chex.assert_trees_all_close(jax.vmap(draw)(values), jnp.stack([draw(v) for v in (0.5, 1.5)]))
    chex.assert_trees_all_close(
        jnp.broadcast_to(jax.vmap(variance)(values), (2,)),
        jnp.array([variance(v) for v in (0.5, 1.5)], jnp.float32),
        rtol=1e-5,
    )
    slope = jax.grad(lambda value: draw(value).sum())(0.7)
    assert np.isfinite(slope)
    assert slope != 0


def test_a_population_maps_as_an_argument():
    population = initializers.normal(jnp.array([0.0, 2.0]))
    draws = jax.vmap(lambda init: init(KEY, (5,)))(population)
    chex.assert_trees_all_equal(draws[0], jnp.zeros(5))
    with pytest.raises(ValueError, match=r"stddev has shape \(2,\).*jax.vmap"):
        population(KEY, (5,))
    with pytest.raises(ValueError, match=r"stddev has shape \(2,\)"):
        initializers.scaled(population, 2.0)(KEY, (5,))


def test_zeros_and_ones_are_their_own_factories():
    assert initializers.zeros() is initializers.zeros
    assert initializers.ones() is initializers.ones
    assert repr(initializers.zeros) == "zeros()"
    assert initializers.zeros(KEY, (2,), jnp.int32).dtype == jnp.int32
    with pytest.raises(TypeError, match="shape must be a tuple"):
        initializers.zeros(KEY)


def test_repr_reads_like_the_call():
    assert repr(initializers.normal(0.02)) == "normal(stddev=0.02)"
    he = initializers.variance_scaling(2, "fan_out", in_axis=0, out_axis=(1, 2))
    assert repr(he) == "variance_scaling(scale=2.0, mode='fan_out', in_axis=0, out_axis=(1, 2))"


BAD_CALLS = [
    (lambda: initializers.normal()(KEY, (3,), jnp.int32), TypeError, "floating.*got int32"),
    (lambda: initializers.constant(1.0)(KEY, (3,), jnp.int8), TypeError, "floating.*got int8"),
    (
        lambda: initializers.scaled(initializers.uniform(), 2.0)(KEY, (3,), jnp.complex64),
        TypeError,
        "uniform: the dtype must be floating, got complex64",
    ),
    (
        lambda: initializers.scaled(initializers.zeros, 2.0)(KEY, (3,), jnp.int32),
        TypeError,
        "scaled: the dtype must be floating",
    ),
    (lambda: initializers.normal()(0, (3,)), TypeError, r"jax\.random\.key\(seed\)"),
    (lambda: initializers.normal()(None, (3,)), TypeError, "must be a key, got None"),
    (lambda: initializers.normal()(jnp.ones(2), (3,)), TypeError, "must be a key"),
    (lambda: initializers.normal()(jax.random.split(KEY), (3,)), ValueError, r"shape \(2,\).*vmap"),
    (lambda: initializers.normal()(KEY, 3), TypeError, "tuple of whole numbers.*got 3"),
    (lambda: initializers.normal()(KEY, (2.5,)), TypeError, r"got \(2\.5,\)"),
    (lambda: initializers.normal()(KEY, (-1,)), ValueError, r"no negative sizes, got \(-1,\)"),
    (lambda: initializers.he_normal()(KEY, (3,)), ValueError, r"shape \(3,\).*Use zeros\(\)"),
    (lambda: initializers.xavier_uniform()(KEY, ()), ValueError, r"shape \(\).*Use zeros\(\)"),
    (lambda: initializers.orthogonal()(KEY, (3,)), ValueError, "orthogonal needs an input"),
    (lambda: initializers.delta_orthogonal()(KEY, (3, 4)), ValueError, r"Use orthogonal\(\)"),
    (lambda: initializers.delta_orthogonal()(KEY, (3, 6, 4)), ValueError, "6 inputs and 4 outputs"),
    (
        lambda: initializers.he_normal(in_axis=2)(KEY, (3, 4)),
        ValueError,
        "in_axis=2 is out of range",
    ),
    (lambda: initializers.he_normal(in_axis=1)(KEY, (3, 4)), ValueError, "two roles"),
    (lambda: initializers.he_normal(batch_axis=-1)(KEY, (3, 4)), ValueError, "two roles"),
]


@pytest.mark.parametrize(("call", "kind", "message"), BAD_CALLS)
def test_a_bad_call_says_what_to_do(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


BAD_VALUES = [
    (lambda: initializers.normal(-1.0), ValueError, "stddev must be a number >= 0, got -1.0"),
    (lambda: initializers.normal("a"), TypeError, "stddev must be"),
    (lambda: initializers.normal(float("nan")), ValueError, "got nan"),
    (lambda: initializers.constant(float("inf")), ValueError, "finite"),
    (lambda: initializers.constant(None), TypeError, "got None"),
    (lambda: initializers.uniform(0.1, 0.1), ValueError, r"low must be < high.*uniform\(-a, a\)"),
    (lambda: initializers.uniform(0.05), ValueError, r"uniform\(-a, a\)"),
    (lambda: initializers.truncated_normal(1.0, 2.0, -2.0), ValueError, "lower must be < upper"),
    (lambda: initializers.truncated_normal(1.0, 5.0, 6.0), ValueError, "within 3 standard"),
    (lambda: initializers.variance_scaling(-2.0), ValueError, "scale must be"),
    (lambda: initializers.variance_scaling(mode="fan_inn"), ValueError, "did you mean 'fan_in'"),
    (lambda: initializers.variance_scaling(distribution="gauss"), ValueError, "'truncated_normal'"),
    (lambda: initializers.he_normal(in_axis="rows"), TypeError, "in_axis must be an axis number"),
    (lambda: initializers.he_normal(in_axis=True), TypeError, "in_axis must be an axis number"),
    (lambda: initializers.he_uniform(mode="in"), ValueError, "'fan_in'"),
    (lambda: initializers.xavier_normal(gain=-1), ValueError, "xavier_normal: gain"),
    (lambda: initializers.he_normal(slope=float("inf")), ValueError, "he_normal: slope"),
    (lambda: initializers.orthogonal(float("nan")), ValueError, "scale"),
    (lambda: initializers.scaled(initializers.he_normal, 2.0), TypeError, "forget to call it"),
    (lambda: initializers.scaled(jnp.ones, 2.0), TypeError, "must be an initializer"),
    (lambda: initializers.depth_scaled(initializers.normal(), 0), ValueError, "layers"),
    (lambda: initializers.depth_scaled(initializers.normal(), 2.5), ValueError, "layers"),
    (lambda: initializers.fixup(branches=4, last="a"), ValueError, "layers_per_branch=2"),
    (
        lambda: initializers.fixup(branches=4, last="a", inner="b", layers_per_branch=1),
        ValueError,
        "inner='b' does not fit",
    ),
    (lambda: initializers.fixup(branches=4, last="a", inner="a"), ValueError, "must differ"),
    (lambda: core.from_dict({"type": "initializers.norml"}), ValueError, "initializers.normal"),
]


@pytest.mark.parametrize(("make", "kind", "message"), BAD_VALUES)
def test_a_bad_value_is_refused_where_it_is_written(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


@hypothesis.settings(deadline=None, max_examples=50)
@hypothesis.given(st.permutations(range(4)), st.integers(0, 3))
def test_fans_do_not_depend_on_where_the_axes_stand(order, batch):
    sizes = (3, 5, 7, 2)  # window, inputs, outputs, batch
    shape = tuple(sizes[role] for role in order)
    place = {role: i - 4 * (batch > i) for i, role in enumerate(order)}  # some counted from the end
    found = initializers.fans(shape, place[1], place[2], place[3])
    assert found == (15, 21)


def test_several_axes_multiply_and_batch_axes_do_not_count():
    assert initializers.fans((512, 8, 64), 0, (1, 2)) == (512, 512)
    assert initializers.fans((8, 64, 512), (0, 1), 2) == (512, 512)
    assert initializers.fans((12, 512, 256), batch_axis=0) == (512, 256)
    assert initializers.fans((5,), in_axis=(), out_axis=0) == (1, 5)
