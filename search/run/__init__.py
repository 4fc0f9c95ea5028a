"""One search: what it decides, and how it resumes after a kill. Backends execute. No Ray."""

from __future__ import annotations

from search.run.run import Answer, Run

__all__ = ["Answer", "Run"]
