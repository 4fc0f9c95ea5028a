"""Ray's dashboard says which trial and rung each worker trains. Slow: starts Ray."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.slow_searches import searching, slow_space

pytestmark = pytest.mark.slow


@contextmanager
def watched_search(folder: Path) -> Iterator[tuple[str, str]]:
    """The dashboard's address and the token that signs in there, while a search runs."""
    slow_space(
        folder,
        ladder={"epochs": [1, 3]},
        scheduler={"mode": "asha_stopping"},
        limits={"hours": 0.05},
        resources={"workers": 1},
    )
    search = searching(folder, "--dashboard", "--skip-preflight", PYTHONUNBUFFERED="1")
    try:
        assert search.stdout
        matches = (
            re.search(r"dashboard: (\S+) +sign in with the token (\w+)", line) for line in search.stdout
        )
        found = next(match for match in matches if match)
        yield found[1], found[2]
    finally:
        search.terminate()
        search.communicate(timeout=60)


def tasks(url: str, token: str) -> list[dict[str, str]]:
    """What the dashboard's table of tasks shows."""
    request = urllib.request.Request(
        f"{url}/api/v0/tasks?detail=1&limit=1000", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        rows: list[dict[str, str]] = json.loads(answer.read())["data"]["result"]["result"]
    return rows


def test_the_table_of_tasks_names_trial_and_rung_of_every_epoch(tmp_path: Path) -> None:
    names: set[str] = set()
    with watched_search(tmp_path) as (url, token):
        end_s = time.monotonic() + 120
        while "trial-0001 rung 0" not in names and time.monotonic() < end_s:
            names = {row["name"] for row in tasks(url, token) if row["name"].startswith("trial-")}
        with pytest.raises(urllib.error.HTTPError, match="403"):
            tasks(url, "another token")
    assert names >= {"trial-0000 rung 0", "trial-0000 rung 1", "trial-0001 rung 0"}
    assert {re.sub(r"\d{4}", "N", name) for name in names} <= {"trial-N rung 0", "trial-N rung 1"}
