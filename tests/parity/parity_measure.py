"""Runs and their differences, each computed once per process."""

from __future__ import annotations

import functools

import parity_problem as problem
import parity_torch
from parity_problem import difference
from parity_registry import Case, Peer, optax_transformation

FLOAT64, FLOAT32 = 1e-12, 1e-6  # what "the same" means, in `parity_problem.difference`


@functools.cache
def optlab_run(case: Case, dtype: str) -> list[problem.Tree]:
    return problem.run_transformation(case.transformation(), dtype)


@functools.cache
def reference_run(case: Case) -> list[problem.Tree]:
    return problem.run_reference(case.reference())


@functools.cache
def _optax_run(call: str, dtype: str) -> list[problem.Tree]:
    return problem.run_transformation(optax_transformation(Peer(call)), dtype, promotion="standard")


def from_reference(case: Case) -> float:
    return difference(optlab_run(case, "float64"), reference_run(case))


def from_torch(case: Case, peer: Peer) -> float:
    return difference(optlab_run(case, "float64"), parity_torch.golden_run(peer))


def from_optax(case: Case, peer: Peer, dtype: str) -> float:
    return difference(optlab_run(case, dtype), _optax_run(peer.call, dtype))


def float32_error(case: Case) -> float:
    """How far optlab's float32 run is from its own float64 run."""
    return difference(optlab_run(case, "float32"), optlab_run(case, "float64"))


def optax_float32_error(peer: Peer) -> float:
    return difference(_optax_run(peer.call, "float32"), _optax_run(peer.call, "float64"))
