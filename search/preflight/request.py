"""What to check before a run, and what was found: plain data that is sent to a node and back."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from search.preflight.points import points_of, rehearsed_points
from search.preflight.versions import requirements
from search.space import Space
from search.trial.batch_size import smallest_of
from search.trial.task import TrialTask, task_for
from trainables.core.data_summary import DataSummary


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that will fail.

    Attributes:
        what: Begins with the part that it is about, as in "weights: ...".
        remedy: What to do, in the imperative.
    """

    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}"


@dataclass(frozen=True, kw_only=True)
class WeightRow:
    """Where a model's weights come from.

    Attributes:
        source: "none", "torchvision", "hub", "url" or "file".
        size_mib: Size on disk, or as the library states it; None if unknown.
    """

    model: str
    source: str
    location: str = ""
    size_mib: float | None = None
    is_there: bool = True


class PreflightError(RuntimeError):
    """A run would fail. The message lists every problem with its remedy.

    Attributes:
        missing: The weights that would have to be downloaded, if nothing else is wrong.
    """

    def __init__(
        self, problems: Sequence[str], *, has_way_round: bool = True, missing: Sequence[WeightRow] = ()
    ) -> None:
        self.problems = tuple(problems)
        self.missing = tuple(missing)
        way_round = "(--skip-preflight starts anyway)" if has_way_round else ""
        if len(problems) == 1:
            super().__init__(f"preflight: {problems[0]} {way_round}".rstrip())
            return
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"preflight found {len(problems)} problems:\n{lines}\n{way_round}".rstrip())


@dataclass(frozen=True, kw_only=True)
class PreflightRequest:
    """What to check.

    Attributes:
        task: The default configuration as a trial. Its folder tells where checkpoints will go.
        points: Hparams that cover everything the space can ask for.
        rehearsed: The points that are started, without training; see `rehearsed_points`.
        space: What to write after --space, for the commands in remedies.
        gpus: GPUs per trial, as the space says; None means whatever there is.
        may_use_cpu: If the space does not say and torch can use no GPU, trials may train on the CPU.
        workers: Concurrent trials on one node, as far as is known.
        num_trials: Maximum number of trials; None means no limit.
        measures: What needs a sensor, such as "search.limits.kwh".
        cpu_power_key: The key that states the CPUs' power, which stands in for a sensor.
        has_other_limit: The run would end without a limit on energy.
        requirements: The program's requirements, such as "torch>=2.8".
        shared_file: A file beside the results that every node must see; None means no such check.
        is_fetching: Download what is missing first.
        is_trying: Train an epoch of each model on a tiny budget.
        chooses_batch_size: Find out what batch_size "auto" means, if the space has it.
        progress: A file for one line on what is being done; None for no such file.
    """

    task: TrialTask
    points: tuple[Mapping[str, Any], ...]
    rehearsed: tuple[Mapping[str, Any], ...]
    space: str
    gpus: float | None
    workers: int | None
    num_trials: int | None
    disk_gib: float | None
    measures: tuple[str, ...]
    cpu_power_key: str
    has_other_limit: bool
    requirements: tuple[str, ...]
    shared_file: Path | None = None
    is_fetching: bool = False
    is_trying: bool = False
    progress: Path | None = None
    may_use_cpu: bool = False
    chooses_batch_size: bool = True


@dataclass(frozen=True, kw_only=True)
class Report:
    """What one node found.

    Attributes:
        auto_precision: What the precision "auto" would mean on its CPU, with the reason; empty without a
            choice.
        batch_sizes: What batch_size "auto" would mean on it, by model.
        no_gpu_reason: Why torch can use none of its GPUs, which the trials may do without.
        data: What the data source holds; None if the trainable gives notes, or nothing.
        seconds: How long the check took; None if the node gave no answer.
    """

    node: str = field(default_factory=platform.node)
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    weights: tuple[WeightRow, ...] = ()
    auto_precision: str = ""
    batch_sizes: Mapping[str, str] = field(default_factory=dict)
    no_gpu_reason: str = ""
    data: DataSummary | None = None
    seconds: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def request_for(space: Space, *, source: str, folder: Path) -> PreflightRequest:
    """The request that checks everything a run of `space` in `folder` needs."""
    defaults = space.default_hparams(space.trainable.load())
    points = points_of(space, defaults)
    asked = {
        **{limit.key: limit.most for limit in space.limits.of_energy},
        "search.objective": space.joules_objective,
        "search.ladder.resource": space.ladder.joules or None,
    }
    return PreflightRequest(
        task=task_for(
            space, trial_id="preflight", hparams=defaults, seed=space.training.seed, folder=folder.absolute()
        ),
        points=tuple(points),
        rehearsed=tuple(rehearsed_points(points, space, defaults)),
        space=source,
        gpus=space.resources.gpus_per_trial,
        workers=space.resources.workers,
        num_trials=space.limits.trials,
        disk_gib=space.limits.disk_gib,
        measures=tuple(name for name, value in asked.items() if value is not None),
        cpu_power_key=space.metering.cpu_power_key,
        has_other_limit=space.is_listed or bool(space.limits.trials or space.limits.hours),
        requirements=requirements(),
    )


def auto_precision_of(reports: Sequence[Report]) -> str:
    """What "auto" means for trials on any of these nodes: bf16 only if every node chose it."""
    chosen = [(report.auto_precision, report.node) for report in reports if report.auto_precision]
    against = [(choice, node) for choice, node in chosen if not choice.startswith("bf16")]
    choice, node = next(iter(against or chosen), ("", ""))
    return f"{choice} (on {node})" if against and len(against) < len(chosen) else choice


def batch_sizes_of(reports: Sequence[Report]) -> dict[str, str]:
    """What batch_size "auto" means for trials on any of these nodes, by model."""
    return smallest_of(report.batch_sizes for report in reports)


def downloadable_weights(reports: Sequence[Report]) -> list[WeightRow]:
    """The weights to download, if nothing else is wrong and all can be downloaded; else none."""
    rows = {row.location: row for report in reports for row in report.weights if not row.is_there}
    problems = [problem for report in reports for problem in report.problems]
    is_enough = len(rows) and all(problem.what.startswith("weights: ") for problem in problems)
    can_be_had = all(row.source not in ("file", "none") for row in rows.values())
    return list(rows.values()) if is_enough and can_be_had else []


def size_text(rows: Sequence[WeightRow]) -> str:
    """How many files these are and how large, such as "2 files, about 143 MiB"."""
    sizes = [row.size_mib for row in rows]
    files = "1 file" if len(sizes) == 1 else f"{len(sizes)} files"
    known = [size for size in sizes if size is not None]
    unknown = f" and {len(sizes) - len(known)} of unknown size" if known and len(known) < len(sizes) else ""
    return f"{files}, about {sum(known):.0f} MiB{unknown}" if known else f"{files} of unknown size"


def problems_of(reports: Sequence[Report]) -> list[str]:
    """All problems, each once, with the names of its nodes if not every node has it."""
    nodes: dict[str, list[str]] = {}
    for report in reports:
        for problem in report.problems:
            nodes.setdefault(str(problem), []).append(report.node)
    return [
        text if len(names) == len(reports) else f"{text} (on {', '.join(names)})"
        for text, names in nodes.items()
    ]


def data_of(reports: Sequence[Report]) -> dict[str, Any] | list[str] | None:
    """What was found in the data, by the first node that reports any: a summary, notes, or nothing."""
    for report in reports:
        if report.data:
            return report.data.to_dict()
        if notes := [note.removeprefix("data: ") for note in report.notes if note.startswith("data: ")]:
            return notes
    return None
