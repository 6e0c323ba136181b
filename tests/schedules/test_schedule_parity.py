"""Agreement with Optax and PyTorch, update for update, where both define the same schedule."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optlab import schedules

COUNTS = np.arange(130)


def ours(schedule, counts=COUNTS):
    return np.asarray(jax.jit(jax.vmap(schedule))(jnp.asarray(counts, jnp.int32)))


OPTAX = {
    "constant": (schedules.constant(0.3), optax.constant_schedule(0.3)),
    "linear": (schedules.linear(0.1, 0.9, 50), optax.linear_schedule(0.1, 0.9, 50)),
    "polynomial": (
        schedules.polynomial(1.0, 0.1, 50, 1.5),
        optax.polynomial_schedule(1.0, 0.1, 1.5, 50),
    ),
    "exponential": (
        schedules.exponential(1.0, 0.8, 10, end_value=0.1),
        optax.exponential_decay(1.0, 10, 0.8, end_value=0.1),
    ),
    "staircase": (
        schedules.exponential(0.1, 1.5, 10, staircase=True, end_value=0.9),
        optax.exponential_decay(0.1, 10, 1.5, staircase=True, end_value=0.9),
    ),
    "piecewise": (
        schedules.piecewise(1.0, {20: 0.5, 60: 0.1}),
        optax.piecewise_constant_schedule(1.0, {20: 0.5, 60: 0.1}),
    ),
    "cosine": (
        schedules.cosine(0.4, 100, end_value=0.1),
        optax.cosine_decay_schedule(0.4, 100, alpha=0.25),
    ),
    "warmup_cosine": (
        schedules.warmup_cosine(0.4, 100, 20, init_value=0.0, end_value=0.1),
        optax.warmup_cosine_decay_schedule(0.0, 0.4, 20, 100, end_value=0.1),
    ),
    "warmup_cosine from": (
        schedules.warmup_cosine(0.4, 100, 20),
        optax.warmup_cosine_decay_schedule(0.02, 0.4, 20, 100),
    ),
    "join": (
        schedules.join([schedules.linear(0.0, 1.0, 30), schedules.cosine(1.0, 70)], [30]),
        optax.join_schedules(
            [optax.linear_schedule(0.0, 1.0, 30), optax.cosine_decay_schedule(1.0, 70)], [30]
        ),
    ),
    "restarts": (
        schedules.cosine_restarts(0.4, 20, 2.0),
        optax.sgdr_schedule(
            [
                {"init_value": 0.0, "peak_value": 0.4, "warmup_steps": 0, "decay_steps": 20 * 2**n}
                for n in range(3)
            ]
        ),
    ),
}


@pytest.mark.parametrize("name", OPTAX)
def test_values_are_those_of_optax(name):
    schedule, theirs = OPTAX[name]
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        wanted = np.array([theirs(c) for c in COUNTS], np.float64)
    np.testing.assert_allclose(ours(schedule), wanted, 2e-6, 1e-7)


def test_a_schedule_drives_an_optimizer_of_optax_as_their_own_does():
    gradient = {"w": jnp.array([0.3, -2.0])}

    def train(schedule):
        tx, params = optax.adam(schedule), {"w": jnp.ones(2)}
        step = jax.jit(tx.update)
        state = tx.init(params)
        for _ in range(5):
            updates, state = step(gradient, state)
            params = optax.apply_updates(params, updates)
        return params["w"]

    schedule, theirs = OPTAX["warmup_cosine"]
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        np.testing.assert_allclose(train(schedule), train(theirs), 1e-6)


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip(
        "torch", reason="parity with PyTorch is tested where it is installed"
    )


def torch_values(torch, make, learning_rate, steps):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=learning_rate)
    scheduler, values = make(optimizer), []
    for _ in range(steps):
        values.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return np.array(values)


TORCH = {
    "LinearLR": (
        schedules.linear(0.1, 0.4, 30),
        {"start_factor": 0.25, "end_factor": 1.0, "total_iters": 30},
        0.4,
    ),
    "ExponentialLR": (schedules.exponential(0.4, 0.95, 1), {"gamma": 0.95}, 0.4),
    "StepLR": (schedules.step(0.4, 0.3, 12), {"gamma": 0.3, "step_size": 12}, 0.4),
    "MultiStepLR": (
        schedules.piecewise(0.4, {9: 0.3, 50: 0.3}),
        {"gamma": 0.3, "milestones": [9, 50]},
        0.4,
    ),
    "PolynomialLR": (
        schedules.polynomial(0.4, 0.0, 100, 2.0),
        {"total_iters": 100, "power": 2.0},
        0.4,
    ),
    "CosineAnnealingLR": (
        schedules.cosine(0.4, 100, 0.1),
        {"T_max": 100, "eta_min": 0.1},
        0.4,
    ),
    "CosineAnnealingWarmRestarts": (
        schedules.cosine_restarts(0.4, 7, 2, end_value=0.1),
        {"T_0": 7, "T_mult": 2, "eta_min": 0.1},
        0.4,
    ),
}


@pytest.mark.parametrize("name", TORCH)
def test_values_are_those_of_pytorch(torch, name):
    schedule, arguments, learning_rate = TORCH[name]
    scheduler = getattr(torch.optim.lr_scheduler, name)
    steps = 100
    theirs = torch_values(torch, lambda o: scheduler(o, **arguments), learning_rate, steps)
    np.testing.assert_allclose(ours(schedule, np.arange(steps)), theirs, 5e-6, 1e-8)


ONE_CYCLE = [
    (steps, {"pct_start": pct_start, "three_phase": three_phase}, anneal)
    for steps in (2, 7, 100)
    for pct_start in (0.0, 0.1, 0.3, 0.45, 0.9)
    for three_phase in (False, True)
    for anneal in ("cos", "linear")
    if not (three_phase and pct_start > 0.5)
]


@pytest.mark.parametrize("anneal", ["cos", "linear"])
def test_one_cycle_is_that_of_pytorch_for_all_its_phases(torch, anneal):
    @jax.jit
    def run(schedules):
        return [jax.vmap(s)(jnp.arange(100)) for s in schedules]

    cases = [(steps, options) for steps, options, kind in ONE_CYCLE if kind == anneal]
    mine = run(
        [
            schedules.one_cycle(
                0.4, steps, div_factor=10.0, final_div_factor=50.0, anneal=anneal, **o
            )
            for steps, o in cases
        ]
    )
    for (steps, options), values in zip(cases, mine, strict=True):
        theirs = torch_values(
            torch,
            lambda o, steps=steps, options=options: torch.optim.lr_scheduler.OneCycleLR(
                o,
                0.4,
                total_steps=steps,
                div_factor=10.0,
                final_div_factor=50.0,
                anneal_strategy=anneal,
                cycle_momentum=False,
                **options,
            ),
            1.0,
            steps,
        )
        np.testing.assert_allclose(
            values[:steps], theirs, 3e-6, 1e-8, err_msg=str((steps, options))
        )


def test_cosine_stays_at_its_end_where_pytorch_goes_up_again(torch):
    def make(optimizer):
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)

    theirs = torch_values(torch, make, 1.0, 21)
    mine = ours(schedules.cosine(1.0, 10), np.arange(21))
    np.testing.assert_allclose(mine[:11], theirs[:11], 1e-6, 1e-8)
    assert theirs[20] > 0.9
    assert np.all(mine[10:] == 0.0)
