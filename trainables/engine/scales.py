"""What is known of the scores that trainables report, by their names without `val_`. No torch here."""

from __future__ import annotations

from trainables.core.contract import LOSS, MEAN_SHARE, SHARE, MetricScale

_AREA_UNDER_ROC = MetricScale(low=0.0, high=1.0, guessing=0.5)

OF_CLASSIFIERS = {
    "accuracy": MEAN_SHARE,
    "top5_accuracy": MEAN_SHARE,
    "f1_macro": SHARE,
    "f1_weighted": SHARE,
    "loss": LOSS,
}
OF_TWO_CLASSES = {
    "accuracy": MEAN_SHARE,
    "f1": SHARE,
    "precision": SHARE,
    "recall": SHARE,
    "pr_auc": SHARE,
    "roc_auc": _AREA_UNDER_ROC,
    "auc": _AREA_UNDER_ROC,
    "mcc": MetricScale(low=-1.0, high=1.0, guessing=0.0),
    "loss": LOSS,
}
OF_DETECTORS = {
    "map": SHARE,
    "map_50": SHARE,
    "map_75": SHARE,
    "map_small": SHARE,
    "map_medium": SHARE,
    "map_large": SHARE,
    "mar_100": SHARE,
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
    "map": MEAN_SHARE,
    "mrr": MEAN_SHARE,
    "rank_1": MEAN_SHARE,
    "rank_5": MEAN_SHARE,
    "rank_10": MEAN_SHARE,
    "top1": MEAN_SHARE,
    "top5": MEAN_SHARE,
    "top10": MEAN_SHARE,
    "top20": MEAN_SHARE,
    "loss": LOSS,
}
