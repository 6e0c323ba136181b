"""What the contract found on every optimizer, stored so that the table needs no rerun."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import conformance_peers
import contract_rows
import jax
import optax

import optlab as ol
from optlab.testing._clauses import transformation_clauses

PATH = Path(__file__).with_name("conformance.json")


def subjects() -> dict[str, dict[str, Any]]:
    """Arguments of `check_transformation` for all that is compared, by name."""
    ours = {
        f"optlab.{name}": {"make_tx": row.make, "allow": row.allow}
        for name, row in contract_rows.ROWS.items()
    }
    theirs = {
        name: {"make_tx": peer.make, "needs": peer.needs, "params": peer.params}
        for name, peer in sorted(conformance_peers.PEERS.items())
    }
    return ours | theirs


def measure(name: str, clauses: Sequence[str] | None = None) -> dict[str, Any]:
    """How the clauses ended: only what did not pass is listed, with the reason if there is one.

    In JAX's default settings and without warnings as errors, as users run Optax.
    """
    arguments = subjects()[name]
    if clauses is not None:
        allowed = transformation_clauses.allowed(arguments.get("allow", {}))
        arguments["allow"] = {c: reason for c, reason in allowed.items() if c in clauses}
    with (
        warnings.catch_warnings(),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        warnings.simplefilter("ignore")
        make_tx = arguments.pop("make_tx")
        report = ol.testing.check_transformation(make_tx, only=clauses, **arguments)
    ended: dict[str, Any] = {"passed": report.counts().get("passed", 0)}
    for result in report.results:
        if result.status != "passed":
            # What was found may hold addresses and rounding; a reason does not.
            reason = "" if result.status == "failed" else result.found
            ended.setdefault(result.status, {})[result.clause] = reason
    return ended


def measured_again(name: str, old: dict[str, Any], clauses: Sequence[str]) -> dict[str, Any]:
    """The old results, but for some clauses new ones."""
    new = measure(name, clauses)
    result: dict[str, Any] = {}
    for status in ("failed", "allowed", "not applicable"):
        kept = {c: found for c, found in old.get(status, {}).items() if c not in clauses}
        if both := kept | new.get(status, {}):
            result[status] = both
    checked = [c for c in ol.testing.clauses().values() if c.kind != "property"]
    return {"passed": len(checked) - sum(map(len, result.values())), **result}


def load() -> dict[str, Any]:
    return json.loads(PATH.read_text()) if PATH.exists() else {"results": {}}


def store(results: dict[str, Any]) -> None:
    """Written beside and renamed, so that an interrupted run loses nothing."""
    content = {
        "clauses": {name: c.kind for name, c in ol.testing.clauses().items()},
        "versions": {"jax": jax.__version__, "optax": optax.__version__},
        "results": {name: results[name] for name in subjects() if name in results},
    }
    beside = PATH.with_suffix(".new")
    beside.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(beside, PATH)
