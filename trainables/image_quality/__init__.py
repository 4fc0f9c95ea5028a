"""Blind image quality: how good an image looks, without the original to compare with.

Model: HyperIQA (Su et al. 2020, "Blindly Assess Image Quality in the Wild Guided by a Self-Adaptive Hyper
Network") over any network of timm that returns maps of its stages; the paper's is `resnet50`.

Data: `quality:FILE`, a CSV table with the columns image and score (KonIQ-10k's image_name and MOS will do),
and optionally reference, the photograph an image was made from, and part (train, val, test). Images lie
beside the table or in `images: FOLDER`, and their middle squares are taken at 384 px or `side: PIXELS`. No
reference is in two parts. `photographs`: 11 of scikit-image's, blurred, noised and compressed by known
amounts.

An epoch has `train_patches` random patches of each training image. An image's score is the mean over patches
at fixed places. The resolution is the side of these patches, which are cut and not shrunk, as shrinking would
hide the flaws to be judged.

Defaults are the authors' in their paper and code: Adam at 2e-4 with decay of 5e-4 on all weights, 25 patches
an image, 96 patches a batch, 16 epochs, the backbone at a tenth of the head's rate. After 7, 10 and 13 epochs
all rates fall to a tenth, except that the backbone's stays at 2e-6 at the second fall and equals the head's
from then on. (The authors' code intends the same, but leaves the backbone at its initial rate.) They differ
in weights, which are random unless `weights` is hub, in Adam's moments, which their code resets after each
epoch, and in held-out patches, which are at fixed places. So no figure of theirs is claimed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from trainables.core.contract import Example, OverfitTarget
from trainables.core.deferred import deferred
from trainables.engine.choices import OWN_MODELS, BatchSize, ScheduleName, is_weights
from trainables.engine.hparams import Rule, TrainingHparams, broken_rules
from trainables.engine.scales import OF_RATINGS
from trainables.engine.torch_trainable import PretrainedWeights, TorchTrainable
from trainables.image_quality.data_sources import SCORED_SOURCES

_WIDTH_STEP = 56


@dataclass(frozen=True, kw_only=True)
class Hparams(TrainingHparams):
    """Hyperparameters in addition to those of every training.

    Attributes:
        model: A timm network that returns maps of its stages.
        batch_size: Patches per batch, each from any image.
        weights: The backbone's: "none" for random ones, "hub" for its own, "file:PATH" for a file of this
            network's.
        width: Channels from which the last layers are generated; a multiple of 56.
        train_patches: Random patches per image and epoch.
        score_grid: Number of patches in each direction with which an image is scored.
        flip: Mirror half of the training patches.
    """

    HAS_LAYER_ORDER: ClassVar[bool] = False

    model: str = "resnet50"
    weights: str = "none"
    optimizer: str = "adam"
    lr: float = 2e-4
    weight_decay: float = 5e-4
    decay_norms_and_biases: bool = True
    batch_size: BatchSize = 96
    schedule: ScheduleName = "step"
    decay_milestones: str = "0.4375, 0.625, 0.8125"  # 7, 10 and 13 of 16 epochs
    backbone_lr_ratio: float = 0.1
    unified_lr_epoch: float | None = 0.625
    width: int = 112
    train_patches: int = 25
    score_grid: int = 5
    flip: bool = True

    RENAMED_HPARAMS: ClassVar[Mapping[str, str]] = {
        "pretrained": "weights: hub for true, weights: none for false"
    }

    def problems(self) -> list[str]:
        """Return a message for each invalid value or combination."""
        problems = super().problems() + broken_rules(self, _RULES)
        if self.model in OWN_MODELS or self.model.startswith("torchvision/"):
            problems.append(f"model must be one of timm, got {self.model}")
        return problems


_RULES: dict[str, Rule] = {
    "weights": ("none, hub or file:PATH with an absolute path", is_weights),
    "width": (
        f"a multiple of {_WIDTH_STEP}, above 0",
        lambda width: width >= _WIDTH_STEP and width % _WIDTH_STEP == 0,
    ),
    "train_patches": ("1 or more", lambda patches: patches >= 1),
    "score_grid": ("1 or more", lambda patches: patches >= 1),
}


TRAINABLE = TorchTrainable(
    hparams=Hparams,
    metric="val_srcc",
    mode="max",
    start=deferred("trainables.image_quality.training:start"),
    data_sources=SCORED_SOURCES,
    scales=OF_RATINGS,
    scored_unit="images",
    weights=PretrainedWeights(),
    check_data=deferred("trainables.image_quality.sources:check_quality_data"),
    rehearse=deferred("trainables.image_quality.training:rehearse"),
    rebuild=deferred("trainables.image_quality.inference:rebuild"),
    overfit=OverfitTarget(score=0.9, epochs=200, num_examples=16),
    example=Example(
        data="photographs",
        hparams={
            "model": "test_resnet",
            "width": 56,
            "lr": 1e-3,
            "backbone_lr_ratio": 1.0,
            "batch_size": 16,
            "train_patches": 1,
            "score_grid": 2,
        },
    ),
)
