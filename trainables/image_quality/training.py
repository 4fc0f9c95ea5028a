"""HyperIQA over a timm backbone, assembled for the training loop."""

from __future__ import annotations

import torch

from trainables.core.contract import Budget, TrainingContext
from trainables.engine.assembly import assemble
from trainables.engine.rehearsal import building, rehearsing
from trainables.engine.seeds import seed_all
from trainables.engine.supervised import SupervisedTraining
from trainables.image_quality import TRAINABLE, Hparams
from trainables.image_quality.backbone import build_backbone
from trainables.image_quality.hyper_iqa import HyperIQA
from trainables.image_quality.inference import portable
from trainables.image_quality.metrics import L1, PredictedScores, QualityMetrics
from trainables.image_quality.patches import PatchBatch, PatchBatches, scores_of_patches
from trainables.image_quality.sources import load_quality_data


def start(hparams: Hparams, budget: Budget, context: TrainingContext) -> SupervisedTraining[PatchBatch]:
    """A network at epoch 0, whose schedule spans `budget.epochs`."""
    data = load_quality_data(context)
    seed_all(context.seed)
    mean, spread = data.mean_and_spread()
    with building(context):
        backbone = build_backbone(
            hparams.model, weights=hparams.weights, resolution=data.splits.score_resolution
        )
        model = HyperIQA(backbone, width=hparams.width, mean=mean, spread=spread)
    data = data.taken_by(backbone.resolutions.nearest)
    statistics = backbone.statistics or data.splits.train.statistics(data.side_px)
    return assemble(
        hparams,
        budget,
        context,
        model=model.to(torch.device(context.device), memory_format=torch.channels_last),  # type: ignore[call-overload]
        head=model.head,
        batches=PatchBatches(
            data,
            context,
            statistics=statistics,
            num_patches=hparams.train_patches,
            grid=hparams.score_grid,
            flip=hparams.flip,
        ),
        loss=L1(spread),
        forward=scores_of_patches,
        metrics=QualityMetrics(spread),
        metric=TRAINABLE.metric,
        mode=TRAINABLE.mode,
        notes={**data.notes(), **backbone.notes},
        late_notes=data.splits.resolution_notes,
        details=PredictedScores(data.splits.test.name),
        portable=portable(hparams, data, statistics, mean=mean, spread=spread),
    )


rehearse = rehearsing(start)
