"""Metrics: jitted pieces for an evaluation step, and what an evaluation ends with.

_steps           on the device: right answers, top k, confusion counts
_mean            on the device: means over many batches, masked, compensated
_classification  accuracy, top k, precision, recall, F1, confusion, ROC-AUC of many classes
_binary          the same for yes and no
_regression      squared and absolute errors, R2
_language        nats, perplexity, bits per byte
_ranking         hit rate, NDCG and MRR of recommendations
_inputs          shapes, weights and NaN, judged; scikit-learn, imported late

The pieces are pure functions of arrays, for use under `jit`. The others take everything at once, on
the host, work in float64 and return a dict of stable names: numbers for a row of a metrics file,
and a nested list or two. What is not defined is NaN, never a warning; scores that are NaN are an
error.
"""

from optlab.training.metrics._binary import binary
from optlab.training.metrics._classification import classification, from_confusion
from optlab.training.metrics._language import language
from optlab.training.metrics._mean import Mean
from optlab.training.metrics._ranking import ranking
from optlab.training.metrics._regression import regression
from optlab.training.metrics._steps import confusion, correct, in_top_k

__all__ = [
    "Mean",
    "binary",
    "classification",
    "confusion",
    "correct",
    "from_confusion",
    "in_top_k",
    "language",
    "ranking",
    "regression",
]
