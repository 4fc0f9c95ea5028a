"""Any existing training script: started with flags, scored by what it reports, ended with all its processes.

The space describes it (`search.command`), so this trainable has no hyperparameters or defaults of its own; a
reference to it is that description. Expected result at full budget: the script's.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from trainables.command.spec import CommandSpec
from trainables.command.training import CommandTraining
from trainables.core.contract import Trainable


def trainable_of(description: Mapping[str, Any]) -> Trainable:
    """Return the trainable for a description."""
    spec = CommandSpec.of(description)
    return Trainable(
        hparams=spec.hparams(),
        metric=spec.metric,
        mode=spec.mode,
        start=partial(CommandTraining, spec),
        has_test=bool(spec.test),
        is_data_parallel=bool(spec.launcher),
    )
