"""Why a trial failed, as the trials table words it; whether a retry can help; and what to do. Pure.

Stock Tune retries either every failure or none. Here the cause decides: after a lost worker or a network
outage the trial is tried once more, while a mistake in the code or a batch that does not fit the GPU fails
the same way each time and would only pay for its epochs twice. The cause is read from the exception's type,
by the names of its bases so that no library has to be imported, and then from its message; anything else is a
crash.
"""

from __future__ import annotations

import re
import shlex
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from search.command_lines import typed_command
from search.printable import error_text, type_and_line
from search.space.objectives import Bound
from search.trial.row import json_numbers
from trainables.core.contract import ScriptFailed
from trainables.core.gpu import tells_of_lack_of_memory

Cause = Literal[
    "diverged",
    "out_of_memory",
    "weights_missing",
    "network",
    "data",
    "disk",
    "crash",
    "lost_worker",
    "timeout",
    "bad_result",
    "constraint",
]

_PASSING: frozenset[Cause] = frozenset({"network", "lost_worker", "timeout"})
_MAX_ATTEMPTS = 2  # in a row without progress; a trial whose worker is lost later gets two again

_SPACE = "--space {run}/space.yaml"
_REPEAT = f"repeat it in one process: {{train}} {_SPACE} --trial {{run}}:{{trial}}"
_REMEDIES: Mapping[str, str] = {  # by cause; a test requires one for each
    "diverged": "nothing, if few did: the sampler avoids such values; otherwise lower the largest lr, or set "
    "warmup_epochs or max_grad_norm",
    "out_of_memory": "lower batch_size or resolution, let fewer trials share the device (--workers 1, "
    f"--gpus-per-trial 1), or end what else uses it; to see what one needs: {{train}} {_SPACE} "
    "--trial {run}:{trial} --probe",
    "weights_missing": f"fetch them: {{preflight}} {_SPACE} --download",
    "network": f"check that this machine reaches the host, or fetch beforehand what trials load: "
    f"{{preflight}} {_SPACE} --download",
    "data": f"fix the file or folder that the message names, then run: {{preflight}} {_SPACE} --trial",
    "disk": "make room on the disk that the message names (/dev/shm is memory: fewer loader "
    "processes need less), or lower limits.cache_gib",
    "crash": f"read the traceback in the log; {_REPEAT}",
    "lost_worker": "its process was killed from outside: look for it in dmesg (memory) and in the node's "
    "health; lower --workers if memory was short",
    "timeout": "see in the log where its epoch was when it was ended; if it was working, raise "
    f"limits.epoch_minutes; if it hung, {_REPEAT}",
    "constraint": "nothing: the sampler avoids such values; or widen search.constraints",
    "bad_result": "let each epoch return plain finite numbers, the metric among them; "
    f"{{train}} {_SPACE} --smoke checks it",
}


_BY_TYPE: Mapping[str, Cause] = {
    "Diverged": "diverged",
    "OutOfMemoryError": "out_of_memory",
    "MemoryError": "out_of_memory",
    "WeightsError": "weights_missing",
    "LocalEntryNotFoundError": "weights_missing",
    "OfflineModeIsEnabled": "weights_missing",
    "RepositoryNotFoundError": "weights_missing",
    "RevisionNotFoundError": "weights_missing",
    "RemoteEntryNotFoundError": "weights_missing",
    "HfHubHTTPError": "network",
    "TransportError": "network",  # httpx, which huggingface_hub uses: no connection, or one too slow
    "DataError": "data",
    "UnidentifiedImageError": "data",
    "URLError": "network",
    "ConnectionError": "network",
    "Timeout": "network",
    "TimeoutError": "network",
    "BadResult": "bad_result",
    "KilledForMemory": "out_of_memory",
    "ActorDiedError": "lost_worker",
    "ActorUnavailableError": "lost_worker",
    "RayActorError": "lost_worker",
    "LostRank": "lost_worker",  # of a training in several processes
    "RanksLost": "lost_worker",
}
# What Ray's memory monitor writes. The word OOM alone proves nothing: Ray lists it among the potential
# causes of every lost worker.
_KILLED_FOR_MEMORY = re.compile(r"running low on memory|memory monitor", re.IGNORECASE)
_BY_MESSAGE: tuple[tuple[str, Cause], ...] = (
    (r"no space left on device|disk quota exceeded|read-only file system", "disk"),
    (r"couldn't connect|name resolution|connection (reset|refused)", "network"),
)
# What Ray writes about a node whose processes were told to end. It marks an actor as `preempted` only if it
# had drained the node, which it does at SIGTERM from 2.60 on.
_TOLD_TO_END = "the actor's node was terminated expectedly"
_STICKY = re.compile(r"CUDA error|device-side assert|cuDNN error|CUBLAS_STATUS", re.IGNORECASE)


