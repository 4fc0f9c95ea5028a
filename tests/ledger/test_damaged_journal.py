"""A damaged journal: what is wrong is named, nothing behind it is believed, nothing is lost."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from search.cli import run as command
from search.energy.reading import EnergyReading, EnergySensors, EnergySummary
from search.ledger import Ledger, LedgerError, named_folder
from search.ledger.journal_lines import MAX_TEXT, bounded
from search.output import Output
from search.run import Run
from search.run.resume import prepare_to_resume
from search.space import Space, dump_space
from tests.support.processes import ROOT, ran
from tests.support.ray_sessions import FATES, outcome, whole
from tests.support.sealed_journals import reseal, write_sealed
from tests.support.toy_runs import fateful_space, listed

Lines = list[bytes]
Edit = Callable[[Lines], Lines]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Space, Path]:
    """A run that has ended, with a failed, a diverged and finished trials."""
    folder = tmp_path_factory.mktemp("damaged")
    space = fateful_space(folder)
    whole(space, folder / "run", listed(*FATES))
    dump_space(space, folder / "run" / "space.yaml")
    return space, folder / "run"


@pytest.fixture
def copy(done: tuple[Space, Path], tmp_path: Path) -> Path:
    shutil.copytree(done[1], tmp_path / "run")
    return tmp_path / "run"


def edit_lines(folder: Path, edit: Edit) -> None:
    journal = folder / "journal.jsonl"
    journal.write_bytes(b"".join(edit(journal.read_bytes().splitlines(keepends=True))))


def refusal(folder: Path) -> str:
    """What a reader says, which a start says as well."""
    with pytest.raises(LedgerError) as read:
        Ledger.open(folder).events()
    with pytest.raises(LedgerError) as started:
        Ledger.open(folder).drop_torn_line()
    assert str(read.value) == str(started.value)
    return str(read.value)


def insert(line: bytes) -> Edit:
    return lambda lines: [*lines[:4], line, *lines[4:]]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda lines: lines[:4] + lines[5:], "line 5 does not follow the one before: line 5 is missing"),
        (
            lambda lines: lines[:4] + lines[7:],
            "line 5 does not follow the one before: lines 5 to 7 are missing",
        ),
        (lambda lines: lines[:5] + lines[4:], "line 6 appears a second time"),
        (lambda lines: [*lines[:4], lines[5], lines[4], *lines[6:]], "line 5 does not follow the one before"),
        (lambda lines: lines[1:], "line 1 does not follow the one before: line 1 is missing"),
        (insert(b'{"time": 1}\n'), "line 5 is not an event of this journal"),
        (insert(b"\n"), "line 5 is cut short or damaged"),
        (insert(b"\0" * 4096 + b"\n"), "line 5 is cut short or damaged"),
        (insert(b"[" * 100_000 + b"]" * 100_000 + b"\n"), "line 5 is cut short or damaged"),
        (insert(b'{"time": 1, "seq": 4, "event": "run_ended", "crc": "00000000"}\n'), "line 5 was changed"),
        (lambda lines: [*lines, lines[-1][:30] + b"\n", lines[-1][:20]], "is cut short or damaged"),
        (lambda lines: [*lines, b"\0" * 100 + b"\n", b"\0" * 50], "is cut short or damaged"),
        (
            lambda lines: [*lines[:-1], lines[-1].replace(b"run_ended", b"run_ebded")],
            "was changed after it was written",
        ),
    ],
)
def test_a_damage_that_no_kill_leaves_is_named_by_its_line(copy: Path, edit: Edit, message: str) -> None:
    before = (copy / "journal.jsonl").read_bytes()
    edit_lines(copy, edit)
    damaged = (copy / "journal.jsonl").read_bytes()
    assert message in refusal(copy)
    assert (copy / "journal.jsonl").read_bytes() == damaged != before


def test_any_changed_byte_of_what_a_journal_says_is_found(copy: Path) -> None:
    journal = copy / "journal.jsonl"
    content = journal.read_bytes()
    events = Ledger.open(copy).events()
    first = content.index(b'"seq": 3')
    line_end = content.index(b"\n", first)
    for at in range(first, line_end):
        journal.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        assert "line 4 " in refusal(copy)
    journal.write_bytes(content)
    assert Ledger.open(copy).events() == events


def rewritten(lines: list[bytes]) -> list[bytes]:
    return [json.dumps(json.loads(line), separators=(",", ":")).encode() + b"\n" for line in lines]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (rewritten, "line 1 was written again by another program"),
        (lambda lines: lines[:3] + rewritten(lines[3:]), "line 4 was written again by another program"),
        (lambda lines: [b"version https://git-lfs.github.com/spec/v1\n", *lines], "`git lfs pull`"),
        (lambda lines: [b'{"time": null' + line[line.index(b",") :] for line in lines], "but None"),
        (
            lambda lines: [b'{"time": 1e12' + line[line.index(b",") :] for line in lines],
            "but 1000000000000.0",
        ),
        (lambda lines: [b'{"time": 1, "seq": ' + b"9" * 5000 + b"}\n", *lines], "line 1 is cut short"),
    ],
)
def test_what_other_programs_make_of_a_journal_is_named(copy: Path, edit: Edit, message: str) -> None:
    edit_lines(copy, edit)
    assert message in refusal(copy)


@pytest.mark.parametrize(
    "edit",
    [
        lambda lines: [line.replace(b"\n", b"\r\n") for line in lines],
        lambda lines: [b"\xef\xbb\xbf" + lines[0], *lines[1:]],
        lambda lines: [b'{"time": 0' + line[line.index(b",") :] for line in lines],
    ],
)
def test_line_ends_of_windows_and_times_of_any_year_change_no_event(copy: Path, edit: Edit) -> None:
    before = [{**event, "time": 0} for event in Ledger.open(copy).events()]
    edit_lines(copy, edit)
    ledger = Ledger.open(copy)
    assert ledger.drop_torn_line() is None
    ledger.journal.append({"event": "session_started"})
    assert [{**event, "time": 0} for event in ledger.events()[:-1]] == before


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            '"event": "trial_ended"',
            '"event": "trial_praised"',
            "is an event of unknown kind ('trial_praised')",
        ),
        ('"will_retry": ', '"will_not_retry": ', "(attempt_failed) lacks will_retry"),
        ('"row": {', '"row": {"new": 1, ', "(epoch) has fields of another version: new"),
        ('"gpu_mj": ', '"tpu_mj": ', "(epoch) has fields of another version: energy.tpu_mj"),
        ('"schema": 3', '"schema": 4', "line 1 says schema 4, and this version reads schema 3"),
        ('"trial_asked", "trial": "trial-0001"', '"trial_asked", "trial": "trial-0000"', "a second time"),
        (
            '"trial_asked", "trial": "trial-0001"',
            '"trial_asked", "trial": "trial-7"',
            "which no earlier line asks for",
        ),
        ('"number": 1,', '"number": 5,', "asks for trial number 5 where 1 is next"),
        (
            '"number": 1,',
            '"number": 1, "start_rung": -1,',
            "lets trial-0001 start at rung -1, which does not exist",
        ),
        (
            '"number": 1,',
            '"number": 1, "start_rung": "1",',
            "lets trial-0001 start at rung '1', which does not exist",
        ),
        (
            '"number": 1,',
            '"number": 1, "start_rung": 0.5,',
            "lets trial-0001 start at rung 0.5, which does not exist",
        ),
        ('"number": 1,', '"number": true,', "(trial_asked) has a value of another kind: number is True"),
        ('"hparams": {', '"hparams": [], "x": {', "of another kind: hparams is []"),
        ('"seed": 0', '"seed": null', "of another kind: seed is None"),
        ('"epoch": 1,', '"epoch": 0,', "(epoch) is of epoch 0 at rung 0, which does not exist"),
        ('"rung": 0,', '"rung": "0",', "(epoch) has a value of another kind: rung is '0'"),
        ('"metrics": {', '"metrics": {"a": "high", ', "of another kind: metrics is {'a': 'high', "),
        ('"gpu_mj": 100', '"gpu_mj": 0.5', "of another kind: energy is {'gpu_mj': 0.5, "),
        ('"will_retry": ', '"will_retry": "", "x": ', "of another kind: will_retry is ''"),
        ('"failure": {', '"failure": {"x": 1, ', "(attempt_failed) has fields of another version: x"),
        ('"cause": "crash"', '"cause": 7', "of another kind: cause is 7"),
        ('"status": "finished"', '"status": ["finished"]', "of another kind: status is ['finished']"),
        ('"elapsed_s": ', '"elapsed_s": null, "x": ', "of another kind: elapsed_s is None"),
    ],
)
def test_an_event_that_cannot_stand_there_is_named_even_where_its_checksum_is_right(
    copy: Path, old: str, new: str, message: str
) -> None:
    assert old in (copy / "journal.jsonl").read_text()
    reseal(copy / "journal.jsonl", (old, new))
    assert message in refusal(copy)


@pytest.mark.parametrize("name", ["../../x", "/etc", "..", ".git", 7, None, ["trial-0001"]])
def test_a_trial_that_can_be_no_folder_is_refused_even_where_its_checksum_is_right(
    copy: Path, name: object
) -> None:
    reseal(copy / "journal.jsonl", ('"trial": "trial-0001"', f'"trial": {json.dumps(name)}'))
    assert f"names a trial {name!r}, which cannot be a folder's name" in refusal(copy)


def forge_account(folder: Path, kind: str = "window_closed", **changes: object) -> int:
    """Write a window's account at the journal's end, with `changes` (None: no such field); gives its line."""
    summary = EnergySummary(
        window="node/1",
        trial="trial-0000",
        end="closed",
        seconds=2.0,
        reading=EnergyReading(cpu_mj=1500),
        sensors=EnergySensors(cpu_sensor="rapl_powercap", quality="A"),
        start_s=0.5,
        start=EnergyReading(cpu_mj=250),
        exclusive_fraction=0.75,
    )
    account = {"time": 1.0, "event": kind, "trial": "trial-0000", **summary.to_dict(), **changes}
    events = Ledger.open(folder).events()
    whole = {name: value for name, value in account.items() if value is not None}
    write_sealed(folder / "journal.jsonl", [*events, whole])
    return len(events) + 1


def test_a_forged_account_that_is_whole_is_added_to_its_trial(copy: Path) -> None:
    before = Ledger.open(copy).read_history().trials["trial-0000"].joules
    forge_account(copy)
    joules = Ledger.open(copy).read_history().trials["trial-0000"].joules
    assert joules.by_window() == {**before.by_window(), "node/1": EnergyReading(cpu_mj=1500)}
    assert joules.starts_by_window()["node/1"] == EnergyReading(cpu_mj=250)
    assert joules.closed["node/1"].exclusive_fraction == 0.75


@pytest.mark.parametrize("kind", ["window_closed", "background_ended"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seconds": None}, "({kind}) lacks seconds"),
        ({"end": None, "statistics": None}, "({kind}) lacks end, statistics"),
        ({"energy": 1500}, "({kind}) has a value of another kind: energy is 1500"),
        ({"start_energy": [250]}, "({kind}) has a value of another kind: start_energy is [250]"),
        ({"sensors": "rapl"}, "({kind}) has a value of another kind: sensors is 'rapl'"),
        ({"energy": {"tpu_mj": 1500}}, "({kind}) has fields of another version: energy.tpu_mj"),
        ({"start_energy": {"lag_s": {}}}, "({kind}) has fields of another version: start_energy.lag_s"),
        ({"sensors": {"cooler": "fan"}}, "({kind}) has fields of another version: sensors.cooler"),
        (
            {"energy": {"cpu_kj": 1}, "statistics": {"gpu_noise_db": 30.0}},
            "({kind}) has fields of another version: energy.cpu_kj, statistics.gpu_noise_db",
        ),
    ],
)
def test_a_damaged_account_of_a_window_is_named_even_where_its_checksum_is_right(
    copy: Path, kind: str, changes: dict[str, object], message: str
) -> None:
    line = forge_account(copy, kind, **changes)
    assert f"line {line} {message.format(kind=kind)}" in refusal(copy)


@pytest.mark.parametrize("trial", ["trial-0099", "../trial-0000"])
def test_an_account_of_a_trial_that_was_never_asked_for_is_refused(copy: Path, trial: str) -> None:
    line = forge_account(copy, trial=trial)
    assert refusal(copy).splitlines()[0].startswith(f"{copy / 'journal.jsonl'}: line {line} ")


def test_a_journal_of_the_version_before_is_named(copy: Path) -> None:
    (copy / "journal.jsonl").write_text('{"time": 1.0, "event": "journal_started", "schema": 1}\n')
    assert "line 1 says schema 1, and this version reads schema 3" in refusal(copy)


@pytest.mark.parametrize("left", [b"", b'{"time": 17', b"\0\0\0"])
def test_an_emptied_journal_beside_trials_is_refused(copy: Path, left: bytes) -> None:
    (copy / "trials" / "trial-0003").mkdir(parents=True, exist_ok=True)
    (copy / "journal.jsonl").write_bytes(left)
    with pytest.raises(
        LedgerError, match=r"does not know trial-0000, .*trial-0004 and 1 more, .*it was emptied or cut"
    ):
        Ledger.open(copy).drop_torn_line()
    assert (copy / "journal.jsonl").read_bytes() == left


def test_what_a_file_manager_leaves_beside_trials_is_none(copy: Path) -> None:
    for name in (".DS_Store", "Thumbs.db", "@eaDir/x"):
        (copy / "trials" / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / "trials" / name).touch()
    assert Ledger.open(copy).unknown_trials() == []
    assert command("check", [str(copy)]) == 0


@pytest.mark.parametrize("left", [None, b"", b"parameters: {lr: [", b"\xff\xfe\0"])
def test_a_run_without_its_space_is_not_whole_and_no_repair_is_offered(
    copy: Path, left: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / "space.yaml").unlink()
    if left is not None:
        (copy / "space.yaml").write_bytes(left)
    assert command("check", [str(copy)]) == 1
    said = capsys.readouterr()
    assert "  problem: the run cannot be resumed, reported or promoted; put back an intact copy: " in said.err
    assert str(copy / "space.yaml") in said.err
    assert "--repair" not in said.out + said.err


def test_a_journal_cut_between_two_lines_is_known_by_the_trials_that_it_does_not_know(copy: Path) -> None:
    for number in range(4):
        (copy / "trials" / f"trial-{number:04d}").mkdir(parents=True, exist_ok=True)
    cut_before = (copy / "journal.jsonl").read_bytes().index(b'"trial_asked", "trial": "trial-0002"')
    content = (copy / "journal.jsonl").read_bytes()
    (copy / "journal.jsonl").write_bytes(content[: content.rindex(b"\n", 0, cut_before) + 1])
    with pytest.raises(LedgerError, match="does not know trial-0002, trial-0003"):
        Ledger.open(copy).drop_torn_line()


def test_a_second_writer_is_noticed_before_anything_is_written(tmp_path: Path) -> None:
    one = Ledger.create(tmp_path / "run")
    other = Ledger(tmp_path / "run")
    other.journal.append({"event": "session_started"})
    before = one.journal_file.read_bytes()
    with pytest.raises(LedgerError, match="another process changed it"):
        one.journal.append({"event": "session_started"})
    assert one.journal_file.read_bytes() == before


def test_check_says_what_is_whole_and_touches_nothing(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("check", [str(copy)]) == 0
    assert f"{copy}:\n  whole: journal: " in capsys.readouterr().out
    edit_lines(copy, lambda lines: lines[:4] + lines[5:])
    files = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    assert command("check", [str(copy)]) == 1
    printed = capsys.readouterr()
    assert "whole: journal: 4 lines" in printed.out
    assert "problem: journal: line 5 does not follow the one before: line 5 is missing" in printed.err
    assert f"python scripts/check.py {copy} --repair" in printed.out
    assert files == {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}


def test_the_repair_that_is_named_finds_a_run_in_other_results(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit_lines(copy, lambda lines: lines[:4] + lines[5:])
    assert command("check", [copy.name, "--results", str(copy.parent)]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "to repair it" in line]
    assert line == f"  to repair it, keeping a copy: python scripts/check.py {copy} --repair"


@pytest.mark.parametrize("keep", [1, 2, 9])
def test_a_repaired_run_resumes_to_the_end_of_an_undisturbed_one(
    done: tuple[Space, Path], copy: Path, keep: int, capsys: pytest.CaptureFixture[str]
) -> None:
    space, undisturbed = done
    journal = copy / "journal.jsonl"
    (copy / "trials" / "trial-0005").mkdir(parents=True, exist_ok=True)
    edit_lines(copy, lambda lines: [*lines[:keep], b"{torn\n", *lines[keep + 1 :]])
    damaged = journal.read_bytes()
    assert command("check", [str(copy), "--repair"]) == 1
    assert f"repaired: cut the journal after line {keep}; journal.jsonl.damaged-1" in capsys.readouterr().out
    assert (copy / "journal.jsonl.damaged-1").read_bytes() == damaged
    assert (copy / "set-aside" / "trial-0005").is_dir()
    assert command("check", [str(copy)]) == 0
    again = whole(space, copy, listed(*FATES))
    reference = Run(space, listed(*FATES), Ledger(_copied(undisturbed, copy.parent / "reference")))
    assert outcome(again) == outcome(reference)
    assert len(Ledger.open(copy).events()) > keep


@pytest.mark.parametrize("mode", ["asha_stopping", "asha"])
def test_wherever_a_journal_is_cut_no_curve_has_a_gap(
    tmp_path: Path, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A checkpoint may be of an epoch whose line was cut off, with those before it."""
    changes = [f"search.scheduler={{mode: {mode}, eta: 3}}", "search.ladder.epochs=[1, 4]"]
    space = fateful_space(tmp_path, changes)
    points = [{"fate": "fine", "score": score} for score in (0.3, 0.5, 0.1, 0.6)]
    undisturbed = whole(space, tmp_path / "run", listed(*points))
    dump_space(space, tmp_path / "run" / "space.yaml")
    num_lines = len((tmp_path / "run" / "journal.jsonl").read_bytes().splitlines())
    num_set_aside = 0
    for keep in range(1, num_lines):
        folder = _copied(tmp_path / "run", tmp_path / f"cut-{keep}")
        edit_lines(folder, lambda lines, keep=keep: [*lines[:keep], b"{torn\n", *lines[keep + 1 :], b"{\n"])  # type: ignore[misc]
        assert command("check", [str(folder), "--repair"]) == 1
        assert command("check", [str(folder)]) == 0
        again = whole(space, folder, listed(*points))
        for trial in again.history.trials.values():
            assert list(trial.curve) == list(range(1, trial.epochs + 1))
        assert outcome(again) == outcome(undisturbed)
        num_set_aside += len(list(folder.glob("trials/*/checkpoint.set-aside-1.pt")))
        shutil.rmtree(folder)
    assert num_set_aside > 0
    assert "the next start sets it aside" in capsys.readouterr().out


