"""`Sampler`: what proposes trials."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, Literal

Told = tuple[Mapping[str, Any], float | None]
Mode = Literal["min", "max"]


class Sampler(abc.ABC):
    """Proposes trials, a population at a time, and is told how they did.

    Attributes:
      name: of the method, with what else decides its proposals.
      budget: how many trials the study makes.
      population: how many to ask for at once; None for any number.
    """

    name: str
    budget: int
    population: int | None = None

    @abc.abstractmethod
    def ask(self, n: int) -> list[dict[str, Any]]:
        """The hyperparameters of the next n trials."""

    def tell(self, trials: Sequence[Told]) -> None:  # noqa: B027 (most need not know)
        """What became of trials asked for: the metric, or None where a run diverged."""

    def repeat(self, trials: Sequence[Told]) -> None:
        """A population that was asked for and told before this process was, in their order.

        After it the sampler stands where the one that asked for them stood.
        """
        self.ask(len(trials))
        self.tell(trials)
