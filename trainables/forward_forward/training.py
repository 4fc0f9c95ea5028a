"""Layers with a loss each, assembled with their optimisers."""

from __future__ import annotations

import torch

from trainables.core.contract import Budget, TrainingContext
from trainables.engine.classifiers.predictions import Predictions
from trainables.engine.images.augment import Augment
from trainables.engine.images.batches import Batches
from trainables.engine.images.data import load_data
from trainables.engine.optimizer import build_optimizer
from trainables.engine.schedule import Schedule
from trainables.engine.seeds import seed_all
from trainables.forward_forward import Hparams
from trainables.forward_forward.goodness import GoodnessNet
from trainables.forward_forward.layer_local import LayerLocalTraining


def start(hparams: Hparams, budget: Budget, context: TrainingContext) -> LayerLocalTraining:
    """Layers at epoch 0, whose schedules span `budget.epochs`."""
    data = load_data(context)
    seed_all(context.seed)
    statistics = data.train.statistics(data.score_resolution)
    net = GoodnessNet(
        len(data.class_names),
        data.channels,
        data.score_resolution,
        width=hparams.width,
        layers=hparams.layers,
        mark=(1 - statistics.mean[0]) / statistics.std[0],  # white
    )
    net.to(torch.device(context.device))
    optimizers = [
        build_optimizer(
            layer,
            layer,
            name=hparams.optimizer,
            lr=hparams.lr,
            weight_decay=hparams.weight_decay,
            momentum=hparams.momentum,
            backbone_lr_ratio=1.0,
        )
        for layer in net.layers
    ]
    name = "none" if context.horizon == "anytime" else hparams.schedule
    return LayerLocalTraining(
        context,
        net=net,
        optimizers=optimizers,
        schedules=[
            Schedule(optimizer, name=name, epochs=budget.epochs, warmup_epochs=hparams.warmup_epochs)
            for optimizer in optimizers
        ],
        batches=Batches(
            data, context, augment=Augment.named(hparams.augment, flip=False), statistics=statistics
        ),
        batch_size=hparams.batch_size,
        threshold=hparams.threshold,
        details=Predictions(data.class_names, data.test.name, data.test_picture),
    )
