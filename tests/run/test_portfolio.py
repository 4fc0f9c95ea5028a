"""A search that begins with what earlier runs found: taken once, written down, and repeated after a kill."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from search.ledger import Ledger, LedgerError
from search.ledger.events import EventChecker
from search.ledger.journal_lines import BadLine
from search.output import Output
from search.report.portfolio import portfolio_points, portfolio_sentence
from search.report.summary import print_summary, print_winner
from search.run import Run
from search.sampling.earlier_runs import with_portfolio
from search.sampling.warm_start import known_trials, make_sampler
from search.space import Space, SpaceError, dump_space
from tests.support.ray_sessions import outcome, whole, whole_with_cuts
from tests.support.toy_runs import TOY, as_searched, made_space

START = "search.start=portfolio"


def texts() -> tuple[Output, StringIO]:
    stream = StringIO()
    return Output(console=Console(file=stream, width=500)), stream


def earlier(folder: Path, name: str, *overrides: str) -> Run:
    """A run that is over, in `folder`, as the command leaves it."""
    space = made_space(folder, overrides=overrides)
    run = whole(space, folder / "results" / name, make_sampler(space))
    as_searched(space, run.ledger)
    return run


def searched(space: Space, folder: Path) -> Run:
    return whole(space, folder, make_sampler(space))


def begun(folder: Path, *overrides: str, name: str = "new") -> tuple[Space, str]:
    """The space that a search begins with, and what was printed."""
    output, stream = texts()
    space = made_space(folder, overrides=overrides)
    return with_portfolio(space, folder / "results" / name, output), stream.getvalue()


def sources(space: Space) -> list[str]:
    return [point.source for point in space.portfolio.points or ()]


def test_the_best_points_of_the_runs_beside_it_follow_the_default_configuration(tmp_path: Path) -> None:
    run = earlier(tmp_path, "a")
    space, text = begun(tmp_path, START)
    at_rung_1 = [trial for trial in run.ranking.ranked() if trial.value_at("val_accuracy", 1) is not None]
    best, second, third = sorted(at_rung_1, key=lambda trial: -(trial.value_at("val_accuracy", 1) or 0.0))[:3]
    # Fewer than five ended the top rung, so the one below judges; a quarter of 12 trials are candidates.
    assert len(at_rung_1) >= 5 > sum(trial.rung == 2 for trial in run.history.trials.values())
    assert best.hparams["batch_size"] == second.hparams["batch_size"]  # and nearly the same rate
    assert sources(space) == [f"a/{best.trial_id}", f"a/{third.trial_id}"]
    assert text == (
        "portfolio: 2 points are tried after the default configuration (a 2); search.start: default begins "
        "without them\n"
    )
    found = list(searched(space, tmp_path / "results/new").history.trials.values())
    assert [trial.proposed_by for trial in found[:4]] == ["default", "portfolio", "portfolio", "sampler"]
    assert [trial.parent_trial for trial in found[:4]] == ["", *sources(space), ""]
    assert [trial.hparams for trial in found[1:3]] == [best.hparams, third.hparams]


def test_nothing_is_taken_unasked_but_a_line_says_what_lies_there(tmp_path: Path) -> None:
    earlier(tmp_path, "a")
    earlier(tmp_path, "b", "search.seed=1")
    space, text = begun(tmp_path)
    assert space.portfolio.points is None
    assert text == (
        f"2 earlier runs of toy in {tmp_path / 'results'}: --set search.start=portfolio begins with what was "
        "best there\n"
    )
    assert begun(tmp_path, "search.start=default")[1] == ""


def test_start_default_switches_off_what_a_file_lists(tmp_path: Path) -> None:
    listed = "search.portfolio.points=[{hparams: {lr: 0.1}, source: mine/trial-0001}]"
    space, _ = begun(tmp_path, listed, "search.start=default")
    asked = make_sampler(space)
    assert [asked.ask(f"trial-{n}").proposed_by for n in range(2)] == ["default", "sampler"]  # type: ignore[union-attr]


def test_a_rerun_from_the_runs_own_space_tries_the_same_points_wherever_the_earlier_runs_are(
    tmp_path: Path,
) -> None:
    earlier(tmp_path, "a")
    space, _ = begun(tmp_path, START)
    dump_space(space, tmp_path / "kept.yaml")
    shutil.rmtree(tmp_path / "results")
    text = (tmp_path / "kept.yaml").read_text()
    output, stream = texts()
    again = with_portfolio(made_space(tmp_path, text), tmp_path / "results/again", output)
    assert again.portfolio == space.portfolio
    assert "2 points are tried after the default configuration (a 2)" in stream.getvalue()
    narrow = made_space(tmp_path, text, ["parameters.lr.max=0.0002"])
    assert with_portfolio(narrow, tmp_path / "results/narrow", output).portfolio.points == ()
    assert "note: portfolio: 2 of 2 points no longer lie in this space" in stream.getvalue()


def test_killed_and_resumed_it_tries_the_same_points_though_other_runs_have_come(tmp_path: Path) -> None:
    assert_killed_alike(tmp_path, "asha", lambda events: [5])


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["asha", "asha_stopping", "freeze_thaw"])
def test_killed_at_every_event_it_tries_the_same_points(tmp_path: Path, mode: str) -> None:
    assert_killed_alike(tmp_path, mode, every_event_of_the_portfolio)


def every_event_of_the_portfolio(events: Sequence[Mapping[str, Any]]) -> Iterable[int]:
    """Every event until the last point has been asked for, and each fourth of those that follow."""
    last = max(n for n, event in enumerate(events) if event.get("proposed_by") == "portfolio")
    return [*range(1, last + 2), *range(last + 2, len(events) - 1, 4)]


def assert_killed_alike(
    folder: Path, mode: str, kills: Callable[[Sequence[Mapping[str, Any]]], Iterable[int]]
) -> None:
    """Kill a search with a portfolio after each of these of its events; another run comes meanwhile."""
    earlier(folder, "a")
    changes = (f"search.scheduler.mode={mode}", "search.seed=3")
    space, _ = begun(folder, START, *changes)
    undisturbed = whole_with_cuts(space, folder / "whole", make_sampler(space))
    earlier(folder, "b", "search.seed=1", "search.limits.trials=16")
    for number in kills(undisturbed.ledger.events()):
        target = folder / "results" / f"cut-{number}"
        (folder / target.name).rename(target)
        as_searched(space, Ledger(target))
        resumed, _ = begun(folder, *changes, name=target.name)  # without the flag
        assert resumed.portfolio == space.portfolio
        again = searched(resumed, target)
        assert outcome(again) == outcome(undisturbed)
        shutil.rmtree(target)


def test_the_journal_has_the_list_and_a_run_that_began_without_one_stays_so(tmp_path: Path) -> None:
    earlier(tmp_path, "a")
    space, _ = begun(tmp_path, START)
    run = searched(space, tmp_path / "results/new")
    kept = Ledger.open(run.ledger.folder).read_history().sessions.portfolio
    assert kept == [
        {"hparams": point.hparams, "source": point.source} for point in space.portfolio.points or ()
    ]
    without = earlier(tmp_path, "without")
    assert without.history.sessions.portfolio is None
    resumed, text = begun(tmp_path, START, name="without")
    assert resumed.portfolio.points is None
    assert text == "note: portfolio: this run began without one, and resumes without one\n"


@pytest.mark.parametrize(
    "points",
    ["none", [1], [{"hparams": {}}], [{"hparams": [], "source": "a"}], [{"hparams": {}, "source": 1}]],
)
def test_a_journal_whose_list_is_no_list_of_points_is_refused(points: object) -> None:
    event = {"event": "session_started", "portfolio": points}
    with pytest.raises(BadLine, match=r"\(session_started\) has no complete portfolio"):
        EventChecker().check(event, 1)


def test_every_named_run_that_cannot_be_used_is_in_one_message(tmp_path: Path) -> None:
    earlier(tmp_path, "few", "search.limits.trials=4")
    other = earlier(tmp_path, "other")
    as_searched(
        replace(other.space, trainable=type(other.space.trainable)(name="forward_forward")), other.ledger
    )
    torn = earlier(tmp_path, "torn")
    torn.ledger.journal_file.write_text("{}\n" + torn.ledger.journal_file.read_text())
    folder = tmp_path / "results"
    names = [str(folder / name) for name in ("few", "other", "torn", "missing")]
    with pytest.raises(LedgerError) as caught:
        begun(tmp_path, f"search.portfolio.runs=[{', '.join(names)}]")
    lines = str(caught.value).splitlines()
    assert lines[0] == "a portfolio cannot be made of these runs; leave them out:"
    assert f"  {folder / 'other'}: its trainable is forward_forward, here toy" in lines
    assert any(line.startswith(f"  {folder / 'missing'} holds no run") for line in lines)
    assert any(str(folder / "torn") in line for line in lines)
    assert any("few (at most 4 trials have val_accuracy at one rung, 5 are needed)" in line for line in lines)


def test_runs_beside_it_that_cannot_be_used_are_named_and_others_are_not_looked_at(tmp_path: Path) -> None:
    earlier(tmp_path, "good")
    earlier(tmp_path, "few", "search.limits.trials=4")
    torn = earlier(tmp_path, "torn")
    torn.ledger.journal_file.write_text("{}\n" + torn.ledger.journal_file.read_text())
    spaceless = earlier(tmp_path, "spaceless")
    spaceless.ledger.space_file.unlink()
    space, text = begun(tmp_path, START)
    assert {source.partition("/")[0] for source in sources(space)} == {"good"}
    note = next(line for line in text.splitlines() if line.startswith("note: "))
    assert "few (at most 4 trials have val_accuracy at one rung, 5 are needed)" in note
    assert "torn (" in note
    assert "spaceless (" in note


def test_with_a_script_that_was_renamed_or_a_metric_that_is_not_there_a_run_says_nothing(
    tmp_path: Path,
) -> None:
    earlier(tmp_path, "a")
    text = TOY + "metric: {name: val_loss, goal: minimize}\n"
    output, stream = texts()
    space = with_portfolio(made_space(tmp_path, text, [START]), tmp_path / "results/new", output)
    assert space.portfolio.points == ()
    assert "a (at most 0 trials have val_loss at one rung, 5 are needed)" in stream.getvalue()


def test_three_trials_leave_no_quarter(tmp_path: Path) -> None:
    earlier(tmp_path, "a")
    space, text = begun(tmp_path, START, "search.limits.trials=3")
    assert space.portfolio.points == ()
    assert text == "note: portfolio: empty, as it has a quarter of search.limits.trials, 3\n"


def test_without_an_earlier_run_published_recipes_are_tried(tmp_path: Path) -> None:
    text = (
        "parameters: {lr: {min: 0.01, max: 1.0}, weight_decay: {min: 1.0e-6, max: 1.0e-2}}\n"
        "search: {trainable: classification, data: digits, start: portfolio, limits: {trials: 24}}"
    )
    output, stream = texts()
    space = with_portfolio(made_space(tmp_path, text), tmp_path / "results/new", output)
    assert [(each.source, each.hparams) for each in space.portfolio.points or ()] == [
        ("He et al. 2016, ResNet on CIFAR-10", {"lr": 0.1, "weight_decay": 1e-4}),
        ("pytorch-cifar", {"lr": 0.1, "weight_decay": 5e-4}),
        ("torchvision's reference for MobileNetV2", {"lr": 0.045, "weight_decay": 4e-5}),
    ]
    assert (
        f"no earlier run of classification in {tmp_path / 'results'} can be used; of its 8"
        in stream.getvalue()
    )


def test_a_rate_of_another_optimiser_is_no_recipe_here(tmp_path: Path) -> None:
    text = (
        "parameters: {lr: {min: 0.0001, max: 1.0}, optimizer: {value: lamb}}\n"
        "search: {trainable: classification, data: digits, start: portfolio}"
    )
    output, _ = texts()
    assert with_portfolio(made_space(tmp_path, text), tmp_path / "results/new", output).portfolio.points == ()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            [START, "search.design=one-factor", "search.levels=3"],
            "search.start: a list, design or grid has its own",
        ),
        (["search.start=best"], "search.start: must be one of default, portfolio, got 'best'"),
        (
            ["search.portfolio.points=[{hparams: {lrr: 0.1}, source: a}]"],
            "is not among the parameters; did you mean lr",
        ),
        (["search.portfolio.points=[{hparams: {lr: 0.1}}]"], "search.portfolio.points.0.source"),
        (["search.portfolio.points=[{hparams: {lr: 0.1}, source: a, sauce: b}]"], "there is no such key"),
    ],
)
def test_mistakes_in_a_space_are_named(tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(SpaceError, match=message.replace("(", r"\(")):
        made_space(tmp_path, overrides=overrides)


def test_of_runs_on_other_data_a_warm_start_takes_points_and_no_score(tmp_path: Path) -> None:
    run = earlier(tmp_path, "a", "search.validation_subset=0.5")
    output, stream = texts()
    space = made_space(tmp_path, overrides=[f"search.warm_start=[{run.ledger.folder}]"])
    assert known_trials(space, output) == []
    assert with_portfolio(space, tmp_path / "results/new", output).portfolio.points
    assert (
        "had another validation_subset: its best points are tried, its scores not used" in stream.getvalue()
    )


def test_the_last_screen_says_how_the_points_did(tmp_path: Path) -> None:
    earlier(tmp_path, "a")
    space, _ = begun(tmp_path, START)
    run = searched(space, tmp_path / "results/new")
    trials = list(run.history.trials.values())
    sentence = portfolio_sentence(trials, space)
    assert sentence.startswith("2 of 2 points of the portfolio reached the top third of up to 10 others")
    assert f"trial-0001 (from {sources(space)[0]})" in sentence
    output, stream = texts()
    print_summary(run, output)
    print_winner(run, "done", output)
    assert sentence in stream.getvalue()
    points = portfolio_points(trials, space)
    assert len(points) == 2
    assert points[0].endswith("at rung 0, in the top third of 10 others")


def test_points_that_are_of_no_use_here_are_said_to_be_so(tmp_path: Path) -> None:
    poor = "search.portfolio.points=[{hparams: {lr: 0.0001, batch_size: 128}, source: elsewhere/trial-0007}]"
    space, _ = begun(tmp_path, poor)
    run = searched(space, tmp_path / "results/new")
    trials = list(run.history.trials.values())
    assert portfolio_sentence(trials, space) == (
        "0 of 1 point of the portfolio reached the top third of up to 11 others at their lowest rung: "
        "it does not help here"
    )
    assert portfolio_sentence(trials[:2], space) == (
        "too few other trials to compare 1 point of the portfolio with"
    )
    assert portfolio_sentence([trial for trial in trials if trial.proposed_by != "portfolio"], space) == ""
