"""The planner: what is known of the device, what a short trial says, and what it costs to ask."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optlab as ol
from optlab.lab import Plan, Task, _planner


def task(loss=lambda params, batch, key: jnp.sum(params**2)):
    return Task(
        name="bowl", init=lambda key: jnp.ones(3), loss=loss, batch=lambda key, step: (), steps=100
    )


def chosen(plan="auto", problem=None, runs=64, steps=100):
    problem = task() if problem is None else problem
    engine = _planner.engine(
        problem, ol.sgd(0.1), runs=runs, steps=steps, evaluations=10, plan=plan
    )
    return engine.plan


@pytest.fixture
def timed(monkeypatch):
    """Sets the seconds a step of a run takes, by the width of its chunk; tells which were asked."""
    asked = []

    def arrange(seconds):
        def answer(engine, tx):
            asked.append(engine.plan.width)
            return seconds[engine.plan.width]

        monkeypatch.setattr(_planner, "_seconds_a_step", answer)
        return asked

    return arrange


def test_a_small_population_is_not_worth_a_trial(timed):
    asked = timed({1: 1e-6})
    plan = chosen()
    assert (plan.width, plan.loop, asked) == (1, "scan", [1])
    assert "each run alone" in plan.reason


def test_a_large_one_takes_the_widest_chunk_that_is_faster(timed):
    asked = timed({1: 1.0, 8: 0.2, 32: 0.1, 128: 0.11})
    plan = chosen(runs=1000)
    assert (plan.width, asked) == (32, [1, 8, 32, 128])
    assert "10.0 times faster" in plan.reason


def test_a_gain_within_the_noise_is_not_taken(timed):
    asked = timed({1: 1.0, 8: 0.9})
    assert chosen(runs=1000).width == 1
    assert asked == [1, 8]


def test_no_chunk_is_wider_than_the_population(timed):
    asked = timed({1: 1.0, 8: 0.1, 32: 0.01})
    assert chosen(runs=20).width == 8
    assert asked == [1, 8]


def test_no_chunk_takes_more_than_half_of_the_memory(timed, monkeypatch):
    timed({1: 1.0, 8: 0.1, 32: 0.01, 128: 0.001})
    monkeypatch.setattr(_planner, "_free_bytes", lambda device: 4000.0)
    assert chosen(runs=1000).width in (1, 8)


def test_a_run_that_does_not_fit_into_memory_is_refused(monkeypatch):
    monkeypatch.setattr(_planner, "_free_bytes", lambda device: 1.0)
    with pytest.raises(ValueError, match=r"a run takes 0 MiB, and \d+ at a time do not fit"):
        chosen()


def test_exact_runs_alone_and_asks_no_clock(timed):
    asked = timed({})
    assert (chosen("exact").width, asked) == (1, [])


def test_a_plan_that_is_given_is_taken():
    plan = Plan(loop="python", width=2)
    assert chosen(plan) is plan


def test_convolutions_on_a_cpu_stay_out_of_loops():
    def loss(params, batch, key):
        image = jnp.ones((1, 1, 8))
        return jnp.sum(jax.lax.conv(image, params.reshape(1, 1, 3), (1,), "SAME"))

    plan = chosen("auto", task(loss), runs=2)
    assert plan.loop == "python"
    assert "convolutions" in plan.reason

    def inside(params, batch, key):
        return jax.jit(lambda p: loss(p, batch, key))(params)

    assert chosen("exact", task(inside)).loop == "python"


def test_what_is_slow_the_first_time_only_is_not_counted(monkeypatch):
    from optlab.lab import _programs

    calls, advance = [], _programs.Programs.advance

    def slow_at_first(self, txs, run, count):
        calls.append(count)
        time.sleep(0.5 if len(calls) == 1 else 0.001 * count)
        return advance(self, txs, run, count)

    monkeypatch.setattr(_programs.Programs, "advance", slow_at_first)
    engine = _planner.engine(task(), ol.sgd(0.1), runs=8, steps=100, evaluations=2, plan=Plan())
    assert 0.001 <= _planner._seconds_a_step(engine, ol.sgd(0.1)) < 0.01


def test_a_step_is_timed_by_running_it():
    engine = _planner.engine(
        task(), ol.sgd(0.1), runs=8, steps=100, evaluations=10, plan=Plan(width=4)
    )
    assert 0 < _planner._seconds_a_step(engine, ol.sgd(0.1)) < 1


@pytest.mark.parametrize("field", ["width", "workers"])
def test_a_plan_refuses_what_is_no_count(field):
    with pytest.raises(ValueError, match=f"Plan: {field} must be"):
        Plan(**{field: 0})
    with pytest.raises(ValueError, match='loop must be "scan" or "python"'):
        Plan(loop="while")
    assert str(Plan(width=3, workers=2)).startswith("3 runs at a time, a program a segment, 2 ch")
    assert np.isfinite(hash(Plan()))
