"""Which source files a bug report is about.

Model: a network over five numbers for each report and file: rVSM (Zhou, Zhang and Lo 2012, "Where Should the
Bugs Be Fixed?") and, from Lam et al. 2017, "Bug Localization with Combination of Deep Learning and
Information Retrieval", the similarity to earlier reports about the file, class names in the summary, how
recently and how often the file was fixed. Lam et al. have a sixth, which a second network learns by relating
the terms of reports to those of code. It is not included, so no figure of theirs is claimed.

Data: `{reports: FILE, tree: FOLDER}`, a table with the columns of Ye, Bunescu and Liu 2014 ("Learning to Rank
Relevant Files for Bug Reports") with the tree of sources (see `bug_localization.table`); `python-stdlib`,
docstrings of Python's own library as reports about the modules that they were taken from. Parts are split by
time; with `split: report` they are drawn at random. The resolution is the number of wrong files shown with a
training report; all files are ranked at every rung.

Defaults follow a published reimplementation of the five: one layer of 300 units, Nesterov's SGD at 0.001, 50
wrong files out of 100 for each right one, which counts ten times. They differ from it in steps of four
reports instead of 200 pairs, in a cosine instead of a constant rate, and in ranking all files of a report
where it ranks 51. On python-stdlib rVSM alone reaches a val_mrr of 0.720, and ten epochs 0.776.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from trainables.bug_localization.data_sources import REPORT_SOURCES
from trainables.core.contract import Example, OverfitTarget
from trainables.core.deferred import deferred
from trainables.engine.choices import BatchSize
from trainables.engine.hparams import Rule, TrainingHparams, broken_rules
from trainables.engine.scales import OF_RANKINGS
from trainables.engine.torch_trainable import TorchTrainable

LossName = Literal["squared", "cross_entropy", "listwise"]
_LOSSES: tuple[LossName, ...] = get_args(LossName)


@dataclass(frozen=True, kw_only=True)
class Hparams(TrainingHparams):
    """Hyperparameters in addition to those of every training. A batch is of reports.

    Attributes:
        hidden: Units per hidden layer.
        layers: Number of layers before the last.
        drop_rate: Dropout after each hidden layer.
        loss: "squared" and "cross_entropy" treat each file by itself, "listwise" all files of a report
            together.
        positive_weight: Weight of a right file relative to a wrong one; has no effect with "listwise".
        negative_pool: Wrong files drawn for each one kept; those with the highest rVSM are kept. At 1 any
            are; larger values give harder ones.
    """

    HAS_LAYER_ORDER: ClassVar[bool] = False

    optimizer: str = "sgd"
    lr: float = 1e-3
    weight_decay: float = 1e-5
    batch_size: BatchSize = 4
    hidden: int = 300
    layers: int = 1
    drop_rate: float = 0.0
    loss: LossName = "squared"
    positive_weight: float = 10.0
    negative_pool: float = 2.0

    def problems(self) -> list[str]:
        """Return a message for each invalid value or combination."""
        return super().problems() + broken_rules(self, _RULES)


_RULES: dict[str, Rule] = {
    "hidden": ("1 or more", lambda hidden: hidden >= 1),
    "layers": ("1 or more", lambda layers: layers >= 1),
    "drop_rate": ("in [0, 1)", lambda rate: 0 <= rate < 1),
    "loss": (f"one of {', '.join(_LOSSES)}", lambda name: name in _LOSSES),
    "positive_weight": ("above 0", lambda weight: weight > 0),
    "negative_pool": ("1 or more", lambda pool: pool >= 1),
}


def overfit_overrides(hparams: Hparams) -> Mapping[str, Any]:
    """Values with which a few reports are learnt; the recipe's rate is for thousands of steps."""
    return {"optimizer": "adamw", "lr": 1e-2}


TRAINABLE = TorchTrainable(
    hparams=Hparams,
    metric="val_mrr",
    mode="max",
    start=deferred("trainables.bug_localization.training:start"),
    data_sources=REPORT_SOURCES,
    scales=OF_RANKINGS,
    scored_unit="bug reports",
    check_data=deferred("trainables.bug_localization.data:check_report_data"),
    rehearse=deferred("trainables.bug_localization.training:rehearse"),
    resolution_unit="wrong files",
    overfit=OverfitTarget(score=0.9, epochs=300, num_examples=8, overrides=overfit_overrides),
    example=Example(data="python-stdlib", hparams={"optimizer": "adamw", "lr": 1e-2}),
)
