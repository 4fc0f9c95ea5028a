"""Whether the joules of a trial may end its rungs: known, its own, and of the same parts as others'. Pure."""

from __future__ import annotations

from search.budget import Ladder
from search.run.objective import Unmeasured
from search.trial import EpochRow


class LadderEnergy:
    """What a ladder of joules asks of each row. Asked the same in the same order it answers the same.

    Attributes:
        no_energy_reason: Why no rung can end, where the first trial that was to end one could not.
    """

    def __init__(self, ladder: Ladder) -> None:
        self._is_asked = bool(ladder.joules)
        self._scope = ""
        self.no_energy_reason = ""

    def check(self, row: EpochRow) -> None:
        """See that the row may say at which rung its trial is.

        Raises:
            Unmeasured: Its joules are not known, or are to end a rung and cannot.
        """
        if not self._is_asked:
            return
        if row.used is None or row.used.mj is None:
            self._refuse(row.used.unusable_reason if row.used else "its joules were not counted")
        elif row.completes_rung and row.used.unusable_reason:
            self._refuse(row.used.unusable_reason)
        elif row.completes_rung:
            self._scope = self._scope or row.used.scope
            if row.used.scope != self._scope:
                text = f"its joules are of {row.used.scope}, those of earlier trials of {self._scope}"
                raise Unmeasured(text)

    def _refuse(self, why: str) -> None:
        if not self._scope:
            self.no_energy_reason = f"{why}, and search.ladder measures rungs in joules"
        raise Unmeasured(why)
