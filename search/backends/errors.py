"""What goes wrong with a backend as a whole, in words for the user. Loads no Ray."""

from __future__ import annotations

RAY_LOST_STATUS = 4


class SessionError(RuntimeError):
    """What is to execute the trials cannot be started or joined; the message says what to do."""


class RayLost(SessionError):
    """Ray was there and is gone; the run can be resumed."""
