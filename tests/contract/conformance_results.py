"""What the contract found on every optimizer, stored so that the table needs no rerun."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import conformance_peers
import contract_rows
import jax
import optax

import optlab as ol

PATH = Path(__file__).with_name("conformance.json")


def subjects() -> dict[str, dict[str, Any]]:
    """Arguments of `check_transformation` for all that is compared, by name."""
    ours = {
        f"optlab.{name}": {"make_tx": row.make, "allow": row.allow}
        for name, row in contract_rows.ROWS.items()
    }
    theirs = {
        name: {"make_tx": peer.make, "needs": peer.needs}
        for name, peer in sorted(conformance_peers.PEERS.items())
    }
    return ours | theirs


def measure(name: str, only: str | None = None) -> dict[str, Any]:
    """How the clauses ended: only what did not pass is listed, with a line on what was found.

    In JAX's default settings and without warnings as errors, as users run Optax.
    """
    arguments = subjects()[name]
    with (
        warnings.catch_warnings(),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        warnings.simplefilter("ignore")
        if only is not None:
            named = {n for n in ol.testing.clauses() if only in (n, n.split("[")[0])}
            allow = arguments.get("allow", {})
            arguments["allow"] = {
                n: reason for n, reason in allow.items() if named & {n} or n == only
            }
        report = ol.testing.check_transformation(arguments.pop("make_tx"), only=only, **arguments)
    ended: dict[str, Any] = {"passed": report.counts().get("passed", 0)}
    for result in report.results:
        if result.status != "passed":
            # What came out may hold addresses and rounding; what was done and wanted does not.
            line = result.found.splitlines()[0] if result.found else ""
            ended.setdefault(result.status, {})[result.clause] = line[:160]
    return ended


def merged(old: dict[str, Any], new: dict[str, Any], clauses: list[str]) -> dict[str, Any]:
    """The old results with those of some clauses measured again."""
    result: dict[str, Any] = {}
    known = old["passed"] + sum(len(cs) for status, cs in old.items() if status != "passed")
    for status in ("failed", "allowed", "not applicable"):
        kept = {c: found for c, found in old.get(status, {}).items() if c not in clauses}
        both = kept | new.get(status, {})
        if both:
            result[status] = both
    return {"passed": known - sum(map(len, result.values())), **result}


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
