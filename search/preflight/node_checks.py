"""The checks of one node, in the environment of its workers: weights, data, GPUs, folders, sensors.

All of them run, whatever fails first, so that one run of `preflight` names everything there is to fix.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from search.energy.gpus import visible_gpus
from search.energy.process_meter import meter_for
from search.preflight import checks
from search.preflight.machine import free_disk_gib, free_memory_gib, nearest_folder, unwritable_reason
from search.preflight.rehearsal import Rehearsal
from search.preflight.request import PreflightRequest, Problem, Report, WeightRow, size_text
from search.preflight.test_epoch import train_test_epochs
from search.preflight.versions import unmet
from search.printable import first_line, type_and_line
from search.trial.batch_size import points_by_model
from search.trial.task import cache_folder
from trainables.core.contract import DataError, Trainable, WeightFile, WeightsError
from trainables.core.data_source import data_text
from trainables.core.data_summary import DataSummary
from trainables.core.weights import (
    HostUnreachable,
    damage,
    fetch,
    locate,
    missing_reason,
    remedy,
    without_network,
)


@dataclass
class _Found:
    """What has been found so far.

    Each problem is kept once: fifty points of a space that share a missing weights file have one problem.
    """

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rows: list[WeightRow] = field(default_factory=list)
    auto_precision: str = ""
    batch_sizes: dict[str, str] = field(default_factory=dict)
    no_gpu_reason: str = ""
    unreachable: set[str] = field(default_factory=set)  # sources of weights, as WeightFile has them
    data: DataSummary | None = None

    def problem(self, what: str, remedy: str) -> None:
        problem = Problem(what=what, remedy=remedy)
        if problem not in self.problems:
            self.problems.append(problem)

    def take(self, findings: tuple[list[Problem], list[str]]) -> None:
        self.problems += findings[0]
        self.notes += findings[1]


def examine(request: PreflightRequest) -> Report:
    """Check everything on this node, whatever fails first, and report what was found.

    The order matters twice: weights and data are checked before the rehearsal, which starts models without
    what is known to be missing instead of failing on it again; and an epoch is trained only if no problem was
    found, since it would fail on the same one.
    """
    started_s, found, device = time.monotonic(), _Found(), _device(request)
    found.problems += checks.version_problems(unmet(request.requirements))
    if trainable := _loaded(request, found):
        _check_processes(request, trainable, found)
        _report_progress(request, "checking weights")
        bad_files = _check_weights(request, trainable, found)
        _report_progress(request, f"checking {data_text(request.task.training.data)}")
        is_data_good = _check_data(request, trainable, found)
        device = _check_gpus(request, trainable, device, found)
        _choose_precision(request, trainable, device, found)
        _rehearse(request, trainable, found, is_data_good=is_data_good, bad_files=bad_files)
        if request.chooses_batch_size and is_data_good and not found.problems:
            _choose_batch_sizes(request, trainable, device, found)
    _check_folders(request, found)
    found.take(checks.memory_findings(free_memory_gib(), workers=_workers(request)))
    _check_sensors(request, found)
    if trainable and request.is_trying and not found.problems:
        found.take(train_test_epochs(request, trainable, device=device))
    return Report(
        problems=tuple(found.problems),
        notes=tuple(found.notes),
        weights=tuple(found.rows),
        auto_precision=found.auto_precision,
        batch_sizes=found.batch_sizes,
        no_gpu_reason=found.no_gpu_reason,
        data=found.data,
        seconds=time.monotonic() - started_s,
    )


def _loaded(request: PreflightRequest, found: _Found) -> Trainable | None:
    try:
        return request.task.trainable.load()
    except Exception as error:  # it did load on the machine that asks
        found.problem(f"trainable: {error}", "fix it; on a cluster the file must be on every node")
    return None


def _check_processes(request: PreflightRequest, trainable: Trainable, found: _Found) -> None:
    """Check that the training can be split; a user's own may use several GPUs in its one process."""
    ref, number = request.task.trainable, request.task.training.num_processes
    is_left_to_it = ref.command is not None or (ref.path is not None and bool(request.gpus))
    if number > 1 and not trainable.is_data_parallel and not is_left_to_it:
        found.problem(
            f"processes: {ref.title} trains in one process, on one device",
            "give each trial one process: set gpus_per_trial and processes_per_trial in search.resources",
        )


