"""A run for W&B: a sweep file of the space, and the table of its runs.

No account is needed and nothing is uploaded. sweep.yaml starts the same search with `wandb sweep`; the table
has the columns of W&B's own CSV export, so that notebooks made for that can read it. What a sweep cannot
express is not approximated but named, in the file and on the console.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from search.export import ExportError
from search.export.sweep_command import command_keys
from search.export.tracked_trial import LoggedTrial
from search.ledger import csv_text
from search.space import Space
from search.space.schema import EarlyTerminate
from search.space.space import yaml_text
from trainables.core.files import replacing

# The first columns of the CSV that the web page of W&B exports; config and summary follow.
RUN_COLUMNS = ("Name", "State", "Tags", "Created", "Runtime", "Sweep", "Notes")
_WANDB_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_OWN_LIMITS = ("hours", "kwh", "co2e_kg", "cost", "stop_when_flat")
_METHODS = {"random": "random", "grid": "grid"}  # every other sampler learns from scores: bayes
_STATES = {"diverged": "failed", "failed": "failed", "interrupted": "killed", "running": "running"}


def runs_file(sweep: Path) -> Path:
    """Where the table of runs goes: sweep-runs.csv beside sweep.yaml."""
    return sweep.with_name(f"{sweep.stem}-runs.csv")


def export_sweep(space: Space, trials: Iterable[LoggedTrial], path: Path) -> list[str]:
    """Write the sweep file and the table of runs.

    Args:
        path: The sweep file; the table is beside it (`runs_file`).

    Returns:
        A sentence for each part of the space that a sweep cannot express; the file begins with these as
        comments.

    Raises:
        ExportError: The space searches nothing.
        OSError: A file cannot be written.
    """
    if not space.parameters:
        raise ExportError(
            f"{space.name} searches no parameters (its points are a list), and a sweep needs some; "
            "--optuna, --tensorboard and --mlflow export its trials"
        )
    notes = unsupported_parts(space)
    what = "program" if space.trainable.command is None else "the command"
    head = [f"W&B starts {what} once per point, with the parameters as flags: --lr=0.1", *notes]
    # In one line each: the names in them may be a stranger's, and hold line ends.
    text = "".join(f"# {' '.join(line.split())}\n" for line in head) + yaml_text(sweep_of(space))
    columns, rows = run_table(space, list(trials))
    for target, content in ((path, text), (runs_file(path), csv_text(columns, rows))):
        with replacing(target) as scratch:
            scratch.write_text(content, encoding="utf-8")
    return notes


def sweep_of(space: Space) -> dict[str, Any]:
    """The content of a sweep file; `load_space` reads its parameters back unchanged."""
    keys, with_args, _ = command_keys(space)
    sweep: dict[str, Any] = {
        **keys,
        "name": space.name,
        "method": _METHODS.get(space.sampler, "bayes"),
        "metric": {"name": space.metric, "goal": "maximize" if space.mode == "max" else "minimize"},
        "parameters": {**with_args, **space.parameter_entries()},
    }
    if space.limits.trials is not None:
        sweep["run_cap"] = space.limits.trials
    if (brackets := _brackets(space)) is not None:
        sweep["early_terminate"] = brackets
    return sweep


def unsupported_parts(space: Space) -> list[str]:
    """A sentence for each part of the space that a sweep file cannot express."""
    _, _, notes = command_keys(space)
    if space.when:
        notes.append(f"left out: the conditions of {', '.join(space.when)}; W&B always searches them")
    if odd := [name for name in space.parameters if not _WANDB_NAME.fullmatch(name)]:
        notes.append(f"W&B's schema allows letters, digits and . _ - in names, and warns of {', '.join(odd)}")
    if space.beside:
        others = ", ".join(each.name for each in space.beside)
        notes.append(f"left out: {others} beside {space.metric}; W&B has one metric")
    if space.constraints:
        notes.append(f"left out: the constraints on {', '.join(space.constraints)}; W&B has none")
    if space.scheduler.mode != "none" and _brackets(space) is None:
        notes.append("left out: the rungs; W&B's hyperband has them at max_iter, max_iter / eta and so on")
    if any(rung.subset is not None or rung.resolution is not None for rung in space.ladder.rungs):
        notes.append("left out: subset and resolution of the rungs; W&B's bands are of epochs")
    if limits := [key for key in _OWN_LIMITS if space.limits.stated[key]]:
        notes.append(f"left out: the limits {', '.join(limits)}; W&B has a number of runs alone")
    if space.initial_points:
        notes.append("left out: the initial points; W&B chooses which it tries first")
    return notes


def run_table(space: Space, trials: list[LoggedTrial]) -> tuple[list[str], list[dict[str, Any]]]:
    """Columns and rows as W&B exports its table of runs: its own, then config, then summary.

    If a hyperparameter and a metric have the same name, the cell has the hyperparameter's value.
    """
    config = [name for trial in trials for name in trial.hparams]
    summary = [name for trial in trials for name in trial.summary]
    columns = list(dict.fromkeys((*RUN_COLUMNS, *config, *summary)))
    rows = [{**trial.summary, **trial.hparams, **_own(space, trial)} for trial in trials]
    return columns, rows


def _own(space: Space, trial: LoggedTrial) -> dict[str, Any]:
    """The cells that W&B fills itself. Its states are fewer than ours, so the status is kept as a tag: a
    trial stopped at a rung is "finished" for W&B."""
    created = datetime.fromtimestamp(trial.started_at, UTC)
    return {
        "Name": trial.trial_id,
        "State": _STATES.get(trial.status, "finished"),
        "Tags": trial.status,
        "Created": created.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "Runtime": round(trial.ended_at - trial.started_at, 3),
        "Sweep": space.name,
        "Notes": f"{trial.cause}: {trial.message}" if trial.cause else trial.message,
    }


def _brackets(space: Space) -> dict[str, Any] | None:
    """W&B's hyperband with its bands at the rungs below the top; None if they cannot match.

    Counted down from `max_iter`, the top, they are at max_iter / eta, max_iter / eta² and so on, rounded
    down. So rungs at 1, 3, 9 with eta 3 match, and 1, 2, 9 do not. Rungs of joules are not at fixed epochs.
    """
    ladder, scheduler = space.ladder, space.scheduler
    if scheduler.mode == "none" or ladder.joules or len(ladder.ends) < 2:
        return None
    *below, top = ladder.ends
    brackets = EarlyTerminate(max_iter=top, s=len(below), eta=scheduler.eta)
    given = {"type": "hyperband", "max_iter": top, "s": len(below), "eta": scheduler.eta, "strict": True}
    return given if brackets.epochs() == ladder.ends else None
