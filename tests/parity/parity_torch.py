"""The PyTorch runs: the golden file, and what makes it anew where PyTorch is installed."""

from __future__ import annotations

import functools
import hashlib
import json
import pathlib
from typing import Any

import numpy as np
import parity_problem as problem
import parity_registry as registry
from parity_cases import CASES

GOLDEN = pathlib.Path(__file__).with_name("golden_torch.json")


class _Decaying(float):
    """Stands for a learning rate that a LambdaLR changes."""


def run(peer: registry.Peer) -> list[problem.Tree]:
    """Parameters at the recorded steps of a PyTorch optimizer, in float64."""
    import torch

    def factory(cls):
        return lambda **options: functools.partial(_optimizer, cls, options)

    names = {name: factory(cls) for name, cls in vars(torch.optim).items() if isinstance(cls, type)}
    make = registry.evaluate(peer.call, names | {"decaying": _Decaying})
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, peer.default_dtype))
    try:
        return _run(make, torch)
    finally:
        torch.set_default_dtype(before)


def _optimizer(cls: Any, options: dict[str, Any], params: Any) -> tuple[Any, Any]:
    import torch

    scheduled = isinstance(options.get("lr"), _Decaying)
    if scheduled:
        options = options | {"lr": float(options["lr"])}
    optimizer = cls(params, **options)
    factor = (lambda count: 1 / (1 + count / 10)) if scheduled else (lambda count: 1.0)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _run(make: Any, torch: Any) -> list[problem.Tree]:
    params = {
        name: torch.nn.Parameter(torch.tensor(p, dtype=torch.float64))
        for name, p in problem.START.items()
    }
    optimizer, scheduler = make(list(params.values()))
    recorded = []
    for t in range(1, problem.STEPS + 1):
        g = problem.gradient({name: p.detach().numpy() for name, p in params.items()}, t)
        for name, p in params.items():
            p.grad = torch.tensor(g[name], dtype=torch.float64)
        optimizer.step()
        scheduler.step()
        if t in problem.RECORDED:
            recorded.append({name: p.detach().numpy().copy() for name, p in params.items()})
    return recorded


def peers() -> list[registry.Peer]:
    """Every PyTorch run of the registry, once."""
    found = {registry.torch_key(peer): peer for case in CASES for peer in case.torch}
    return list(found.values())


def fingerprint() -> str:
    """Changes with the problem, so that golden values of another one are noticed."""
    digest = hashlib.sha256(repr(problem.RECORDED).encode())
    for t in range(1, problem.STEPS + 1):
        for leaf in problem.gradient(problem.START, t).values():
            digest.update(np.asarray(leaf, "<f8").tobytes())
    return digest.hexdigest()


def store() -> dict[str, Any]:
    """Runs every PyTorch call of the registry; what `golden_torch.json` holds."""
    import torch

    return {
        "torch": torch.__version__.split("+")[0],
        "problem": fingerprint(),
        "steps": list(problem.RECORDED),
        "runs": {
            registry.torch_key(peer): [
                {name: np.asarray(p).tolist() for name, p in params.items()} for params in run(peer)
            ]
            for peer in peers()
        },
    }


def write() -> None:
    golden = store()
    lines = [f"  {json.dumps(key)}: {json.dumps(run)}" for key, run in golden["runs"].items()]
    head = "\n".join(f"{json.dumps(k)}: {json.dumps(golden[k])}," for k in golden if k != "runs")
    body = ",\n".join(lines)
    GOLDEN.write_text(f'{{\n{head}\n"runs": {{\n{body}\n}}\n}}\n', encoding="utf-8")


@functools.cache
def golden() -> dict[str, Any]:
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


def golden_run(peer: registry.Peer) -> list[problem.Tree]:
    """The stored run of a PyTorch call.

    Raises:
      KeyError: if there is none, with what to do.
    """
    key, runs = registry.torch_key(peer), golden()["runs"]
    if key not in runs:
        raise KeyError(f"no golden run of {key!r}; run `python tests/parity/generate.py --torch`")
    return [{name: np.array(p) for name, p in params.items()} for params in runs[key]]
