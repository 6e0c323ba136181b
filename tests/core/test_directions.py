"""Names of metrics: what they tell of what is better."""

import pytest

from optlab.core import better


@pytest.mark.parametrize(
    ("name", "direction"),
    [("loss", "min"), ("validation_loss", "min"), ("bits_per_byte", "min"), ("rmse", "min"),
     ("error", "min"), ("validation_accuracy", "max"), ("f1_macro", "max"), ("ndcg@10", "max"),
     ("top_5", "max"), ("roc_auc", "max"), ("r2", "max"), ("hit_rate@10", "max"),
     ("brier_score", "min"), ("val_acc", "max"), ("top1", "max"), ("accuracy.top5", "max"),
     ("hits@10", "max"), ("validation accuracy", "max"), ("mean_iou", "max"),
     ("temperature", None), ("lossless", None), ("stop", None), ("", None)],
)  # fmt: skip
def test_names_tell_what_is_better_or_nothing(name, direction):
    assert better(name) == direction
