"""Decide why joules cannot be used: unknown, too uncertain to end a rung, or of other parts than the rest.

Only this module decides that. A search uses joules in two ways: as an objective beside the metric, and as the
budget of its rungs. An objective needs joules that are known and cover the same parts as other trials'. A
rung needs more. It compares one trial's joules with a fixed number, so they must come from a counter and be
the trial's own, which takes a whole device or calibrated shares (5 % error, against 25 % for plain
utilisation: `attribution.windows.RELATIVE_ERROR`).
"""

from __future__ import annotations

from typing import Literal, NoReturn

from search.energy.reading import EnergySensors

Part = Literal["gpu", "cpu"]  # what a training is measured by: its GPUs, or CPU and memory if it has none

NO_SENSOR = "no sensor was read"

_OWN = ("exclusive", "calibrated")
_REMEDY = {
    "gpu": "give each trial a whole GPU, or set search.metering.exclusive_slots: true",
    "cpu": "give each trial all cores of its node (search.resources.cpus_per_trial)",
}


class Unmeasured(ValueError):
    """A trial's joules cannot be used; the message says why."""


def unusable_reason(sensors: EnergySensors, *, is_on_gpu: bool) -> str:
    """Return why joules of these sensors cannot end a rung; empty if they can."""
    part: Part = "gpu" if is_on_gpu else "cpu"
    if is_on_gpu:
        sensor, attribution = sensors.gpu_sensor, sensors.gpu_attribution
    else:
        sensor, attribution = sensors.cpu_sensor, sensors.cpu_attribution
    if not sensor:
        return unknown_reason(sensors.reason, part)
    if "integral" in sensor or "estimated" in sensor:
        return f"its {part.upper()}'s joules do not come from a counter ({sensor})"
    if attribution not in _OWN:
        return f"its {part.upper()}'s joules are split by the method {attribution}; {_REMEDY[part]}"
    return ""


def unknown_reason(reason: str, part: Part) -> str:
    """Return the statement that this part's joules are unknown, with the reason.

    Args:
        reason: The sensors' own reason; empty if no sensor was read.
    """
    return f"its {part.upper()}'s joules are not known ({reason or NO_SENSOR})"


class ComparableJoules:
    """Admits joules that are known and cover the same parts as those of the first trial.

    The answers depend only on the calls and their order, so that a resumed run decides as the first did.

    Args:
        asked_by: What in the space needs joules, as the end of a sentence.

    Attributes:
        no_energy_reason: Why no trial will have joules, if the first trial had none.
    """

    def __init__(self, asked_by: str) -> None:
        self._asked_by = asked_by
        self._scope = ""
        self.no_energy_reason = ""

    def accept(self, scope: str) -> None:
        """Accept the joules of one trial.

        Args:
            scope: The parts they cover, such as "gpu+cpu".

        Raises:
            Unmeasured: The joules of earlier trials cover other parts.
        """
        self._scope = self._scope or scope
        if scope != self._scope:
            raise Unmeasured(f"its joules cover {scope}, those of earlier trials cover {self._scope}")

    def refuse(self, reason: str) -> NoReturn:
        """Refuse a trial without usable joules.

        Raises:
            Unmeasured: Always.
        """
        if not self._scope:
            self.no_energy_reason = f"{reason}, and {self._asked_by}"
        raise Unmeasured(reason)
