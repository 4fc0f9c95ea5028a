"""What a backend is: it executes the trials that a run hands out, and decides nothing.

There are three beside this file. `ray/` trains in warm workers on one machine or a cluster; `local.py` in
this process, one trial after another; `simulated.py` trains nothing and lets time pass by what epochs were
seen to take, which is the forecast. The same `Run` serves all three, so that they take the same decisions
from the same results.
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
    """The cores and GPUs of one node: a trial is on one node, whatever others have left."""

    num_cpus: int
    num_gpus: int


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What trials can be given.

    Attributes:
        num_cpus: Cores of all nodes together; `num_gpus` likewise.
        nodes: The same of each node; without any, one has all.
        has_room_beside: A background workload can train beside the trials.
        max_workers: Trials at a time, whatever the cores and GPUs would allow; None is without such a limit.
        warnings: What should be known of where the trials run, a line each.
        notes: Where to follow them, a line each.
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
        """Train every trial of `run` until it ends, and give the reason it ended.

        Args:
            background: What trains beside the trials, from before the first until after the last.
            say: Called with what is waited for, where that takes long.

        Raises:
            JournalError: The journal took no event.
            RayLost: Ray is gone.
        """
        ...


class LaunchableBackend(Backend, Protocol):
    """A backend that a command can start: it has machines, their sensors and their surroundings.

    Attributes:
        where: What is printed as it starts.
        is_here: All trials run on this machine, so that its sensors, CPUs and data are theirs.
        is_in_process: They run in this very process: a view that redraws the terminal would be in a
            debugger's way.
    """

    where: str
    is_here: bool
    is_in_process: bool

    def examining(
        self, request: PreflightRequest
    ) -> AbstractContextManager[Callable[[Say], Sequence[Report]]]:
        """Begin the preflight checks where the trials will run; gives what waits for their reports.

        What it gives is called within `started`, with what prints the progress.
        """
        ...

    def started(self, *, remedy: str) -> AbstractContextManager[Capacity]:
        """Start what executes trials, and end it after the block.

        Args:
            remedy: How to resume the run, for messages that only the backend can print.

        Raises:
            SessionError: It does not start.
        """
        ...

    def start_metering(self, space: Space, known_w: KnownWatts) -> tuple[Metering, str]:
        """The meters of all nodes, and what cannot be measured, in words; empty if all is well.

        Args:
            known_w: What earlier runs learnt of the watts of GPUs at each kind of work.

        Raises:
            SessionError: The only limit of the search is on energy, and nothing measures it.
        """
        ...
