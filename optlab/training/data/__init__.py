"""Data: sources of examples, batches as a function of the step, and readers of real formats.

_source         a source: random access, many at a time, with a fingerprint; subsets
_arrays         a source in memory
_split, _order  disjoint parts, folds; permutations that never change
_batches        shuffled batches of a step
_in_order       all examples once
_processes      which part of a batch a process reads
_read_ahead     reading ahead in threads, by grain
_standardizer   mean 0 and deviation 1, by the training part
_scikit_learn   digits, breast_cancer, diabetes, wine, iris, photograph_patches
_idx            MNIST and its relatives
_cifar10        CIFAR-10; _pickled reads its pickles without unpickling
_image_folder   folders of images, decoded by _decode
_text           files and the standard library as bytes
_labelled_text  snippets with classes
_table          CSV tables
_delimited      rows with line numbers
_ratings        logs of ratings, and what to hold out
_hugging_face   data sets that `datasets` saved
_files, _errors files with bounds; errors that name them
"""

from optlab.training.data._arrays import Arrays
from optlab.training.data._batches import Batches
from optlab.training.data._cifar10 import cifar10
from optlab.training.data._errors import DataError
from optlab.training.data._hugging_face import huggingface
from optlab.training.data._idx import idx
from optlab.training.data._image_folder import image_folder
from optlab.training.data._in_order import in_order
from optlab.training.data._labelled_text import labelled_text, standard_library_packages
from optlab.training.data._ratings import leave_last_out, ratings
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
from optlab.training.data._standardizer import Standardizer
from optlab.training.data._table import table
from optlab.training.data._text import standard_library, text_bytes

__all__ = [
    "Arrays",
    "Batches",
    "DataError",
    "Source",
    "Standardizer",
    "breast_cancer",
    "cifar10",
    "diabetes",
    "digits",
    "folds",
    "huggingface",
    "idx",
    "image_folder",
    "in_order",
    "iris",
    "labelled_text",
    "leave_last_out",
    "photograph_patches",
    "ratings",
    "split",
    "standard_library",
    "standard_library_packages",
    "table",
    "text_bytes",
    "wine",
]
