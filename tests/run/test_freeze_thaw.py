"""A freeze-thaw search, whole and killed: what it decides follows from its journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from search.backends.local import execute_here
from search.ledger import Ledger
from search.output import Output
from search.report.summary import print_summary
from search.run import Run
from search.run.checkpoint_retention import CheckpointRetention
from search.sampling.proposal import Sampler
from search.sampling.warm_start import make_sampler
from search.space import Space, SpaceError
from tests.support.ray_sessions import cut, outcome, whole, whole_with_cuts
from tests.support.toy_runs import SteadyMeter, kept, made_space

THAW = ["search.scheduler.mode=freeze_thaw", "search.ladder.epochs=[1, 3, 9]", "search.limits.trials=14"]
JOINT = "search.ladder={epochs: [1, 3, 9], subset: [0.25, 0.5, 1.0]}"


def chooser(space: Space) -> Sampler:
    return make_sampler(space)


def decisions(run: Run) -> list[tuple[str, str, str, object]]:
    """Which trials were asked for or resumed, in order, who decided it, and the model's score."""
    return [
        (event["event"], event["trial"], event.get("decided_by", ""), event.get("score"))
        for event in run.ledger.events()
        if event["event"] == "trial_asked" or event.get("why") == "promoted"
    ]


def test_a_search_pauses_between_rungs_and_ends_with_a_fully_trained_trial(tmp_path: Path) -> None:
    space = made_space(tmp_path, overrides=THAW)
    assert space.ladder.pauses == (1, 2, 3, 4, 5, 7, 9)
    run = whole(space, tmp_path / "run", chooser(space))
    epochs = [trial.epochs for trial in run.history.trials.values()]
    assert len(epochs) == 14
    assert max(epochs) == 9
    assert set(epochs) <= {1, 2, 3, 4, 5, 7, 9}
    assert {decided_by for _, _, decided_by, _ in decisions(run)} >= {"rung", "random"}


def test_once_another_trial_has_ended_the_ladder_the_default_does_so_without_a_pause(tmp_path: Path) -> None:
    space = made_space(tmp_path, overrides=[*THAW, "search.limits.trials=24"])
    run = whole(space, tmp_path / "run", chooser(space))
    events = run.ledger.events()
    first = next(n for n, event in enumerate(events) if event.get("status") == "finished")
    later = [event for event in events[first + 1 :] if event.get("trial") == "trial-0000"]
    kinds = [event["event"] for event in later if event["event"] in {"trial_resumed", "trial_ended"}]
    assert events[first]["trial"] != "trial-0000"
    assert kinds == ["trial_resumed", "trial_ended"]
    assert run.history.trials["trial-0000"].status == "finished"


