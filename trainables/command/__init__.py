"""Any existing training script: started with flags, scored by the JSON lines it prints, killed as a group.

The space describes it (`search.command`), so this trainable has no hyperparameters of its own and
no default: its name is `command:` and that description as JSON. Expected result at full budget: the script's.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from trainables.command.spec import CommandSpec
from trainables.command.training import CommandTraining
from trainables.core.contract import Trainable


def trainable_of(description: Mapping[str, Any]) -> Trainable:
    """The trainable that a description means."""
    spec = CommandSpec.of(description)
    return Trainable(
        hparams=spec.hparams(),
        metric=spec.metric,
        mode=spec.mode,
        start=partial(CommandTraining, spec),
        has_test=bool(spec.test),
        is_data_parallel=bool(spec.launcher),
    )
