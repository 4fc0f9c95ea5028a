"""When a run says that further trials are unlikely to gain, and when it ends for that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from search.backends.local import execute_here
from search.ledger import Ledger
from search.ledger.history import ExpectedGain, History
from search.output import Output
from search.report.console import ConsoleView
from search.run import Run
from search.run.flatness import flat_reason, is_due
from search.sampling.warm_start import make_sampler
from search.space import Space, SpaceError
from tests.support.ray_sessions import cut, outcome, whole, whole_with_cuts
from tests.support.sealed_journals import write_sealed
from tests.support.toy_runs import SteadyMeter, executed, listed, made_space, sampler_for

ASHA = ["search.scheduler.mode=asha", "search.limits.trials=60", "search.ladder.epochs=[1, 3, 9]"]
STOPPING = [*ASHA, "search.limits.stop_when_flat=true"]
FLAT = "further trials are unlikely to gain: the most promising one is expected to gain "


def gain(expected: float, least: float = 0.01, *, epochs: int = 100) -> ExpectedGain:
    return ExpectedGain(
        num_trials=40,
        num_epochs=epochs,
        expected_gain=expected,
        least_gain=least,
        least_is="what epochs differ by",
    )


def gains_of(run: Run) -> list[tuple[object, ...]]:
    names = ("num_trials", "num_epochs", "expected_gain", "least_gain")
    return [
        tuple(event[name] for name in names)
        for event in run.ledger.events()
        if event["event"] == "gain_estimated"
    ]


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A search that has ended for being flat."""
    folder = tmp_path_factory.mktemp("flat")
    space = made_space(folder, overrides=STOPPING)
    return whole(space, folder / "run", sampler_for(space))


def test_two_estimates_in_a_row_below_what_means_anything_are_flat() -> None:
    assert flat_reason([], "val_accuracy") == ""
    assert flat_reason([gain(0.001)], "val_accuracy") == ""
    assert flat_reason([gain(0.001), gain(0.01)], "val_accuracy") == ""
    assert flat_reason([gain(0.001), gain(0.02), gain(0.001)], "val_accuracy") == ""
    assert flat_reason([gain(0.02), gain(0.001), gain(0.0021)], "val_accuracy") == (
        "the most promising one is expected to gain 0.0021 of val_accuracy, "
        "less than 0.01, what epochs differ by"
    )


def test_an_estimate_is_due_after_20_trials_and_4_in_full_and_then_with_each_tenth_more_of_the_epochs() -> (
    None
):
    history = History()
    history.epochs_at_end = 50
    firsts = [(19, 9), (20, 3), (20, 4)]
    assert [is_due(history, num_trials=num, num_finished=full) for num, full in firsts] == [
        False,
        False,
        True,
    ]
    history.gains.append(gain(0.1, epochs=50))
    for epochs, is_it in ((54, False), (55, True), (56, True)):
        history.epochs_at_end = epochs
        assert is_due(history, num_trials=30, num_finished=9) is is_it


def test_a_flat_search_ends_with_its_cause_and_ends_again_when_it_is_resumed(flat: Run) -> None:
    reason = flat.ledger.events()[-1]["reason"]
    assert reason.startswith(FLAT)
    assert reason.endswith(
        ("the difference between neighbouring epochs", "from the median trial to the best")
    )
    assert len(flat.history.trials) < 60
    assert flat.rungs.counts()[-1] >= 4
    again = whole(flat.space, flat.ledger.folder, sampler_for(flat.space))
    assert (again.history.ended, again.history.num_epochs) == (reason, flat.history.num_epochs)


@pytest.mark.slow  # 5 s
@pytest.mark.parametrize("mode", ["asha", "freeze_thaw"])
def test_without_the_limit_a_flat_search_goes_on_where_it_ended(tmp_path: Path, mode: str) -> None:
    space = made_space(tmp_path, overrides=[*STOPPING, f"search.scheduler.mode={mode}"])
    run = whole(space, tmp_path / "run", make_sampler(space))
    assert run.ledger.events()[-1]["reason"].startswith(FLAT)
    without = replace(space, limits=replace(space.limits, stop_when_flat=False))
    further = whole(without, tmp_path / "run", make_sampler(space))
    assert len(further.history.trials) == 60


