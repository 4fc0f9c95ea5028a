"""The scales of the numbers that trainables report: scores by name without `val_`, and measures.

No torch here.
"""

from __future__ import annotations

from trainables.core.contract import FRACTION, LOSS, MEAN_FRACTION, Measure, MetricScale

_AREA_UNDER_ROC = MetricScale(low=0.0, high=1.0, guessing=0.5)

OF_CLASSIFIERS = {
    "accuracy": MEAN_FRACTION,
    "top5_accuracy": MEAN_FRACTION,
    "f1_macro": FRACTION,
    "f1_weighted": FRACTION,
    "loss": LOSS,
}
# What `engine.model_cost` measures of a model that is scored batch by batch, and what its epochs report.
OF_MODELS = {
    "params_m": Measure(mode="min", unit="millions"),
    "macs_g": Measure(mode="min", unit="billions"),  # multiply-adds of one example
    "latency_ms": Measure(mode="min", unit="ms"),  # of one example
    "peak_memory_mib": Measure(mode="min", unit="MiB"),  # of training; on a GPU only
    "train_s": Measure(mode="min", unit="s"),  # of an epoch
}
MEASURES_OF_CLASSIFIERS = {
    **OF_MODELS,
    "val_loss": Measure(mode="min"),
    "val_f1_macro": Measure(mode="max"),
    "val_f1_weighted": Measure(mode="max"),
    "val_top5_accuracy": Measure(mode="max"),  # with six classes or more
}
OF_TWO_CLASSES = {
    "accuracy": MEAN_FRACTION,
    "f1": FRACTION,
    "precision": FRACTION,
    "recall": FRACTION,
    "pr_auc": FRACTION,
    "roc_auc": _AREA_UNDER_ROC,
    "auc": _AREA_UNDER_ROC,
    "mcc": MetricScale(low=-1.0, high=1.0, guessing=0.0),
    "loss": LOSS,
}
OF_DETECTORS = {
    "map": FRACTION,
    "map_50": FRACTION,
    "map_75": FRACTION,
    "map_small": FRACTION,
    "map_medium": FRACTION,
    "map_large": FRACTION,
    "mar_100": FRACTION,
    "loss": LOSS,
}
OF_RATINGS = {
    "srcc": MetricScale(low=-1.0, high=1.0, kind="spearman", guessing=0.0),
    "plcc": MetricScale(low=-1.0, high=1.0, kind="pearson", guessing=0.0),
    "krcc": MetricScale(low=-1.0, high=1.0, kind="kendall", guessing=0.0),
    "rmse": LOSS,
    "loss": LOSS,
}
OF_RANKINGS = {
    "map": MEAN_FRACTION,
    "mrr": MEAN_FRACTION,
    "rank_1": MEAN_FRACTION,
    "rank_5": MEAN_FRACTION,
    "rank_10": MEAN_FRACTION,
    "top1": MEAN_FRACTION,
    "top5": MEAN_FRACTION,
    "top10": MEAN_FRACTION,
    "top20": MEAN_FRACTION,
    "loss": LOSS,
}
