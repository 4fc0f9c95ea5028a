"""A linear layer on a pretrained network's features: seconds of work, and the baseline for fine-tuning.

Model: any classifier of timm or torchvision (`torchvision/NAME`) without its last layer, frozen. On its
    features, scaled to mean 0 and deviation 1, multinomial logistic regression by scikit-learn (L-BFGS).
Data: whatever `classification` takes, split the same way. Fitting takes one epoch.

On images like ImageNet's, a linear layer on a network trained on ImageNet reaches most of what fine-tuning
does (Kornblith et al. 2019, "Do Better ImageNet Models Transfer Better?").
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
        c: Weight of the errors against the L2 penalty on the weights, scikit-learn's C.
        max_iter: Maximum number of iterations of L-BFGS; a note reports when it has not converged.
    """

    RULES: ClassVar[Mapping[str, Rule]] = {
        "c": ("above 0", lambda c: c > 0),
        "max_iter": ("1 or more", lambda iterations: iterations >= 1),
    }

    c: float = 1.0
    max_iter: int = 1000


TRAINABLE = feature_baseline(__name__, Hparams)
