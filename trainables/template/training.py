"""The network and its training: everything that needs torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainables.core.contract import Budget, TrainingContext
from trainables.engine.assembly import assemble
from trainables.engine.classifiers.metrics import ClassificationMetrics, CrossEntropy
from trainables.engine.classifiers.predictions import Predictions
from trainables.engine.images.augment import Augment
from trainables.engine.images.batches import Batch, Batches
from trainables.engine.images.data import load_data
from trainables.engine.rehearsal import building, rehearsing
from trainables.engine.seeds import seed_all
from trainables.engine.supervised import SupervisedTraining
from trainables.template import TRAINABLE, Hparams


class Perceptron(nn.Module):
    """Maps images (n, channels, any side, any side) to logits (n, classes)."""

    def __init__(self, channels: int, side: int, num_classes: int, hparams: Hparams) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.AdaptiveAvgPool2d(side),  # a rung of the ladder may have smaller images
            nn.Flatten(),
            nn.Linear(channels * side * side, hparams.hidden),
            nn.ReLU(),
            nn.Dropout(hparams.drop_rate),
        )
        self.head = nn.Linear(hparams.hidden, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(images))
        return logits


def start(hparams: Hparams, budget: Budget, context: TrainingContext) -> SupervisedTraining[Batch]:
    """A perceptron at epoch 0, whose schedule spans `budget.epochs`."""
    data = load_data(context)
    seed_all(context.seed)  # before the model is built: its weights are then the same for the same seed
    with building(context):  # a rehearsal builds shapes without values
        model = Perceptron(data.channels, data.score_resolution, len(data.class_names), hparams)
    device = torch.device(context.device)
    return assemble(
        hparams,
        budget,
        context,
        model=model.to(device),
        head=model.head,
        batches=Batches(
            data,
            context,
            augment=Augment.named("none", flip=False),
            statistics=data.train.statistics(data.score_resolution),
        ),
        loss=CrossEntropy(0.0),
        metrics=ClassificationMetrics(len(data.class_names), device),
        metric=TRAINABLE.metric,
        mode=TRAINABLE.mode,
        notes=data.notes(),
        details=Predictions(data.class_names, data.test.name, data.test_picture),
    )


rehearse = rehearsing(start)
