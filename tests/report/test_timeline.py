"""When each trial trained, as rows of bars."""

from __future__ import annotations

from typing import Any

from search.report.page.timeline import Stay, stays


def epoch(trial: str, at_s: float, seconds: float, rung: int = 0, **row: Any) -> dict[str, Any]:
    metrics = {"val_accuracy": at_s / 100}
    return {
        "event": "epoch",
        "trial": trial,
        "elapsed_s": at_s,
        "row": {"rung": rung, "seconds": seconds, "metrics": metrics, **row},
    }


def ended(trial: str, at_s: float) -> dict[str, Any]:
    return {"event": "trial_ended", "trial": trial, "elapsed_s": at_s}


def placed(events: list[dict[str, Any]]) -> list[tuple[str, int, float, float, int, int]]:
    found = stays(events, "val_accuracy")
    return [(s.trial_id, s.rung, s.start_s, s.end_s, s.num_epochs, s.row) for s in found]


def test_trials_at_once_are_in_rows_of_their_own_and_one_after_the_other_in_one_row() -> None:
    events = [
        {"event": "session_started"},
        epoch("a", 10, 10),
        epoch("b", 12, 10),
        epoch("a", 20, 10),
        ended("a", 20),
        ended("b", 12),
        epoch("c", 30, 10),
    ]
    assert placed(events) == [("a", 0, 0, 20, 2, 0), ("b", 0, 2, 12, 1, 1), ("c", 0, 20, 30, 1, 0)]


def test_a_trial_that_climbs_on_stays_in_its_row_and_one_that_waited_begins_anew() -> None:
    events = [epoch("a", 5, 5), epoch("a", 9, 4, rung=1), ended("a", 9), epoch("a", 30, 6, rung=1)]
    assert placed(events) == [("a", 0, 0, 5, 1, 0), ("a", 1, 5, 9, 1, 0), ("a", 1, 24, 30, 1, 0)]


def test_a_session_goes_on_where_the_last_one_ended() -> None:
    events = [
        {"event": "session_started", "elapsed_s": 0.0},
        epoch("a", 10, 10),
        {"event": "session_started", "elapsed_s": 0.0},
        epoch("a", 6, 9),  # its start was before the session's: it cannot have been
        epoch("b", 8, 1, is_replay=True),
    ]
    assert placed(events) == [("a", 0, 0, 10, 1, 0), ("a", 0, 10, 16, 1, 0)]
    assert stays(events, "val_accuracy")[1] == Stay(
        trial_id="a", rung=0, start_s=10.0, end_s=16.0, value=0.06
    )
