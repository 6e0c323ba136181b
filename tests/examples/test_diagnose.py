"""What is said of networks that did not learn."""

import numpy as np
import pytest
from _diagnose import diagnose


def network(kernels, bias=0.0):
    names = [f"hidden_{i}" for i in range(len(kernels) - 1)] + ["head"]
    return {
        name: {"kernel": kernel, "bias": np.full(kernel.shape[1], bias)}
        for name, kernel in zip(names, kernels, strict=True)
    }


def explain(params, losses=(2.3, 2.2)):
    pixels = np.random.default_rng(1).normal(size=(20, 2, 2))
    return diagnose(params, params, pixels, losses)


@pytest.fixture
def kernels():
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape) for shape in ((4, 8), (8, 6), (6, 3))]


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_equal_units_are_called_symmetry_whatever_their_value(kernels, value):
    kernels[1] = np.full((8, 6), value)
    (reason,) = explain(network(kernels))
    assert reason.startswith("symmetry: the 6 units of hidden_1")


def test_units_that_are_always_0_are_called_dead(kernels):
    (reason, *_) = explain(network(kernels, bias=-1e3))
    assert reason.startswith("dead units: all 8 units of hidden_0")


def test_an_unexplained_failure_shows_the_losses(kernels):
    (reason,) = explain(network(kernels))
    assert "from 2.3 to 2.2" in reason
