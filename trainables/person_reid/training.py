"""A network that describes persons, assembled for the training loop."""

from __future__ import annotations

from dataclasses import replace

import torch

from trainables.core.contract import Budget, TrainingContext
from trainables.engine.assembly import assemble
from trainables.engine.images.augment import Augment
from trainables.engine.images.batches import Batches
from trainables.engine.images.data import Statistics
from trainables.engine.rehearsal import building, rehearsing
from trainables.engine.seeds import seed_all
from trainables.engine.supervised import SupervisedTraining
from trainables.person_reid import TRAINABLE, Hparams
from trainables.person_reid.batches import PersonBatch, PersonBatches
from trainables.person_reid.data import PersonData
from trainables.person_reid.inference import portable
from trainables.person_reid.metrics import PersonDetails, PersonMetrics
from trainables.person_reid.models import PersonLoss, build_person_net
from trainables.person_reid.sources import load_person_data

_PADDING = 10 / 256  # of the height: the reference pads 10 px of 256


def start(hparams: Hparams, budget: Budget, context: TrainingContext) -> SupervisedTraining[PersonBatch]:
    """A network that describes persons at epoch 0, whose schedule spans `budget.epochs`."""
    data = load_person_data(context)
    seed_all(context.seed)
    with building(context):
        model, backbone = build_person_net(
            hparams.model,
            num_identities=data.num_identities,
            weights=hparams.weights,
            num_features=hparams.features,
            drop_rate=hparams.drop_rate,
            resolution=data.splits.score_resolution,
            flip_test=hparams.flip_test,
        )
    splits = data.splits.taken_by(backbone.resolutions.nearest)
    data = replace(data, splits=splits)
    statistics = backbone.statistics or splits.train.statistics(splits.score_resolution)
    return assemble(
        hparams,
        budget,
        context,
        model=model.to(torch.device(context.device), memory_format=torch.channels_last),  # type: ignore[call-overload]
        head=model.head,
        batches=_batches(hparams, context, data, statistics),
        loss=PersonLoss(
            hparams.metric_loss,
            weight=hparams.metric_loss_weight,
            label_smoothing=hparams.label_smoothing,
        ),
        metrics=PersonMetrics(re_ranking=hparams.re_ranking),
        metric=TRAINABLE.metric,
        mode=TRAINABLE.mode,
        notes={**data.notes(), **_notes(hparams)},
        late_notes=splits.resolution_notes,
        details=PersonDetails(splits.test.name, re_ranking=hparams.re_ranking),
        portable=portable(hparams, splits, statistics, context, num_identities=data.num_identities),
    )


def _batches(
    hparams: Hparams, context: TrainingContext, data: PersonData, statistics: Statistics
) -> PersonBatches:
    """Augmented images of persons; several of each identity together if the loss compares them."""
    augment = Augment.named(
        hparams.augment, flip=hparams.flip, padding=_PADDING, random_erasing=hparams.random_erasing
    )
    batches = Batches(data.splits, context, augment=augment, statistics=statistics)
    per_identity = hparams.images_per_identity if hparams.metric_loss != "none" else None
    return PersonBatches(batches, data, context, per_identity=per_identity)


def _notes(hparams: Hparams) -> dict[str, str]:
    """Hyperparameters that were set but have no effect, with the reason."""
    if hparams.metric_loss != "none":
        return {}
    reason = "metric_loss is none: images come in any order, and are not compared"
    turned = [
        name
        for name in ("images_per_identity", "metric_loss_weight")
        if getattr(hparams, name) != Hparams.__dataclass_fields__[name].default
    ]
    return {f"no effect of {name}": reason for name in turned}


rehearse = rehearsing(start)
