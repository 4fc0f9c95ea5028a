"""The settings that repeat a training: the content of config.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.space.space import axes, yaml_text
from search.trial.task import TrialTask


def config_text(task: TrialTask, versions: Mapping[str, Any], *, command: str, parent_trial: str = "") -> str:
    """One training as YAML: everything that its result depends on.

    Args:
        versions: Of Python, packages and program.
        command: What trains it once more.
        parent_trial: Promotion: the trial of the search with these hparams.
    """
    content = {
        "trial_id": task.trial_id,
        **({"parent_trial": parent_trial} if parent_trial else {}),
        "trainable": task.trainable.plain,
        "hparams": dict(task.hparams),
        "budget": axes(task.ladder),
        "metric": task.metric,
        "mode": task.mode,
        **task.training.settings(),
        "test_resolution": task.training.resolution,
        "precision": _precision(task),
        "gpus": task.gpus,
        "versions": dict(versions),
    }
    return f"# again: {command}\n{yaml_text(content, has_short_lines=True)}"


def _precision(task: TrialTask) -> str:
    """The number format, where one was chosen for "auto" that one."""
    training = task.training
    chosen = training.auto_precision.partition(":")[0]
    return chosen if chosen and training.precision == "auto" else training.precision
