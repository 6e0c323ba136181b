"""Every optimizer of Optax, as a factory whose keywords with defaults are its hyperparameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import optax
import optax.contrib as contrib


class Peer(NamedTuple):
    """make, needs, params: as for `check_transformation`."""

    make: Callable[..., Any]
    needs: tuple[str, ...] = ()
    params: Any = None


NO_SCALARS = {"matrix": np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)}


def _rate(factory: Callable[..., Any], learning_rate: float = 1e-2, **fixed: Any) -> Peer:
    return Peer(partial(factory, learning_rate=learning_rate, **fixed))


PLAIN = (
    "adabelief adafactor adagrad adam adamax adamaxw adamw adan amsgrad fromage lamb lion nadam "
    "nadamw novograd optimistic_adam_v2 optimistic_gradient_descent radam rmsprop rprop sgd "
    "sign_sgd signum yogi"
)
PLAIN_CONTRIB = "acprop ademamix adopt galore madgrad muon simplified_ademamix"
TUNE_THEMSELVES = "cocob dadapt_adamw dog dowg prodigy schedule_free_adamw schedule_free_sgd"

PEERS = {
    **{f"optax.{name}": _rate(getattr(optax, name)) for name in PLAIN.split()},
    **{f"optax.contrib.{n}": _rate(getattr(contrib, n)) for n in PLAIN_CONTRIB.split()},
    **{f"optax.contrib.{n}": Peer(getattr(contrib, n)) for n in TUNE_THEMSELVES.split()},
    "optax.adadelta": _rate(optax.adadelta, 1.0),
    "optax.lars": _rate(optax.lars, 1.0),
    "optax.lbfgs": Peer(optax.lbfgs, ("value", "grad", "value_fn")),
    "optax.noisy_sgd": _rate(optax.noisy_sgd),
    "optax.optimistic_adam": _rate(optax.optimistic_adam, optimism=1e-2),
    "optax.polyak_sgd": Peer(optax.polyak_sgd, ("value",)),
    "optax.contrib.momo": Peer(contrib.momo, ("value",)),
    "optax.contrib.momo_adam": Peer(contrib.momo_adam, ("value",)),
    "optax.sm3": _rate(optax.sm3)._replace(params=NO_SCALARS),
    "optax.contrib.schedule_free": _rate(
        lambda learning_rate=1e-2: contrib.schedule_free(optax.sgd(learning_rate), learning_rate)
    ),
}

OTHERS = {
    "optax.contrib.dpsgd": "takes a gradient for each example, so with one more axis",
    "optax.contrib.sophia": "differentiates the loss: its check took over eight minutes",
}


def optimizers_of_optax() -> set[str]:
    """The public names that make an optimizer: those which ask for a learning rate."""
    found = set()
    for prefix, module in {"optax": optax, "optax.contrib": contrib}.items():
        for name in dir(module):
            factory = getattr(module, name)
            if name.startswith(("_", "scale_by_")) or not callable(factory):
                continue
            rates = [p for p in _parameters(factory) if p.endswith("learning_rate")]
            if inspect.isclass(factory) or not rates:
                continue
            found.add(f"{prefix}.{name}")
    return found


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return ()
