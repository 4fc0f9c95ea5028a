"""Whether two images are of one class: a siamese network.

Model: one encoder for both images, and a linear layer over the distances of their embeddings (Koch, Zemel and
Salakhutdinov 2015, "Siamese Neural Networks for One-shot Image Recognition"). Encoders are the classifiers
that `classification` takes, their last layer giving the embedding; `mnist_cnn` is the default.

Data: pairs from whatever `classification` takes, split the same way, half of them of one class. An epoch has
one pair for each training image; its partner is redrawn each epoch from the same subset. Held-out pairs
are the same for all trials of a run. Chance is 0.5 in accuracy and in area under the ROC curve.

Defaults are those of PyTorch's example `siamese_network`: Adadelta (Zeiler 2012) at a rate of 1, 64 pairs a
batch, 14 epochs; a cosine stands for its fall by 0.7 an epoch. Expected on mnist5k: val_accuracy 0.943 and
val_auc 0.987 after the first 6 of 14 epochs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainables.core.contract import OverfitTarget
from trainables.core.deferred import deferred
from trainables.engine.choices import AUGMENT_RULE, AugmentName, is_augment
from trainables.engine.hparams import Rule, TrainingHparams, broken_rules
from trainables.engine.images.data_sources import IMAGE_SOURCES
from trainables.engine.scales import OF_TWO_CLASSES
from trainables.engine.torch_trainable import PretrainedWeights, TorchTrainable


@dataclass(frozen=True, kw_only=True)
class Hparams(TrainingHparams):
    """What may be set or searched for, beside what every training takes.

    Attributes:
        model: The encoder: resnet20, mnist_cnn, a name of timm, or torchvision/NAME; of random weights.
        embedding_dim: Numbers that the encoder makes of an image.
        drop_rate: Dropout of the encoder before its last layer.
        augment: "none", "crop" (pad an eighth with black, crop), "light", "strong", or a strength in [0, 1].
        flip: Mirror half of the training images.
    """

    HAS_LAYER_ORDER: ClassVar[bool] = False

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
        return super().problems() + broken_rules(self, _RULES)


_RULES: dict[str, Rule] = {
    "embedding_dim": ("1 or more", lambda embedding_dim: embedding_dim >= 1),
    "drop_rate": ("in [0, 1)", lambda rate: 0 <= rate < 1),
    "augment": (AUGMENT_RULE, is_augment),
}


TRAINABLE = TorchTrainable(
    hparams=Hparams,
    metric="val_accuracy",
    mode="max",
    start=deferred("trainables.siamese.training:start"),
    data_sources=IMAGE_SOURCES,
    scales=OF_TWO_CLASSES,
    scored_unit="pairs",
    weights=PretrainedWeights(),
    check_data=deferred("trainables.engine.images.data_check:check_source"),
    rehearse=deferred("trainables.siamese.training:rehearse"),
    overfit=OverfitTarget(score=0.95),
)
