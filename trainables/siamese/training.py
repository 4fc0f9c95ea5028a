"""A pair of encoders, assembled for the training loop."""

from __future__ import annotations

import torch

from trainables.core.contract import Budget, TrainingContext
from trainables.engine.assembly import assemble
from trainables.engine.classifiers.models import build_classifier
from trainables.engine.images.augment import Augment
from trainables.engine.images.batches import Batches
from trainables.engine.images.data import load_data
from trainables.engine.rehearsal import building, rehearsing
from trainables.engine.seeds import seed_all
from trainables.engine.supervised import SupervisedTraining
from trainables.siamese import TRAINABLE, Hparams
from trainables.siamese.pairs import PairBatch, PairBatches
from trainables.siamese.twin import (
    ConcatenationTwin,
    DistanceTwin,
    PairMetrics,
    outputs_of_pairs,
    pair_loss,
    without_last_layer,
)


def start(hparams: Hparams, budget: Budget, context: TrainingContext) -> SupervisedTraining[PairBatch]:
    """A pair of encoders at epoch 0, whose schedule spans `budget.epochs`."""
    data = load_data(context)
    seed_all(context.seed)
    with building(context):
        classifier = build_classifier(
            hparams.model,
            num_classes=hparams.embedding_dim,
            in_channels=data.channels,
            resolution=data.score_resolution,
            drop_rate=hparams.drop_rate,
        )
        model: DistanceTwin | ConcatenationTwin = (
            DistanceTwin(classifier.model, hparams.embedding_dim)
            if hparams.comparison == "distance"
            else ConcatenationTwin(*without_last_layer(classifier))
        )
    data, device = data.taken_by(classifier.resolutions.nearest), torch.device(context.device)
    batches = Batches(
        data,
        context,
        augment=Augment.named(hparams.augment, flip=hparams.flip),
        statistics=data.train.statistics(data.score_resolution),
    )
    return assemble(
        hparams,
        budget,
        context,
        model=model.to(device, memory_format=torch.channels_last),  # type: ignore[call-overload]
        head=model.head,
        batches=PairBatches(batches, context),
        loss=pair_loss,
        metrics=PairMetrics(device),
        metric=TRAINABLE.metric,
        mode=TRAINABLE.mode,
        forward=outputs_of_pairs,
        notes={
            **data.notes(),
            **classifier.notes,
            "pairs": "val_ and test_accuracy are computed on pairs: chance is 0.5",
            **_no_effect(hparams),
        },
        late_notes=data.resolution_notes,
    )


def _no_effect(hparams: Hparams) -> dict[str, str]:
    """Hyperparameters that were set but have no effect, with the reason."""
    if hparams.comparison == "distance" or hparams.embedding_dim == Hparams.embedding_dim:
        return {}
    return {"no effect of embedding_dim": "concatenation compares the features before the last layer"}


rehearse = rehearsing(start)
