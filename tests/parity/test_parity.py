"""optlab against the equations, PyTorch and Optax: trajectories of 100 steps, row by row."""

import ast
import inspect

import parity_measure as measure
import parity_problem as problem
import parity_references as references
import parity_table
import parity_torch
import pytest
from parity_cases import CASES
from parity_registry import torch_key

from optlab import optimizers

REGENERATE = "Run `python tests/parity/generate.py`, and read what changed."

by_call = pytest.mark.parametrize("case", CASES, ids=lambda case: case.call)


def pairs(library, wanted=lambda peer: True):
    """One test for each row and each of its peers in a library."""
    return pytest.mark.parametrize(
        ("case", "peer"),
        [
            pytest.param(case, peer, id=f"{case.call} : {torch_key(peer)}")
            for case in CASES
            for peer in getattr(case, library)
            if wanted(peer)
        ],
    )


def given_arguments(call):
    """The names of the arguments a call gives, by position or by name."""
    node = ast.parse(call, mode="eval").body
    names = list(inspect.signature(getattr(optimizers, node.func.id)).parameters)
    return {*names[: len(node.args)], *(keyword.arg for keyword in node.keywords)}


def test_every_public_recipe_has_rows():
    assert {case.recipe for case in CASES} == set(optimizers.__all__)


@pytest.mark.parametrize("recipe", optimizers.__all__)
def test_every_argument_of_a_recipe_appears_in_some_row(recipe):
    given = set().union(*(given_arguments(c.call) for c in CASES if c.recipe == recipe))
    assert given == set(inspect.signature(getattr(optimizers, recipe)).parameters)


@pytest.mark.parametrize("recipe", optimizers.__all__)
def test_references_have_the_signature_and_defaults_of_their_recipes(recipe):
    def arguments(function):
        return {
            name: "everything" if name == "where" else parameter.default
            for name, parameter in inspect.signature(function).parameters.items()
        }

    assert arguments(getattr(references, recipe)) == arguments(getattr(optimizers, recipe))


def test_no_row_is_given_twice():
    calls = [case.call for case in CASES]
    assert len(calls) == len(set(calls))


@by_call
def test_the_parameters_move_far_enough_to_tell_rules_apart(case):
    assert problem.distance(measure.reference_run(case)) >= 1e-2


@by_call
def test_recipe_follows_its_equations(case):
    assert measure.from_reference(case) <= measure.FLOAT64


@pairs("torch", lambda peer: not peer.differs)
def test_recipe_equals_pytorch(case, peer):
    assert measure.from_torch(case, peer) <= measure.FLOAT64


@pairs("torch", lambda peer: peer.differs)
def test_recipe_differs_from_pytorch_where_a_reason_says_so(case, peer):
    assert measure.from_torch(case, peer) > measure.FLOAT64


@pairs("optax", lambda peer: not peer.differs)
def test_recipe_equals_optax_in_float64(case, peer):
    assert measure.from_optax(case, peer, "float64") <= measure.FLOAT64


@pairs("optax", lambda peer: peer.differs)
def test_recipe_differs_from_optax_where_a_reason_says_so(case, peer):
    assert measure.from_optax(case, peer, "float64") > measure.FLOAT64


@pairs("optax", lambda peer: peer.compared_in_float32 and not peer.differs_in_float32)
def test_recipe_equals_optax_in_float32(case, peer):
    assert measure.from_optax(case, peer, "float32") <= measure.FLOAT32


@pairs("optax", lambda peer: peer.differs_in_float32)
def test_where_float32_results_differ_optlab_is_nearer_to_its_float64_run(case, peer):
    assert measure.from_optax(case, peer, "float32") > measure.FLOAT32
    assert measure.float32_error(case) < measure.optax_float32_error(peer)


@pairs("optax", lambda peer: peer.compared_in_float32)
def test_float32_run_stays_near_the_float64_run(case, peer):
    assert measure.float32_error(case) <= 2 * measure.FLOAT32


def test_golden_values_belong_to_this_problem_and_these_rows():
    golden = parity_torch.golden()
    assert golden["problem"] == parity_torch.fingerprint()
    assert golden["steps"] == list(problem.RECORDED)
    assert set(golden["runs"]) == set(map(torch_key, parity_torch.peers()))


def test_golden_values_are_what_pytorch_computes():
    torch = pytest.importorskip(
        "torch", reason="PyTorch recomputes its stored values; without it they are taken as given"
    )
    stored = parity_torch.golden()["torch"]
    if torch.__version__.split("+")[0] != stored:
        pytest.skip(f"values are stored from PyTorch {stored}, this is {torch.__version__}")
    for peer in parity_torch.peers():
        found = problem.difference(parity_torch.run(peer), parity_torch.golden_run(peer))
        assert found <= measure.FLOAT64, torch_key(peer)


def test_table_in_the_docs_is_current():
    assert parity_table.same(parity_table.PATH.read_text(encoding="utf-8"), parity_table.text()), (
        REGENERATE
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("| 2e-07 |", "| **3e-07** |", True),  # rounding of another processor
        ("| 2e-07 |", "| 2e-06 |", False),
        ("| <= 1e-12 |", "| 2e-12 |", False),
        ("| adam(eps=1e-3) |", "| adam(eps=2e-3) |", False),
        ("Measured with JAX 1.\n| same |", "Measured with JAX 2.\n| same |", True),
        ("| same |", "| differs: why |", False),
    ],
)
def test_only_rounding_and_versions_may_change_in_the_table(old, new, expected):
    assert parity_table.same(old, new) is expected
