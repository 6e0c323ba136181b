"""Orthogonal, delta-orthogonal and identity kernels do what their names say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optlab import initializers

KEY = jax.random.key(3)


def assert_identity(matrix, scale=1.0):
    np.testing.assert_allclose(matrix, scale * np.eye(len(matrix)), atol=2e-6)


@pytest.mark.parametrize("shape", [(5, 5), (9, 4), (4, 9)])
def test_the_fewer_of_rows_and_columns_are_orthonormal(shape):
    q = np.asarray(initializers.orthogonal(1.5)(KEY, shape))
    assert_identity(q.T @ q if shape[0] >= shape[1] else q @ q.T, 2.25)


def test_a_convolution_is_orthogonal_from_window_and_inputs_to_outputs():
    q = np.asarray(initializers.orthogonal()(KEY, (3, 3, 4, 8))).reshape(36, 8)
    assert_identity(q.T @ q)


def test_a_torch_kernel_is_orthogonal_in_its_own_layout():
    q = np.asarray(initializers.orthogonal(in_axis=1, out_axis=0)(KEY, (8, 4, 3, 3))).reshape(8, 36)
    assert_identity(q @ q.T)


def test_attention_kernels_are_orthogonal_over_joined_heads():
    q = initializers.orthogonal(in_axis=0, out_axis=(1, 2))(KEY, (12, 2, 6))
    assert_identity(np.asarray(q).reshape(12, 12) @ np.asarray(q).reshape(12, 12).T)


def test_stacks_are_orthogonal_one_by_one_and_differ():
    q = np.asarray(initializers.orthogonal(batch_axis=0)(KEY, (3, 6, 4)))
    for matrix in q:
        assert_identity(matrix.T @ matrix)
    assert not np.allclose(q[0], q[1])


def test_complex_kernels_are_unitary():
    q = np.asarray(initializers.orthogonal()(KEY, (5, 5), jnp.complex64))
    assert_identity(q.conj().T @ q)


def test_orthogonal_matrices_have_no_preferred_sign():
    # Without fixing the signs of R's diagonal, QR favours some: their mean is then far from 0.
    draws = jax.vmap(lambda key: initializers.orthogonal()(key, (3, 3)))(
        jax.random.split(KEY, 4000)
    )
    assert np.abs(np.asarray(draws).mean(0)).max() < 5 * np.sqrt(1 / 3 / 4000)


@pytest.mark.parametrize("window", [(3,), (3, 3), (2, 4), (3, 3, 3)])
def test_delta_orthogonal_keeps_norms(window):
    init = initializers.delta_orthogonal(1.5)
    kernel = init(KEY, (*window, 4, 6))
    x = jax.random.normal(jax.random.key(1), (2, *(5,) * len(window), 4))
    names = "DHW"[: len(window)]
    y = jax.lax.conv_general_dilated(
        x, kernel, (1,) * len(window), "SAME",
        dimension_numbers=(f"N{names}C", f"{names}IO", f"N{names}C"),
    )  # fmt: skip
    np.testing.assert_allclose(
        np.linalg.norm(y, axis=-1), 1.5 * np.linalg.norm(x, axis=-1), rtol=1e-5
    )


def test_identity_passes_its_input_on():
    x = jnp.arange(1.0, 4.0)
    np.testing.assert_array_equal(x @ initializers.identity()(None, (3, 3)), x)
    np.testing.assert_array_equal(x @ initializers.identity(2.0)(None, (3, 2)), [2, 4])
    np.testing.assert_array_equal(x @ initializers.identity()(None, (3, 5)), [1, 2, 3, 0, 0])


def test_identity_convolutions_are_those_of_torch():
    torch = pytest.importorskip("torch")
    for shape in [(4, 4, 3), (4, 6, 3, 3), (6, 4, 5, 3)]:
        ours = initializers.identity(in_axis=1, out_axis=0)(None, shape)
        np.testing.assert_array_equal(ours, torch.nn.init.dirac_(torch.empty(shape)).numpy())


def test_identity_of_a_stack_is_a_stack_of_identities():
    kernel = initializers.identity(batch_axis=0)(None, (2, 3, 3))
    np.testing.assert_array_equal(kernel, np.stack([np.eye(3)] * 2))
