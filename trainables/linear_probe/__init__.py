"""A linear layer on the features of a pretrained network: seconds of work, and what fine-tuning must beat.

Model: any classifier of timm or torchvision (`torchvision/NAME`) without its last layer, frozen; on its
    features,
scaled to mean 0 and deviation 1, multinomial logistic regression by scikit-learn (L-BFGS).
Data: whatever `classification` takes, split the same way. It is fitted in one epoch.

Of a network that was trained on ImageNet a linear layer reaches most of what fine-tuning does where images
are like ImageNet's (Kornblith et al. 2019, "Do Better ImageNet Models Transfer Better?").
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
        c: Weight of the errors against the squares of the weights, scikit-learn's C.
        max_iter: Of L-BFGS; a note says when they did not do.
    """

    model: str = "resnet18"
    weights: str = "hub"
    c: float = 1.0
    max_iter: int = 1000

    def __post_init__(self) -> None:
        if problems := broken_rules(self, _RULES):
            raise ValueError("; ".join(problems))


_RULES: dict[str, Rule] = {
    "weights": ("none, hub or file:PATH with an absolute path", is_weights),
    "c": ("above 0", lambda c: c > 0),
    "max_iter": ("1 or more", lambda iterations: iterations >= 1),
}


TRAINABLE = Trainable(
    hparams=Hparams,
    metric="val_accuracy",
    mode="max",
    start=deferred("trainables.linear_probe.training:start"),
    data_sources=IMAGE_SOURCES,
    scales=OF_CLASSIFIERS,
    scored_unit="images",
    weights=PretrainedWeights(),
    check_data=deferred("trainables.engine.images.data_check:check_source"),
    check_device=deferred("trainables.engine.device_check:check_gpus"),
    choose_precision=deferred("trainables.engine.cpu_precision:choose_precision"),
    rebuild=deferred("trainables.linear_probe.training:rebuild"),
    example=Example(hparams={"model": "test_resnet", "weights": "none"}),
)
