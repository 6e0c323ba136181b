"""What storages ask of the arguments they share."""

from __future__ import annotations

from optlab.core import checks

ROUNDINGS = checks.one_of("stochastic", "nearest")
VALUES = checks.one_of("auto", "signed", "nonnegative")
