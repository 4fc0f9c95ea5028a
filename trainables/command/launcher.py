"""Scripts of several processes: `torchrun` starts `python train.py` once for each of them.

Only rank 0 reports. torchrun redirects the output of the other ranks to files in the trial's folder
(`--redirects`), so that a script whose ranks all print their scores is read once; their errors stay on
standard error, which is searched for the cause of a failure. All processes run on one machine under one
torchrun, which ends the others if one of them fails.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

_PYTHON = re.compile(r"python[\d.]*t?")
_STDOUT = 1  # for torchrun's --redirects: standard output to a log file, not the terminal
_TORCHRUNS = re.compile(r"[EWI]\d{4} [\d:.]+ .*torch/distributed/(elastic|run|launcher)\b")


def launch_problem(run: Sequence[str]) -> str:
    """Return why torchrun cannot start this command; empty if it can."""
    words = _words(run)
    if not words or not _is_python(words[0]):
        got = words[0] if words else "nothing"
        return f"torchrun starts Python: write run: {{python}} train.py, got {got!r} as its program"
    script = _script(words[1:])
    if not script:
        return "torchrun needs a script: write run: {python} train.py, or {python} -m package.train"
    if script[0].startswith("-") and (script[0] != "-m" or len(script) < 2):
        return f"torchrun takes a script or -m MODULE after Python, got {script[0]!r}; leave it out"
    return ""


def launched(argv: Sequence[str], *, num_processes: int, log_folder: Path) -> list[str]:
    """Return the command that runs `argv`, Python and a script, in `num_processes` on this machine.

    Args:
        log_folder: Folder for the output of ranks above 0.

    Raises:
        ValueError: torchrun cannot start the command; see `launch_problem`.
    """
    if problem := launch_problem(argv):
        raise ValueError(problem)
    python, *arguments = _words(argv)
    others = ",".join(f"{rank}:{_STDOUT}" for rank in range(1, num_processes))
    return [
        python,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--local-addr=127.0.0.1",  # only this machine, whose name no name server may know
        f"--nproc-per-node={num_processes}",
        *([f"--redirects={others}", f"--log-dir={log_folder}"] if others else []),
        *_script(arguments),
    ]


def threads_of_rank(environment: Mapping[str, str], num_processes: int, num_cores: int) -> dict[str, str]:
    """The variable that divides the trial's cores among ranks, unless the space sets it."""
    if "OMP_NUM_THREADS" in environment:
        return {}
    return {"OMP_NUM_THREADS": str(max(1, num_cores // num_processes))}


def without_launchers_lines(lines: Sequence[str]) -> list[str]:
    """Return the lines of standard error before torchrun's, which follow the script's when a rank has failed.

    Returns all of them if the script printed nothing before torchrun did.
    """
    own = list(itertools.takewhile(lambda line: not _TORCHRUNS.match(line), lines))
    return own if any(map(str.strip, own)) else list(lines)


def _words(run: Sequence[str]) -> list[str]:
    """The command without a leading `/usr/bin/env`, which W&B's sweep files have."""
    words = list(run)
    return words[1:] if words[:1] == ["/usr/bin/env"] else words


def _is_python(program: str) -> bool:
    return program == "{python}" or bool(_PYTHON.fullmatch(Path(program).name))


def _script(arguments: Sequence[str]) -> list[str]:
    """The script and its arguments, without `-u`, as every script runs unbuffered anyway."""
    return list(itertools.dropwhile(lambda word: word == "-u", arguments))
