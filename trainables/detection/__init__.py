"""Object detection.

Models: RT-DETR (`rt_detr_r18`, `_r50`, `_r101`; Zhao et al. 2024, "DETRs Beat YOLOs on Real-time Object
Detection"), DETR (`detr_r50`; Carion et al. 2020), D-FINE (`d_fine_l`; Peng et al. 2024), each also as
`..._tiny` with half a million parameters; any other model of these families or RT-DETRv2 as `hub/OWNER/NAME`
or `file:/path/config.json`; torchvision's as `torchvision/NAME`.

Data: `shapes` (generated), `coco:PATH`, `{coco: FILE, images: FOLDER}`, `voc:FOLDER`, `yolo:PATH` (see
`detection.data_sources`). Images are stretched to squares; boxes are scored in the pixels of the files.

Defaults are RT-DETR's own recipe: AdamW at 1e-4, the backbone at a tenth of that (as the authors use for
ResNet-18, the default; their files differ for larger backbones and RT-DETRv2), decay of 1e-4 on matrices, 16
images a batch, a constant rate, gradients clipped at 0.1, averaged weights with decay 0.9999, images
stretched to squares whose side is drawn for each batch, from 75 to 125 % of the resolution. Two spaces follow
other recipes: `detr.yaml` that of DETR (images keep their proportions, random crops, no averaging, a rate
drop after two thirds), and `d_fine.yaml` the rates of D-FINE-L, whose authors train the last 8 of 80 epochs
at one scale, without colour changes, zooming out and cropping, and restart the average: that is not
implemented here. All differ from the papers in weights, which are random unless `weights` is "backbone" or
names others, and in images: scales are drawn per batch and not per image, and random crops are taken from
images that are already scaled. So none of the published scores is claimed.

On a small budget, a detector of the DETR kind learns nothing from random weights (DETR's authors mention
300,000 steps): while val_map is near 0, rank by `metric: {name: val_loss, goal: minimize}`, or start from
trained weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

from trainables.core.contract import Example, OverfitTarget, Recipe
from trainables.core.deferred import deferred
from trainables.detection.data_sources import BOX_SOURCES
from trainables.detection.names import (
    BoxAugmentName,
    Resize,
    is_weights,
    unknown_model_reason,
    weight_files,
)
from trainables.engine.choices import BatchSize, ScheduleName
from trainables.engine.hparams import Rule, TrainingHparams, broken_rules
from trainables.engine.scales import OF_DETECTORS
from trainables.engine.torch_trainable import PretrainedWeights, TorchTrainable

AUGMENTS: tuple[str, ...] = get_args(BoxAugmentName)
RESIZES: tuple[str, ...] = get_args(Resize)


@dataclass(frozen=True, kw_only=True)
class Hparams(TrainingHparams):
    """Hyperparameters in addition to those of every training.

    Attributes:
        model: rt_detr_r18, rt_detr_r50, rt_detr_r101, detr_r50, d_fine_l, a small one of each kind
            (rt_detr_tiny, detr_tiny, d_fine_tiny), torchvision/NAME, hub/OWNER/NAME or
            file:/path/config.json.
        weights: "none" for random weights, "hub" for the model's own, trained on COCO, or "backbone" for
            those of its backbone alone, trained on ImageNet, as in the papers (`names.BACKBONES`, or
            torchvision's default). "file:PATH", an absolute path, for a file of this model:
            `model.safetensors` beside its `config.json`, a state dict of torchvision's, or its backbone as a
            classifier (from timm, torchvision or transformers).
        augment: "none", "light" (colour), "strong" (RT-DETR's: also zooming out and cropping) or "crop"
            (DETR's: half of the images are cropped at random).
        multi_scale: Draw the side of each training batch, from 75 to 125 % of the resolution (RT-DETR), or
            with resize "keep_aspect" from 60 to 100 % (DETR), in multiples of 32 px.
        resize: "stretch" stretches images to squares. "keep_aspect" scales them until the longer side is the
            resolution, or the shorter one six tenths of it, whichever comes first (DETR's 800 and 1,333 px at
            a resolution of 1,333), and pads them, with the mean colour for DETR and black for others.
        flip: Mirror half of the training images; wrong for text.
    """

    HAS_LAYER_ORDER: ClassVar[bool] = False

    model: str = "rt_detr_r18"
    weights: str = "none"
    optimizer: str = "adamw"
    lr: float = 1e-4
    weight_decay: float = 1e-4
    batch_size: BatchSize = 16
    schedule: ScheduleName = "none"
    backbone_lr_ratio: float = 0.1
    max_grad_norm: float | None = 0.1
    ema_decay: float | None = 0.9999
    augment: BoxAugmentName = "strong"
    flip: bool = True
    multi_scale: bool = True
    resize: Resize = "stretch"

    RENAMED_HPARAMS: ClassVar[Mapping[str, str]] = {
        "pretrained": "weights: hub for true, weights: none for false"
    }

    def problems(self) -> list[str]:
        """Describe every value that makes no sense."""
        problems = super().problems() + broken_rules(self, _RULES)
        if reason := unknown_model_reason(self.model):
            problems.append(reason)
        if self.resize == "keep_aspect" and self.augment == "strong":
            problems.append("augment strong stretches what it crops; with resize keep_aspect set it to crop")
        return problems


_RULES: dict[str, Rule] = {
    "weights": ("none, hub, backbone or file:PATH with an absolute path", is_weights),
    "resize": (f"one of {', '.join(RESIZES)}", lambda name: name in RESIZES),
    "augment": (f"one of {', '.join(AUGMENTS)}", lambda name: name in AUGMENTS),
}


def overfit_overrides(hparams: Hparams) -> Mapping[str, Any]:
    """Hyperparameters with which random weights overfit a few images.

    The recipe's rates assume a trained backbone, and its average spans tens of thousands of steps.
    """
    if hparams.weights != "none":
        return {}
    return {"lr": 1e-3, "backbone_lr_ratio": 1.0, "ema_decay": None}


TRAINABLE = TorchTrainable(
    hparams=Hparams,
    metric="val_map",
    mode="max",
    start=deferred("trainables.detection.training:start"),
    data_sources=BOX_SOURCES,
    scales=OF_DETECTORS,
    scored_unit="images",
    weights=PretrainedWeights(weight_files),
    check_data=deferred("trainables.detection.sources:check_detection_data"),
    rehearse=deferred("trainables.detection.training:rehearse"),
    rebuild=deferred("trainables.detection.inference:rebuild"),
    overfit=OverfitTarget(score=0.8, epochs=500, num_examples=8, overrides=overfit_overrides),
    example=Example(
        data="shapes",
        hparams={
            "model": "rt_detr_tiny",
            "lr": 1e-3,
            "backbone_lr_ratio": 1.0,
            "batch_size": 8,
            "ema_decay": None,
        },
    ),
    recipes=(
        # github.com/fundamentalvision/Deformable-DETR, main.py.
        Recipe(
            source="Zhu et al. 2021, Deformable DETR",
            hparams={"lr": 2e-4, "backbone_lr_ratio": 0.1, "weight_decay": 1e-4, "max_grad_norm": 0.1},
            only_with={"optimizer": ("adamw",)},
        ),
        # github.com/Peterande/D-FINE, configs/dfine/dfine_hgnetv2_l_coco.yml.
        Recipe(
            source="Peng et al. 2024, D-FINE-L",
            hparams={
                "lr": 2.5e-4,
                "backbone_lr_ratio": 0.05,
                "weight_decay": 1.25e-4,
                "max_grad_norm": 0.1,
                "augment": "strong",
            },
            only_with={"optimizer": ("adamw",)},
        ),
        # github.com/pytorch/vision, references/detection/train.py: 2 images on each of 8 GPUs.
        Recipe(
            source="torchvision's reference for detectors",
            hparams={"lr": 0.02, "sgd_lr": 0.02, "momentum": 0.9, "weight_decay": 1e-4, "batch_size": 16},
            only_with={"optimizer": ("momentum", "sgd")},
        ),
    ),
)
