"""Published recipes for image classifiers, with which a search with a portfolio may begin.

A value is listed only if its source sets it; all others stay as in the space. SGD's rates are also given as
`sgd_lr`, which spaces with two optimisers search in place of `lr`.
"""

from __future__ import annotations

from trainables.core.contract import Recipe

_SGD = ("momentum", "sgd")  # "sgd" is Nesterov's, whose good rates are the same

RECIPES = (
    # arXiv 1512.03385, section 4.2: 64,000 steps, the rate falls at 32,000 and 48,000.
    Recipe(
        source="He et al. 2016, ResNet on CIFAR-10",
        hparams={
            "lr": 0.1,
            "sgd_lr": 0.1,
            "momentum": 0.9,
            "weight_decay": 1e-4,
            "batch_size": 128,
            "schedule": "step",
            "augment": "crop",
            "flip": True,
        },
        only_with={"optimizer": _SGD, "weights": ("none",)},
    ),
    # github.com/kuangliu/pytorch-cifar, main.py: a cosine over 200 epochs.
    Recipe(
        source="pytorch-cifar",
        hparams={"lr": 0.1, "sgd_lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "schedule": "cosine"},
        only_with={"optimizer": _SGD, "weights": ("none",)},
    ),
    # github.com/pytorch/vision, references/classification: 32 images on each of 8 GPUs.
    Recipe(
        source="torchvision's reference for ResNets",
        hparams={
            "lr": 0.1,
            "sgd_lr": 0.1,
            "momentum": 0.9,
            "weight_decay": 1e-4,
            "batch_size": 256,
            "schedule": "step",
        },
        only_with={"optimizer": _SGD, "weights": ("none",)},
    ),
    # The same, its README on MobileNetV2: the rate is multiplied by 0.98 after each of 300 epochs.
    Recipe(
        source="torchvision's reference for MobileNetV2",
        hparams={"lr": 0.045, "sgd_lr": 0.045, "momentum": 0.9, "weight_decay": 4e-5},
        only_with={"optimizer": _SGD, "weights": ("none",)},
    ),
    # github.com/pytorch/examples, mnist/main.py: the rate is multiplied by 0.7 after each of 14 epochs.
    Recipe(
        source="PyTorch's example mnist",
        hparams={"lr": 1.0, "batch_size": 64, "schedule": "exponential", "drop_rate": 0.5},
        only_with={"optimizer": ("adadelta",)},
    ),
    # github.com/facebookresearch/deit, main.py: the rate is for 512 images a step.
    Recipe(
        source="Touvron et al. 2021, DeiT",
        hparams={
            "lr": 5e-4,
            "weight_decay": 0.05,
            "schedule": "cosine",
            "label_smoothing": 0.1,
            "drop_path_rate": 0.1,
            "mixup": 0.8,
            "cutmix": 1.0,
            "rand_augment": 0.3,  # magnitude 9
        },
        only_with={"optimizer": ("adamw",), "weights": ("none",)},
    ),
    # arXiv 1912.11370, section 3.3, for tasks of fewer than 20,000 images; 512 of them a step.
    Recipe(
        source="Kolesnikov et al. 2020, BiT-HyperRule",
        hparams={"lr": 0.003, "sgd_lr": 0.003, "momentum": 0.9, "mixup": 0.0},
        only_with={"optimizer": _SGD, "weights": ("hub",)},
    ),
    # docs.pytorch.org/tutorials, transfer_learning_tutorial: ants and bees; a tenth after every 7 epochs.
    Recipe(
        source="PyTorch's tutorial on transfer learning",
        hparams={"lr": 0.001, "sgd_lr": 0.001, "momentum": 0.9},
        only_with={"optimizer": _SGD, "weights": ("hub",)},
    ),
)
