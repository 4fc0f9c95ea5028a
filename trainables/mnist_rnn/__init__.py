"""Image classification by an LSTM that reads an image row by row.

Model: the network of PyTorch's example `mnist_rnn`: an LSTM (Hochreiter and Schmidhuber 1997, "Long
Short-Term Memory") of 64 units over the rows, BatchNorm, and two linear layers with dropout between.

Data: whatever `classification` takes, split the same way. The resolution is the number of rows, that is, of
time steps: half the rows cost half as much. Rows of a lower rung are stretched to the top one's width.

Defaults are the example's, 64 images a batch and Adadelta (Zeiler 2012, "ADADELTA: An Adaptive Learning Rate
Method"), with two exceptions. The rate is the paper's, 1: three epochs of 3,500 digits reach val_accuracy
0.715 with it and 0.357 with the example's 0.1. And a cosine replaces the example's decay to seven tenths
after each epoch, which is `schedule: exponential`. Expected after 14 epochs of mnist5k, as many as the
example's: val_accuracy 0.948.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainables.core.contract import OverfitTarget, Recipe
from trainables.core.deferred import deferred
from trainables.engine.choices import AUGMENT_RULE, AugmentName, BatchSize, is_augment
from trainables.engine.hparams import Rule, TrainingHparams, broken_rules
from trainables.engine.images.data_sources import IMAGE_SOURCES
from trainables.engine.scales import OF_CLASSIFIERS
from trainables.engine.torch_trainable import TorchTrainable


@dataclass(frozen=True, kw_only=True)
class Hparams(TrainingHparams):
    """Hyperparameters in addition to those of every training.

    Attributes:
        hidden: Units of the LSTM, in each direction.
        layers: Number of stacked LSTMs.
        bidirectional: Also read from the bottom up.
        drop_rate: Dropout of the LSTM's last states.
        head_drop_rate: Dropout of the features before the last layer.
        label_smoothing: Fraction of each label that is spread over all classes.
        augment: "none", "crop" (pad an eighth with black, crop), "light", "strong", or a strength in [0, 1].
    """

    HAS_LAYER_ORDER: ClassVar[bool] = False

    optimizer: str = "adadelta"
    lr: float = 1.0
    weight_decay: float = 0.0
    batch_size: BatchSize = 64
    hidden: int = 64
    layers: int = 1
    bidirectional: bool = False
    drop_rate: float = 0.25
    head_drop_rate: float = 0.5
    label_smoothing: float = 0.0
    augment: AugmentName | float = "none"

    def problems(self) -> list[str]:
        """Return a message for each invalid value or combination."""
        return super().problems() + broken_rules(self, _RULES)


_RULES: dict[str, Rule] = {
    "hidden": ("2 or more", lambda units: units >= 2),
    "layers": ("1 or more", lambda layers: layers >= 1),
    "drop_rate": ("in [0, 1)", lambda rate: 0 <= rate < 1),
    "head_drop_rate": ("in [0, 1)", lambda rate: 0 <= rate < 1),
    "label_smoothing": ("in [0, 1)", lambda smoothing: 0 <= smoothing < 1),
    "augment": (AUGMENT_RULE, is_augment),
}


TRAINABLE = TorchTrainable(
    hparams=Hparams,
    metric="val_accuracy",
    mode="max",
    start=deferred("trainables.mnist_rnn.training:start"),
    data_sources=IMAGE_SOURCES,
    scales=OF_CLASSIFIERS,
    scored_unit="images",
    check_data=deferred("trainables.engine.images.data_check:check_source"),
    rehearse=deferred("trainables.mnist_rnn.training:rehearse"),
    overfit=OverfitTarget(score=0.95, epochs=200),
    recipes=(
        # github.com/pytorch/examples, mnist_rnn/main.py: times 0.7 after each of 14 epochs.
        Recipe(
            source="PyTorch's example mnist_rnn",
            hparams={
                "lr": 0.1,
                "batch_size": 64,
                "hidden": 64,
                "drop_rate": 0.25,
                "head_drop_rate": 0.5,
                "schedule": "exponential",
            },
            only_with={"optimizer": ("adadelta",)},
        ),
    ),
)