def _check_weights(request: PreflightRequest, trainable: Trainable, found: _Found) -> set[WeightFile]:
    """Check the weights of every point; return the files that no training can read."""
    usable: dict[WeightFile, bool] = {}
    if request.is_fetching:
        _print_downloads(request, trainable)
    for point in request.points:
        model = str(point.get("model", request.task.trainable.title.rpartition("/")[2].removesuffix(".py")))
        try:
            files = trainable.weights(trainable.hparams(**point))
        except ValueError as error:
            found.problem(f"model: {error}", "fix parameters in the space")
            continue
        except Exception as error:  # a user's own code
            found.problem(f"weights of {model}: {type(error).__name__}: {error}", "fix the trainable")
            continue
        if not files and not any(row.model == model and row.source == "none" for row in found.rows):
            found.rows.append(WeightRow(model=model, source="none"))
        for file in files:
            if file not in usable:
                usable[file] = _is_usable(file, request, found)
            row = _row(model, file, is_there=usable[file])
            if row not in found.rows:
                found.rows.append(row)
    return {file for file, is_usable in usable.items() if not is_usable}


def _print_downloads(request: PreflightRequest, trainable: Trainable) -> None:
    """Print how much is about to be fetched; the libraries' bars show on terminals only."""
    rows: dict[str, WeightRow] = {}
    for point in request.points:
        with suppress(Exception):  # a problem of the point, which is reported as such
            for file in trainable.weights(trainable.hparams(**point)):
                if file.source != "file" and locate(file) is None:
                    rows[file.location] = _row("", file, is_there=False)
    if rows:
        print(f"fetching {size_text(list(rows.values()))}", file=sys.stderr)


def _is_usable(file: WeightFile, request: PreflightRequest, found: _Found) -> bool:
    is_wanted = request.is_fetching and file.source != "file" and locate(file) is None
    if is_wanted and not _is_fetched(file, found):
        return False
    path = locate(file)
    cure = remedy(file).replace("SPACE", request.space)
    if path is None:
        found.problem(f"weights: {missing_reason(file)}", cure)
        return False
    if reason := damage(path):
        again = f"delete it and {cure}" if file.source != "file" else "give an intact file"
        found.problem(f"weights: {path}: {reason}", again)
    return reason is None


def _is_fetched(file: WeightFile, found: _Found) -> bool:
    if file.source in found.unreachable:  # each attempt takes the libraries 25 s
        text = f"weights: {file.location} was not tried, as no file before it could be fetched"
        found.problem(f"{text}; {without_network(file)}", "check the network, and try again")
        return False
    size = "" if file.size_mib is None else f" (about {file.size_mib:.0f} MiB)"
    print(f"fetching {file.location}{size}", file=sys.stderr)
    try:
        fetch(file)
    except WeightsError as error:
        if isinstance(error, HostUnreachable):
            found.unreachable.add(file.source)
        found.problem(f"weights: {error}", "check the network, and try again")
        return False
    return True


def _row(model: str, file: WeightFile, *, is_there: bool) -> WeightRow:
    path = locate(file)
    size_mib = path.stat().st_size / 2**20 if path else file.size_mib
    return WeightRow(
        model=model, source=file.source, location=file.location, size_mib=size_mib, is_there=is_there
    )


def _check_data(request: PreflightRequest, trainable: Trainable, found: _Found) -> bool:
    """Check the data, and return whether it can be used."""
    try:
        data = trainable.check_data(request.task.context())
    except DataError as error:
        found.problem(f"data: {error}", "or name other data in search.data")
    except Exception as error:  # a user's own code, or a library's on damaged files
        found.problem(f"data: {type(error).__name__}: {error}", "check that search.data can be read")
    else:
        if isinstance(data, DataSummary):
            found.data = data
        else:
            found.notes += [f"data: {note}" for note in data]
        return True
    return False


def _rehearse(
    request: PreflightRequest,
    trainable: Trainable,
    found: _Found,
    *,
    is_data_good: bool,
    bad_files: set[WeightFile],
) -> None:
    rehearsal = Rehearsal(
        request=request,
        trainable=trainable,
        is_data_good=is_data_good,
        bad_files=bad_files,
        report_progress=partial(_report_progress, request),
    )
    problems, notes = rehearsal.findings()
    known = [str(problem) for problem in found.problems]
    for problem in problems:
        if not any(_reason(problem) in text for text in known):
            found.problem(problem.what, problem.remedy)
    found.notes += notes


def _reason(problem: Problem) -> str:
    """What went wrong, without where: other checks may report the same for other parts."""
    return problem.what.partition(" does not start: ")[2] or problem.what


