"""What is known of the scores that trainables report, by their names without `val_`. No torch here."""

from __future__ import annotations

from trainables.core.contract import FRACTION, LOSS, MEAN_FRACTION, MetricScale

_AREA_UNDER_ROC = MetricScale(low=0.0, high=1.0, guessing=0.5)

OF_CLASSIFIERS = {
    "accuracy": MEAN_FRACTION,
    "top5_accuracy": MEAN_FRACTION,
    "f1_macro": FRACTION,
    "f1_weighted": FRACTION,
    "loss": LOSS,
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
