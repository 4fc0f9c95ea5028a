"""Everything that can be known to fail before the first trial, checked where the trials will run.

`request` says what to check, `node_checks` runs on one node, `checks` judges numbers, `local` asks this
machine and `search.backends.ray.preflight` the nodes of a cluster. Every problem comes with its remedy.
"""

from __future__ import annotations

from search.preflight.request import PreflightError, PreflightRequest, Problem, Report, WeightRow, request_for

__all__ = ["PreflightError", "PreflightRequest", "Problem", "Report", "WeightRow", "request_for"]
