"""What will fail on a node, judging by what it has. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from search.preflight.request import Problem, WeightRow

_WORKER_GIB = 0.8  # its own memory: 0.73 with torch and timm after an epoch of a ResNet-20, and Ray's
_LEAST_CHECKPOINT_MIB = 20.0
_STATES_PER_TRAINING = 2  # the newest, and the one before it or the one that is being written
_STATE_PER_WEIGHT = 3  # weights, momentum, and an average or a second moment
_LEAST_DISK_GIB = 0.5
_UNLIMITED_TRIALS = 50


def disk_findings(
    free_gib: float,
    rows: Sequence[WeightRow],
    *,
    folder: str,
    workers: int,
    num_trials: int | None,
    limit_gib: float | None,
) -> tuple[list[Problem], list[str]]:
    """Whether checkpoints fit: an error if not even those of the running trials, a note if not all.

    A checkpoint is assumed to be three times the largest file of weights, and at least 20 MiB.
    """
    weights_mib = max((row.size_mib or 0.0 for row in rows), default=0.0)
    each_gib = max(_STATE_PER_WEIGHT * weights_mib, _LEAST_CHECKPOINT_MIB) / 1024
    least_gib = max(_LEAST_DISK_GIB, each_gib * _STATES_PER_TRAINING * workers)
    if free_gib < least_gib:
        what = (
            f"disk: {folder} has {free_gib:.1f} GiB free, and the checkpoints of {workers} trials at a time "
        )
        return [Problem(what=f"{what}take about {least_gib:.1f}", remedy="make room, or give --results")], []
    kept_gib = each_gib * (num_trials or _UNLIMITED_TRIALS)
    if limit_gib is not None:
        kept_gib = min(kept_gib, limit_gib)
    if free_gib >= kept_gib:
        return [], []
    note = f"disk: {folder} has {free_gib:.1f} GiB free, and paused trials may keep {kept_gib:.0f} GiB of "
    return [], [f"{note}checkpoints; set search.limits.disk_gib"]


def memory_findings(free_gib: float | None, *, workers: int) -> tuple[list[Problem], list[str]]:
    """Whether the workers fit into memory together; their data and larger models come on top."""
    if free_gib is None or free_gib >= _WORKER_GIB * workers:
        return [], []
    text = f"memory: {free_gib:.1f} GiB free, and a worker takes at least {_WORKER_GIB} GiB"
    if free_gib < _WORKER_GIB:
        return [Problem(what=text, remedy="end other programs, or use another machine")], []
    fits = max(1, int(free_gib / _WORKER_GIB))
    return [], [f"{text}, but {workers} are to run; --workers {fits} fits"]


def version_problems(lacks: Sequence[str]) -> list[Problem]:
    return [
        Problem(what=f"versions: {text}", remedy="rebuild the environment with `make setup`")
        for text in lacks
    ]


def sensor_findings(
    scope: str, reason: str, *, measures: Sequence[str], cpu_power_key: str, has_other_limit: bool
) -> tuple[list[Problem], list[str]]:
    """Whether joules can be counted: an error if the run cannot do without them.

    A limit on energy that nothing measures is an error if it is the only limit.
    """
    if scope:
        missing = f" ({reason})" if reason else ""
        return [], [f"energy: {scope} is measured{missing}"]
    if cpu_power_key:
        return [], [f"energy: estimated from {cpu_power_key}"]
    text = f"energy: nothing measures it here ({reason or 'no sensor'})"
    remedy = (
        "make a sensor readable (results/README.md, devices.csv), state the CPU's TDP "
        "(search.metering.cpu_tdp_w), or leave out "
    )
    limits = [name for name in measures if name.startswith("search.limits.")]
    blocking = [name for name in measures if name not in limits or not has_other_limit]
    if blocking:
        return [Problem(what=text, remedy=remedy + " and ".join(blocking))], []
    suffix = f"; {' and '.join(limits)} cannot be held" if limits else ""
    return [], [
        f"{text}; joules will be empty{suffix}, unless search.metering.cpu_tdp_w states the CPU's TDP"
    ]