def test_check_says_of_each_state_whether_it_is_whole_and_whose_it_is(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = copy / "trials"
    assert command("check", [str(copy)]) == 0
    assert "whole: trials/trial-0000/checkpoint.pt: trial-0000 after epoch 3" in capsys.readouterr().out
    shutil.copy(trials / "trial-0000" / "checkpoint.pt", trials / "trial-0002" / "checkpoint.pt")
    content = bytearray((trials / "trial-0005" / "checkpoint.pt").read_bytes())
    content[200] ^= 1
    (trials / "trial-0005" / "checkpoint.pt").write_bytes(content)
    (trials / "trial-0004" / "checkpoint.pt").unlink()
    (trials / "trial-0004" / "checkpoint.pt").mkdir()
    files = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    assert command("check", [str(copy)]) == 1
    assert files == {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    problems = [line.strip() for line in capsys.readouterr().err.splitlines()]
    assert problems == [
        "problem: trials/trial-0002/checkpoint.pt belongs to trial-0000; it is never trained on",
        "problem: trials/trial-0004/checkpoint.pt is not a file; it is never trained on",
        "problem: trials/trial-0005/checkpoint.pt is damaged (its content does not match its SHA-256); it is "
        "never trained on",
    ]
    assert command("check", [str(copy), "--repair"]) == 1
    assert command("check", [str(copy)]) == 0
    assert len(list(trials.glob("*/checkpoint.set-aside-1.pt"))) == 3


def test_check_needs_no_torch_to_prove_a_state(copy: Path) -> None:
    code = (
        "import sys; from search.cli import run; status = run('check', [sys.argv[1]]); "
        "sys.exit(status or 'torch' in sys.modules)"
    )
    done = ran(sys.executable, "-c", code, copy, folder=ROOT)
    assert done.returncode == 0, done.stderr
    assert "checkpoint.pt: trial-0000 after epoch 3" in done.stdout


def _copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def test_a_journal_of_which_nothing_is_whole_is_not_repaired(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit_lines(copy, lambda lines: lines[1:])
    before = (copy / "journal.jsonl").read_bytes()
    assert command("check", [str(copy), "--repair"]) == 2
    assert "no line of it is intact, so it cannot be repaired" in capsys.readouterr().err
    assert (copy / "journal.jsonl").read_bytes() == before


def test_a_stranger_s_run_never_reaches_outside_its_folder(
    done: tuple[Space, Path], copy: Path, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "checkpoint.pt").write_text("precious")
    reseal(copy / "journal.jsonl", ('"trial-0003"', json.dumps("../../victim")))
    with pytest.raises(LedgerError, match="cannot be a folder's name"):
        prepare_to_resume(Ledger(copy), done[0], Output.silent())
    assert (victim / "checkpoint.pt").read_text() == "precious"


@pytest.mark.parametrize(
    "name", ["../x", "/x", "..", ".", "", ".x", "a/b", "a\\b", "-x", " x", "a\nb", "a\x1b[2J", "x" * 121]
)
def test_a_run_s_name_is_that_of_a_folder_in_results(tmp_path: Path, name: str) -> None:
    with pytest.raises(LedgerError, match="a run cannot be named"):
        named_folder(tmp_path, name)


@pytest.mark.parametrize(
    "name", ["mine", "lr_bs-20261121-090000", "sweep 7 (große Bilder)", "a..b", "x" * 120]
)
def test_other_names_are_taken_as_they_are(tmp_path: Path, name: str) -> None:
    assert named_folder(tmp_path, name) == tmp_path / name


def test_texts_of_an_event_are_bounded_and_say_so() -> None:
    long = "x" * 5_000_000
    cut = bounded({"failure": {"message": long, "lines": [long, "short"]}, "count": 3})
    assert (
        cut["failure"]["message"]
        == "x" * MAX_TEXT + " ... (5,000,000 characters; the trial's log has them all)"
    )
    assert cut["failure"]["lines"][1] == "short"
    assert cut["count"] == 3
    assert bounded("x" * MAX_TEXT) == "x" * MAX_TEXT


def test_a_forged_journal_reads_as_one_that_this_program_wrote(copy: Path) -> None:
    journal = copy / "journal.jsonl"
    events, content = Ledger.open(copy).events(), journal.read_bytes()
    write_sealed(journal, events)
    assert journal.read_bytes() == content
