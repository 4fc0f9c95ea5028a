"""The interface of a backend, which executes the trials that a run hands out, and decides nothing.

There are three backends: `ray/` trains in warm workers on one machine or a cluster; `local.py` trains in this
process, one trial after another; `simulated.py` trains nothing and advances a clock by the measured costs of
epochs, for the forecast. All three serve the same `Run`, so they make the same decisions from the same
results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from search.accounting.account import Metering
from search.energy.attribution.learning import KnownWatts
from search.preflight import PreflightRequest, Report
from search.run import Run
from search.space import Space
from search.trial.background import Background

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class NodeCapacity:
    """The cores and GPUs of one node; a trial runs on a single node."""

    num_cpus: int
    num_gpus: int


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What a backend can give to trials.

    Attributes:
        num_cpus: Cores of all nodes together; `num_gpus` likewise.
        nodes: The cores and GPUs of each node; if empty, a single node has them all.
        max_workers: Most trials at a time, whatever the cores and GPUs allow; None means no such limit.
        has_room_beside: Whether a background workload can train beside the trials.
        warnings: What users should know about where the trials run, one line each.
        notes: Where to follow the trials, one line each.
    """

    num_cpus: int
    num_gpus: int
    nodes: Sequence[NodeCapacity] = ()
    max_workers: int | None = None
    has_room_beside: bool = True
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def by_node(self) -> Sequence[NodeCapacity]:
        """Each node's cores and GPUs."""
        return self.nodes or (NodeCapacity(num_cpus=self.num_cpus, num_gpus=self.num_gpus),)


class Backend(Protocol):
    """Executes a run."""

    def execute(self, run: Run, *, background: Background | None = None, say: Say = ...) -> str:
        """Execute `run` until it ends, and return the reason it ended.

        Args:
            background: Trains beside the trials, from before the first until after the last.
            say: Called with a message when a wait takes long.

        Raises:
            JournalError: An event cannot be written to the journal.
            RayLost: Ray is gone.
        """
        ...


class LaunchableBackend(Backend, Protocol):
    """A backend that a command can start, on real machines with sensors.

    Attributes:
        where: Printed as the backend starts.
        is_here: Whether all trials run on this machine, and use its sensors, CPUs and data.
        is_in_process: Whether they run in this very process, where a view that redraws the terminal would
            disturb a debugger.
    """

    where: str
    is_here: bool
    is_in_process: bool

    def examining(
        self, request: PreflightRequest
    ) -> AbstractContextManager[Callable[[Say], Sequence[Report]]]:
        """Begin the preflight checks where the trials will run; yield a function that awaits the reports.

        It is to be called within `started`, with a function that prints progress.
        """
        ...

    def started(self, *, remedy: str) -> AbstractContextManager[Capacity]:
        """Start what executes trials, and end it after the block.

        Args:
            remedy: How to resume the run, for messages that only the backend can print.

        Raises:
            SessionError: The backend does not start.
        """
        ...

    def start_metering(self, space: Space, known_w: KnownWatts) -> tuple[Metering, str]:
        """Start the meters of all nodes; return them and what cannot be measured, empty if all is well.

        Args:
            known_w: Watts of GPUs by kind of work, as earlier runs learnt them.

        Raises:
            SessionError: The only limits of the search are on energy, and nothing measures it.
        """
        ...
