"""The batch script of a search on Slurm: what it asks for, and what becomes of its job."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from search.cli import run
from search.errors import UserError
from search.slurm.job import Allocation, job_script, time_limit_s
from tests.support.slurm_stand_in import SlurmStandIn, slurm_stand_in

EPOCH = '{"time": 1.0, "seq": 1, "event": "epoch", "crc": "0"}'
ENDED = '{"time": 1.0, "seq": 2, "event": "run_ended", "reason": "all 3 trials done", "crc": "0"}'
SIGNALLED = ENDED.replace("all 3 trials done", "SIGTERM received")


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmStandIn]:
    with slurm_stand_in(tmp_path / "slurm") as cluster:
        for name, value in cluster.env.items():
            monkeypatch.setenv(name, value)
        yield cluster


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("30", 1800), ("30:15", 1815), ("4:00:00", 14400), ("36:00:00", 129600), ("0:01:30", 90)),
        *(("1-12", 129600), ("1-12:30", 131400), ("2-00:00:05", 172805)),
    ],
)
def test_a_time_limit_is_read_as_slurm_reads_it(text: str, seconds: int) -> None:
    assert time_limit_s(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "0", "0:00", "four hours", "-5", "1:2:3:4", "4h", "1-", "UNLIMITED", "1.5"]
)
def test_a_time_that_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(
        UserError, match=rf"--time {re.escape(text)} is not a time limit: write minutes \(90\)"
    ):
        time_limit_s(text)


def flags_of(script: str) -> list[str]:
    return re.findall(r"^#SBATCH (.*)$", script, re.MULTILINE)


def test_a_job_asks_for_its_nodes_and_for_a_signal_before_its_end(tmp_path: Path) -> None:
    allocation = Allocation(
        nodes=4, gpus_per_node=8, time="4:00:00", sbatch_flags=["--qos=short", "--comment=a b"]
    )
    script = job_script(tmp_path / "mine", ["--space", "lr bs.yaml"], allocation, grace_s=180.0)
    assert flags_of(script) == [
        *(
            "--job-name=mine",
            "--nodes=4",
            "--ntasks-per-node=1",
            "--exclusive",
            "--mem=0",
            "--gpus-per-node=8",
        ),
        *("--time=4:00:00", "--signal=B:USR1@300", "--requeue", "--open-mode=append", "--no-kill"),
        f"--chdir={Path.cwd()}",
        f"--output={tmp_path}/mine/slurm-%j.log",
        *("--qos=short", "'--comment=a b'"),
    ]
    assert "search.py --space 'lr bs.yaml')\n" in script
    assert not re.search(r"@[A-Z]", script.replace("B:USR1@300", ""))


def test_cores_of_a_node_can_be_shared_with_other_jobs(tmp_path: Path) -> None:
    allocation = Allocation(nodes=1, time="90", cpus_per_node=16, partition="gpu", account="lab")
    flags = flags_of(job_script(tmp_path / "mine", [], allocation, grace_s=0.0))
    assert {"--cpus-per-task=16", "--partition=gpu", "--account=lab"} < set(flags)
    assert not {"--exclusive", "--mem=0"} & set(flags)


def test_a_percent_sign_in_a_name_is_no_pattern_of_slurm(tmp_path: Path) -> None:
    script = job_script(tmp_path / "a%j", [], Allocation(nodes=1, time="90"), grace_s=0.0)
    assert f"--output={tmp_path}/a%%j/slurm-%j.log" in flags_of(script)


def test_a_time_limit_that_leaves_nothing_for_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"--time 4 leaves no time to train: the last 240 s are reserved for the end"
    ):
        job_script(tmp_path / "mine", [], Allocation(nodes=1, time="4"), grace_s=120.0)
    assert job_script(tmp_path / "mine", [], Allocation(nodes=1, time="5"), grace_s=120.0)


def test_a_flag_that_would_begin_another_line_is_refused(tmp_path: Path) -> None:
    allocation = Allocation(nodes=1, time="90", sbatch_flags=["--comment=a\nrm -rf ."])
    with pytest.raises(UserError, match="cannot have line breaks or control characters"):
        job_script(tmp_path / "mine", [], allocation, grace_s=0.0)


# The life of a job, with a Python that only plays Ray and the search.

PYTHON = r"""#!/bin/bash
has_started() { until [ "$(cat "$SLURM_STAND_IN/ray" 2>/dev/null | wc -l)" -ge "$1" ]; do sleep 0.02; done; }
case "$*" in
*"allocation place"*) echo 127.0.0.1 1 2 3 ;;
*"allocation await-head"*) echo >>"$SLURM_STAND_IN/heads"; has_started "$(wc -l <"$SLURM_STAND_IN/heads")"
    [ ! -e "$SLURM_STAND_IN/no-head" ] ;;
