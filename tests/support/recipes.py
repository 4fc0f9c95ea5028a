"""Recipes of papers and reference implementations, and every number in a trainable's docstring.

`tests/trainables/test_recipes.py` checks the defaults and the docstrings against these tables. A recipe
belongs to a trainable, as its defaults, or to a space, as its default configuration with its first initial
point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Recipe:
    """Published values of hyperparameters.

    Attributes:
        source: Where they are published.
        epochs: Epochs of a space's top rung; None for a trainable, or if the source names none.
        resolution: Resolution of the same rung, in pixels.
        differs: Phrases with which a docstring states how this program deviates, word for word.
    """

    source: str
    hparams: Mapping[str, Any]
    epochs: int | None = None
    resolution: int | None = None
    differs: tuple[str, ...] = ()


RECIPES: dict[str, Recipe] = {
    "resnet20_cifar.yaml": Recipe(
        "He et al. 2016, Deep Residual Learning, section 4.2",
        {
            "model": "resnet20",
            "optimizer": "momentum",
            "lr": 0.1,
            "momentum": 0.9,
            "weight_decay": 1e-4,
            "decay_norms_and_biases": True,
            "batch_size": 128,
            "schedule": "step",
            "decay_milestones": "0.5, 0.75",
            "decay_rate": None,
            "augment": "crop",
            "flip": True,
            "drop_rate": 0.0,
        },
        epochs=164,
        resolution=32,
    ),
    "mnist_cnn.yaml": Recipe(
        "github.com/pytorch/examples, mnist/main.py",
        {
            "model": "mnist_cnn",
            "optimizer": "adadelta",
            "lr": 1.0,
            "weight_decay": 0.0,
            "batch_size": 64,
            "schedule": "exponential",
            "decay_rate": 0.7,
            "drop_rate": 0.5,
            "augment": "none",
            "flip": False,
        },
        epochs=14,
        resolution=28,
    ),
    "person_reid": Recipe(
        "github.com/layumi/Person_reID_baseline_pytorch, train.py and test.py",
        {
            "optimizer": "sgd",  # with Nesterov's momentum
            "lr": 0.05,
            "momentum": 0.9,
            "backbone_lr_ratio": 0.1,
            "weight_decay": 5e-4,
            "decay_norms_and_biases": True,
            "batch_size": 32,
            "schedule": "step",
            "decay_milestones": "0.6667",
            "decay_rate": None,
            "features": None,
            "drop_rate": 0.5,
            "label_smoothing": 0.0,
            "metric_loss": "none",
            "augment": "crop",
            "flip": True,
            "random_erasing": 0.0,
            "flip_test": True,
            "re_ranking": False,
        },
    ),
    "person_reid_pcb.yaml": Recipe(
        "the same with --PCB --lr 0.02; Sun et al. 2018",
        {
            "model": "pcb",
            "optimizer": "sgd",
            "lr": 0.02,
            "backbone_lr_ratio": 0.1,
            "weight_decay": 5e-4,
            "decay_norms_and_biases": True,
            "batch_size": 32,
            "features": 256,
            "drop_rate": 0.5,
            "augment": "none",
            "flip": True,
            "flip_test": True,
        },
        epochs=60,
        resolution=384,
    ),
    "detection": Recipe(
        "Zhao et al. 2024, RT-DETR, and the authors' rtdetr_pytorch",
        {
            "optimizer": "adamw",
            "lr": 1e-4,
            "backbone_lr_ratio": 0.1,
            "weight_decay": 1e-4,
            "batch_size": 16,
            "schedule": "none",
            "max_grad_norm": 0.1,
            "ema_decay": 0.9999,
            "augment": "strong",
            "flip": True,
            "multi_scale": True,
            "resize": "stretch",
        },
    ),
    "detr.yaml": Recipe(
        "Carion et al. 2020, DETR, the schedule of 300 epochs",
        {
            "model": "detr_r50",
            "optimizer": "adamw",
            "lr": 1e-4,
            "backbone_lr_ratio": 0.1,
            "weight_decay": 1e-4,
            "decay_norms_and_biases": True,
            "batch_size": 64,
            "schedule": "step",
            "decay_milestones": "0.6667",
            "max_grad_norm": 0.1,
            "ema_decay": None,
            "augment": "crop",
            "flip": True,
            "multi_scale": True,
            "resize": "keep_aspect",
        },
        epochs=300,
        resolution=1333,
    ),
    "d_fine.yaml": Recipe(
        "Peng et al. 2024, D-FINE-L, and the authors' dfine_hgnetv2_l_coco.yml",
        {
            "model": "d_fine_l",
            "optimizer": "adamw",
            "lr": 2.5e-4,
            "backbone_lr_ratio": 0.05,
            "weight_decay": 1.25e-4,
            "max_grad_norm": 0.1,
            "ema_decay": 0.9999,
            "augment": "strong",
            "multi_scale": True,
        },
        epochs=72,
        resolution=640,
    ),
    "code_clones": Recipe(
        "Yu et al. 2025, MRT-OAST",
        {
            "optimizer": "adam",
            "lr": 1e-4,
            "weight_decay": 0.0,
            "batch_size": 64,
            "schedule": "linear",
            "warmup_fraction": 0.2,
            "min_lr_ratio": 0.1,
            "layers": 2,
            "width": 128,
            "heads": 8,
            "drop_rate": 0.2,
        },
    ),
    "code_vulnerability": Recipe(
        "Hanif and Maffeis 2022, VulBERTa-MLP",
        {
            "optimizer": "adamw",
            "lr": 3e-5,
            "weight_decay": 0.0,
            "batch_size": 4,
            "schedule": "linear",
            "min_lr_ratio": 0.0,
            "max_grad_norm": 1.0,
            "class_weights": "balanced",
        },
    ),
    "siamese": Recipe(
        "github.com/pytorch/examples, siamese_network/main.py",
        {
            "model": "torchvision/resnet18",
            "comparison": "concatenation",
            "optimizer": "adadelta",
            "lr": 1.0,
            "weight_decay": 0.0,
            "batch_size": 64,
            "schedule": "exponential",
            "decay_rate": 0.7,
            "augment": "none",
            "flip": False,
        },
        differs=("differ in pixels",),
    ),
    "image_quality": Recipe(
        "Su et al. 2020, HyperIQA, and the authors' code with its rate of the backbone fixed",
        {
            "model": "resnet50",
            "optimizer": "adam",
            "lr": 2e-4,
            "backbone_lr_ratio": 0.1,
            "weight_decay": 5e-4,
            "decay_norms_and_biases": True,
            "batch_size": 96,
            "schedule": "step",
            "decay_milestones": "0.4375, 0.625, 0.8125",
            "unified_lr_epoch": 0.625,
            "width": 112,
            "train_patches": 25,
            "score_grid": 5,
            "flip": True,
        },
    ),
}


Kind = Literal["published", "measured", "setting"]


@dataclass(frozen=True)
class Figure:
    """A number in a docstring.

    Attributes:
        kind: "published" figures need a recipe, "measured" ones were measured with this program, "setting"
            ones belong to hyperparameters or data.
        of: The quantity.
        recipe: The key in RECIPES of a published number.
    """

    kind: Kind
    of: str
    recipe: str = ""


FIGURES: dict[str, dict[str, Figure]] = {
    "bug_localization": {
        "0.001": Figure("setting", "lr"),
        "0.720": Figure("measured", "val_mrr of rVSM alone on python-stdlib"),
        "0.776": Figure("measured", "val_mrr after ten epochs of python-stdlib"),
    },
    "classification": {
        "0.1": Figure("setting", "lr"),
        "0.27": Figure("setting", "million parameters of resnet20, 269,722"),
        "8.75 %": Figure("published", "error on CIFAR-10", "resnet20_cifar.yaml"),
    },
    "code_clones": {
        "0.2": Figure("setting", "drop_rate"),
        "0.661": Figure("measured", "test F1 of random weights on python-stdlib"),
        "0.807": Figure("measured", "the same after five epochs"),
        "15 %": Figure("setting", "held-out share of pairs"),
    },
    "code_vulnerability": {"0.2": Figure("setting", "million parameters of roberta_tiny")},
    "curves": {"0.90": Figure("measured", "val_accuracy of row 40 of formula")},
    "detection": {
        "0.1": Figure("setting", "max_grad_norm"),
        "0.9999": Figure("setting", "ema_decay"),
        "125 %": Figure("setting", "largest side of a batch"),
    },
    "forward_forward": {
        "0.003": Figure("setting", "lr"),
        "0.03": Figure("setting", "the example's rate"),
        "0.167": Figure("measured", "val_accuracy after 15 epochs of digits at the example's settings"),
        "0.915": Figure("measured", "the same at the defaults"),
    },
    "hog_svm": {
        "0.955": Figure("measured", "test_accuracy on mnist5k"),
        "0.967": Figure("measured", "val_accuracy on mnist5k"),
    },
    "knn": {"0.07": Figure("setting", "temperature")},
    "mnist_rnn": {
        "0.1": Figure("setting", "the example's rate"),
        "0.357": Figure("measured", "val_accuracy after three epochs at the example's rate"),
        "0.715": Figure("measured", "val_accuracy after three epochs at the default"),
        "0.948": Figure("measured", "val_accuracy after 14 epochs of mnist5k"),
    },
    "person_reid": {
        "0.05": Figure("setting", "lr"),
        "0.3": Figure("measured", "points of mAP between seeds"),
        "1.7": Figure("measured", "points of mAP between seeds"),
        "15 %": Figure("setting", "held-out share of persons"),
    },
    "siamese": {
        "0.5": Figure("setting", "chance"),
        "0.7": Figure("setting", "decay_rate"),
    },
    "toy": {
        "0.1": Figure("setting", "the sweet spot"),
        "0.95": Figure("measured", "val_accuracy at the sweet spot"),
    },
}
