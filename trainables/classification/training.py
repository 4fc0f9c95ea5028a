"""An image classifier of any library, assembled for the training loop."""

from __future__ import annotations

import torch

from trainables.classification import TRAINABLE, Hparams
from trainables.classification.inference import portable
from trainables.classification.mixing import MixedBatches, Mixing
from trainables.core.contract import Budget, TrainingContext
from trainables.engine.assembly import assemble
from trainables.engine.classifiers.metrics import ClassificationMetrics, CrossEntropy
from trainables.engine.classifiers.models import build_classifier, framing_of
from trainables.engine.classifiers.predictions import Predictions
from trainables.engine.images.augment import Augment
from trainables.engine.images.batches import Batch, Batches
from trainables.engine.images.data import DataSplits, load_data
from trainables.engine.images.resolution import WHOLE_MIDDLE, Framing
from trainables.engine.rehearsal import building, rehearsing
from trainables.engine.seeds import seed_all
from trainables.engine.supervised import SupervisedTraining

_DIGITS = ("mnist5k", "digits")  # a tuple: `in` must accept a mapping, which has no hash


def start(hparams: Hparams, budget: Budget, context: TrainingContext) -> SupervisedTraining[Batch]:
    """A classifier at epoch 0, whose schedule spans `budget.epochs`."""
    framing = framing_of(hparams.model, hparams.weights)
    data = load_data(context, framing).scaled(hparams.image_scale)
    seed_all(context.seed)
    with building(context):
        classifier = build_classifier(
            hparams.model,
            num_classes=len(data.class_names),
            in_channels=data.channels,
            weights=hparams.weights,
            resolution=data.score_resolution,
            drop_rate=hparams.drop_rate,
            drop_path_rate=hparams.drop_path_rate,
        )
    data, device = data.taken_by(classifier.resolutions.nearest), torch.device(context.device)
    statistics = classifier.statistics or data.train.statistics(data.score_resolution)
    augment = Augment.named(hparams.augment, flip=hparams.flip, rand_augment=hparams.rand_augment)
    batches = Batches(data, context, augment=augment, statistics=statistics)
    mixing = Mixing(len(data.class_names), mixup=hparams.mixup, cutmix=hparams.cutmix, seed=context.seed)
    return assemble(
        hparams,
        budget,
        context,
        # Quicker on the CPU too: resnet20 trains 2 to 29 % faster than with channels first (14 to 28 px).
        model=classifier.model.to(device, memory_format=torch.channels_last),  # type: ignore[call-overload]
        head=classifier.head,
        batches=MixedBatches(batches, mixing) if mixing.is_wanted and not context.is_overfit else batches,
        loss=CrossEntropy(hparams.label_smoothing),
        metrics=ClassificationMetrics(len(data.class_names), device),
        metric=TRAINABLE.metric,
        mode=TRAINABLE.mode,
        notes={
            **data.notes(),
            **classifier.notes,
            **_framing_notes(framing, data),
            **_notes(hparams, context),
        },
        late_notes=data.resolution_notes,
        details=Predictions(data.class_names, data.test.name, data.test_picture),
        portable=portable(hparams, data, statistics, context),
    )


def _framing_notes(framing: Framing, data: DataSplits) -> dict[str, str]:
    """A note on how images of any size are framed, if by the weights' own rule rather than the default."""
    if framing == WHOLE_MIDDLE or data.own_resolution is not None:
        return {}
    return {"framing": f"{framing}: as the weights' own images were"}


def _notes(hparams: Hparams, context: TrainingContext) -> dict[str, str]:
    """Effects of these values on the scores that a reader may not expect."""
    notes = {}
    if hparams.mixup or hparams.cutmix:
        notes["mixing"] = (
            "train_loss is computed on mixed examples, whose labels are fractions: it does not fall to 0"
        )
    if hparams.flip and context.data in _DIGITS:
        notes["flip"] = f"{context.data} are digits: mirrored they are other signs, or none"
    return notes


rehearse = rehearsing(start)
