"""`docs/parity.md`: the registry with its measured differences."""

from __future__ import annotations

import itertools
import math
import pathlib
import re

import jax
import optax
import parity_measure as measure
import parity_torch
from parity_cases import CASES
from parity_problem import RECORDED
from parity_registry import Case, Peer, torch_key

PATH = pathlib.Path(__file__).parents[2] / "docs" / "parity.md"
VERSIONS = "Measured with "
NUMBER = re.compile(r"\de-\d\d")  # results only: calls write 1e-3, not 1e-03

HEAD = f"""\
# Parity

What each recipe equals elsewhere, and where it differs and why. Written by
`python tests/parity/generate.py`; do not edit.

Every call takes {RECORDED[-1]} steps on a noisy quadratic over a matrix, a vector and a scalar,
with a spike and with an entry that has no gradient at first. A number is the largest
`|a - b| / max(1, |b|)` over entries, leaves and the steps {", ".join(map(str, RECORDED))}, rounded
up. NumPy means independent float64 code written from the papers. PyTorch runs in float64, without
its parameters in the call; its values are stored, so that PyTorch is not needed to check them.
`decaying(x)` is the schedule `x / (1 + count / 10)`; `kernel_mask` selects the matrix.
"""

FLOAT32_HEAD = """\
## Float32

How far a float32 run ends up from the same library's float64 run; the nearer one is bold where it
is nearer by half.
"""


def text() -> str:
    """The whole file."""
    parts = [HEAD, _versions()]
    for recipe, cases in itertools.groupby(CASES, key=lambda case: case.recipe):
        parts.append(f"## {recipe}\n\n{_table(list(cases))}")
    parts.append(f"{FLOAT32_HEAD}\n{_float32_table()}")
    return "\n".join(parts)


def write() -> None:
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text(text(), encoding="utf-8")


def same(old: str, new: str) -> bool:
    """Whether two texts differ in nothing but versions and the rounding of one machine.

    Numbers may differ by a factor of 3: what is left of float32 runs depends on the processor.
    """
    old, new = map(_without_versions, (old, new))
    if NUMBER.sub("", old) != NUMBER.sub("", new):
        return False
    pairs = zip(NUMBER.findall(old), NUMBER.findall(new), strict=True)
    return all(1 / 3 <= float(a) / float(b) <= 3 for a, b in pairs)


def _without_versions(table: str) -> str:
    return re.sub(f"^{VERSIONS}.*$", "", table, flags=re.MULTILINE).replace("*", "")


def _versions() -> str:
    torch = parity_torch.golden()["torch"]
    return f"{VERSIONS}JAX {jax.__version__}, Optax {optax.__version__}, PyTorch {torch}.\n"


def _table(cases: list[Case]) -> str:
    rows = [("optlab", "NumPy", "compared with", "float64", "float32", "")]
    for case in cases:
        peers = [*(("torch", p) for p in case.torch), *(("optax", p) for p in case.optax)]
        first = (_code(case.call), _show(measure.from_reference(case), measure.FLOAT64))
        if not peers:
            rows.append((*first, "", "", "", ""))
        for library, peer in peers:
            rows.append((*first, *_compared(case, library, peer)))
            first = ("", "")
    return _markdown(rows)


def _compared(case: Case, library: str, peer: Peer) -> tuple[str, str, str, str]:
    float32 = ""
    if library == "torch":
        other = _code(f"torch.optim.{torch_key(peer)}")
        float64 = measure.from_torch(case, peer)
    else:
        other = _code(f"optax.{peer.call}")
        float64 = measure.from_optax(case, peer, "float64")
        if peer.compared_in_float32:
            float32 = _show(measure.from_optax(case, peer, "float32"), measure.FLOAT32)
    reason = "same"
    if peer.differs:
        reason = f"differs: {peer.differs}"
    elif peer.differs_in_float32:
        reason = f"same; in float32, {peer.differs_in_float32}"
    return other, _show(float64, measure.FLOAT64), float32, reason


def _float32_table() -> str:
    rows = [("optlab", "its error", "Optax", "its error")]
    for case in CASES:
        for peer in case.optax:
            if not peer.compared_in_float32:
                continue
            own, other = measure.float32_error(case), measure.optax_float32_error(peer)
            rows.append(
                (
                    _code(case.call),
                    _bold(_round_up(own), own < other / 1.5),
                    _code(peer.call),
                    _bold(_round_up(other), other < own / 1.5),
                )
            )
    return _markdown(rows)


def _show(value: float, bound: float) -> str:
    return f"<= {bound:.0e}" if value <= bound else _round_up(value)


def _round_up(value: float) -> str:
    """One digit, never less than the value."""
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(value))
    return f"{math.ceil(value / 10.0**exponent) * 10.0**exponent:.0e}"


def _bold(cell: str, wanted: bool) -> str:
    return f"**{cell}**" if wanted else cell


def _code(call: str) -> str:
    return f"`{call}`"


def _markdown(rows: list[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    lines.insert(1, "|" + " --- |" * len(rows[0]))
    return "\n".join(lines) + "\n"
