"""The engine: many runs through one program, each as if it were alone."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optlab as ol
from optlab.lab import Task, _engine, _population, _programs
from optlab.lab._plan import Plan

STEPS = 12
X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
Y = X @ np.array([1.0, -2.0, 0.5], np.float32)


def task(**changes):
    def residual(params, batch):
        return batch["x"] @ params["w"] + params["b"] - batch["y"]

    def loss(params, batch, key):
        noise = 1 + 0.1 * jax.random.normal(key)
        return noise * jnp.mean(residual(params, batch) ** 2), None

    fields = {
        "name": "line",
        "init": lambda key: {"w": jax.random.normal(key, (3,)), "b": jnp.zeros(())},
        "loss": loss,
        "batch": {"x": X, "y": Y},
        "batch_size": 8,
        "evaluate": lambda params, data: {"error": jnp.mean(residual(params, data) ** 2)},
        "validation": {"x": X[:5], "y": Y[:5]},
    }
    return Task(**(fields | changes))


def members(rates, make_tx=ol.adam, seeds=(0,)):
    txs = _population.transformations(make_tx, [{"learning_rate": float(r)} for r in rates])
    return [_engine.Member(i, seed, tx) for i, tx in enumerate(txs) for seed in seeds]


def engine(problem=None, plan=None, steps=STEPS, evaluations=4):
    plan = Plan() if plan is None else plan
    problem = task() if problem is None else problem
    return _engine.Engine(problem, steps=steps, evaluations=evaluations, plan=plan)


def outcomes(engine, members, **options):
    found = [o for chunk in engine.train(members, **options) for o in chunk.outcomes]
    return sorted(found, key=lambda o: (o.trial, o.seed))


def assert_same(a, b):
    for one, other in zip(a, b, strict=True):
        assert one._replace(seconds=0, losses=0, evaluated=0, metrics=0) == other._replace(
            seconds=0, losses=0, evaluated=0, metrics=0
        )
        np.testing.assert_array_equal(one.losses, other.losses)
        np.testing.assert_array_equal(one.evaluated, other.evaluated)
        chex.assert_trees_all_equal(dict(one.metrics), dict(other.metrics))


def test_a_run_is_what_a_loop_written_by_hand_gives():
    problem, tx, seed = task(), ol.adam(0.1), 3
    run = _programs.start(problem, problem.arrays, tx, jnp.int32(seed))
    params, state = run.params, tx.init(run.params)
    arrays = jax.tree.map(jnp.asarray, problem.arrays)
    key, losses = jax.random.key(seed), []

    @jax.jit
    def update(params, state, i):
        batch = problem.batch_at(arrays, jax.random.fold_in(key, 1), i)
        step_key = jax.random.fold_in(jax.random.fold_in(key, 2), i)
        loss, gradient = jax.value_and_grad(problem.scalar_loss)(params, batch, step_key)
        updates, state = tx.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, loss

    for i in range(STEPS):
        params, state, loss = update(params, state, jnp.int32(i))
        losses.append(loss)
    (found,) = outcomes(engine(problem), members([0.1], seeds=[seed]))
    np.testing.assert_allclose(found.losses, np.stack(losses), rtol=2e-6)
    wanted = problem.metrics(arrays, params)["error"]
    np.testing.assert_allclose(found.metrics["error"][-1], wanted, rtol=2e-6)
    assert list(found.evaluated) == [3, 6, 9, 12]
    means = np.stack(losses).reshape(4, 3).mean(axis=1)
    np.testing.assert_allclose(found.metrics["train_loss"], means, rtol=2e-6)


@pytest.mark.parametrize("plan", [Plan(workers=2), Plan(loop="python"), Plan(workers=3)], ids=str)
def test_loop_and_workers_change_no_bit(plan):
    population = members([0.1, 0.01, 1.0], seeds=[0, 5])
    assert_same(outcomes(engine(plan=plan), population), outcomes(engine(), population))


def test_a_run_of_a_wide_chunk_does_not_depend_on_its_neighbours():
    population = members(np.geomspace(1e-3, 1.0, 7))
    wide = engine(plan=Plan(width=4))
    together = outcomes(wide, population)
    assert_same(together[::-1], [outcomes(wide, [m])[0] for m in population[::-1]])
    alone = outcomes(engine(), population)
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.losses, other.losses, rtol=1e-4)


@pytest.mark.parametrize("width", [1, 3])
def test_a_run_that_diverges_is_told_and_harms_no_other(width):
    rates = [0.01, 1e30, 0.02]
    population = members(rates, ol.sgd)
    found = outcomes(engine(plan=Plan(width=width)), population)
    assert [o.status for o in found] == ["done", "diverged", "done"]
    bad = found[1]
    assert 0 < bad.diverged_at < STEPS
    assert bad.steps == bad.diverged_at == len(bad.losses)
    assert np.isfinite(bad.losses).all()
    assert len(bad.evaluated) == len(bad.metrics.get("error", ())) < 4
    calm = members([0.01, 0.015, 0.02], ol.sgd)
    others = outcomes(engine(plan=Plan(width=width)), calm)
    assert_same([found[0], found[2]], [others[0], others[2]])


def slope(**changes):
    """A task whose loss is its one parameter."""
    fields = {
        "name": "slope",
        "init": lambda key: jnp.ones(()),
        "loss": lambda params, batch, key: params,
        "batch": lambda key, step: (),
    }
    return Task(**(fields | changes))


def only(tx):
    return [_engine.Member(0, 0, tx)]


def test_a_run_whose_last_update_is_not_finite_has_diverged():
    explode = ol.chain(ol.sgd(ol.schedules.piecewise(1e20, {STEPS - 1: 1e20})))
    (found,) = outcomes(engine(slope()), only(explode))
    assert (found.status, found.diverged_at, found.steps) == ("diverged", STEPS - 1, STEPS)


def test_a_run_that_stays_above_its_start_has_diverged():
    (up,) = outcomes(engine(slope()), only(ol.scale(0.1)))
    assert (up.status, up.diverged_at) == ("diverged", 9)
    assert len(up.evaluated) == 3
    (near,) = outcomes(engine(slope()), only(ol.scale(0.001)))
    assert near.status == "done"


def test_a_run_that_comes_down_again_has_not_diverged():
    bump = ol.sgd(ol.schedules.piecewise(0.1, {4: -2.0}))
    flipped = ol.chain(ol.scale(-1.0), bump)
    (found,) = outcomes(engine(slope()), only(flipped))
    assert max(found.losses) > 1.3
    assert found.status == "done"


def test_a_run_that_paused_goes_on_to_the_same_end():
    noise = optax.add_noise(0.1, 0.55, key=jax.random.key(1))  # a typed key in its state

    def noisy(learning_rate):
        return ol.chain(noise, ol.adam(learning_rate))

    population = members([0.1, 0.01, 0.3], noisy)
    whole = outcomes(engine(), population)
    for plan in (Plan(), Plan(width=2)):
        first, second = engine(plan=plan), engine(plan=plan)
        chunks = list(first.train(population, until=6, keep=True))
        pasts = {
            outcome.trial: (outcome, state)
            for chunk in chunks
            for outcome, state in zip(chunk.outcomes, chunk.states, strict=True)
        }
        assert {past[0].status for past in pasts.values()} == {"stopped"}
        assert all(isinstance(x, np.ndarray) for _, state in pasts.values() for x in state)
        resumed = outcomes(second, [m._replace(past=pasts[m.trial]) for m in population])
        if plan.width == 1:
            assert_same(resumed, whole)
        else:
            assert_same(resumed, outcomes(engine(plan=plan), population))


def test_runs_that_differ_in_numbers_share_one_program():
    traced = []

    def loss(params, batch, key):
        traced.append(params)
        return jnp.mean(batch["x"] @ params["w"])

    problem = task(loss=loss, evaluate=None, validation=None)
    traced.clear()
    one = engine(problem)
    outcomes(one, members([0.1, 0.2, 0.3], ol.adamw))
    assert one.compiled == len(traced) == 1


def test_runs_that_differ_in_structure_have_a_program_a_structure():
    def make_tx(nesterov, learning_rate):
        return ol.sgd(learning_rate, momentum=0.9, nesterov=nesterov)

    choices = [
        {"nesterov": flag, "learning_rate": rate} for flag in (True, False) for rate in (0.1, 0.2)
    ]
    txs = _population.transformations(make_tx, choices)
    one = engine()
    found = outcomes(one, [_engine.Member(i, 0, tx) for i, tx in enumerate(txs)])
    assert one.compiled == 2
    assert [o.trial for o in found] == [0, 1, 2, 3]


def test_plain_optax_shares_one_program_where_it_can_be_traced():
    one = engine()
    found = outcomes(one, members([0.1, 0.01], optax.adam))
    assert one.compiled == 1
    ours = outcomes(engine(), members([0.1, 0.01]))
    for a, b in zip(found, ours, strict=True):
        np.testing.assert_allclose(a.losses, b.losses, rtol=1e-4)


def test_plain_optax_that_looks_at_its_numbers_gets_a_program_each():
    def make_tx(learning_rate):
        return optax.sgd(learning_rate if learning_rate < 1 else 1.0)

    one = engine()
    found = outcomes(one, members([0.1, 0.01], make_tx))
    assert one.compiled == 2
    np.testing.assert_allclose(
        [o.losses[-1] for o in found],
        [o.losses[-1] for o in outcomes(engine(), members([0.1, 0.01], ol.sgd))],
        rtol=1e-5,
    )


def test_optax_inside_a_chain_shares_one_program():
    def make_tx(learning_rate):
        return ol.chain(ol.clip_by_global_norm(1.0), optax.adam(learning_rate))

    one = engine()
    outcomes(one, members([0.1, 0.01, 0.3], make_tx))
    assert one.compiled == 1


def test_what_is_no_transformation_is_refused():
    with pytest.raises(TypeError, match=r"got function for learning_rate=0.1"):
        members([0.1], lambda learning_rate: ol.adam)


def test_averaged_parameters_are_those_judged():
    problem = slope(evaluate=lambda params: {"value": params})
    tx = ol.average_params(ol.sgd(0.1), ema=0.5)
    (found,) = outcomes(engine(problem, steps=2, evaluations=1), only(tx))
    run = _programs.start(problem, problem.arrays, tx, jnp.int32(0))
    for _ in range(2):
        run, _ = _programs.step(problem, problem.arrays, tx, run)
    assert found.metrics["value"][0] != run.params
    assert found.metrics["value"][0] == ol.eval_params(run.state, run.params)


def test_workers_that_call_lapack_do_not_wait_for_each_other():
    """Without a lock, two QR decompositions of many matrices at once stand still for ever."""
    draw = jax.vmap(lambda key: ol.initializers.orthogonal()(key, (32, 32), jnp.float32))
    problem = task(
        init=lambda key: {"w": draw(jax.random.split(key, 12))[:3, 0, 0], "b": jnp.zeros(())}
    )
    one = engine(problem, plan=Plan(workers=2))
    programs = one.programs(ol.adam(0.1), one.devices()[0])
    assert isinstance(programs._start, _programs._Guarded)
    assert not isinstance(programs._segment, _programs._Guarded)
    assert len(outcomes(one, members([0.1], seeds=range(16)))) == 16


def test_an_error_in_a_worker_reaches_the_caller():
    def fails(step):
        raise RuntimeError("told")

    with pytest.raises(RuntimeError, match="told"):
        outcomes(engine(plan=Plan(workers=2)), members([0.1, 0.2]), advanced=fails)


@pytest.mark.parametrize("evaluations", [1, 5, 12, 100])
def test_evaluations_are_spread_over_all_steps(evaluations):
    boundaries = engine(evaluations=evaluations).boundaries
    assert len(boundaries) == min(evaluations, STEPS)
    assert boundaries[-1] == STEPS
    assert np.ptp(np.diff([0, *boundaries])) <= 1


def test_every_step_is_counted_once():
    told = []
    population = members([0.1, 1e30, 0.2], ol.sgd)
    outcomes(engine(plan=Plan(width=2)), population, advanced=told.append)
    assert sum(told) == 3 * STEPS


def test_a_first_loss_that_was_low_by_luck_is_no_divergence():
    def start(key, step):
        noise = jax.random.uniform(jax.random.fold_in(key, step), (), minval=-0.4, maxval=0.4)
        return jnp.where(step == 0, -0.4, noise)

    lucky = slope(batch=start, loss=lambda params, batch, key: params + batch)
    (found,) = outcomes(engine(lucky), only(ol.scale(0.0)))
    assert found.status == "done"