@pytest.mark.slow
def test_killed_at_every_event_it_ends_for_the_same_reason(tmp_path: Path) -> None:
    space = made_space(tmp_path, overrides=STOPPING)
    undisturbed = whole_with_cuts(space, tmp_path / "whole", sampler_for(space))
    events = undisturbed.ledger.events()
    first = next(n for n, event in enumerate(events) if event["event"] == "gain_estimated")
    for number in range(first - 3, len(events) - 1):
        again = whole(space, tmp_path / f"cut-{number}", sampler_for(space))
        assert gains_of(again) == gains_of(undisturbed)
        assert again.history.ended == undisturbed.history.ended
        assert outcome(again) == outcome(undisturbed)


@pytest.mark.parametrize("earlier", [0, 1, 2])
def test_killed_before_an_estimate_it_finds_the_same(flat: Run, tmp_path: Path, earlier: int) -> None:
    events = flat.ledger.events()
    first = next(n for n, event in enumerate(events) if event["event"] == "gain_estimated")
    again = cut(flat.space, tmp_path / "cut", lambda: sampler_for(flat.space), first - earlier)
    assert gains_of(again) == gains_of(flat)
    assert again.history.ended == flat.history.ended


def test_a_session_that_opens_where_no_trial_has_just_ended_estimates_nothing(
    flat: Run, tmp_path: Path
) -> None:
    """An undisturbed run would not, and where it ends depends on where its estimates are."""
    events = flat.ledger.events()
    first = next(n for n, event in enumerate(events) if event["event"] == "gain_estimated")
    asked = next(n for n in range(first, len(events)) if events[n]["event"] == "trial_asked")
    folder = tmp_path / "run"
    Ledger.create(folder)
    kept = (event for event in events[: asked + 1] if event["event"] != "gain_estimated")
    write_sealed(folder / "journal.jsonl", kept)
    assert gains_of(Run(flat.space, sampler_for(flat.space), Ledger.open(folder))) == []


def test_a_list_is_trained_whole_and_nothing_is_estimated_of_it(tmp_path: Path) -> None:
    points = [{"lr": 0.1, "batch_size": 64, "noise": 0.001 * number} for number in range(12)]
    run, _ = executed(made_space(tmp_path, overrides=ASHA), tmp_path, listed(*points))
    assert len(run.history.trials) == 12
    assert gains_of(run) == []


def test_the_console_says_it_once_for_each_time_it_becomes_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(made_space(tmp_path, overrides=ASHA), listed({"lr": 0.1}), Ledger.create(tmp_path / "run"))
    view = ConsoleView(run, Output(), is_live=False)
    for expected in (0.001, 0.001, 0.001, 0.02, 0.001, 0.002):
        run.history.gains.append(gain(expected))
        view.on_event({"event": "gain_estimated"})
    end = "less than 0.01, what epochs differ by; limits.stop_when_flat would end the search"
    assert capsys.readouterr().out.splitlines() == [
        f"note: {FLAT}{expected} of val_accuracy, {end}" for expected in (0.001, 0.002)
    ]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            ["search.trials=[{lr: 0.1}]"],
            "ends a search that proposes its own points, but trials is trained in full",
        ),
        (
            ["search.sampler=grid"],
            "ends a search that proposes its own points, but a grid is trained in full",
        ),
        (["search.objective=[val_accuracy, energy]"], "compares the gain in one metric with its noise"),
    ],
    ids=["list", "grid", "joules"],
)
def test_what_cannot_be_flat_is_refused(tmp_path: Path, changes: Sequence[str], problem: str) -> None:
    with pytest.raises(SpaceError, match=f"search.limits.stop_when_flat: {problem}"):
        made_space(tmp_path, overrides=[*STOPPING, *changes])


def test_what_is_made_up_for_a_forecast_is_not_estimated(flat: Run, tmp_path: Path) -> None:
    limits = replace(flat.space.limits, trials=len(flat.history.trials))
    space = replace(flat.space, limits=limits)
    run = Run(space, sampler_for(space), Ledger.create(tmp_path / "run"), estimates_gain=False)
    execute_here(run, SteadyMeter())
    assert gains_of(run) == []
    assert run.history.ended == f"all {limits.trials} trials done"


def test_spaces_keep_the_limit(tmp_path: Path) -> None:
    space: Space = made_space(tmp_path, overrides=STOPPING)
    assert space.limits.stop_when_flat is True
    assert space.to_dict()["search"]["limits"]["stop_when_flat"] is True
