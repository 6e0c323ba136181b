"""Every clause can fail: for each, something that breaks it, and what is said of it."""

from __future__ import annotations

import contextlib

import culprit_makers
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


def test_what_changes_its_arguments_fails_for_that_and_nothing_else():
    negates = culprit_makers.in_place(lambda g, p: g.update({k: -g[k] for k in g}))
    few = ["update_is_pure", "scan", "jit_equals_eager", "permutation_of_leaves"]
    report = ol.testing.check_transformation(negates, only=few)
    assert [r.clause for r in report.failures] == ["update_is_pure"]


def test_a_number_in_the_state_fails_the_clauses_on_that_and_nothing_else():
    counts = culprit_makers.counting(lambda: 0, lambda n: n + 1)
    few = ["state_leaves_are_arrays", "init_is_pure", "update_is_pure", "abstract_init", "scan",
           "cond", "sharding", "state_signature[float32,float32]", "mapped_params",
           "checkpoint[npz]", "donation[jit_init]", "determinism", "zero_gradient[float32]",
           "counter_saturation"]  # fmt: skip
    report = ol.testing.check_transformation(counts, only=few)
    failed = [r.clause for r in report.failures]
    assert failed == ["state_leaves_are_arrays", "counter_saturation"], str(report)


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
        "bad_hyperparameters", "checkpoint", "counter_saturation", "descends",
        "grad_hyperparameter",
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


@pytest.mark.parametrize("join", [1, 10, 50, 99])
def test_a_change_of_slope_at_a_join_is_no_jump(join):
    make = lambda: ol.schedules.warmup_cosine(1e-3, steps=100, warmup_steps=join)  # noqa: E731
    options = {"steps": 100, "joins": [join], "only": "continuous_at_joins"}
    assert ol.testing.check_schedule(make, **options)


def test_falling_record_passes_traced_fields():
    make = lambda: culprits_functions.Falling(jnp.float32(2.0))  # noqa: E731
    assert ol.testing.check_schedule(make, steps=8, only="traced_fields").counts() == {"passed": 1}


def test_normal_values_pass_all_initializer_clauses():
    report = ol.testing.check_initializer(
        culprits_functions.normal(),
        claims="initializer_jit_bits",
        **culprits_functions.HEALTHY_INITIALIZER,
    )
    assert report.counts() == {"passed": len(initializer_clauses)}, str(report)


@pytest.mark.parametrize("name", ["he_normal", "orthogonal", "xavier_uniform"])
def test_optlabs_initializers_give_the_same_bits_jitted(name):
    report = ol.testing.check_initializer(
        getattr(ol.initializers, name), claims="initializer_jit_bits", only="initializer_jit_bits"
    )
    assert report.counts() == {"passed": 1}, str(report)


def test_a_rounding_apart_is_as_eager():
    few = ["initializer_jit_equals_eager", "initializer_jit_bits"]
    make = culprits_functions.normal(lambda x: x * (1 + 2e-7 * culprit_makers.traced(x)))
    assert [r.clause for r in ol.testing.check_initializer(make, only=few).failures] == few[1:]


def test_an_initializer_may_refuse_16_bits():
    def make():
        def draw(key, shape, dtype):
            if dtype != jnp.float32:
                raise TypeError(f"no {dtype} here")
            return jnp.ones(shape, dtype)

        return draw

    report = ol.testing.check_initializer(make, only="dtype")
    assert report.counts() == {"passed": 1, "not applicable": 2}
    assert "it refuses bfloat16: no bfloat16 here" in str(report)
