"""What torch trainables share: checks of GPUs and precision, and the files that they start from.

A family declares in its `TRAINABLE` what is its own; what nine families would repeat is here. Nothing heavy
is imported: whatever needs torch is `deferred`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from trainables.core.contract import Budget, Trainable, TrainingContext, WeightFile
from trainables.core.deferred import deferred
from trainables.engine.choices import OWN_MODELS
from trainables.engine.hparams import NO_EFFECT_ANYTIME

_CHECK_GPUS = deferred("trainables.engine.device_check:check_gpus")
_CHOOSE_PRECISION = deferred("trainables.engine.cpu_precision:choose_precision")
_CHOOSE_BATCH_SIZE = deferred("trainables.engine.batch_by_memory:choose_batch_size")
_CLASSIFIER_FILES = deferred("trainables.engine.classifiers.models:weight_files")


@dataclass(frozen=True, kw_only=True)
class TorchTrainable(Trainable):
    """A `Trainable` whose hparams inherit `engine.hparams.TrainingHparams` and whose steps are torch's.

    Any default can be replaced: forward-forward has only a schedule, for example.
    """

    check_device: Callable[[str], Sequence[str]] = _CHECK_GPUS
    choose_precision: Callable[[TrainingContext], str] = _CHOOSE_PRECISION
    choose_batch_size: Callable[[Any, Any, Sequence[Budget], TrainingContext, float], str] = (
        _CHOOSE_BATCH_SIZE
    )
    no_effect_anytime: tuple[str, ...] = NO_EFFECT_ANYTIME


@dataclass(frozen=True)
class PretrainedWeights:
    """The files that `start` reads for given hparams: the `weights` of a family's trainable.

    Args:
        files: Maps a model's name and the hyperparameter `weights` ("none", "hub" or "file:PATH") to the
            files; raises ValueError if there is no such model, or no hub has weights for it. By default
            models are the image classifiers of timm, torchvision and this program.
        model: Returns the model's name from the hparams; by default the value of `model`.
    """

    files: Callable[[str, str], Sequence[WeightFile]] = _CLASSIFIER_FILES
    model: Callable[[Any], str] = attrgetter("model")

    def __call__(self, hparams: Any) -> Sequence[WeightFile]:
        """The files for `hparams`; empty if weights are random.

        Raises:
            ValueError: There is no such model, or it has no weights on a hub.
        """
        model, weights = self.model(hparams), getattr(hparams, "weights", "none")
        if weights == "none" and model in OWN_MODELS:  # known without the second that torch takes to load
            return ()
        return self.files(model, weights)
