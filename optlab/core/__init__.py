"""Core: what a transformation is, and the helpers its rules are written with.

_records        frozen, self-checking dataclasses that are pytrees
_checks         ranges and kinds of hyperparameters, and their error messages
_link           rules, and the schedules of their hyperparameters
_transformation the Optax face of a rule; precision on the way in and out
_chain          links in order
_wrapper        links around another link
_followers      which parameter each leaf of a state follows
_given          what parameters were before promotion
_moments        what travels between accumulating and dividing links
_hyperparameters, _serialization, _reading, _override   look at and change the above
_directions     whether less or more of a metric is better
_numerics, _trees   norms, roots, dtypes; paths and mismatches
"""

from optlab.core import _checks as checks
from optlab.core import _numerics as numerics
from optlab.core import _trees as trees
from optlab.core._chain import Chain, chain, link_name, named_chain
from optlab.core._directions import Better, better
from optlab.core._followers import Follower, followers, has_placed, placements
from optlab.core._given import given_dtype
from optlab.core._hyperparameters import hyperparameters, replace
from optlab.core._link import (
    LearningRate,
    Link,
    PlainFunction,
    ScheduledState,
    hyperparameter,
    require_params,
)
from optlab.core._moments import (
    Estimate,
    Moments,
    is_moments,
    map_moments,
    moment_nodes,
    require_arrays,
)
from optlab.core._override import override
from optlab.core._reading import read
from optlab.core._records import Record, data, registry, show, static
from optlab.core._serialization import from_dict, to_dict
from optlab.core._transformation import Foreign, Transformation, as_link
from optlab.core._wrapper import Wrapper

__all__ = [
    "Better",
    "Chain",
    "Estimate",
    "Follower",
    "Foreign",
    "LearningRate",
    "Link",
    "Moments",
    "PlainFunction",
    "Record",
    "ScheduledState",
    "Transformation",
    "Wrapper",
    "as_link",
    "better",
    "chain",
    "checks",
    "data",
    "followers",
    "from_dict",
    "given_dtype",
    "has_placed",
    "hyperparameter",
    "hyperparameters",
    "is_moments",
    "link_name",
    "map_moments",
    "moment_nodes",
    "named_chain",
    "numerics",
    "override",
    "placements",
    "read",
    "registry",
    "replace",
    "require_arrays",
    "require_params",
    "show",
    "static",
    "to_dict",
    "trees",
]
