"""Storages: how the arrays of an optimizer's state are kept between steps. See `optlab.store`.

_storage    what a storage is; exact
_bf16       bfloat16
_int8       8-bit codes and a scale a block
_fp8        8-bit floats and a scale a block
_factored   row and column means of matrices
_blocks     blocks along the last axis
_rounding   stochastic rounding
_noise      the random numbers for it
_arguments  what storages ask of their arguments
"""

from optlab.storage._bf16 import Rounded, bf16
from optlab.storage._factored import Factors, factored
from optlab.storage._fp8 import fp8
from optlab.storage._int8 import Coded, int8
from optlab.storage._noise import Noise, noise, noise_of, salt
from optlab.storage._rounding import quantum, stochastic_round
from optlab.storage._storage import Exact, Storage, exact

__all__ = [
    "Coded",
    "Exact",
    "Factors",
    "Noise",
    "Rounded",
    "Storage",
    "bf16",
    "exact",
    "factored",
    "fp8",
    "int8",
    "noise",
    "noise_of",
    "quantum",
    "salt",
    "stochastic_round",
]