class ConstraintBroken(Exception):
    """A number is outside the bounds of the space; the message says which, and what is allowed.

    Attributes:
        measures: Everything that was measured with it, by name.
    """

    def __init__(self, text: str, measures: Mapping[str, float]) -> None:
        super().__init__(text)
        self.measures = dict(measures)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One failed attempt.

    Attributes:
        message: One line for the table; the full traceback is kept in the trial's folder.
        is_sticky: The process is unusable afterwards (a CUDA error) and must be replaced.
        measures: Numbers measured before the first epoch, if one of them broke its bound.
        is_preempted: Its node was taken away, as a cheaply rented one may be at any moment; this costs no
            attempt.
    """

    cause: Cause
    message: str
    traceback: str = ""
    is_sticky: bool = False
    is_preempted: bool = False
    measures: Mapping[str, float] = field(default_factory=dict)

    def may_pass(self, attempts: int) -> bool:
        """Whether another attempt may succeed after `attempts` of them.

        Only causes that pass by themselves are tried again: a bad configuration or a missing file fails the
        same way each time.
        """
        return self.is_preempted or (self.cause in _PASSING and attempts < _MAX_ATTEMPTS)

    def to_dict(self) -> dict[str, Any]:
        plain = {**asdict(self), "measures": json_numbers(self.measures)}
        return {name: value for name, value in plain.items() if name != "measures" or value}


def broken_bounds(values: Mapping[str, float], bounds: Mapping[str, Bound]) -> str:
    """The values out of bounds, such as "params_m is 11.2, must be at most 5"; empty if none is."""
    return "; ".join(
        f"{name} is {values[name]:.4g}, must be {bound}"
        for name, bound in bounds.items()
        if name in values and bound.broken_by(values[name])
    )


def check_bounds(values: Mapping[str, float], bounds: Mapping[str, Bound]) -> None:
    """Check that the values are within their bounds.

    Raises:
        ConstraintBroken: A value is out of bounds.
    """
    if text := broken_bounds(values, bounds):
        raise ConstraintBroken(text, values)


def classify(error: BaseException) -> Failure:
    """Classify `error` by its type, then by its message, else as a crash."""
    text = error_text(error) or type(error).__name__
    if isinstance(error, ConstraintBroken):  # not a mistake, so nobody needs its traceback
        return Failure(cause="constraint", message=text, measures=error.measures)
    cause = _cause(error, text)
    is_preempted = getattr(error, "preempted", False) is True or _TOLD_TO_END in text
    return Failure(
        cause=cause,
        message=type_and_line(error),
        traceback="".join(traceback.format_exception(error)),
        is_preempted=cause == "lost_worker" and is_preempted,
        is_sticky=bool(_STICKY.search(text)) and not isinstance(error, ScriptFailed),
    )


def _cause(error: BaseException, text: str) -> Cause:
    names = [kind.__name__ for kind in type(error).__mro__]
    if isinstance(error, ScriptFailed):
        names = [error.error_name, *names]
    by_type = next((_BY_TYPE[name] for name in names if name in _BY_TYPE), None)
    if by_type == "lost_worker" and _KILLED_FOR_MEMORY.search(text):
        return "out_of_memory"
    if by_type is None and tells_of_lack_of_memory(text):
        return "out_of_memory"
    by_message = next((cause for pattern, cause in _BY_MESSAGE if re.search(pattern, text, re.I)), None)
    return by_type or by_message or "crash"


def remedy_for(cause: str, folder: Path, trial_id: str) -> str:
    """What to do, in the imperative, with the commands for this trial.

    Args:
        cause: One of `Cause`.
        folder: The run's folder.
    """
    return _REMEDIES[cause].format(
        run=shlex.quote(str(folder)),
        trial=trial_id,
        train=typed_command("train"),
        preflight=typed_command("preflight"),
    )
