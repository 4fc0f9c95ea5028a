"""Add up a run's energy tables again: every millijoule of a counter must be in exactly one place.

Three files have the same joules: devices.csv has what counters moved and where it went, trials.csv what each
trial used, energy.csv the same by rung. None is made from another. All three come from the journal by two
routes, the rows of epochs and the accounts that meters close, so an error in either shows here.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from search.accounting.unreported import NodeKind, node_kind, reported_mj
from search.energy.units import to_exact_joules
from search.ledger import RunFolder, csv_text
from search.ledger.history import History
from search.printable import counted
from search.space import Space
from search.tables import live_tables

Row = Mapping[str, str]
_KINDS = ("gpu", "cpu", "dram", "estimated")
_SPLIT = (
    *("energy_trials_j", "energy_starts_j", "energy_background_j", "energy_external_j", "energy_idle_j"),
    "energy_unaccounted_j",
)
_GPU_PARTS = ("energy_gpu_active_j", "energy_gpu_context_j", "energy_gpu_idle_share_j")


@dataclass
class EnergyCheck:
    """The result of adding up.

    Attributes:
        problems: What does not add up: a table was changed, or the program has a bug.
        notes: What cannot be added up, and why: sensors lost on the way, sessions that were killed.
        checked: How much was added up, as the subject of a sentence.
        has_joules: Whether anything was measured or estimated.
    """

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    checked: str = ""
    has_joules: bool = False


def check_run(folder: RunFolder, space: Space, history: History) -> EnergyCheck:
    """Add up the tables in a run's folder, and compare them with those made from its journal.

    A table older than the journal is a note while the run has not ended, since a kill loses the last update.
    Afterwards it is a problem, since the last event writes all tables.
    """
    written = {
        path.name: path.read_text(encoding="utf-8", errors="replace") for path in folder.folder.glob("*.csv")
    }
    trials, rungs, devices = (
        list(csv.DictReader(io.StringIO(written.get(name, ""), newline="")))
        for name in ("trials.csv", "energy.csv", "devices.csv")
    )
    is_over = history.ended is not None
    try:
        check = check_energy(trials, rungs, devices, reported=reported_mj(history), is_over=is_over)
        total_j = sum(float(row["energy_device_j"]) for row in devices)
        check.has_joules = bool(devices) or any(row["energy_j"] for row in trials)
    except (LookupError, ArithmeticError, ValueError, TypeError):  # a spreadsheet has saved one its own way
        check, total_j = EnergyCheck(["the tables lack columns, or cells are not numbers"]), 0.0
    tables = live_tables(space, history).items()
    stale = ", ".join(name for name, table in tables if written.get(name) != csv_text(*table))
    if stale and is_over:
        check.problems.append(f"{stale}: not what the journal says; changed after the run")
    elif stale:
        check.notes.append(f"{stale}: older than the journal; the run continues, or was killed")
    rows = f"{counted(len(devices), 'device row')}, {total_j:.3f} J"
    check.checked = f"{len(trials)} trials, {rows if check.has_joules else 'no joules'}"
    return check


def check_energy(
    trials: Sequence[Row],
    rungs: Sequence[Row],
    devices: Sequence[Row],
    *,
    reported: Mapping[NodeKind, int] | None = None,
    is_over: bool = True,
) -> EnergyCheck:
    """Add up the rows of trials.csv, energy.csv and devices.csv of one run. Pure.

    Args:
        rungs: The rows of energy.csv.
        devices: Empty if no node's meter was read; the devices are then not checked.
        reported: What the trials used on each node, by the journal, so that a lost node excuses only its own
            devices; None compares all nodes only together.
        is_over: Whether no session is running, so that devices' columns for trials no longer include what
            trials never reported.
    """
    check = EnergyCheck()
    for device in devices:
        check.problems += _device_problems(device)
    for trial in trials:
        check.problems += _trial_problems(trial)
        check.problems += _rung_problems(trial, rungs)
    if devices:
        for kind in _KINDS:
            _compare(kind, trials, devices, check)
        _compare_starts(trials, devices, check)
    unknown = {kind for kind in _KINDS if any(not row[f"energy_{kind}_j"] for row in trials)}
    for key, mj in (reported or {}).items():
        if key[1] not in unknown:
            _compare_node(key, to_exact_joules(mj), devices, check, is_over=is_over)
    return check


def _device_problems(row: Row) -> list[str]:
    """Check that the counter's difference is the device's joules, and these the sum of their six parts."""
    where = f"devices.csv, session {row['session']}, {row['device']}"
    used = _joules(row["energy_device_j"])
    split = _sum(row.get(name, "") for name in _SPLIT)  # old files lack two of these columns
    moved = to_exact_joules(int(row["counter_end_mj"]) - int(row["counter_start_mj"]))
    problems = []
    if moved != used:
        problems.append(f"{where}: the counter moved {moved} J, energy_device_j is {used} J")
    if split != used:
        problems.append(f"{where}: its six parts make {split} J of {used} J")
    if _joules(row["residual_j"]):
        problems.append(f"{where}: residual_j is {row['residual_j']}, must be 0")
    return problems


def _trial_problems(row: Row) -> list[str]:
    """Check that a trial's sums match their parts; the GPU's only if all its layers are known."""
    where = f"trials.csv, {row['trial_id']}"
    sums = {
        "energy_j": ("energy_measured_j", "energy_estimated_j"),
        "energy_measured_j": ("energy_gpu_j", "energy_cpu_j", "energy_dram_j"),
    }
    if all(row[part] for part in _GPU_PARTS):
        sums["energy_gpu_j"] = _GPU_PARTS
    return [
        f"{where}: {whole} is {row[whole] or 'empty'}, its parts make {_sum(row[part] for part in parts)}"
        for whole, parts in sums.items()
        if _joules(row[whole]) != _sum(row[part] for part in parts)
    ]


def _rung_problems(trial: Row, rungs: Sequence[Row]) -> list[str]:
    """Check that the rungs of a trial in energy.csv add up to its row in trials.csv."""
    trial_id = trial["trial_id"]
    mine = [row for row in rungs if row["trial_id"] == trial_id]
    return [
        f"{trial_id}: {column} is {trial[column] or 'empty'} in trials.csv, {total} in energy.csv"
        for column in ("energy_j", *(f"energy_{kind}_j" for kind in _KINDS))
        if (total := _sum(row[column] for row in mine)) != _joules(trial[column])
    ]


def _compare(kind: str, trials: Sequence[Row], devices: Sequence[Row], check: EnergyCheck) -> None:
    """Compare what the devices of a kind gave to trials with what the trials report.

    A difference is a problem unless explained by a trial whose part is unknown, or by a device whose row was
    not read at the end.
    """
    mine = [row for row in devices if row["kind"] == kind]
    if not mine:
        return
    given, got = _sum(row["energy_trials_j"] for row in mine), _sum(row[f"energy_{kind}_j"] for row in trials)
    missing = [row["trial_id"] for row in trials if not row[f"energy_{kind}_j"]]
    open_rows = [f"{row['device']} (session {row['session']})" for row in mine if row["is_closed"] != "True"]
    if given == got:
        return
    if missing:
        check.notes.append(
            f"{kind}: devices gave {given} J, trials have {got} J; unknown for {', '.join(missing)}"
        )
    elif open_rows:
        check.notes.append(
            f"{kind}: devices gave {given} J by the last reading, trials have {got} J; "
            f"of {', '.join(open_rows)} the session was killed, or the node lost, between two readings"
        )
    else:
        check.problems.append(f"{kind}: devices gave {given} J to trials, trials.csv has {got} J")


def _compare_starts(trials: Sequence[Row], devices: Sequence[Row], check: EnergyCheck) -> None:
    """Compare the starts of trials over all kinds of devices together; old journals have none."""
    given = _sum(row.get("energy_starts_j", "") for row in devices)
    got = _sum(row.get("energy_start_j", "") for row in trials)
    if given == got:
        return
    text = f"starts: devices gave {given} J, trials have {got} J"
    if all(row["is_closed"] == "True" for row in devices):
        check.problems.append(text)
    else:
        check.notes.append(f"{text}; a session was killed, or a node lost, between two readings")


def _compare_node(
    key: NodeKind, got: Decimal, devices: Sequence[Row], check: EnergyCheck, *, is_over: bool
) -> None:
    """Compare one node's devices with its trials; only a lost node may have given less than they report."""
    mine = [row for row in devices if node_kind(row) == key]
    given = _sum(row["energy_trials_j"] for row in mine)
    is_closed = all(row["is_closed"] == "True" for row in mine)
    if mine and given != got and (is_closed or (is_over and given > got)):
        node, kind = key
        state = "closed" if is_closed else "lost"
        check.problems.append(
            f"{kind} of node {node}, {state}: devices gave {given} J to trials, which report {got} J"
        )


def _joules(text: str) -> Decimal:
    return Decimal(text or 0)


def _sum(texts: Iterable[str]) -> Decimal:
    """Sum decimals, since floats of 0.1 J would not add up; empty cells count as 0."""
    return sum((_joules(text) for text in texts), Decimal(0))
