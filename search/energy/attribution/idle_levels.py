"""What a device draws while it does nothing: without any process, and with processes that wait."""

from __future__ import annotations

from collections import deque

from search.energy.reading import to_joules

SETTLED_S = 10.0  # without a process, before the power counts as bare: clocks and fans come down first

_SHORTEST_S = 0.5  # the counter moves in steps of up to 0.1 s: a fifth of the shortest stretch
_NUM_KEPT = 60  # a minute at 1 Hz: old enough for a mean, young enough for the room's warmth


class Level:
    """The mean power of the latest stretches; 0 and `is_known` False before the first."""

    def __init__(self) -> None:
        self._stretches: deque[tuple[int, float]] = deque(maxlen=_NUM_KEPT)

    @property
    def is_known(self) -> bool:
        return bool(self._stretches)

    @property
    def power_w(self) -> float:
        total_mj = sum(increment_mj for increment_mj, _ in self._stretches)
        return (
            to_joules(total_mj) / sum(seconds for _, seconds in self._stretches) if self._stretches else 0.0
        )

    def add(self, increment_mj: int, duration_s: float) -> None:
        self._stretches.append((increment_mj, duration_s))


class IdleLevels:
    """Learns a device's two idle levels from stretches of time that show them, and from no others.

    A CUDA context alone adds 26 to 66 W. So `bare` is learnt only after 10 s without any compute process,
    `context` only where one is present from end to end and utilisation is 0; never under load.
    """

    def __init__(self) -> None:
        self.bare = Level()
        self.context = Level()
        self._was_occupied: bool | None = None
        self._empty_s = 0.0
        self._was_quiet = False

    def observe(
        self, increment_mj: int, duration_s: float, *, is_occupied: bool | None, is_active: bool | None
    ) -> None:
        """Take a stretch that follows the one before without a gap.

        Args:
            is_occupied: A compute process is on the device at the end of the stretch; None is unknown.
            is_active: Anything used the device in the stretch; None is unknown, and teaches nothing.
        """
        was_occupied, self._was_occupied = self._was_occupied, is_occupied
        was_quiet, self._was_quiet = self._was_quiet, is_active is False
        stays_empty = was_occupied is False and is_occupied is False and is_active is False
        is_settled = stays_empty and self._empty_s >= SETTLED_S
        self._empty_s = self._empty_s + duration_s if stays_empty else 0.0
        if duration_s < _SHORTEST_S:
            return
        if is_settled:
            self.bare.add(increment_mj, duration_s)
        # The stretch before must be quiet too: utilisation is reported up to a second late.
        elif was_occupied and is_occupied and was_quiet and is_active is False:
            self.context.add(increment_mj, duration_s)

    def interrupt(self) -> None:
        """Forget the stretch before: it and the next are separated by a time without answers."""
        self._was_occupied, self._was_quiet, self._empty_s = None, False, 0.0
