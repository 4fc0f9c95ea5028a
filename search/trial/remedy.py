"""What to do about a failed trial, by its cause. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_SPACE = "--space {run}/space.yaml"
_REPEAT = f"repeat it in one process: python scripts/train.py {_SPACE} --trial {{run}}:{{trial}}"
_REMEDIES: Mapping[str, str] = {  # by search.trial.failure.Cause
    "diverged": "nothing, if few did: the sampler keeps away from there; else lower the largest lr, or give "
    "warmup_epochs or max_grad_norm",
    "out_of_memory": "lower batch_size or resolution, let fewer trials share the device (--workers 1, "
    f"--gpus-per-trial 1), or end what else uses it; what one needs: python scripts/train.py {_SPACE} "
    "--trial {run}:{trial} --probe",
    "weights_missing": f"fetch them: python scripts/preflight.py {_SPACE} --download",
    "network": f"see that this machine reaches the host, or fetch beforehand what trials load: "
    f"python scripts/preflight.py {_SPACE} --download",
    "data": f"fix the file or folder that the message names, then run: python scripts/preflight.py {_SPACE} "
    "--trial",
    "disk": "make room on the disk that the message names (/dev/shm is memory: lower num_workers there), or "
    "lower limits.cache_gib",
    "crash": f"read the traceback in the log; {_REPEAT}",
    "lost_worker": "its process was killed from outside: look for it in dmesg (memory) and in the node's "
    "health; lower --workers if memory was short",
    "timeout": "see in the log where its epoch stood when it was ended; if that was work, raise "
    f"limits.epoch_minutes; if it hung, {_REPEAT}",
    "bad_result": "let each epoch give plain finite numbers with the metric among them; "
    f"python scripts/train.py {_SPACE} --smoke checks",
}


def remedy_for(cause: str, folder: Path, trial_id: str) -> str:
    """What to do, as an order, with the commands for this trial.

    Args:
        folder: The run's.
    """
    return _REMEDIES[cause].format(run=folder, trial=trial_id)
