"""What baselines on a frozen network's features share: their network, and everything but the fit itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from trainables.core.contract import Example
from trainables.core.deferred import deferred
from trainables.engine.choices import is_weights
from trainables.engine.hparams import Rule, broken_rules
from trainables.engine.images.data_sources import IMAGE_SOURCES
from trainables.engine.scales import OF_CLASSIFIERS
from trainables.engine.torch_trainable import PretrainedWeights, TorchTrainable

_RULES: dict[str, Rule] = {
    "weights": ("none, hub or file:PATH with an absolute path", is_weights),
}


@dataclass(frozen=True, kw_only=True)
class FeatureHparams:
    """The network whose features are used.

    Attributes:
        model: Any classifier of timm, or of torchvision as `torchvision/NAME`; its last layer is left out.
        weights: "hub" for the model's own from its library, "file:PATH" for a file of this model's, by
            absolute path, or "none" for random ones, which are a control and not a baseline.
    """

    RULES: ClassVar[Mapping[str, Rule]] = {}

    model: str = "resnet18"
    weights: str = "hub"

    def __post_init__(self) -> None:
        if problems := broken_rules(self, {**_RULES, **self.RULES}):
            raise ValueError("; ".join(problems))


def feature_baseline(family: str, hparams: type[FeatureHparams]) -> TorchTrainable:
    """The trainable of a family whose `training` has `start` and `rebuild`; it is fitted in one epoch.

    Args:
        family: The package's name, such as `trainables.knn`.
    """
    return TorchTrainable(
        hparams=hparams,
        metric="val_accuracy",
        mode="max",
        start=deferred(f"{family}.training:start"),
        data_sources=IMAGE_SOURCES,
        scales=OF_CLASSIFIERS,
        scored_unit="images",
        weights=PretrainedWeights(),
        check_data=deferred("trainables.engine.images.data_check:check_source"),
        rebuild=deferred(f"{family}.training:rebuild"),
        no_effect_anytime=(),
        example=Example(hparams={"model": "test_resnet", "weights": "none"}),
    )
