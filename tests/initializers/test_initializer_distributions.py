"""Samples against the promised mean and variance, and against JAX and PyTorch."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optlab import initializers

KEY = jax.random.key(7)
INDEPENDENT = {
    "uniform": (initializers.uniform(-0.3, 0.1), (4, 50, 200)),
    "normal": (initializers.normal(0.02), (4, 50, 200)),
    "truncated_normal": (initializers.truncated_normal(0.02), (4, 50, 200)),
    "lopsided": (initializers.truncated_normal(3.0, -0.5, 2.5), (4, 50, 200)),
    "fan_in": (initializers.he_normal(slope=0.3), (300, 50)),
    "fan_out": (initializers.he_uniform(mode="fan_out"), (300, 50)),
    "fan_avg": (initializers.xavier_uniform(gain=1.5), (300, 50)),
    "fan_geo_avg": (initializers.variance_scaling(0.7, "fan_geo_avg", "normal"), (300, 50)),
    "window": (initializers.lecun_normal(), (3, 3, 20, 40)),
    "attention": (initializers.he_normal(in_axis=0, out_axis=(1, 2)), (60, 8, 20)),
    "stacked": (initializers.lecun_uniform(batch_axis=0), (12, 30, 40)),
    "scaled": (initializers.depth_scaled(initializers.normal(0.02), 12), (4, 50, 200)),
}
STRUCTURED = {
    "orthogonal": (initializers.orthogonal(1.5), (50, 200)),
    "orthogonal_window": (initializers.orthogonal(), (3, 3, 10, 40)),
    "orthogonal_batch": (initializers.orthogonal(batch_axis=0), (4, 50, 30)),
    "delta_orthogonal": (initializers.delta_orthogonal(0.5), (3, 3, 20, 40)),
    "identity": (initializers.identity(2.0), (3, 3, 20, 40)),
    "zeros": (initializers.zeros, (3, 4)),
    "ones": (initializers.ones, (3, 4)),
    "constant": (initializers.constant(-0.4), (3, 4)),
}


@pytest.mark.parametrize(("init", "shape"), INDEPENDENT.values(), ids=INDEPENDENT)
def test_samples_have_the_promised_mean_and_variance(init, shape):
    w = np.asarray(init(KEY, shape), np.float64)
    variance, n = init.variance(shape), w.size
    # Five standard errors: a normal's sample variance has relative variance 2/(n - 1), and
    # lighter tails have less.
    assert w.mean() == pytest.approx(init.mean(shape), abs=5 * math.sqrt(variance / n))
    assert w.var(ddof=1) == pytest.approx(variance, rel=5 * math.sqrt(2 / (n - 1)))


@pytest.mark.parametrize(("init", "shape"), STRUCTURED.values(), ids=STRUCTURED)
def test_structured_arrays_have_the_promised_mean_and_variance(init, shape):
    w = np.asarray(init(KEY, shape), np.float64)
    variance = init.variance(shape)
    assert w.mean() == pytest.approx(init.mean(shape), abs=1e-7 + 5 * math.sqrt(variance / w.size))
    assert w.var() == pytest.approx(variance, rel=0.01, abs=1e-12)


@pytest.mark.parametrize(
    ("init", "variance"),
    [
        (initializers.xavier_uniform(gain=3.0), 9 * 2 / (144 + 288)),
        (initializers.xavier_normal(gain=3.0), 9 * 2 / (144 + 288)),
        (initializers.he_uniform(slope=1.0), 1 / 144),
        (initializers.he_normal(mode="fan_out"), 2 / 288),
        (initializers.lecun_uniform(), 1 / 144),
        (initializers.lecun_normal(), 1 / 144),
        (initializers.variance_scaling(5.0, "fan_geo_avg"), 5 / math.sqrt(144 * 288)),
        (initializers.orthogonal(3.0), 9 / 144),
        (initializers.delta_orthogonal(3.0), 9 / (9 * 32)),
        (initializers.uniform(-2.0, 4.0), 3.0),
        (initializers.scaled(initializers.normal(2.0), -0.5), 1.0),
    ],
)
def test_promised_variances_are_those_of_the_papers(init, variance):
    assert init.variance((3, 3, 16, 32)) == pytest.approx(variance, rel=1e-12)


JAX = {
    "xavier_uniform": "glorot_uniform",
    "xavier_normal": "glorot_normal",
    "he_uniform": "he_uniform",
    "he_normal": "he_normal",
    "lecun_uniform": "lecun_uniform",
    "lecun_normal": "lecun_normal",
}


@pytest.mark.parametrize(("ours", "theirs"), JAX.items())
def test_draws_are_those_of_jax_for_the_same_key(ours, theirs):
    shape = (3, 3, 8, 16)
    reference = getattr(jax.nn.initializers, theirs)()(KEY, shape, jnp.float32)
    drawn = getattr(initializers, ours)()(KEY, shape)
    np.testing.assert_allclose(drawn, reference, rtol=2e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("mode", "distribution"),
    [
        ("fan_in", "normal"),
        ("fan_out", "uniform"),
        ("fan_avg", "truncated_normal"),
        ("fan_geo_avg", "normal"),
    ],
)
def test_variance_scaling_is_that_of_jax_with_every_axis_option(mode, distribution):
    axes = {"in_axis": (0, 3), "out_axis": -1, "batch_axis": 1}
    shape = (3, 4, 5, 6, 7)
    ours = initializers.variance_scaling(1.7, mode, distribution, **axes)(KEY, shape)
    theirs = jax.nn.initializers.variance_scaling(1.7, mode, distribution, **axes)
    np.testing.assert_allclose(ours, theirs(KEY, shape, jnp.float32), rtol=2e-6, atol=1e-9)


def test_plain_draws_are_those_of_jax():
    shape = (20, 30)
    pairs = [
        (initializers.normal(0.02), jax.nn.initializers.normal(0.02)),
        (initializers.truncated_normal(0.02), jax.nn.initializers.truncated_normal(0.02)),
        (initializers.uniform(0.0, 0.05), jax.nn.initializers.uniform(0.05)),
    ]
    for ours, theirs in pairs:
        np.testing.assert_allclose(
            ours(KEY, shape), theirs(KEY, shape, jnp.float32), rtol=2e-6, atol=1e-9
        )


def test_fans_and_bounds_are_those_of_torch():
    shape = (16, 8, 3, 3)
    torch = pytest.importorskip("torch")
    init, he = torch.nn.init, torch.nn.init.kaiming_uniform_
    torch.manual_seed(0)
    layout = {"in_axis": 1, "out_axis": 0}  # PyTorch's (out, in, ...)
    assert initializers.fans(shape, **layout) == init._calculate_fan_in_and_fan_out(
        torch.empty(shape)
    )
    pairs = [
        (initializers.xavier_uniform(gain=1.3, **layout), init.xavier_uniform_, {"gain": 1.3}),
        (initializers.he_uniform(slope=0.2, **layout), he, {"a": 0.2}),
        (
            initializers.he_uniform(mode="fan_out", **layout),
            init.kaiming_uniform_,
            {"mode": "fan_out"},
        ),
    ]
    for ours, theirs, options in pairs:
        drawn = np.abs(theirs(torch.empty(shape), **options).numpy()).max()
        mine = np.abs(np.asarray(ours(KEY, shape))).max()
        bound = math.sqrt(3 * ours.variance(shape))
        assert 0.98 * bound < drawn <= bound * 1.0001
        assert 0.98 * bound < mine <= bound * 1.0001


def test_truncation_is_at_two_standard_deviations_before_it_widens():
    init = initializers.lecun_normal()
    w = np.asarray(init(KEY, (100, 2000)))
    bound = 2 * math.sqrt(init.variance(w.shape)) / 0.87962566103423978
    assert 0.99 * bound < np.abs(w).max() <= bound * 1.0001


def test_uniform_stays_inside_its_bounds():
    w = np.asarray(initializers.uniform(-0.3, 0.1)(KEY, (100_000,)))
    assert w.min() >= np.float32(-0.3)
    assert w.max() < np.float32(0.1)


def test_truncated_moments_are_those_of_the_integral():
    for lower, upper in [(-2.0, 2.0), (-0.5, 2.5), (1.0, 1.5), (-40.0, 40.0)]:
        z = np.linspace(max(lower, -12), min(upper, 12), 200_001)
        p = np.exp(-z * z / 2)
        mean = (z * p).sum() / p.sum()
        init = initializers.truncated_normal(1.0, lower, upper)
        assert init.mean(()) == pytest.approx(mean, abs=1e-4)
        assert init.variance(()) == pytest.approx((z**2 * p).sum() / p.sum() - mean**2, abs=1e-4)


def test_traced_bounds_promise_the_same_moments():
    def promise(upper):
        return initializers.truncated_normal(1.5, -1.0, upper).variance(())

    assert float(jax.jit(promise)(2.5)) == pytest.approx(promise(2.5), rel=1e-5)
