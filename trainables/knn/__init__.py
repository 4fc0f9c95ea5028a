"""A vote of the most similar training images, by the features of a pretrained network: nothing is trained at
all.

Model: any classifier of timm or torchvision (`torchvision/NAME`) without its last layer, frozen. The votes of
    the
nearest training images by cosine are weighted by exp(cosine / temperature), with the values that are usual
for judging features: 20 neighbours, 0.07 (Wu et al. 2018, "Unsupervised Feature Learning via Non-Parametric
Instance Discrimination"; Caron et al. 2021, "Emerging Properties in Self-Supervised Vision Transformers").
Data: whatever `classification` takes, split the same way. It takes one epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

from trainables.core.contract import Example, Trainable
from trainables.core.deferred import deferred
from trainables.engine.choices import is_weights
from trainables.engine.hparams import Rule, broken_rules
from trainables.engine.images.data_sources import IMAGE_SOURCES
from trainables.engine.scales import OF_CLASSIFIERS
from trainables.engine.torch_trainable import PretrainedWeights


@dataclass(frozen=True, kw_only=True)
class Hparams:
    """What may be set or searched.

    Attributes:
        weights: "hub" is the model's own from where its library keeps them, "file:PATH" a file of this
            model's, by absolute path; "none" is random ones, which is no baseline but a control.
        neighbours: How many vote; all, where there are fewer training images.
        temperature: The smaller, the more the nearest count.
    """

    model: str = "resnet18"
    weights: str = "hub"
    neighbours: int = 20
    temperature: float = 0.07

    def __post_init__(self) -> None:
        if problems := broken_rules(self, _RULES):
            raise ValueError("; ".join(problems))


_RULES: dict[str, Rule] = {
    "weights": ("none, hub or file:PATH with an absolute path", is_weights),
    "neighbours": ("1 or more", lambda number: number >= 1),
    "temperature": ("above 0", lambda temperature: temperature > 0),
}


TRAINABLE = Trainable(
    hparams=Hparams,
    metric="val_accuracy",
    mode="max",
    start=deferred("trainables.knn.training:start"),
    data_sources=IMAGE_SOURCES,
    scales=OF_CLASSIFIERS,
    scored_unit="images",
    weights=PretrainedWeights(),
    check_data=deferred("trainables.engine.images.data_check:check_source"),
    check_device=deferred("trainables.engine.device_check:check_gpus"),
    choose_precision=deferred("trainables.engine.cpu_precision:choose_precision"),
    rebuild=deferred("trainables.knn.training:rebuild"),
    example=Example(hparams={"model": "test_resnet", "weights": "none"}),
)
