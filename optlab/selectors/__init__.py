"""Selectors: parameters addressed by what they are.

_leaves    what a selector is shown of a parameter
_kinds     the table: from path and shape to kernel, bias, norm, embedding; heads and matrices
_selector  masks, and the combinations & | ~
_named     kernels, biases, ..., path(glob)
_masks     trees of bools, and functions that make them, as selectors
_where     what `where=` accepts, and mapping over it
"""

from optlab.selectors._leaves import Leaf
from optlab.selectors._named import (
    biases,
    embeddings,
    everything,
    heads,
    kernels,
    matrices,
    norms,
    path,
)
from optlab.selectors._selector import Selector, is_selector
from optlab.selectors._where import as_selector, map_where, mask_for

__all__ = [
    "Leaf",
    "Selector",
    "as_selector",
    "biases",
    "embeddings",
    "everything",
    "heads",
    "is_selector",
    "kernels",
    "map_where",
    "mask_for",
    "matrices",
    "norms",
    "path",
]
