"""Data: sources of examples, batches as a function of the step, and readers of real formats.

_source         a source: random access, many at a time, with a fingerprint; subsets
_arrays         a source in memory
_split, _order  disjoint parts, folds; permutations that never change
_batches        shuffled batches of a step; all examples in order
_read_ahead     reading ahead in threads, by grain
_scikit_learn   digits, breast_cancer, diabetes, wine, iris, photograph_patches
_idx            MNIST and its relatives
_files, _errors files with bounds; errors that name them
"""

from optlab.training.data._arrays import Arrays
from optlab.training.data._batches import Batches, in_order
from optlab.training.data._errors import DataError
from optlab.training.data._idx import idx
from optlab.training.data._scikit_learn import (
    breast_cancer,
    diabetes,
    digits,
    iris,
    photograph_patches,
    wine,
)
from optlab.training.data._source import Source
from optlab.training.data._split import folds, split

__all__ = [
    "Arrays",
    "Batches",
    "DataError",
    "Source",
    "breast_cancer",
    "diabetes",
    "digits",
    "folds",
    "idx",
    "in_order",
    "iris",
    "photograph_patches",
    "split",
    "wine",
]
