"""A clock that tests move by hand."""

from __future__ import annotations


class FakeClock:
    """Seconds that stand still until `now_s` is set."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s
