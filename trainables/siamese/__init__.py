"""Whether two images are of one class: a siamese network.

Model: one encoder for both images, and a linear layer over the distances of their embeddings (Koch, Zemel and
Salakhutdinov 2015, "Siamese Neural Networks for One-shot Image Recognition"). Encoders are the classifiers
that `classification` takes, their last layer giving the embedding; `mnist_cnn` is the default.

Data: pairs from whatever `classification` takes, split the same way, half of them of one class. An epoch has
one pair for each training image; its partner is drawn anew each epoch from the same subset. Held-out pairs
are the same for all trials of a run. Chance is 0.5 in accuracy and in area under the ROC curve.

Defaults are those of PyTorch's example `siamese_network`: Adadelta (Zeiler 2012) at a rate of 1, 64 pairs a
batch, 14 epochs; a cosine stands for its fall by 0.7 an epoch. Expected on mnist5k: val_accuracy 0.943 and
val_auc 0.987 after the first 6 of 14 epochs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.core.contract import Budget, OverfitTarget, Trainable, TrainingContext, WeightFile
from trainables.engine.choices import OWN_MODELS, AugmentName, is_augment
from trainables.engine.cpu_precision import choose_precision
from trainables.engine.device_check import check_gpus
from trainables.engine.hparams import NO_EFFECT_ANYTIME, Rule, TrainingHparams, broken_rules
from trainables.engine.images.data_check import check_source
from trainables.engine.rehearsal import building, rehearsing
from trainables.engine.scales import OF_TWO_CLASSES

if TYPE_CHECKING:
    from trainables.engine.supervised import SupervisedTraining
    from trainables.siamese.pairs import PairBatch


@dataclass(frozen=True, kw_only=True)
class Hparams(TrainingHparams):
    """What may be set or searched for, beside what every training takes.

    Attributes:
        model: The encoder: resnet20, mnist_cnn, a name of timm, or torchvision/NAME; of random weights.
        embedding_dim: Numbers that the encoder makes of an image.
        drop_rate: Dropout of the encoder before its last layer.
        augment: "none", "light", "strong", or a strength in [0, 1].
        flip: Mirror half of the training images.
    """

    optimizer: str = "adadelta"
    lr: float = 1.0
    weight_decay: float = 0.0
    batch_size: int = 64
    model: str = "mnist_cnn"
    embedding_dim: int = 64
    drop_rate: float = 0.0
    augment: AugmentName | float = "none"
    flip: bool = False

    def problems(self) -> list[str]:
        """Everything in these values that makes no sense, in words."""
        problems = super().problems() + broken_rules(self, _RULES)
        if self.layer_decay < 1:
            problems.append(f"layer_decay must be 1 for a pair of encoders, got {self.layer_decay}")
        return problems


_RULES: dict[str, Rule] = {
    "embedding_dim": ("1 or more", lambda embedding_dim: embedding_dim >= 1),
    "drop_rate": ("in [0, 1)", lambda rate: 0 <= rate < 1),
    "augment": ("none, light, strong or in [0, 1]", is_augment),
}


def weights(hparams: Hparams) -> Sequence[WeightFile]:
    """No files: encoders start from random weights.

    Raises:
        ValueError: There is no such model.
    """
    if hparams.model in OWN_MODELS:
        return ()
    from trainables.engine.classifiers.models import weight_files

    return weight_files(hparams.model, "none")


def start(hparams: Hparams, budget: Budget, context: TrainingContext) -> SupervisedTraining[PairBatch]:
    """A pair of encoders at epoch 0, whose schedule spans `budget.epochs`."""
    import torch

    from trainables.engine.assembly import assemble
    from trainables.engine.classifiers.models import build_classifier
    from trainables.engine.images.augment import Augment
    from trainables.engine.images.batches import Batches
    from trainables.engine.images.data import load_data
    from trainables.engine.seeds import seed_all
    from trainables.siamese.pairs import PairBatches
    from trainables.siamese.twin import PairMetrics, Twin, outputs_of_pairs, pair_loss

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
        model = Twin(classifier.model, hparams.embedding_dim)
    data, device = data.taken_by(classifier.sides.nearest), torch.device(context.device)
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
            "pairs": "val_ and test_accuracy are of pairs: chance is 0.5",
        },
        late_notes=data.side_notes,
    )


TRAINABLE = Trainable(
    hparams=Hparams,
    metric="val_accuracy",
    mode="max",
    start=start,
    scales=OF_TWO_CLASSES,
    scored_unit="pairs",
    weights=weights,
    check_data=check_source,
    check_device=check_gpus,
    choose_precision=choose_precision,
    rehearse=rehearsing(start),
    no_effect_anytime=NO_EFFECT_ANYTIME,
    overfit=OverfitTarget(score=0.95),
)
