"""What a probe measures, against NumPy; what it leaves as it is."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optlab import core, optimizers, schedules, selectors, storage
from optlab import transforms as t

LAYERS = ("Dense_0", "head")
slow = pytest.mark.slow


def params(dtype=jnp.float32):
    rng = np.random.default_rng(0)
    shapes = {"Dense_0": (6, 8), "head": (8, 3)}
    return {
        name: {
            "kernel": jnp.asarray(rng.normal(size=shape), dtype),
            "bias": jnp.asarray(rng.normal(size=shape[1]), dtype),
        }
        for name, shape in shapes.items()
    }


def gradients(step, dtype=jnp.float32):
    rng = np.random.default_rng(step + 1)
    return jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), dtype), params())


def flat(tree):
    return np.concatenate([np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(tree)])


def norm(tree):
    return np.linalg.norm(flat(tree))


@jax.jit
def step(tx, gradient, state, p, extra):
    return tx.update(gradient, state, p, **extra)


def run(tx, steps, p=None, given=gradients, **extra):
    """Updates of every step, and the last state."""
    p = params() if p is None else p
    state, found = tx.init(p), []
    for i in range(steps):
        updates, state = step(tx, given(i), state, p, extra)
        found.append(updates)
        p = optax.apply_updates(p, updates)
    return found, state


def latest(state, metric, group="Dense_0"):
    return float(core.read(state)[f"{metric}/{group}"])


def test_metrics_are_those_of_numpy():
    p, g = params(), gradients(0)
    g["Dense_0"]["kernel"] = g["Dense_0"]["kernel"].at[0, :2].set(0.0)
    tx = t.probe(optimizers.adam(1e-2))
    (updates,), state = run(tx, 1, given=lambda i: g)
    for layer in LAYERS:
        gradient, update = flat(g[layer]), flat(updates[layer])
        expected = {
            "gradient_norm": norm(g[layer]),
            "update_norm": norm(updates[layer]),
            "weight_norm": norm(p[layer]),
            "update_ratio": norm(updates[layer]) / norm(p[layer]),
            "cosine": -gradient @ update / norm(g[layer]) / norm(updates[layer]),
            "zero_fraction": np.mean(gradient == 0),
            "nonfinite_fraction": 0.0,
            "dead_fraction": 0.0,
        }
        for metric, value in expected.items():
            np.testing.assert_allclose(latest(state, metric, layer), value, rtol=1e-5)
        kernel = np.asarray(g[layer]["kernel"])
        apart = kernel - kernel.mean(axis=1, keepdims=True)
        np.testing.assert_allclose(
            latest(state, "unit_spread", layer),
            np.linalg.norm(apart) / np.linalg.norm(kernel),
            rtol=1e-5,
        )
        second = np.sqrt(flat(state.inner[0].second[layer]))
        np.testing.assert_allclose(
            latest(state, "second_moment_spread", layer),
            second.max() / second[second > 0].min(),
            rtol=1e-4,
        )


@pytest.mark.parametrize("every", [pytest.param(1, marks=slow), 2, pytest.param(3, marks=slow)])
def test_updates_are_those_without_a_probe_to_the_bit(every):
    tx = core.chain(t.clip_by_global_norm(1.0), optimizers.adamw(1e-2))
    bare, _ = run(tx, 5)
    probed, _ = run(t.probe(tx, every=every), 5)
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, bare, probed)))


def test_samples_are_of_the_first_update_and_every_so_many_later():
    _, state = run(t.probe(optimizers.sgd(0.1), every=3, history=8), 8)
    kept = state.probed()
    assert kept["steps"].tolist() == [1, 4, 7]
    assert kept["groups"] == list(LAYERS)
    norms = kept["values"][:, 0, kept["metrics"].index("gradient_norm")]
    np.testing.assert_allclose(norms, [norm(gradients(i)["Dense_0"]) for i in (0, 3, 6)], rtol=1e-5)


def test_the_ring_keeps_the_latest_samples():
    _, state = run(t.probe(optimizers.sgd(0.1), every=1, history=3), 5)
    kept = state.probed()
    assert kept["steps"].tolist() == [3, 4, 5]
    norms = kept["values"][:, 0, kept["metrics"].index("gradient_norm")]
    np.testing.assert_allclose(norms, [norm(gradients(i)["Dense_0"]) for i in (2, 3, 4)], rtol=1e-5)


@pytest.mark.parametrize("every", [pytest.param(1, marks=slow), 2])
def test_successive_gradients_are_compared(every):
    wide = {"bias": jnp.ones(64), "kernel": jnp.ones((64, 256))}
    rng = np.random.default_rng(0)
    mean = jax.tree.map(lambda p: rng.normal(size=p.shape), wide)

    def draw(i):
        noise = np.random.default_rng(i)
        return jax.tree.map(
            lambda m: jnp.asarray(m + noise.normal(size=m.shape) * 2, jnp.float32), mean
        )

    tx = t.probe(optimizers.sgd(0.0), every=every, groups={"all": selectors.everything})
    _, state = run(tx, 9, wide, draw)
    kept = state.probed()
    columns = {name: kept["values"][1:, 0, k] for k, name in enumerate(kept["metrics"])}
    at = kept["steps"][1:] - 1
    before = [norm(draw(i - 1)) for i in at]
    exact = [flat(draw(i)) @ flat(draw(i - 1)) / norm(draw(i)) / norm(draw(i - 1)) for i in at]
    np.testing.assert_allclose(columns["previous_norm"], before, rtol=1e-5)
    np.testing.assert_allclose(columns["successive_cosine"], exact, atol=0.3)  # 3 of its deviations
    np.testing.assert_allclose(columns["successive_cosine"].mean(), np.mean(exact), atol=0.12)
    now = columns["gradient_norm"]
    signal = now * columns["previous_norm"] * columns["successive_cosine"]
    noise = (now**2 + columns["previous_norm"] ** 2) / 2 - signal
    assert 2.0 < noise.sum() / signal.sum() < 7.0  # 2² in truth


def test_vectors_are_compared_exactly():
    vector = {"bias": jnp.ones(5)}
    draw = lambda i: {"bias": jnp.asarray(np.random.default_rng(i).normal(size=5), jnp.float32)}  # noqa: E731
    _, state = run(t.probe(optimizers.sgd(0.1), every=2), 3, vector, draw)
    a, b = flat(draw(1)), flat(draw(2))
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    np.testing.assert_allclose(latest(state, "successive_cosine", "bias"), cosine, rtol=1e-5)


def test_parallel_gradients_have_a_cosine_of_one():
    def draw(i):
        return jax.tree.map(lambda g: g * (-3.0 if i == 2 else 2.0), gradients(0))

    _, state = run(t.probe(optimizers.sgd(0.1), every=2), 3, given=draw)
    for layer in LAYERS:
        np.testing.assert_allclose(latest(state, "successive_cosine", layer), -1, rtol=1e-5)


def test_units_without_a_gradient_are_dead_until_they_have_one():
    def some(i):
        g = gradients(i)
        quiet = slice(0, 2) if i < 12 else slice(0, 1)
        g["Dense_0"]["kernel"] = g["Dense_0"]["kernel"].at[:, quiet].set(0.0)
        if i == 0:
            g["Dense_0"]["kernel"] = g["Dense_0"]["kernel"].at[:, 0].set(1.0)
        return g

    tx = t.probe(optimizers.sgd(0.1), every=1)
    _, state = run(tx, 14, given=some)
    kept = state.probed()
    dead = kept["values"][:, 0, kept["metrics"].index("dead_fraction")]
    # The first unit learned once, ten samples ago or more; the second wakes at update 13.
    np.testing.assert_allclose(dead, [1 / 8] * 10 + [2 / 8] * 2 + [1 / 8] * 2)


@pytest.mark.parametrize("scheduled", [pytest.param(False, marks=slow), True])
def test_clipped_steps_between_samples_are_counted(scheduled):
    limit = schedules.constant(10.0) if scheduled else 10.0
    large = lambda i: jax.tree.map(lambda g: g * (2.0 if i % 4 == 0 else 0.01), gradients(i))  # noqa: E731
    tx = core.chain(t.clip_by_global_norm(limit), optimizers.sgd(0.1))
    _, state = run(t.probe(t.guard(tx), every=8), 9, given=large)
    assert norm(large(0)) > 10
    assert latest(state, "clipped_fraction") == 2 / 8  # updates 5 and 9 of 2 to 9


@slow
def test_clips_that_keep_no_record_are_seen_at_samples():
    tx = core.chain(t.clip_by_value(1.0), optimizers.sgd(0.1))
    _, state = run(t.probe(tx), 1)
    for layer in LAYERS:
        share = np.mean(np.abs(flat(gradients(0)[layer])) > 1)
        np.testing.assert_allclose(latest(state, "clipped_fraction", layer), share, rtol=1e-6)


def test_without_clips_or_second_moments_there_is_no_column():
    _, state = run(t.probe(optimizers.sgd(0.1)), 1)
    assert not any(name.startswith(("clipped", "second")) for name in core.read(state))


@slow
@pytest.mark.parametrize(
    "make",
    [
        lambda: optax.adam(1e-2),
        lambda: t.store(optimizers.adam(1e-2), {"second": storage.bf16()}, min_size=0),
        lambda: t.route({selectors.kernels: optimizers.adam(1e-2)}, optimizers.rmsprop(1e-2)),
        lambda: optimizers.adafactor(1e-2),
        lambda: t.average_params(t.guard(optimizers.adam(1e-2))),
    ],
    ids=["optax.adam", "store", "route", "adafactor", "wrappers"],
)
def test_second_moments_are_found_wherever_they_are(make):
    _, state = run(t.probe(make(), every=1), 1)
    assert latest(state, "second_moment_spread") > 1


def test_groups_are_layers_in_natural_order():
    names = {"encoder": {f"layers_{i}": {"mlp": {"kernel": jnp.ones((2, 2))}} for i in (2, 10, 1)}}
    tree = {"params": names | {"head": {"kernel": jnp.ones((2, 2))}}}
    groups = t.probe(optimizers.sgd(0.1)).init(tree).probed()["groups"]
    assert groups == [*(f"params/encoder/layers_{i}" for i in (1, 2, 10)), "params/head"]


@slow
def test_selectors_make_groups_which_may_overlap():
    chosen = {"kernels": selectors.kernels, "first": selectors.path("Dense_0/*")}
    _, state = run(t.probe(optimizers.sgd(0.1), groups=chosen), 1)
    g = gradients(0)
    kernels = [g[layer]["kernel"] for layer in LAYERS]
    np.testing.assert_allclose(latest(state, "gradient_norm", "kernels"), norm(kernels), rtol=1e-5)
    np.testing.assert_allclose(
        latest(state, "gradient_norm", "first"), norm(g["Dense_0"]), rtol=1e-5
    )


@slow
def test_histograms_count_entries_by_decade():
    g = jax.tree.map(jnp.zeros_like, params())
    g["Dense_0"]["bias"] = jnp.array([0.0, 1e-13, 2e-12, 0.05, 0.5, 5.0, 5e3, jnp.inf])
    _, state = run(t.probe(optimizers.sgd(0.1), histogram=True), 1, given=lambda i: g)
    counts = np.asarray(state.histogram)
    assert counts[0].tolist() == [50, 1, *[0] * 9, 1, 1, 1, 0, 0, 2]
    assert counts.sum(axis=1).tolist() == [56, 27]


def test_a_loss_is_kept_where_it_is_told():
    _, state = run(t.probe(optimizers.sgd(0.1), every=1, noise=False), 1, value=jnp.float32(0.25))
    assert state.probed()["losses"].tolist() == [0.25]
    _, state = run(t.probe(optimizers.sgd(0.1)), 1)
    assert np.isnan(state.probed()["losses"]).all()


def test_nothing_that_grows_with_the_parameters_is_kept():
    bare, tx = optimizers.sgd(0.1), t.probe(optimizers.sgd(0.1), history=4)
    size = lambda p: sum(x.size for x in jax.tree.leaves(jax.eval_shape(tx.init, p)))  # noqa: E731
    large = {"kernel": jax.ShapeDtypeStruct((512, 512), jnp.float32)}
    assert size(large) < 512 * 3
    assert len(jax.tree.leaves(bare.init(params()))) < len(jax.tree.leaves(tx.init(params())))


@slow
def test_many_layers_are_measured_as_one_by_one():
    """Leaves of one shape are measured together; the numbers are each layer's own."""
    p = {
        f"layer_{i}": {"kernel": jnp.ones((3, 4)) * (i + 1), "bias": jnp.ones(4)} for i in range(5)
    }
    given = lambda i: jax.tree.map(lambda x: x * (i + 1), p)  # noqa: E731
    _, state = run(t.probe(optimizers.adam(1e-3), every=1), 1, p, given)
    for name, layer in p.items():
        np.testing.assert_allclose(latest(state, "gradient_norm", name), norm(layer), rtol=1e-5)
        assert latest(state, "weight_norm", name) == latest(state, "gradient_norm", name)


