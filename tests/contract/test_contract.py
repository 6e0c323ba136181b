"""optlab holds itself to the contract: every public transform and recipe.

The default suite runs the clauses that a change is likeliest to break; `make test-all` all of them.
"""

from __future__ import annotations

import contract_rows
import pytest

import optlab as ol

NOT_TRANSFORMATIONS = {
    "Migration",
    "apply_updates",
    "describe",
    "eval_params",
    "migrate",
    "raise_if_gave_up",
    "reset",
    "scale_loss",
    "state_sharding",
}

QUICK = (
    "bad_hyperparameters",
    "container[masked_node]",
    "container[none]",
    "counter_saturation",
    "donation[eager_init]",
    "empty_tree",
    "extra_args",
    "huge",
    "mismatched_trees",
    "one_trace",
    "scan",
    "state_signature[bfloat16,float32]",
    "state_signature[float32,float16]",
    "stored_as_json",
    "update_dtype[bfloat16,float32]",
    "without_params",
    "zero_gradient[float32]",
)


def kept(name: str, **options: object) -> None:
    row = contract_rows.ROWS[name]
    report = ol.testing.check_transformation(row.make, **options)
    assert report, str(report)
    counts = report.counts()
    assert counts["passed"] >= 4 * counts.get("not applicable", 0)  # most had something to say


def test_every_public_transform_and_recipe_has_a_row():
    public = {*ol.transforms.__all__, *ol.optimizers.__all__} - NOT_TRANSFORMATIONS
    assert set(contract_rows.ROWS) == public


@pytest.mark.parametrize("name", contract_rows.ROWS)
def test_keeps_the_likeliest_clauses(name):
    expanded = [
        n for clause in QUICK for n in ol.testing.clauses() if clause in (n, n.split("[")[0])
    ]
    expanded += QUICK
    allow = {n: reason for n, reason in contract_rows.ROWS[name].allow.items() if n in expanded}
    kept(name, only=QUICK, allow=allow)


@pytest.mark.slow
@pytest.mark.parametrize("name", contract_rows.ROWS)
def test_keeps_the_whole_contract(name):
    row = contract_rows.ROWS[name]
    kept(name, claims=row.claims, allow=row.allow)
