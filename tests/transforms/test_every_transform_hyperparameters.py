"""Every hyperparameter of every transform: mapped, differentiated, scheduled, stored, printed."""

import functools
import json
import pickle

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transform_cases import CASES, address, jit_run, kernel, make, quick, run, stack

from optlab import core, selectors, transforms

# The contract's quick clauses stand for these by default.
pytestmark = pytest.mark.slow


every_case = pytest.mark.parametrize("name", CASES)
NUMBERS = [(name, n) for name, case in CASES.items() for n in case.numbers]
every_number = pytest.mark.parametrize(("name", "number"), NUMBERS)
TXS = {name: make(name) for name in CASES}
F64 = np.float64
WIDTH = 1 + max(len(case.numbers) for case in CASES.values())


def variants(name):
    """The row's transform, and copies with one hyperparameter at its other value each."""
    tx, numbers = TXS[name], CASES[name].numbers
    others = [core.replace(tx, {address(tx, name, n): pair[1]}) for n, pair in numbers.items()]
    return [tx, *others, *[tx] * (WIDTH - 1 - len(others))]


@pytest.fixture(scope="module")
def swept():
    """One vmap over all variants of all transforms, and the loop."""
    gradients, params = stack([kernel(1), kernel(2)]), kernel(0)
    rows = {name: variants(name) for name in CASES}
    batch = {name: jax.tree.map(lambda *x: jnp.array(x), *row) for name, row in rows.items()}
    mapped, _ = quick(jax.vmap(run, (0, None, None)))(batch, gradients, params)
    looped = [
        jit_run({k: r[i] for k, r in rows.items()}, gradients, params)[0] for i in range(WIDTH)
    ]
    return mapped, looped


@every_case
def test_vmap_over_hyperparameters_equals_the_loop(name, swept):
    mapped, looped = swept
    for i in range(1 + len(CASES[name].numbers)):
        got = mapped[name]["kernel"][i]
        chex.assert_trees_all_close(got, looped[i][name]["kernel"], rtol=1e-5, atol=1e-6)


@every_number
def test_every_hyperparameter_matters(name, number, swept):
    if name == "divide_by_rectified_rms":
        pytest.skip("acts after step 2; see test_divide_by_rms.py")
    base, other = (swept[1][i][name]["kernel"] for i in (0, _place(name, number)))
    assert np.max(np.abs(base - other)) > 1e-6


def _place(name, number):
    return 1 + list(CASES[name].numbers).index(number)


def total(txs, gradients, params):
    """One number for all, and one for each: of two steps."""
    updates, _ = run(txs, gradients, params)
    each = {name: jnp.sum(jnp.sin(u["kernel"])) for name, u in updates.items()}
    return sum(each.values()), each


def moved(txs, i, sign):
    """The i-th hyperparameter of every row a little larger or smaller; and the step."""
    new, steps = {}, {}
    for name, tx in txs.items():
        numbers = list(CASES[name].numbers.items())
        new[name], steps[name] = tx, 0.0
        if i < len(numbers):
            number, (_, value) = numbers[i]
            steps[name] = 1e-6 * value
            new[name] = core.replace(tx, {address(tx, name, number): value + sign * steps[name]})
    return new, steps


@pytest.fixture(scope="module")
def slopes():
    """By name and hyperparameter, in float64: derivative, central difference, derivative at 0."""
    txs, found = {name: make(name, which=1) for name in CASES}, {}
    with jax.enable_x64(True):
        params, gradients = kernel(0, F64), stack([kernel(1, F64), kernel(2, F64)])
        evaluate = quick(jax.grad(total, has_aux=True))
        exact, _ = evaluate(txs, gradients, params)
        at_zero, _ = evaluate(txs, jax.tree.map(jnp.zeros_like, gradients), params)
        for i in range(WIDTH - 1):
            (up, steps), (down, _) = moved(txs, i, 1), moved(txs, i, -1)
            up, down = (evaluate(t, gradients, params)[1] for t in (up, down))
            for name, case in CASES.items():
                if i < len(case.numbers):
                    number = list(case.numbers)[i]
                    path = address(txs[name], name, number)
                    slope, zero = (core.hyperparameters(g[name])[path] for g in (exact, at_zero))
                    difference = (up[name] - down[name]) / (2 * steps[name])
                    found[name, number] = float(slope), float(difference), float(zero)
    return found


@every_number
def test_derivatives_by_hyperparameters_equal_central_differences(name, number, slopes):
    slope, difference, at_zero_gradients = slopes[name, number]
    np.testing.assert_allclose(slope, difference, rtol=1e-5, atol=1e-7)
    assert np.isfinite(at_zero_gradients)


@quick
@functools.partial(jax.grad, argnums=(0, 1))
def double_gradients(gradients, params):
    each = {name: run({name: tx}, gradients[name], params[name])[0] for name, tx in TXS.items()}
    return sum(jnp.sum(u) for u in jax.tree.leaves(each))


@pytest.fixture(scope="module", params=[0.0, 1.0], ids=["zero", "generic"])
def gradients_of_gradients(request):
    gradients = jax.tree.map(lambda g: g * np.float32(request.param), stack([kernel(1), kernel(2)]))
    return double_gradients(dict.fromkeys(CASES, gradients), dict.fromkeys(CASES, kernel(0)))


@every_case
def test_derivatives_by_gradients_and_parameters_are_finite(name, gradients_of_gradients):
    for part in gradients_of_gradients:
        assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(part[name]))


@pytest.fixture(scope="module")
def scheduled():
    """All hyperparameters as constant schedules at once, against numbers."""
    gradients, params = stack([kernel(1), kernel(2)]), kernel(0)
    txs, plain = {}, {name: make(name, which=1) for name in CASES}
    for name, tx in plain.items():
        names = [n for n in CASES[name].numbers if n not in CASES[name].fixed]
        values = {n: CASES[name].numbers[n][1] for n in names}
        changes = {address(tx, name, n): _constant(v) for n, v in values.items()}
        txs[name] = core.replace(tx, changes)
    return quick(run)(txs, gradients, params), jit_run(plain, gradients, params)[0]


def _constant(value):
    return lambda count: jnp.where(count < 2**30, jnp.float32(value), 0)


@every_case
def test_a_constant_schedule_of_every_hyperparameter_equals_the_numbers(name, scheduled):
    (updates, states), plain = scheduled
    chex.assert_trees_all_close(updates[name], plain[name], rtol=2e-4, atol=1e-6)
    read = {path.split("/")[-1]: value for path, value in core.read(states[name]).items()}
    for number, (_, value) in CASES[name].numbers.items():
        if number not in CASES[name].fixed:
            assert float(read[number]) == np.float32(value)


@every_case
def test_what_is_used_at_init_only_refuses_a_schedule(name):
    for number in CASES[name].fixed:
        with pytest.raises(TypeError, match=rf"{number} must be a number >= 0, got"):
            core.replace(TXS[name], {address(TXS[name], name, number): lambda count: 1.0})


@every_case
def test_pickle_json_and_repr_give_the_transform_back(name):
    for which in (0, 1):
        tx = make(name, which)
        assert pickle.loads(pickle.dumps(tx)) == tx
        assert core.from_dict(json.loads(json.dumps(core.to_dict(tx)))) == tx
        names = vars(transforms) | vars(selectors) | {"chain": core.chain}
        assert eval(repr(tx), dict(names)) == tx
        assert hash(make(name, which)) == hash(tx)
    if CASES[name].numbers:
        assert make(name, 0) != make(name, 1)