def test_a_selector_that_selects_nothing_is_refused_with_the_nearest_paths():
    tx = t.probe(optimizers.sgd(0.1), groups={"first": selectors.path("Dens_0/*")})
    with pytest.raises(ValueError, match=r"selects none of the 4 parameters.*Dense_0"):
        tx.init(params())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"history": 0}, ValueError, "probe: history must be a whole number >= 1, got 0"),
        ({"every": 0}, ValueError, "probe: every must be a whole number >= 1, got 0"),
        ({"every": 2.5}, ValueError, "probe: every must be a whole number"),
        ({"noise": 1}, TypeError, "probe: noise must be True or False"),
        ({"groups": {}}, ValueError, "probe: groups is empty"),
        ({"groups": [selectors.kernels]}, TypeError, "probe: groups must be a dict of selectors"),
        ({"groups": {"a": "kernels"}}, TypeError, r"groups\['a'\] must be a selector"),
        ({"groups": {"": selectors.kernels}}, TypeError, "a group's name must be a text"),
    ],
)
def test_bad_arguments_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        t.probe(optimizers.sgd(0.1), **options)


def test_other_parameters_than_the_state_is_for_are_refused():
    tx = t.probe(optimizers.sgd(0.1))
    other = {"a": jnp.ones(2)}
    with pytest.raises(ValueError, match=r"the state has the groups .*Dense_0.*\['a'\]"):
        tx.update(other, tx.init(params()), other)


def test_moments_are_refused():
    tx = t.probe(t.accumulate_moments())
    state = tx.init(params())
    with pytest.raises(TypeError, match="probe takes plain updates"):
        tx.update(gradients(0), state, params())


def test_it_prints_as_it_was_called():
    tx = t.probe(optimizers.lion(0.1), every=5, groups={"all": selectors.kernels})
    assert repr(tx).endswith("groups={'all': kernels}, every=5)")
    assert core.from_dict(core.to_dict(tx)) == tx
