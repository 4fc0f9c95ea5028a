"""Person re-identification: finding a person again in the images of other cameras.

Models: `resnet50`, `densenet121`, `hrnet_w18` and any other convolutional network of timm by name, with one
layer to few features and a classifier over the persons of the training part; `pcb` (`pcb/NAME` over another
ResNet) with six horizontal stripes, each with its own layer and classifier (Sun et al. 2018, "Beyond Part
Models"). Loss: cross entropy, optionally with triplet loss of the hardest pairs or Circle loss between
images.

Data: `persons` (generated); `market:FOLDER`, a folder with Market-1501's `bounding_box_train`, `query` and
`bounding_box_test`, or a folder of images named like 0001_c1s1_000151_00.jpg (Zheng et al. 2015). Images are
stretched to twice their width in height; the resolution is the height. 15 % of the persons are held out for
validation; the data's own queries and gallery are the test set.

Scores: mean average precision by Market-1501's trapezoidal rule, and the fraction of queries whose first
right image is among the first 1, 5 and 10; both ignore junk and the person's images from the query's own
camera.

Defaults are the reference implementation's for resnet50, densenet121 and hrnet_w18 (Zheng,
Person_reID_baseline_pytorch): Nesterov's SGD at 0.05 with decay on all weights, the backbone at a tenth of
that and all rates at a tenth after 40 of 60 epochs, 32 images a batch, 512 features an image, dropout, cross
entropy alone; pad 10 px of 256, crop and mirror; the features of mirror images are added when scoring. Its
settings for pcb are in `spaces/person_reid_pcb.yaml`. They differ in weights, which are random unless
`weights` is hub, in 15 % of the persons held out where the reference trains on all 751, in bilinear instead
of bicubic resizing, and in pcb's 256 features a stripe at scoring instead of 2,048. So no figure of the
reference is claimed. Seeds alone move mAP by 0.3 to 1.7 points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from trainables.core.contract import Example, OverfitTarget, Recipe
from trainables.core.deferred import deferred
from trainables.engine.choices import (
    AUGMENT_RULE,
    AugmentName,
    BatchSize,
    ScheduleName,
    is_augment,
    is_weights,
)
from trainables.engine.hparams import Rule, TrainingHparams, broken_rules
from trainables.engine.scales import OF_RANKINGS
from trainables.engine.torch_trainable import PretrainedWeights, TorchTrainable
from trainables.person_reid.data_sources import PERSON_SOURCES
from trainables.person_reid.names import backbone_of, unknown_network_reason

MetricLoss = Literal["none", "triplet", "circle"]
METRIC_LOSSES: tuple[str, ...] = get_args(MetricLoss)


@dataclass(frozen=True, kw_only=True)
class Hparams(TrainingHparams):
    """Hyperparameters in addition to those of every training.

    Attributes:
        model: resnet50, densenet121, hrnet_w18 or another convolutional network of timm, pcb, or pcb/NAME.
        weights: "none" for random ones, "hub" for the backbone's own, "file:PATH" for a file of it by
            absolute path.
        features: Number of features of an image, or of each of its stripes; null means 512, and 256 for pcb.
        drop_rate: Dropout before the classifiers.
        label_smoothing: Fraction of each label that is spread over all persons.
        metric_loss: "triplet", "circle" or "none", added to the cross entropy.
        metric_loss_weight: Factor of that loss between images.
        images_per_identity: Images of each person in a batch if there is such a loss.
        augment: "none", "crop" (pad 10 px of 256 with black, crop), "light", "strong", or a strength.
        flip: Mirror half of the training images.
        random_erasing: Fraction of training images in which a rectangle is blanked (Zhong et al. 2020).
        flip_test: Add the features of the mirror image to those of each scored image; twice the cost.
        re_ranking: Rank by k-reciprocal neighbours (Zhong et al. 2017) when scoring. Scores with and without
            it are not comparable, so it should not be searched over.
    """

    HAS_LAYER_ORDER: ClassVar[bool] = False

    model: str = "resnet50"
    weights: str = "none"
    lr: float = 0.05
    weight_decay: float = 5e-4
    decay_norms_and_biases: bool = True
    batch_size: BatchSize = 32
    schedule: ScheduleName = "step"
    decay_milestones: str = "0.6667"  # 40 of 60 epochs
    backbone_lr_ratio: float = 0.1
    features: int | None = None
    drop_rate: float = 0.5
    label_smoothing: float = 0.0
    metric_loss: MetricLoss = "none"
    metric_loss_weight: float = 1.0
    images_per_identity: int = 4
    augment: AugmentName | float = "crop"
    flip: bool = True
    random_erasing: float = 0.0
    flip_test: bool = True
    re_ranking: bool = False

    def problems(self) -> list[str]:
        """Return a message for each invalid value or combination."""
        problems = super().problems() + broken_rules(self, _RULES)
        if reason := unknown_network_reason(self.model):
            problems.append(reason)
        # "auto" becomes a power of two; 64 stands for it.
        size = 64 if self.batch_size == "auto" else self.examples_at_once
        if self.metric_loss != "none" and size % self.images_per_identity:
            problems.append(
                f"batch_size must be a multiple of images_per_identity with metric_loss {self.metric_loss}, "
                f"got {self.batch_size} and {self.images_per_identity}"
            )
        return problems


_RULES: dict[str, Rule] = {
    "weights": ("none, hub or file:PATH with an absolute path", is_weights),
    "features": ("1 or more, or null", lambda features: features is None or features >= 1),
    "random_erasing": ("in [0, 1]", lambda share: 0 <= share <= 1),
    "drop_rate": ("in [0, 1)", lambda rate: 0 <= rate < 1),
    "label_smoothing": ("in [0, 1)", lambda smoothing: 0 <= smoothing < 1),
    "metric_loss": (f"one of {', '.join(METRIC_LOSSES)}", lambda name: name in METRIC_LOSSES),
    "metric_loss_weight": ("above 0", lambda weight: weight > 0),
    "images_per_identity": ("2 or more", lambda number: number >= 2),
    "augment": (AUGMENT_RULE, is_augment),
}


def overfit_overrides(hparams: Hparams) -> Mapping[str, Any]:
    """Values with which random weights learn a few images.

    Cross entropy alone classifies all 32 correctly while their features are still mixed up: mAP 0.85.
    """
    between = {} if hparams.examples_at_once % hparams.images_per_identity else {"metric_loss": "triplet"}
    return {**between, "backbone_lr_ratio": 1.0, "drop_rate": 0.0} if hparams.weights == "none" else between


TRAINABLE = TorchTrainable(
    hparams=Hparams,
    metric="val_map",
    mode="max",
    start=deferred("trainables.person_reid.training:start"),
    data_sources=PERSON_SOURCES,
    scales=OF_RANKINGS,
    scored_unit="queries",
    weights=PretrainedWeights(model=lambda hparams: backbone_of(hparams.model)),
    check_data=deferred("trainables.person_reid.sources:check_person_data"),
    rehearse=deferred("trainables.person_reid.training:rehearse"),
    rebuild=deferred("trainables.person_reid.inference:rebuild"),
    overfit=OverfitTarget(score=0.95, overrides=overfit_overrides),
    example=Example(
        data="persons",
        hparams={
            "model": "test_resnet",
            "backbone_lr_ratio": 1.0,
            "features": 64,
            "drop_rate": 0.0,
            "metric_loss": "triplet",
        },
    ),
    recipes=(
        # github.com/layumi/Person_reID_baseline_pytorch, README, "ResNet-50 (all tricks)".
        Recipe(
            source="Person_reID_baseline_pytorch, all tricks",
            hparams={"lr": 0.02, "batch_size": 8, "random_erasing": 0.5, "warmup_epochs": 5.0},
            only_with={"optimizer": ("sgd",), "metric_loss": ("none",)},
        ),
        # The same, "PCB".
        Recipe(
            source="Person_reID_baseline_pytorch, PCB",
            hparams={"lr": 0.02, "backbone_lr_ratio": 0.1, "weight_decay": 5e-4, "batch_size": 32},
            only_with={"optimizer": ("sgd",), "model": ("pcb",), "metric_loss": ("none",)},
        ),
        # github.com/michuanhaohao/reid-strong-baseline, configs/softmax_triplet.yml.
        Recipe(
            source="Luo et al. 2019, strong baseline",
            hparams={
                "lr": 3.5e-4,
                "weight_decay": 5e-4,
                "batch_size": 64,
                "images_per_identity": 4,
                "label_smoothing": 0.1,
                "random_erasing": 0.5,
            },
            only_with={"optimizer": ("adam",), "metric_loss": ("triplet",)},
        ),
    ),
)
