"""Whether two images belong to the same class: a siamese network.

Model: one encoder for both images and one of two ways of comparing its outputs:

- `concatenation` is PyTorch's example `siamese_network`: the features of both images, concatenated, go
  through two linear layers. The order of the images matters.
- `distance` follows Koch, Zemel and Salakhutdinov (2015, "Siamese Neural Networks for One-shot Image
  Recognition"): a linear layer over the absolute differences of two embeddings, element by element. Their
  encoder, for characters of 105 px, is not included.

Encoders are the classifiers that `classification` takes, without their last layer (concatenation) or with
that layer producing the embedding (distance).

Data: pairs of the images that `classification` takes, split the same way; half are of the same class. An
epoch has one pair for each training image; its partner is redrawn each epoch from the same subset. Held-out
pairs are the same for all trials of a run. Chance is 0.5 in accuracy and in area under the ROC curve.

Defaults are the example's: ResNet-18 on one channel, Adadelta (Zeiler 2012) at a rate of 1 that is multiplied
by 0.7 after each epoch, batches of 64 pairs, 14 epochs. They differ in pixels, which have mean 0 and
deviation 1 here and range from 0 to 255 there, and in mnist5k, which has a twelfth of the example's digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from trainables.core.contract import Example, OverfitTarget
from trainables.core.deferred import deferred
from trainables.engine.choices import AUGMENT_RULE, AugmentName, BatchSize, ScheduleName, is_augment
from trainables.engine.hparams import Rule, TrainingHparams, broken_rules
from trainables.engine.images.data_sources import IMAGE_SOURCES
from trainables.engine.scales import OF_TWO_CLASSES
from trainables.engine.torch_trainable import PretrainedWeights, TorchTrainable

Comparison = Literal["concatenation", "distance"]
_COMPARISONS: tuple[Comparison, ...] = get_args(Comparison)


@dataclass(frozen=True, kw_only=True)
class Hparams(TrainingHparams):
    """Hyperparameters in addition to those of every training.

    Attributes:
        model: The encoder: resnet20, mnist_cnn, a timm model, or torchvision/NAME; its weights start random.
        comparison: "concatenation" (the example's) or "distance" (Koch et al.'s).
        embedding_dim: Length of an image's embedding, for "distance".
        drop_rate: Dropout rate in the encoder, before its last layer.
        augment: "none", "crop" (pad an eighth with black, crop), "light", "strong", or a strength in [0, 1].
        flip: Mirror half of the training images.
    """

    HAS_LAYER_ORDER: ClassVar[bool] = False

    optimizer: str = "adadelta"
    lr: float = 1.0
    weight_decay: float = 0.0
    batch_size: BatchSize = 64
    schedule: ScheduleName = "exponential"
    decay_rate: float | None = 0.7
    model: str = "torchvision/resnet18"
    comparison: Comparison = "concatenation"
    embedding_dim: int = 64
    drop_rate: float = 0.0
    augment: AugmentName | float = "none"
    flip: bool = False

    def problems(self) -> list[str]:
        """Return a message for each invalid value or combination."""
        return super().problems() + broken_rules(self, _RULES)


_RULES: dict[str, Rule] = {
    "comparison": (f"one of {', '.join(_COMPARISONS)}", lambda name: name in _COMPARISONS),
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
    example=Example(data="digits", hparams={"model": "mnist_cnn", "comparison": "distance"}),
)
