"""Image classification without backpropagation: every layer learns by a loss of its own.

Model: fully connected ReLUs (Hinton 2022, "The Forward-Forward Algorithm: Some Preliminary Investigations",
section 3.3). A label is written into the first pixels; each layer learns high goodness for right labels and
low goodness for wrong ones. The label of highest goodness is the prediction.

Data: whatever `classification` takes, split the same way. The wrong label of an image depends on (seed,
epoch, image). Images of other resolutions are resized to the top one, so smaller ones cost the same.

Defaults: two layers of 500 and Adam, as in PyTorch's example `mnist_forward_forward`, which trains on all
images at once with inputs of length 1, a threshold of 2 and a rate of 0.03. In batches of 64 that learnt next
to nothing (val_accuracy 0.167 after 15 epochs of digits); inputs of mean square 1, a threshold of 1 and a
rate of 0.003 reach 0.915. Hinton's own network, four layers of 2,000 for 60 epochs, was not trained here.
"""

from __future__ import annotations

from dataclasses import dataclass

from trainables.core.contract import OverfitTarget, Recipe
from trainables.core.deferred import deferred
from trainables.engine.choices import AUGMENT_RULE, AugmentName, ScheduleName, is_augment
from trainables.engine.hparams import SCHEDULES, Rule, broken_rules
from trainables.engine.images.data_sources import IMAGE_SOURCES
from trainables.engine.scales import OF_CLASSIFIERS
from trainables.engine.torch_trainable import TorchTrainable


@dataclass(frozen=True, kw_only=True)
class Hparams:
    """Hyperparameters to set or to search.

    Attributes:
        layers: Number of layers; each learns on its own, and all of them at every step.
        width: ReLUs per layer.
        threshold: Goodness that right labels should exceed and wrong ones stay below.
        optimizer: An optimiser's name in timm; each layer has its own optimiser.
        lr: Learning rate of each layer.
        momentum: Momentum of optimisers that have one, such as "sgd".
        weight_decay: Weight decay of matrices.
        batch_size: Images per step.
        warmup_epochs: Number of epochs at the start over which the rate rises from 0.
        schedule: As for networks that learn by backpropagation. Has no effect with the horizon "anytime",
            where averaged weights are scored.
        augment: "none", "crop" (pad an eighth with black, crop), "light", "strong", or a strength in [0, 1].
    """

    layers: int = 2
    width: int = 500
    threshold: float = 1.0
    optimizer: str = "adam"
    lr: float = 0.003
    momentum: float = 0.9
    weight_decay: float = 0.0
    batch_size: int = 64
    schedule: ScheduleName = "cosine"
    warmup_epochs: float = 0.0
    augment: AugmentName | float = "none"

    def __post_init__(self) -> None:
        if problems := broken_rules(self, _RULES):
            raise ValueError("; ".join(problems))


_RULES: dict[str, Rule] = {
    "layers": ("1 or more", lambda layers: layers >= 1),
    "width": ("1 or more", lambda width: width >= 1),
    "threshold": ("above 0", lambda threshold: threshold > 0),
    "lr": ("above 0", lambda lr: lr > 0),
    "momentum": ("in [0, 1)", lambda momentum: 0 <= momentum < 1),
    "weight_decay": ("0 or more", lambda decay: decay >= 0),
    "batch_size": ("1 or more", lambda size: size >= 1),
    "schedule": (f"one of {', '.join(SCHEDULES)}", lambda name: name in SCHEDULES),
    "warmup_epochs": ("0 or more", lambda epochs: epochs >= 0),
    "augment": (AUGMENT_RULE, is_augment),
}


TRAINABLE = TorchTrainable(
    hparams=Hparams,
    metric="val_accuracy",
    mode="max",
    start=deferred("trainables.forward_forward.training:start"),
    data_sources=IMAGE_SOURCES,
    scales=OF_CLASSIFIERS,
    scored_unit="images",
    check_data=deferred("trainables.engine.images.data_check:check_source"),
    no_effect_anytime=("schedule",),
    overfit=OverfitTarget(score=0.95, epochs=600),
    recipes=(
        # github.com/pytorch/examples, mnist_forward_forward/main.py: all images in one batch.
        Recipe(
            source="PyTorch's example mnist_forward_forward",
            hparams={"layers": 2, "width": 500, "lr": 0.03, "threshold": 2.0},
            only_with={"optimizer": ("adam",)},
        ),
    ),
)
