"""Every clause can fail: for each, something that breaks it, and what is said of it."""

from __future__ import annotations

import contextlib

import culprits
import culprits_functions
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optlab as ol
from optlab.testing._clauses import initializer_clauses, schedule_clauses

PARAMS = {
    "m": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3),
    "v": np.linspace(0.2, 0.9, 3, dtype=np.float32),
}


CATALOGUES = {
    "transformation": (ol.testing.clauses(), culprits.CULPRITS),
    "schedule": (schedule_clauses, culprits_functions.SCHEDULES),
    "initializer": (initializer_clauses, culprits_functions.INITIALIZERS),
}


def breaks(culprit, clause):
    return culprit.clause in (clause, clause.split("[")[0])


def cases(kind):
    clauses, all_culprits = CATALOGUES[kind]
    return [
        pytest.param(culprit, clause, id=f"{clause}: {culprit.fault}")
        for culprit in all_culprits
        for clause in clauses
        if breaks(culprit, clause)
    ]


@pytest.mark.parametrize("kind", CATALOGUES)
def test_every_clause_has_a_culprit(kind):
    clauses, all_culprits = CATALOGUES[kind]
    assert [c for c in clauses if not any(breaks(x, c) for x in all_culprits)] == []


@pytest.mark.parametrize("kind", CATALOGUES)
def test_every_culprit_breaks_a_clause(kind):
    clauses, all_culprits = CATALOGUES[kind]
    assert [x for x in all_culprits if not any(breaks(x, c) for c in clauses)] == []


def fails_and_says(report, words):
    (result,) = report.results
    assert not report
    assert result.status == "failed", result
    did, *_, expected = result.found.splitlines()
    assert did.startswith("did: ")
    assert "\ngot: " in result.found
    assert expected.startswith("expected: ")
    for word in words:
        assert word in result.found


@contextlib.contextmanager
def promotion_as_users_have_it():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize(("culprit", "clause"), cases("transformation"))
def test_clause_catches_its_culprit(culprit, clause):
    setting = promotion_as_users_have_it if culprit.default_promotion else contextlib.nullcontext
    with setting():
        report = ol.testing.check_transformation(culprit.make, only=clause, params=PARAMS)
    fails_and_says(report, culprit.words)


@pytest.mark.parametrize(("culprit", "clause"), cases("schedule"))
def test_schedule_clause_catches_its_culprit(culprit, clause):
    promises = {"steps": 8} | culprit.promises
    fails_and_says(ol.testing.check_schedule(culprit.make, only=clause, **promises), culprit.words)


@pytest.mark.parametrize(("culprit", "clause"), cases("initializer"))
def test_initializer_clause_catches_its_culprit(culprit, clause):
    promises = culprits_functions.HEALTHY_INITIALIZER | culprit.promises
    fails_and_says(
        ol.testing.check_initializer(culprit.make, only=clause, **promises), culprit.words
    )


def five_lines_of_sgd():
    def update(g, state, params=None, **extra):
        like = g if params is None else params
        step = lambda g, p: (-0.1 * g).astype(p.dtype).reshape(p.shape)  # noqa: E731
        return jax.tree.map(step, g, like), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def test_sgd_in_five_lines_passes_all_that_applies():
    claims = {name for name, c in ol.testing.clauses().items() if c.kind == "property"}
    claims -= {"scale_invariant", "linear_in_learning_rate"}
    report = ol.testing.check_transformation(five_lines_of_sgd, params=PARAMS, claims=claims)
    assert report, str(report)
    silent = {r.clause.split("[")[0] for r in report.results if r.status == "not applicable"}
    assert silent == {
        "bad_hyperparameters", "checkpoint", "counter_saturation", "grad_hyperparameter",
        "injected_hyperparameters", "learning_rate_schedule", "learning_rate_zero",
        "mismatched_trees", "one_trace_for_hyperparameters", "slope_of_learning_rate",
        "stored_as_json", "vmap_hyperparameter",
    }  # fmt: skip


def test_a_line_passes_all_schedule_clauses():
    report = ol.testing.check_schedule(
        culprits_functions.linear, **culprits_functions.HEALTHY_SCHEDULE
    )
    assert report, str(report)
    assert report.counts() == {"passed": len(schedule_clauses) - 1, "not applicable": 1}


def test_falling_record_passes_traced_fields():
    make = lambda: culprits_functions.Falling(jnp.float32(2.0))  # noqa: E731
    assert ol.testing.check_schedule(make, steps=8, only="traced_fields").counts() == {"passed": 1}


def test_normal_values_pass_all_initializer_clauses():
    report = ol.testing.check_initializer(
        culprits_functions.normal(), **culprits_functions.HEALTHY_INITIALIZER
    )
    assert report.counts() == {"passed": len(initializer_clauses)}, str(report)
