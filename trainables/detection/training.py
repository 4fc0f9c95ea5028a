"""Assembles a detector for the training loop."""

from __future__ import annotations

import torch

from trainables.core.contract import Budget, TrainingContext
from trainables.detection import TRAINABLE, Hparams
from trainables.detection.augment import BoxAugment
from trainables.detection.batches import DetectionBatch, DetectionBatches
from trainables.detection.inference import portable
from trainables.detection.metrics import DetectionDetails, DetectionMetrics
from trainables.detection.models import build_detector
from trainables.detection.networks import detected, loss_of
from trainables.detection.sources import load_detection_data
from trainables.engine.assembly import assemble
from trainables.engine.rehearsal import building, rehearsing
from trainables.engine.seeds import seed_all
from trainables.engine.supervised import SupervisedTraining


def start(hparams: Hparams, budget: Budget, context: TrainingContext) -> SupervisedTraining[DetectionBatch]:
    """Start the training of a detector at epoch 0, with a schedule over `budget.epochs`."""
    data = load_detection_data(context)
    seed_all(context.seed)
    num_classes = len(data.annotations.class_names)
    with building(context):
        detector = build_detector(hparams.model, num_classes=num_classes, weights=hparams.weights)
    augment = BoxAugment(hparams.augment, flip=hparams.flip, seed=context.seed)
    return assemble(
        hparams,
        budget,
        context,
        model=detector.model.to(torch.device(context.device)),
        head=detector.head,
        batches=DetectionBatches(
            data,
            context,
            augment=augment,
            statistics=detector.statistics,
            multi_scale=hparams.multi_scale,
            keep_aspect=hparams.resize == "keep_aspect",
        ),
        loss=loss_of,
        forward=detected,
        metrics=DetectionMetrics(),
        metric=TRAINABLE.metric,
        mode=TRAINABLE.mode,
        notes={**data.notes(), **detector.notes},
        details=DetectionDetails(data.annotations, data.splits.test_picture),
        portable=portable(hparams, data, detector, context),
    )


rehearse = rehearsing(start)