*"allocation await-nodes"*) has_started "$5" ;;
*) . "$SLURM_STAND_IN/search" ;;
esac
"""
RAY = r"""#!/bin/bash
stat -c "%a %n" "$RAY_FOLDER" >>"$SLURM_STAND_IN/folders"
echo "$RAY_AUTH_TOKEN $*" >>"$SLURM_STAND_IN/ray"
exec sleep 60
"""


def played(
    slurm: SlurmStandIn, folder: Path, monkeypatch: pytest.MonkeyPatch, search: str, *, nodes: int = 1
) -> Path:
    """Submit a job whose search is these lines of a shell, `journal` its journal; gives the run's folder."""
    run_folder = folder / "results" / "mine"
    run_folder.mkdir(parents=True)
    for name, text in (("python", PYTHON), ("ray", RAY)):
        (slurm.state / "bin" / name).write_text(text)
        (slurm.state / "bin" / name).chmod(0o755)
    (slurm.state / "search").write_text(f"journal={run_folder}/journal.jsonl\n{search}\n")
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", str(slurm.state / "bin" / "python"))
        script = job_script(run_folder, ["--trials", "3"], Allocation(nodes=nodes, time="9"), grace_s=120.0)
    (run_folder / "slurm.sh").write_text(script)
    assert (
        subprocess.run(["sbatch", run_folder / "slurm.sh"], check=True, capture_output=True).stdout == b"7\n"
    )
    return run_folder


def sessions(run_folder: Path) -> Sequence[str]:
    return (run_folder / "journal.jsonl").read_text().splitlines()


UNTIL_TERM = (
    "end() {{ echo '{last}' >>$journal; exit 0; }}; trap end TERM; kill -USR1 $PPID; "
    "while :; do sleep 0.05; done"
)
BEGINS = f"echo '{EPOCH}' >>$journal"


