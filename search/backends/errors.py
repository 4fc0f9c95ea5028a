"""Errors of a backend as a whole, worded for the user. Does not import Ray."""

from __future__ import annotations

RAY_LOST_STATUS = 4


class SessionError(RuntimeError):
    """The backend cannot be started or joined; the message says what to do."""


class RayLost(SessionError):
    """Ray was running and is gone; the run can be resumed."""
