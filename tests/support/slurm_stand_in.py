"""A stand-in for Slurm on this machine: sbatch, srun and scontrol as scripts.

`sbatch` starts a process that runs the batch script as Slurm does, once more for each `scontrol requeue`, and
records its end. Nodes are loopback addresses. The test itself triggers the effects of a time limit.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from search.backends.ray.children import descendants
from tests.support.processes import wait_for

_SBATCH = """
import os, re, subprocess, sys
from pathlib import Path
state = Path(os.environ["SLURM_STAND_IN"])
script = Path(sys.argv[-1])
if (refusal := state / "refusal").exists():
    sys.exit(refusal.read_text())
flags = dict(re.findall(r"^#SBATCH --([\\w-]+)(?:=(.*))?$", script.read_text(), re.MULTILINE))
spooled = state / "slurm_script"
spooled.write_bytes(script.read_bytes())
subprocess.Popen([sys.executable, state / "run_job.py", spooled, flags["nodes"], flags["chdir"],
    flags["output"].replace("%j", "7")], start_new_session=True, stdin=subprocess.DEVNULL,
    stdout=subprocess.DEVNULL, stderr=(state / "errors").open("w"))
print("7")
"""
# Runs job 7: the script, once more for each requeue, and its status at the end.
_RUN_JOB = """
import os, subprocess, sys
from pathlib import Path
state, (script, nodes, folder, log) = Path(os.environ["SLURM_STAND_IN"]), sys.argv[1:]
names = ",".join(f"127.0.0.{number + 1}" for number in range(int(nodes)))
for restarts in range(9):
    env = {**os.environ, "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": names, "SLURM_CPUS_ON_NODE": "1",
        "SLURM_RESTART_COUNT": str(restarts), "TMPDIR": str(state / "a-long-folder-of-the-job" / ("x" * 60))}
    with open(log, "a") as out:
        job = subprocess.Popen(["bash", script], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=out,
            stderr=subprocess.STDOUT, start_new_session=True)
    (state / "pid").write_text(str(job.pid))
    status = job.wait()
    if not (state / "requeued").exists():
        break
    (state / "requeued").unlink()
(state / "status.new").write_text(str(status))
(state / "status.new").rename(state / "status")
"""
_SRUN = """
import os, signal, subprocess, sys
from search.backends.ray.children import descendants
flags = [word for word in sys.argv[1:] if word.startswith("--")]
words = sys.argv[1 + next(number for number, word in enumerate(sys.argv[1:]) if not word.startswith("--")):]
given = dict(flag.partition("=")[::2] for flag in flags)
nodes = given["--nodelist"].split(",")
if {given.get("--nodes"), given.get("--ntasks")} != {str(len(nodes))}:  # else what sbatch was given holds
    sys.exit("srun: error: Unable to create step for job 7: More processors requested than permitted")
tasks = [subprocess.Popen(words, env={**os.environ, "SLURMD_NODENAME": node}) for node in nodes]
def end(*_):
    for task in tasks:
        for pid in [*descendants(task.pid), task.pid]:
            os.kill(pid, signal.SIGUSR1)
signal.signal(signal.SIGUSR1, end)
sys.exit(max(task.wait() for task in tasks))
"""
_SCONTROL = """
import os, sys
from pathlib import Path
state = Path(os.environ["SLURM_STAND_IN"])
if sys.argv[1:3] == ["show", "hostnames"]:
    print(*sys.argv[3].split(","), sep="\\n")
elif (refusal := state / "no-requeue").exists():
    sys.exit(refusal.read_text())
else:
    assert sys.argv[1:] == ["requeue", "7"], sys.argv
    (state / "requeued").touch()
"""


class SlurmStandIn:
    """A cluster whose only job is number 7.

    Args:
        state: An empty folder.

    Attributes:
        env: Environment variables with which commands find the cluster.
    """

    def __init__(self, state: Path) -> None:
        self.state, bin_folder = state, state / "bin"
        bin_folder.mkdir(parents=True)
        for name, text in (("sbatch", _SBATCH), ("srun", _SRUN), ("scontrol", _SCONTROL)):
            (bin_folder / name).write_text(f"#!{sys.executable}\n{text.strip()}\n")
            (bin_folder / name).chmod(0o755)
        (state / "run_job.py").write_text(_RUN_JOB)
        root = str(Path(__file__).parents[2])
        self.env = {
            "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
            "SLURM_STAND_IN": str(state),
            "PYTHONPATH": root,
        }

    def refuse(self, message: str) -> None:
        """Make sbatch refuse every job."""
        (self.state / "refusal").write_text(message)

    def refuse_requeue(self, message: str) -> None:
        """Make `scontrol requeue` fail."""
        (self.state / "no-requeue").write_text(message)

    @property
    def batch_pid(self) -> int:
        """The pid of the batch script."""
        wait_for((self.state / "pid").exists)
        return int((self.state / "pid").read_text())

    def signal_time_limit(self) -> None:
        """Signal the batch script alone, as --signal=B:USR1@... does."""
        os.kill(self.batch_pid, signal.SIGUSR1)

    def cancel(self) -> None:
        """Send SIGTERM to every process of the job, as scancel and preemption do first."""
        for pid in (self.batch_pid, *descendants(self.batch_pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def wait(self, *, most_s: float = 300.0) -> int:
        """Wait until the job has ended and is not requeued; return the status of the batch script."""
        wait_for((self.state / "status").exists, most_s=most_s)
        return int((self.state / "status").read_text())


@contextmanager
def slurm_stand_in(state: Path) -> Iterator[SlurmStandIn]:
    """Provide a cluster, and kill what is left of its job at the end of the block."""
    cluster = SlurmStandIn(state)
    try:
        yield cluster
    finally:
        if (state / "pid").exists():
            pid = int((state / "pid").read_text())
            for one in (*descendants(pid), pid):
                with suppress(ProcessLookupError):
                    os.kill(one, signal.SIGKILL)
