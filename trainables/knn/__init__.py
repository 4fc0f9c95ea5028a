"""A vote of the most similar training images, by a pretrained network's features: nothing is trained.

Model: any classifier of timm or torchvision (`torchvision/NAME`) without its last layer, frozen. The votes of
    the nearest training images by cosine are weighted by exp(cosine / temperature), with the usual values for
    evaluating features: 20 neighbours, 0.07 (Wu et al. 2018, "Unsupervised Feature Learning via
    Non-Parametric Instance Discrimination"; Caron et al. 2021, "Emerging Properties in Self-Supervised Vision
    Transformers").
Data: whatever `classification` takes, split the same way. A trial takes one epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from trainables.engine.feature_baseline import FeatureHparams, feature_baseline
from trainables.engine.hparams import Rule


@dataclass(frozen=True, kw_only=True)
class Hparams(FeatureHparams):
    """Hyperparameters in addition to those of the network.

    Attributes:
        neighbours: Number of images that vote; all of them if there are fewer training images.
        temperature: The smaller, the more the nearest count.
    """

    RULES: ClassVar[Mapping[str, Rule]] = {
        "neighbours": ("1 or more", lambda number: number >= 1),
        "temperature": ("above 0", lambda temperature: temperature > 0),
    }

    neighbours: int = 20
    temperature: float = 0.07


TRAINABLE = feature_baseline(__name__, Hparams)
