"""A batch script for Slurm that runs a search to its end, in as many jobs as that takes.

The script is `job.sh` filled in for this search, so that what `--dry-run` prints can be read, changed and
submitted by hand. It must end cleanly within Slurm's time limit: Slurm signals the script ahead of it by the
grace period of the search's running epochs plus 120 s, enough for tables, report and the end of Ray.
"""

from __future__ import annotations

import math
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from search.errors import UserError
from search.ledger import RunFolder
from search.ledger.journal import StorageError, unwritten
from search.trial.worker_env import ROOT
from trainables.core.files import replacing

_TEMPLATE = Path(__file__).with_name("job.sh")
_ENDING_S = 120.0  # tables and report of a large run take a minute, and the end of Ray 10 s
_LEAST_S = 60.0  # before the signal; Ray does not even start in less
_TIMES = (  # formats of sbatch(1), in the order in which it tries them
    r"(?P<minutes>\d+)(:(?P<seconds>\d+))?",
    r"(?P<hours>\d+):(?P<minutes>\d+):(?P<seconds>\d+)",
    r"(?P<days>\d+)-(?P<hours>\d+)(:(?P<minutes>\d+)(:(?P<seconds>\d+))?)?",
)
_SECONDS = {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """What a job asks Slurm for.

    Attributes:
        nodes: Number of nodes.
        time: Time limit of one job, in the syntax of sbatch.
        gpus_per_node: Number of GPUs per node; 0 asks for none.
        cpus_per_node: Number of CPUs per node; None asks for whole nodes.
        partition: Partition; None leaves it to Slurm.
        account: Account; None leaves it to Slurm.
        sbatch_flags: Further flags, which win over those made from the rest.
    """

    nodes: int
    time: str
    gpus_per_node: int = 0
    cpus_per_node: int | None = None
    partition: str | None = None
    account: str | None = None
    sbatch_flags: Sequence[str] = ()


def time_limit_s(text: str) -> float:
    """Return seconds of a time in the syntax of sbatch: 30, 30:00, 4:00:00, 1-12, 1-12:00 or 1-12:00:00.

    Raises:
        UserError: It has none of these forms, or is 0, which means no limit.
    """
    found = next((match for form in _TIMES if (match := re.fullmatch(form, text))), None)
    seconds = sum(_SECONDS[name] * int(n) for name, n in found.groupdict().items() if n) if found else 0
    if not seconds:
        raise UserError(
            f"--time {text} is not a time limit: write minutes (90), hours:minutes:seconds (4:00:00) or "
            "days-hours (1-12)"
        )
    return float(seconds)


def job_script(folder: Path, search: Sequence[str], allocation: Allocation, *, grace_s: float) -> str:
    """Return the batch script of a search.

    Args:
        folder: The run's folder.
        search: The flags of its command, without --address.
        grace_s: How long running epochs may continue once the search is to end.

    Raises:
        UserError: Nothing can be trained within the time limit, or a flag cannot be in a script.
    """
    limit_s = time_limit_s(allocation.time)
    ending_s = math.ceil(grace_s + _ENDING_S)
    if limit_s < ending_s + _LEAST_S:
        raise UserError(
            f"--time {allocation.time} leaves no time to train: the last {ending_s} s are reserved for the "
            f"end of epochs under way (search.limits.grace_minutes, {grace_s:g} s) and of the search"
        )
    filled = {
        "SBATCH": "\n".join(f"#SBATCH {flag}" for flag in _sbatch_flags(folder, allocation, ending_s)),
        "PYTHON": shlex.quote(sys.executable),
        "RAY": shlex.quote(str(Path(sys.executable).with_name("ray"))),
        "JOURNAL": shlex.quote(str(RunFolder(folder).journal_file)),
        "ROOT": shlex.quote(str(ROOT)),
        "SEARCH": shlex.join([sys.executable, str(ROOT / "scripts" / "search.py"), *search]),
        "SCRIPT": shlex.quote(str(RunFolder(folder).slurm_script)),
        "HALF_S": str(round((limit_s - ending_s) / 2)),
    }
    return re.sub(r"@([A-Z_]+)@", lambda match: filled[match[1]], _TEMPLATE.read_text(encoding="utf-8"))


def _sbatch_flags(folder: Path, allocation: Allocation, ending_s: int) -> list[str]:
    """Return the flags of sbatch, quoted for a script; of two that contradict each other the last wins.

    Raises:
        UserError: A flag has line breaks or control characters.
    """
    whole_nodes = ["--exclusive", "--mem=0"]
    cpus = allocation.cpus_per_node
    patterns = Path(str(folder).replace("%", "%%"))  # Slurm expands what follows a single %
    flags = [
        f"--job-name={folder.name}",
        f"--nodes={allocation.nodes}",
        "--ntasks-per-node=1",
        *([f"--cpus-per-task={cpus}"] if cpus else whole_nodes),
        *([f"--gpus-per-node={allocation.gpus_per_node}"] if allocation.gpus_per_node else []),
        f"--time={allocation.time}",
        f"--signal=B:USR1@{ending_s}",
        "--requeue",
        "--open-mode=append",
        "--no-kill",
        f"--chdir={Path.cwd()}",
        f"--output={RunFolder(patterns).slurm_log('%j')}",
        *([f"--partition={allocation.partition}"] if allocation.partition else []),
        *([f"--account={allocation.account}"] if allocation.account else []),
        *allocation.sbatch_flags,
    ]
    if broken := [flag for flag in flags if not flag.isprintable()]:
        raise UserError(f"a flag of sbatch cannot have line breaks or control characters: {broken[0]!r}")
    return [shlex.quote(flag) for flag in flags]


def submit(script: str, folder: Path) -> str:
    """Write the script into the run's folder and submit it; return the job's number.

    Raises:
        UserError: There is no sbatch here, or it refuses the script; the message is then sbatch's.
        StorageError: The script cannot be written.
    """
    path = RunFolder(folder).slurm_script
    try:
        with replacing(path) as temporary:
            temporary.write_text(script, encoding="utf-8")
    except OSError as error:
        raise StorageError(unwritten(path, error)) from error
    try:
        done = subprocess.run(
            ["sbatch", "--parsable", str(path)], capture_output=True, text=True, errors="replace", check=False
        )
    except FileNotFoundError as error:
        raise UserError(
            "there is no sbatch here; on a machine that has it, such as the cluster's login node, type: "
            f"sbatch {shlex.quote(str(path))}"
        ) from error
    if done.returncode:
        raise UserError(done.stderr.rstrip() or f"sbatch ended with status {done.returncode}", status=1)
    return done.stdout.strip().partition(";")[0]  # "12;cluster" if there are several
