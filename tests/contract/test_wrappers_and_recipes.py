"""Every wrapper around every recipe: jitted, scanned, sharded, checkpointed.

By default each wrapper is tried around one recipe, another each time; `make test-all` tries all
pairs.
"""

from __future__ import annotations

import contract_rows
import pytest

import optlab as ol

CLAUSES = [
    "jit_equals_eager",
    "scan",
    "one_trace",
    "sharding",
    "checkpoint[npz]",
    "state_signature[bfloat16,float32]",
]
ANYTHING = {ol.everything: ol.storage.bf16()}
WRAPPERS = {
    "accumulate_gradients": lambda tx: ol.accumulate_gradients(tx, 2),
    "average_params": ol.average_params,
    "average_params(tail)": lambda tx: ol.average_params(tx, "tail"),
    "dynamic_loss_scale": ol.dynamic_loss_scale,
    "guard": lambda tx: ol.guard(tx, spike=10.0),
    "lookahead": lambda tx: ol.lookahead(tx, 2),
    "offload": ol.offload,
    "probe": lambda tx: ol.transforms.probe(tx, every=2),
    "schedule_free": lambda tx: ol.schedule_free(tx, learning_rate=1e-2),
    "store": lambda tx: ol.store(tx, ANYTHING, min_size=0),
    "with_master": ol.with_master,
    "zero1": lambda tx: ol.zero1(tx, contract_rows.data_mesh()),
}
ALLOW = {"zero1": {"one_trace": contract_rows.ROWS["zero1"].allow["one_trace"]}}
# Their updates are differences of two parameters, and have their rounding errors, which are larger
# than what eager and jitted updates may differ by, for some recipes and not for others.
DIFFERENCES = ("lookahead", "schedule_free")


def pairs():
    recipes = list(contract_rows.RECIPES)
    for i, wrapper in enumerate(WRAPPERS):
        for j, recipe in enumerate(recipes):
            yield pytest.param(wrapper, recipe, marks=() if i == j else pytest.mark.slow)


def test_every_wrapper_is_here():
    wrapping = {
        name
        for name, row in contract_rows.TRANSFORMS.items()
        if isinstance(row.make().link, ol.core.Wrapper)
    }
    assert wrapping - {"average_tail"} == {name.split("(")[0] for name in WRAPPERS}


@pytest.mark.parametrize(("wrapper", "recipe"), [*pairs()])
def test_they_work_together(wrapper, recipe):
    clauses = CLAUSES[1:] if wrapper in DIFFERENCES else CLAUSES
    report = ol.testing.check_transformation(
        lambda: WRAPPERS[wrapper](contract_rows.RECIPES[recipe].make()),
        only=clauses,
        allow=ALLOW.get(wrapper, {}),
    )
    assert report, str(report)
    assert report.counts()["passed"] >= len(clauses) - 1
