"""A perceptron with one hidden layer that reads digits. Replace this with your model and its paper.

Data: labelled images, `digits` to begin with. Replace `IMAGE_SOURCES` with your own sources if you read
something else (`trainables/core/data_source.py`).

Expected on digits: val_accuracy above 0.9 after 9 epochs. Replace this with what the published defaults
reach.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainables.core.deferred import deferred
from trainables.engine.hparams import Rule, TrainingHparams, broken_rules
from trainables.engine.images.data_sources import IMAGE_SOURCES
from trainables.engine.scales import OF_CLASSIFIERS
from trainables.engine.torch_trainable import TorchTrainable


@dataclass(frozen=True, kw_only=True)
class Hparams(TrainingHparams):
    """Hyperparameters in addition to those of every training.

    Attributes:
        hidden: Units of the hidden layer.
        drop_rate: Dropout before the last layer.
    """

    HAS_LAYER_ORDER: ClassVar[bool] = False  # `layer_decay` is refused: two layers have no depth to speak of

    lr: float = 0.1
    batch_size: int = 64
    hidden: int = 64
    drop_rate: float = 0.1

    def problems(self) -> list[str]:
        """Return a message for each invalid value or combination."""
        return super().problems() + broken_rules(self, _RULES)


_RULES: dict[str, Rule] = {
    "hidden": ("1 or more", lambda units: units >= 1),
    "drop_rate": ("in [0, 1)", lambda rate: 0 <= rate < 1),
}


TRAINABLE = TorchTrainable(
    hparams=Hparams,
    metric="val_accuracy",
    mode="max",
    start=deferred("trainables.template.training:start"),
    data_sources=IMAGE_SOURCES,
    scales=OF_CLASSIFIERS,
    scored_unit="images",
    check_data=deferred("trainables.engine.images.data_check:check_source"),
    rehearse=deferred("trainables.template.training:rehearse"),
)
