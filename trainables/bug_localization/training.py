"""A ranker of source files, assembled for the training loop."""

from __future__ import annotations

import torch

from trainables.bug_localization import TRAINABLE, Hparams
from trainables.bug_localization.batches import CandidateBatch, ReportBatches
from trainables.bug_localization.data import load_report_data
from trainables.bug_localization.losses import ranking_loss
from trainables.bug_localization.ranking import (
    Ranker,
    RankingDetails,
    RankingMetrics,
    rvsm_alone,
    scores_of_candidates,
)
from trainables.core.contract import Budget, TrainingContext
from trainables.engine.assembly import assemble
from trainables.engine.rehearsal import building, rehearsing
from trainables.engine.seeds import seed_all
from trainables.engine.supervised import SupervisedTraining


def start(hparams: Hparams, budget: Budget, context: TrainingContext) -> SupervisedTraining[CandidateBatch]:
    """A ranker at epoch 0, whose schedule spans `budget.epochs`."""
    data, device = load_report_data(context), torch.device(context.device)
    seed_all(context.seed)
    with building(context):
        model = Ranker(hidden=hparams.hidden, layers=hparams.layers, drop_rate=hparams.drop_rate).to(device)
    loss = ranking_loss(hparams.loss, positive_weight=hparams.positive_weight)
    baseline = rvsm_alone(data)
    alone = f"val_mrr {baseline['mrr']:.3f}, val_map {baseline['map']:.3f}, val_top1 {baseline['top1']:.3f}"
    return assemble(
        hparams,
        budget,
        context,
        model=model,
        head=model.head,
        batches=ReportBatches(data, context, negative_pool=hparams.negative_pool),
        loss=loss,
        forward=scores_of_candidates,
        metrics=RankingMetrics(loss, device),
        metric=TRAINABLE.metric,
        mode=TRAINABLE.mode,
        notes={**data.notes, "rvsm_alone": alone, **_notes(hparams)},
        details=RankingDetails(data),
    )


def _notes(hparams: Hparams) -> dict[str, str]:
    """Hyperparameters that were set but have no effect, with the reason."""
    if hparams.loss != "listwise" or hparams.positive_weight == Hparams.positive_weight:
        return {}
    return {"no effect of positive_weight": "loss is listwise, which takes all files of a report together"}


rehearse = rehearsing(start)
