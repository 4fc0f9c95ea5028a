"""Image classification.

Models: `resnet20` (He et al. 2016, "Deep Residual Learning for Image Recognition", the CIFAR network of
0.27 M parameters), `mnist_cnn` (the two convolutions of PyTorch's example `mnist`), any image model of timm
by name, any classifier of torchvision as `torchvision/NAME`.

Data: `mnist5k`, `digits`, `imagefolder:FOLDER`, `labels:FILE`, `torchvision:NAME` (see
`engine.images.data_sources`).

Besides accuracy, a space may optimise or bound `params_m` and `macs_g` (millions of parameters, billions of
multiply-adds of one image), `latency_ms` (of one image on the trial's device, see `engine.model_cost`),
`peak_memory_mib` (of training, on a GPU), `train_s` (of an epoch), and the other scores.

Defaults are a starting point for any of these models on any images: Nesterov's SGD at 0.1, a cosine, and
nothing that would be wrong for digits or text. They differ from He et al.'s recipe for CIFAR-10
(`spaces/resnet20_cifar.yaml`; 8.75 % error, published) in Nesterov's momentum, the cosine in place of three
steps, no decay on biases and norms, and no crop or flip; and from the recipe of PyTorch's example
(`spaces/mnist_cnn.yaml`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from trainables.classification.recipes import RECIPES
from trainables.core.contract import OverfitTarget
from trainables.core.deferred import deferred
from trainables.engine.choices import AUGMENT_RULE, OWN_MODELS, AugmentName, is_augment, is_weights
from trainables.engine.hparams import Rule, TrainingHparams, broken_rules
from trainables.engine.images.data_sources import IMAGE_SOURCES
from trainables.engine.scales import MEASURES_OF_CLASSIFIERS, OF_CLASSIFIERS
from trainables.engine.torch_trainable import PretrainedWeights, TorchTrainable


@dataclass(frozen=True, kw_only=True)
class Hparams(TrainingHparams):
    """Hyperparameters in addition to those of every training.

    Attributes:
        model: resnet20, mnist_cnn, a timm model, or torchvision/NAME.
        weights: "none" for random ones, "hub" for the model's own, from where its library keeps them,
            "file:PATH" for a file of this model's, by absolute path, in which {model} stands for the model's
            name.
        drop_rate: Dropout before the last layer.
        drop_path_rate: Rate at which whole blocks are left out of a training step, the last ones most often
            (Huang et al. 2016, "Deep Networks with Stochastic Depth"); for timm models.
        label_smoothing: Fraction of each label that is spread over all classes.
        image_scale: Side of all images, test images included, as a fraction of the rung's resolution: image
            size as a hyperparameter like any other.
        augment: "none", "crop" (pad an eighth with black, crop), "light", "strong", or a strength in [0, 1].
        flip: Mirror half of the training images; off, as digits and text are not symmetric.
        rand_augment: Strength of RandAugment in [0, 1]; 0 is none, 0.3 the paper's magnitude 9.
        mixup: Alpha of mixup's Beta distribution; 0 is none. With cutmix too, each batch gets one of the two.
        cutmix: Alpha of CutMix's Beta distribution; 0 is none.
    """

    model: str = "resnet20"
    weights: str = "none"
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    label_smoothing: float = 0.0
    image_scale: float = 1.0
    augment: AugmentName | float = "none"
    flip: bool = False
    rand_augment: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    RENAMED_HPARAMS: ClassVar[Mapping[str, str]] = {
        "pretrained": "weights: hub for true, weights: none for false"
    }

    def problems(self) -> list[str]:
        """Return a message for each invalid value or combination."""
        problems = super().problems() + broken_rules(self, _RULES)
        is_own = self.model in OWN_MODELS
        is_timms = not is_own and not self.model.startswith("torchvision/")
        if self.weights == "hub" and is_own:
            problems.append(
                f"{self.model} has no weights on a hub; set weights to none or name another model"
            )
        if self.layer_decay < 1 and not is_timms:
            problems.append(
                f"layer_decay below 1 needs a model of timm, got {self.model}; set layer_decay to 1"
            )
        return problems


_RULES: dict[str, Rule] = {
    "weights": ("none, hub or file:PATH with an absolute path", is_weights),
    "drop_rate": ("in [0, 1)", lambda rate: 0 <= rate < 1),
    "drop_path_rate": ("in [0, 1)", lambda rate: 0 <= rate < 1),
    "label_smoothing": ("in [0, 1)", lambda smoothing: 0 <= smoothing < 1),
    "image_scale": ("in (0, 1]", lambda scale: 0 < scale <= 1),
    "augment": (AUGMENT_RULE, is_augment),
    "rand_augment": ("in [0, 1]", lambda strength: 0 <= strength <= 1),
    "mixup": ("0 or more", lambda alpha: alpha >= 0),
    "cutmix": ("0 or more", lambda alpha: alpha >= 0),
}


TRAINABLE = TorchTrainable(
    hparams=Hparams,
    metric="val_accuracy",
    mode="max",
    start=deferred("trainables.classification.training:start"),
    data_sources=IMAGE_SOURCES,
    scales=OF_CLASSIFIERS,
    measures=MEASURES_OF_CLASSIFIERS,
    scored_unit="images",
    weights=PretrainedWeights(),
    check_data=deferred("trainables.engine.images.data_check:check_source"),
    rehearse=deferred("trainables.classification.training:rehearse"),
    rebuild=deferred("trainables.classification.inference:rebuild"),
    overfit=OverfitTarget(score=0.95),
    recipes=RECIPES,
    is_data_parallel=True,
)
