"""A recurrent classifier that reads an image from top to bottom, one row of pixels per time step."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

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


class RowLSTM(nn.Module):
    """LSTM, BatchNorm and two linear layers; 27,242 parameters for digits of 28 px as in PyTorch's example.

    Smaller images have fewer rows, hence fewer time steps; their rows are stretched to `width`.

    Args:
        width: Pixels of a row as the LSTM reads it.
        hidden: Size of the state that the LSTM carries from row to row, in each direction.
        drop_rate: Dropout of the LSTM's last states.
        head_drop_rate: Dropout of the features before the last layer.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        width: int,
        *,
        hidden: int,
        layers: int,
        is_bidirectional: bool,
        drop_rate: float,
        head_drop_rate: float,
    ) -> None:
        super().__init__()
        num_read = hidden * (2 if is_bidirectional else 1)
        self.width = width
        self.lstm = nn.LSTM(
            in_channels * width, hidden, layers, batch_first=True, bidirectional=is_bidirectional
        )
        self.norm = nn.BatchNorm1d(num_read)
        self.dropout = nn.Dropout(drop_rate)
        self.between = nn.Linear(num_read, num_read // 2)
        self.head_dropout = nn.Dropout(head_drop_rate)
        self.head = nn.Linear(num_read // 2, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        read = self.lstm(self._rows(images))[1][0]  # (layers * directions, batch, hidden): last states
        directions = 2 if self.lstm.bidirectional else 1
        last = read[-directions:].transpose(0, 1).flatten(1)  # (batch, directions * hidden)
        features = functional.relu(self.between(self.dropout(self.norm(last))))
        logits: Tensor = self.head(self.head_dropout(features))
        return logits

    def _rows(self, images: Tensor) -> Tensor:
        """(batch, height, channels * width): a time step is a row of all channels."""
        if images.shape[-1] != self.width:
            size = (images.shape[-2], self.width)
            images = functional.interpolate(images, size=size, mode="bilinear", align_corners=False)
        return images.transpose(1, 2).flatten(2)


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
        details=Predictions(data.class_names, data.test.name, data.test_picture),
    )


rehearse = rehearsing(start)