CHANGES = [
    pytest.param([], 1, id="epochs"),
    pytest.param([JOINT], 3, id="joint"),
    pytest.param(["search.horizon=rung"], 3, id="a schedule per rung"),
    pytest.param(["search.scheduler.control_fraction=1"], 3, id="controls"),
    pytest.param(["search.ladder.epochs=[4]"], 3, id="one rung"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("changes", "every"), CHANGES)
def test_killed_at_every_event_it_decides_the_same(
    tmp_path: Path, changes: Sequence[str], every: int
) -> None:
    """At every third of the variants, which share all but what is asked next."""
    space = made_space(tmp_path, overrides=[*THAW, *changes])
    undisturbed = whole_with_cuts(space, tmp_path / "whole", chooser(space))
    for number in range(1, len(undisturbed.ledger.events()) - 1, every):
        again = whole(space, tmp_path / f"cut-{number}", chooser(space))
        assert (outcome(again), decisions(again)) == (outcome(undisturbed), decisions(undisturbed))


def test_killed_in_the_middle_it_decides_the_same(tmp_path: Path) -> None:
    space = made_space(tmp_path, overrides=[*THAW, "search.limits.trials=11"])
    undisturbed = whole(space, tmp_path / "whole", chooser(space))
    again = cut(space, tmp_path / "cut", lambda: chooser(space), 31)
    assert (outcome(again), decisions(again)) == (outcome(undisturbed), decisions(undisturbed))


def test_rungs_that_differ_in_data_are_paused_at_their_ends_alone(tmp_path: Path) -> None:
    space = made_space(tmp_path, overrides=[*THAW, JOINT])
    assert space.ladder.pauses == ()
    run = whole(space, tmp_path / "run", chooser(space))
    epochs = {trial.epochs for trial in run.history.trials.values()}
    assert epochs == {1, 3, 9}


def test_a_control_trial_goes_to_the_next_rung_without_a_pause(tmp_path: Path) -> None:
    space = made_space(tmp_path, overrides=[*THAW, "search.scheduler.control_fraction=1"])
    run = whole(space, tmp_path / "run", chooser(space))
    controls = 0
    events = run.ledger.events()
    for at, event in enumerate(events):
        if event["event"] == "trial_continued_as_control":
            controls += 1
            of_trial = [each for each in events[at + 1 :] if each.get("trial") == event["trial"]]
            ended = next(n for n, each in enumerate(of_trial) if each["event"] == "trial_ended")
            rows = [each["row"] for each in of_trial[:ended] if each["event"] == "epoch"]
            assert rows[-1]["completes_rung"]
            assert rows[-1]["rung"] == event["rung"] + 1
    assert controls


def test_what_is_given_up_leaves_no_checkpoint_and_is_not_chosen_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.freeze_thaw.decider._KEPT", 4)
    space = made_space(tmp_path, overrides=[*THAW, "search.limits.trials=24"])
    run = Run(space, chooser(space), Ledger.create(tmp_path / "run"))
    run.observe(CheckpointRetention(run))
    execute_here(run, SteadyMeter())
    given_up = [each.trial_id for each in run.history.trials.values() if each.status == "stopped"]
    assert given_up
    assert not set(given_up) & set(kept(run))
    events = run.ledger.events()
    for name in given_up:
        of_trial = [event for event in events if event.get("trial") == name]
        assert (of_trial[-1]["event"], of_trial[-1]["status"]) == ("trial_ended", "stopped")


def test_a_reader_sees_no_sampler_that_proposes_nothing(tmp_path: Path) -> None:
    assert made_space(tmp_path).sampler_name == "tpe"
    assert made_space(tmp_path, overrides=THAW).sampler_name == "of the model"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            ["search.sampler=random"],
            r"search.sampler: has no effect with scheduler.mode: freeze_thaw, got random",
        ),
        (["method=random"], r"method: has no effect with scheduler.mode: freeze_thaw, got random"),
        (["search.sampler=grid"], "freeze_thaw chooses its own points; use asha or none"),
        (["search.warm_start=[x]"], "freeze_thaw learns only from its own curves; leave it out"),
        (
            ["search.ladder={resource: energy_j, joules: [1, 3], epochs: 9}"],
            "freeze_thaw needs rungs of epochs; use asha for rungs of joules",
        ),
    ],
)
def test_what_a_model_of_curves_cannot_do_is_refused(
    tmp_path: Path, changes: Sequence[str], problem: str
) -> None:
    with pytest.raises(SpaceError, match=problem):
        made_space(tmp_path, overrides=[*THAW, *changes])


def test_the_end_of_a_search_says_who_decided_and_how_well_the_model_foresees(tmp_path: Path) -> None:
    space = made_space(tmp_path, overrides=[*THAW, "search.limits.trials=24"])
    run = whole(space, tmp_path / "run", chooser(space))
    text, trust = printed(run), run.trust
    assert trust is not None
    counts = Counter(decided_by for _, _, decided_by, _ in decisions(run) if decided_by)
    names = {"rung": "ranks", "model": "model", "random": "chance"}
    assert "decisions: " + ", ".join(f"{names[name]} {count}" for name, count in counts.most_common()) in text
    assert f"ranks make {trust.share_of_ranks:.0%} of those left to ranks and model" in text
    counted = f"{trust.num_covered} of the {trust.num_foreseen} observed values"
    assert f"the model's 80 % intervals contained {counted}" in text
    assert 0 < trust.num_covered <= trust.num_foreseen
    other = whole(made_space(tmp_path), tmp_path / "other", chooser(made_space(tmp_path)))
    assert other.trust is None
    assert "decisions: " not in printed(other)


def printed(run: Run) -> str:
    stream = StringIO()
    print_summary(run, Output(console=Console(file=stream, width=200)))
    return stream.getvalue()


def test_with_several_objectives_ranks_alone_decide_and_that_is_said(tmp_path: Path) -> None:
    objective = "search.objective=[val_accuracy, energy]"
    space = made_space(tmp_path, overrides=[*THAW, objective])
    assert space.scheduler.mode == "asha"
    assert space.ladder.pauses == ()
    (notice,) = [each for each in space.notices if "freeze_thaw" in each]
    assert notice.startswith(
        "search.scheduler.mode: asha instead of freeze_thaw, whose model of learning curves"
    )
    run = whole(space, tmp_path / "run", chooser(space))
    assert len(run.history.trials) == 14
    assert not [event for event in run.ledger.events() if "decided_by" in event]
    plain = made_space(tmp_path, overrides=[*THAW[1:], "search.scheduler.mode=asha", objective])
    assert not [each for each in plain.notices if "freeze_thaw" in each]
    assert plain == space  # a run of either is resumed by the other