def _report_progress(request: PreflightRequest, doing: str) -> None:
    """Write what is being done where the waiting process reads it.

    A line of progress is not worth a failed check, so a disk that cannot be written is ignored here; the
    check of the folders reports it.
    """
    if request.progress:
        with suppress(OSError):
            request.progress.write_text(doing, encoding="utf-8")


def _check_folders(request: PreflightRequest, found: _Found) -> None:
    results, cache = request.task.folder, cache_folder()
    for name, folder, cure in (
        ("results", results, "give another --results"),
        ("cache", cache, "set JOULETUNE_CACHE to a writable folder"),
    ):
        if reason := unwritable_reason(folder):
            found.problem(f"{name}: {reason}", cure)
    if request.shared_file and not request.shared_file.exists():
        found.problem(
            f"results: {request.shared_file.parent} is not the folder that the command sees",
            "give --results on storage that all nodes share (for results in a bucket: JOULETUNE_STAGING)",
        )
    disk = checks.disk_findings(
        free_disk_gib(results),
        found.rows,
        folder=str(nearest_folder(results)),
        workers=_workers(request),
        num_trials=request.num_trials,
        limit_gib=request.disk_gib,
    )
    found.take(disk)


def _check_gpus(request: PreflightRequest, trainable: Trainable, device: str, found: _Found) -> str:
    """Check that torch computes on the GPUs; return the device that trials will train on."""
    try:
        found.notes += [f"gpu: {note}" for note in trainable.check_device(device)]
    except Exception as error:  # whatever CUDA raises, its first line says it
        what, cure = first_line(error), "install a torch for this driver"
        if request.gpus is None and request.may_use_cpu:
            found.no_gpu_reason = f"{what}: the trials train on the CPU; for the GPU, {cure}"
            found.notes.append(f"device: {found.no_gpu_reason}")
            return "cpu"
        found.problem(f"gpu: {what}", f"{cure}, or write search.resources.gpus_per_trial: 0")
    return device


def _choose_precision(request: PreflightRequest, trainable: Trainable, device: str, found: _Found) -> None:
    """Choose what precision "auto" means on this node's CPU, if trials will compute on it."""
    if request.task.training.precision != "auto" or device != "cpu":
        return
    try:
        found.auto_precision = trainable.choose_precision(replace(request.task.context(), device=device))
        if found.auto_precision:
            found.notes.append(f"precision: {found.auto_precision}")
    except Exception as error:  # whatever torch raises on a processor it was not built for
        found.problem(f"cpu: {type_and_line(error)}", "name a search.precision")


def _choose_batch_sizes(request: PreflightRequest, trainable: Trainable, device: str, found: _Found) -> None:
    """Choose what batch_size "auto" means on this node, for each model that a trial may have."""
    task = request.task
    context = replace(task.context(), device=device, folder=None, auto_precision=found.auto_precision)
    for model, point in points_by_model(request.points).items():
        title = model or task.trainable.title
        _report_progress(request, f"choosing a batch size for {title}")
        try:
            found.batch_sizes[model] = trainable.choose_batch_size(
                trainable.start, trainable.hparams(**point), task.ladder.rungs, context, request.gpus or 1.0
            )
        except Exception as error:  # of the model or the device; a trial would fail in the same way
            found.problem(
                f"batch_size of {title}: {type_and_line(error)}",
                "write a number instead of auto",
            )
        else:
            found.notes.append(f"batch_size: {title} {found.batch_sizes[model]}")


def _device(request: PreflightRequest) -> str:
    """What trials here will train on: as the space says, else a GPU if there is one."""
    has_gpu = bool(visible_gpus(os.environ).uuids) if request.gpus is None else request.gpus > 0
    return "cuda" if has_gpu else "cpu"


def _check_sensors(request: PreflightRequest, found: _Found) -> None:
    meter = meter_for(gpus=float(_device(request) != "cpu"), cpus=1.0)
    meter.read()
    sensors = meter.sensors
    meter.close()
    found.take(
        checks.sensor_findings(
            sensors.scope,
            sensors.reason,
            measures=request.measures,
            cpu_power_key=request.cpu_power_key,
            has_other_limit=request.has_other_limit,
        )
    )


def _workers(request: PreflightRequest) -> int:
    """Concurrent trials here: as the space says, else as many as have `cpus_per_trial` cores each."""
    return request.workers or max(1, int((os.cpu_count() or 1) / request.task.cpus))
