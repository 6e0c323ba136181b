"""What a row of the parity suite is, and how the text of its calls becomes optimizers.

Calls are text so that the table in `docs/parity.md` shows exactly what ran.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import optax
import parity_problem as problem
import parity_references as references

from optlab import optimizers, selectors

OPTLAB_NAMES = {
    "kernels": selectors.kernels,
    "everything": selectors.everything,
    "decaying": problem.Decaying,
}
OPTAX_NAMES = {
    "decaying": problem.decaying,
    "kernel_mask": {"kernel": True, "bias": False, "scalar": False},
}


@dataclasses.dataclass(frozen=True)
class Peer:
    """A call of another library, and why its result differs ("" where it must not).

    Attributes:
      call: for PyTorch without the parameters, for Optax without `optax.`.
      differs: the reason; the results then must differ.
      differs_in_float32: the reason why float32 results, and only they, differ (Optax).
      agrees_in_float32: whether `differs` shows in float64 only (Optax).
      default_dtype: PyTorch's default dtype during the run.
    """

    call: str
    differs: str = ""
    differs_in_float32: str = ""
    agrees_in_float32: bool = False
    default_dtype: str = "float64"

    @property
    def compared_in_float32(self) -> bool:
        return not self.differs or self.agrees_in_float32


@dataclasses.dataclass(frozen=True)
class Case:
    """A call of a recipe, of the NumPy reference of the same name, and its equals elsewhere."""

    call: str
    torch: tuple[Peer, ...] = ()
    optax: tuple[Peer, ...] = ()

    @property
    def recipe(self) -> str:
        return self.call.partition("(")[0]

    def transformation(self) -> Any:
        return evaluate(self.call, vars(optimizers) | OPTLAB_NAMES)

    def reference(self) -> Any:
        return evaluate(self.call, vars(references))


def evaluate(call: str, names: dict[str, Any]) -> Any:
    """The value of a call's text."""
    return eval(call, {"__builtins__": {}}, names)


def optax_transformation(peer: Peer) -> Any:
    return evaluate(peer.call, vars(optax) | OPTAX_NAMES)


def case(call: str, *, torch: Any = (), optax: Any = ()) -> Case:
    """A row; a peer may be given as its call, and several as a list."""

    def peers(given):
        given = given if isinstance(given, list) else [given] if given else []
        return tuple(Peer(p) if isinstance(p, str) else p for p in given)

    return Case(call, peers(torch), peers(optax))


def torch_key(peer: Peer) -> str:
    """What a PyTorch run is called in the golden file."""
    note = "" if peer.default_dtype == "float64" else f", default dtype {peer.default_dtype}"
    return peer.call + note
