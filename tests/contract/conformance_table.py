"""`docs/conformance.md`: optlab beside Optax, clause by clause, from the stored results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import conformance_peers
import conformance_results

import optlab as ol

PATH = Path(__file__).parents[2] / "docs" / "conformance.md"

HEAD = """\
# Conformance

What the contract of `optlab.testing` says of every public transform and recipe of optlab, and by
the same code of every optimizer of Optax and its contrib. Written by
`python tests/contract/generate.py`; do not edit. Measured with JAX {jax}, Optax {optax}, 8 virtual
CPU devices.

A *law* should hold for every gradient transformation; a *capability* is what optlab holds itself to
beyond that, so its absence elsewhere is not a bug. A clause that says nothing about a method, such
as one on learning rates for a link without one, is not counted. Optax's optimizers are called with
a learning rate and their defaults otherwise, on float32 parameters: a matrix, a vector, a scalar
(`optax.sm3`, which takes no scalars, on a matrix).
"""


def render() -> str:
    stored = conformance_results.load()
    return "\n".join(
        [
            HEAD.format(**stored["versions"]),
            *_totals(stored),
            *_optimizers(stored),
            *_clauses(stored),
            *_allowances(stored),
            "",
        ]
    )


def write() -> None:
    PATH.write_text(render())


def _missed(ended: dict[str, Any]) -> set[str]:
    return {*ended.get("failed", ()), *ended.get("allowed", ())}


def _applicable(ended: dict[str, Any]) -> int:
    return ended["passed"] + len(_missed(ended))


def _side(stored: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {n: ended for n, ended in stored["results"].items() if n.startswith(prefix)}


def _totals(stored: dict[str, Any]) -> Iterator[str]:
    yield "## Totals\n"
    yield "| | checked | clauses x objects | kept | laws missed | capabilities missed |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    recipes = {f"optlab.{name}" for name in ol.optimizers.__all__}
    optlab = _side(stored, "optlab.")
    sides = {
        "optlab, recipes": {n: e for n, e in optlab.items() if n in recipes},
        "optlab, links and wrappers": {n: e for n, e in optlab.items() if n not in recipes},
        "Optax, contrib included": _side(stored, "optax."),
    }
    for name, ended in sides.items():
        missed = [stored["clauses"][c] for e in ended.values() for c in _missed(e)]
        yield (
            f"| {name} | {len(ended)} | {sum(map(_applicable, ended.values()))} "
            f"| {sum(e['passed'] for e in ended.values())} "
            f"| {missed.count('law')} | {missed.count('capability')} |"
        )
    signature = [c for c in stored["clauses"] if c.startswith(("state_signature", "update_dtype"))]
    kept = [n for n, e in sides["Optax, contrib included"].items() if not _missed(e) & {*signature}]
    ours = [n for n, e in sides["optlab, recipes"].items() if not _missed(e) & {*signature}]
    yield (
        "\nState signature and update dtype hold in all pairs of float32, bfloat16, float16 and "
        f"in float64 for {len(ours)} of {len(recipes)} recipes of optlab and {len(kept)} of "
        f"{len(sides['Optax, contrib included'])} optimizers of Optax.\n"
    )


def _optimizers(stored: dict[str, Any]) -> Iterator[str]:
    yield "## By optimizer\n"
    for name, reason in conformance_peers.OTHERS.items():
        yield f"Not asked: `{name}`, which {reason}.\n"
    yield "Kept of applicable, and what is missed. A `[*]` stands for several of one family.\n"
    yield "| | kept | laws missed | capabilities missed |"
    yield "| --- | ---: | --- | --- |"
    for name, ended in stored["results"].items():
        laws, capabilities = (
            _families([c for c in stored["clauses"] if c in _missed(ended) and _kind(stored, c, k)])
            for k in ("law", "capability")
        )
        yield f"| `{name}` | {ended['passed']}/{_applicable(ended)} | {laws} | {capabilities} |"
    yield ""


def _kind(stored: dict[str, Any], clause: str, kind: str) -> bool:
    return stored["clauses"][clause] == kind


def _families(clauses: list[str]) -> str:
    heads: dict[str, list[str]] = {}
    for clause in clauses:
        heads.setdefault(clause.split("[")[0], []).append(clause)
    return ", ".join(
        members[0] if len(members) == 1 else f"{head}[*] x{len(members)}"
        for head, members in heads.items()
    )


def _clauses(stored: dict[str, Any]) -> Iterator[str]:
    yield "## By clause\n"
    yield "How many of those it applies to miss it.\n"
    yield "| clause | kind | promise | optlab | Optax |"
    yield "| --- | --- | --- | ---: | ---: |"
    for name, clause in ol.testing.clauses().items():
        if clause.kind == "property":
            continue
        cells = []
        for prefix in ("optlab.", "optax."):
            side = _side(stored, prefix).values()
            silent = sum(name in e.get("not applicable", ()) for e in side)
            cells.append(f"{sum(name in _missed(e) for e in side)}/{len(side) - silent}")
        yield f"| {name} | {clause.kind} | {clause.promise} | {cells[0]} | {cells[1]} |"
    yield ""


def _allowances(stored: dict[str, Any]) -> Iterator[str]:
    yield "## What optlab allows itself\n"
    yield "| | clause | reason |"
    yield "| --- | --- | --- |"
    for name, ended in _side(stored, "optlab.").items():
        for clause, reason in ended.get("allowed", {}).items():
            yield f"| `{name}` | {clause} | {reason} |"
