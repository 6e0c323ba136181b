"""`docs/conformance.md` is what was measured, on all there is to measure."""

from __future__ import annotations

import conformance_peers
import conformance_results
import conformance_table
import jax
import optax
import pytest

import optlab as ol

STORED = conformance_results.load()
REMEDY = "Run `make docs-tables`."


def test_the_table_is_what_the_stored_results_say():
    assert conformance_table.PATH.read_text() == conformance_table.render(), REMEDY


def test_every_optimizer_of_optax_and_every_part_of_optlab_is_measured():
    known = {*conformance_peers.PEERS, *conformance_peers.OTHERS}
    assert known == conformance_peers.optimizers_of_optax()
    assert list(STORED["results"]) == list(conformance_results.subjects()), REMEDY


def test_every_clause_was_asked():
    kinds = {name: clause.kind for name, clause in ol.testing.clauses().items()}
    assert STORED["clauses"] == kinds, REMEDY
    checked = {name for name, kind in kinds.items() if kind != "property"}
    for name, ended in STORED["results"].items():
        listed = {c for status, cs in ended.items() if status != "passed" for c in cs}
        assert listed <= checked, name
        assert ended["passed"] + len(listed) == len(checked), name


def test_optlab_misses_only_what_its_rows_allow():
    for name, ended in STORED["results"].items():
        if name.startswith("optlab."):
            assert "failed" not in ended, (name, ended["failed"])


@pytest.mark.slow
@pytest.mark.parametrize("name", conformance_peers.PEERS)
def test_optax_does_as_stored(name):
    versions = {"jax": jax.__version__, "optax": optax.__version__}
    if STORED["versions"] != versions:
        pytest.skip(f"stored for {STORED['versions']}, these are {versions}")
    measured = conformance_results.measure(name)
    assert measured == STORED["results"][name], REMEDY
