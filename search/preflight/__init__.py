"""Everything that can be known to fail before the first trial, looked at where the trials will run.

`order` says what to look at, `examine` looks on one node, `checks` judges, `local` asks this machine
and `search.backends.ray.preflight` the nodes of a cluster. Every problem comes with what to do about it.
"""

from __future__ import annotations

from search.preflight.request import PreflightError, PreflightRequest, Problem, Report, WeightRow, request_for

__all__ = ["PreflightError", "PreflightRequest", "Problem", "Report", "WeightRow", "request_for"]
