"""An LSTM over the rows of an image, put together for the training loop."""

from __future__ import annotations

import torch

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
from trainables.mnist_rnn import TRAINABLE, Hparams
from trainables.mnist_rnn.row_lstm import RowLSTM


def start(hparams: Hparams, budget: Budget, context: TrainingContext) -> SupervisedTraining[Batch]:
    """An LSTM at epoch 0, whose schedule spans `budget.epochs`."""
    data = load_data(context)
    seed_all(context.seed)
    with building(context):
        model = RowLSTM(
            len(data.class_names),
            data.channels,
            data.score_resolution,
            hidden=hparams.hidden,
            layers=hparams.layers,
            is_bidirectional=hparams.bidirectional,
            drop_rate=hparams.drop_rate,
            head_drop_rate=hparams.head_drop_rate,
        )
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
            augment=Augment.named(hparams.augment, flip=False),
            statistics=data.train.statistics(data.score_resolution),
        ),
        loss=CrossEntropy(hparams.label_smoothing),
        metrics=ClassificationMetrics(len(data.class_names), device),
        metric=TRAINABLE.metric,
        mode=TRAINABLE.mode,
        notes=data.notes(),
        details=Predictions(data.class_names, data.test.name, data.test_pixels),
    )


rehearse = rehearsing(start)