def test_a_job_ends_with_the_status_of_its_search(
    slurm: SlurmStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = played(slurm, tmp_path, monkeypatch, f"{BEGINS}; echo '{ENDED}' >>$journal; exit 1", nodes=3)
    assert slurm.wait() == 1
    assert sessions(folder) == [EPOCH, ENDED]
    tokens, *_ = zip(
        *(line.split(" ", 1) for line in (slurm.state / "ray").read_text().splitlines()), strict=True
    )
    assert len(tokens) == 3  # a head, and two nodes that know its token
    assert len(set(tokens)) == 1
    assert len(tokens[0]) == 64
    written = [(folder / name).read_text() for name in ("slurm.sh", "slurm-7.log", "slurm-7-ray.log")]
    assert not [text for text in written if tokens[0] in text]
    [(mode, ray_folder)] = {
        tuple(line.split()) for line in (slurm.state / "folders").read_text().splitlines()
    }
    assert mode == "700"
    assert not Path(ray_folder).exists()


def test_at_its_time_limit_a_job_is_queued_again_until_the_search_has_ended(
    slurm: SlurmStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = UNTIL_TERM.format(last=SIGNALLED), f"echo '{ENDED}' >>$journal; exit 0"
    folder = played(
        slurm, tmp_path, monkeypatch, f"{BEGINS}; if [ $SLURM_RESTART_COUNT = 2 ]; then {second}; fi; {first}"
    )
    assert slurm.wait() == 0
    assert sessions(folder) == [EPOCH, SIGNALLED, EPOCH, SIGNALLED, EPOCH, ENDED]
    assert (folder / "slurm-7.log").read_text().count("the job's time is nearly over") == 2


@pytest.mark.slow
def test_a_search_that_ended_by_itself_as_time_ran_out_is_not_queued_again(
    slurm: SlurmStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = played(slurm, tmp_path, monkeypatch, f"{BEGINS}; {UNTIL_TERM.format(last=ENDED)}")
    assert slurm.wait() == 0
    assert sessions(folder) == [EPOCH, ENDED]


@pytest.mark.parametrize(
    ("search", "status", "num_sessions", "said"),
    [
        ("exit 2", 2, 0, ""),  # unusable input would be so again
        ("exit 3", 3, 0, ""),  # so would a full disk
        ("exit 4", 1, 0, "no epoch ended in this job"),
        (f"{BEGINS}; [ $SLURM_RESTART_COUNT = 1 ] && exit 0; exit 4", 0, 2, ""),  # Ray was lost
        (f"{BEGINS}; kill -TERM $PPID; sleep 0.2; exit 4", 4, 1, ""),  # cancelled, or preempted by Slurm
    ],
)
def test_what_becomes_of_a_job_follows_from_how_its_search_ended(
    search: str,
    status: int,
    num_sessions: int,
    said: str,
    slurm: SlurmStandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = played(slurm, tmp_path, monkeypatch, search)
    assert slurm.wait() == status
    assert (len(sessions(folder)) if num_sessions else 0) == num_sessions
    assert said in (folder / "slurm-7.log").read_text()


@pytest.mark.slow
def test_a_job_whose_time_no_epoch_fits_into_is_not_queued_for_ever(
    slurm: SlurmStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECONDS", "200")  # bash counts from here: more than half of 9 minutes less 4
    folder = played(slurm, tmp_path, monkeypatch, UNTIL_TERM.format(last=SIGNALLED))
    assert slurm.wait() == 1
    assert "no epoch ended in this job, and none would" in (folder / "slurm-7.log").read_text()


@pytest.mark.slow
def test_a_requeue_that_slurm_refuses_is_printed_with_what_resumes_the_run(
    slurm: SlurmStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm.refuse_requeue("Requested operation is presently disabled for job 7")
    folder = played(slurm, tmp_path, monkeypatch, f"{BEGINS}; {UNTIL_TERM.format(last=SIGNALLED)}")
    assert slurm.wait() == 1
    log = (folder / "slurm-7.log").read_text()
    assert "Requested operation is presently disabled for job 7\n" in log
    assert f"resume the run with: sbatch {folder}/slurm.sh\n" in log


@pytest.mark.slow
def test_a_job_without_a_head_node_ends_and_names_rays_own_log(
    slurm: SlurmStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (slurm.state / "no-head").touch()
    folder = played(slurm, tmp_path, monkeypatch, "exit 0")
    assert slurm.wait() == 1
    assert f"Ray did not start; see {folder}/slurm-7-ray.log" in (folder / "slurm-7.log").read_text()
    assert len((slurm.state / "ray").read_text().splitlines()) == 3  # its port may have been taken


# The command.

WORDS = ("submit", "--space", "lr_bs.yaml", "--nodes", "2", "--time", "60")


def submitted(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    try:
        status = run("slurm", words, prog="jouletune slurm")
    except SystemExit as left:
        status = int(str(left.code))
    return status, *capsys.readouterr()


def test_a_dry_run_prints_the_script_and_submits_nothing(
    slurm: SlurmStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = submitted(
        capsys, *WORDS, "--name", "mine", "--trials", "7", "--dry-run", "--", "--qos=short", "--mem=9G"
    )
    assert (status, err) == (0, "")
    assert flags_of(out)[-2:] == ["--qos=short", "--mem=9G"]
    assert "search.py --space lr_bs.yaml --name mine --trials 7)\n" in out
    assert subprocess.run(["bash", "-n"], input=out, text=True, check=True)
    assert not (tmp_path / "results").exists()
    assert not (slurm.state / "slurm_script").exists()


def test_a_run_without_a_name_has_one_that_its_later_jobs_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _, out, _ = submitted(capsys, *WORDS, "--dry-run")
    [name] = re.findall(r"--name (lr_bs-\d{8}-\d{6})\)", out)
    assert f"--job-name={name}" in flags_of(out)


def test_what_sbatch_says_is_printed_as_it_is(
    slurm: SlurmStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    slurm.refuse("sbatch: error: invalid partition specified: gpu")
    assert submitted(capsys, *WORDS, "--partition", "gpu") == (
        1,
        "",
        "sbatch: error: invalid partition specified: gpu\n",
    )


def test_without_slurm_the_script_is_there_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    status, _, err = submitted(capsys, *WORDS, "--name", "mine")
    assert status == 2
    assert err.startswith("there is no sbatch here; on a machine that has it")
    assert os.access(tmp_path / "results/mine/slurm.sh", os.R_OK)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--fresh"],
            "--fresh cannot be used in a job: each time the job resumes it would begin another run",
        ),
        (["--address", "a:1"], "--address cannot be used in a job: the job starts Ray on its own nodes"),
        (["--dashboard"], "--dashboard cannot be used in a job"),
        (["--governor", "performance"], "--governor cannot be used in a job"),
        (["--rerun-failed", "mine"], "--rerun-failed cannot be used in a job"),
        (["--backend", "local"], "--backend local trains in one process"),
        (["--trails", "3"], "there is no flag --trails; did you mean --trials?"),
        (["--gpu-per-nod", "3"], "there is no flag --gpu-per-nod; did you mean --gpus-per-node?"),
        (
            ["--results", "s3://bucket/runs"],
            "--results of a job must be a folder that all nodes share, not a bucket",
        ),
        (["--nodes", "0"], "must be a whole number above 0, got 0"),
        (["--gpus-per-node", "a100:8"], "must be a whole number above 0, got a100:8"),
        (["--time", "soon"], "--time soon is not a time limit"),
        (["--name", "../mine"], "a run cannot be named '../mine'"),
        (["--set", "search.limits.trails=3"], "search.limits.trails"),
    ],
)
def test_a_mistake_is_named_before_anything_is_submitted(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = submitted(capsys, *WORDS, *words)
    assert (status, out) == (2, "")
    assert message in err
    assert not (tmp_path / "results").exists()


def test_a_job_without_a_space_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = submitted(capsys, "submit", "--nodes", "1", "--time", "60")
    assert (status, err) == (2, "jouletune slurm: error: the following arguments are required: --space\n")
