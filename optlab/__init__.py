"""optlab: optimizers as data, on top of Optax."""

from optlab import optimizers, transforms
from optlab.core import (
    Transformation,
    chain,
    from_dict,
    hyperparameters,
    named_chain,
    read,
    replace,
    to_dict,
)
from optlab.optimizers import *  # noqa: F403
from optlab.transforms import *  # noqa: F403
