"""The backend that trains in Ray workers, on this machine or on a joined cluster.

Ray is imported when the backend starts, not with this module: the import takes 2 to 4 s, too long for a
command that ends with an error in its space.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Literal

from search.accounting.account import Metering
from search.backends.backend import Capacity, Say
from search.backends.ray.cluster import ray_session
from search.backends.ray.internals import OF_TUNE, WITHOUT_TUNE, check_internals
from search.backends.ray.liveness import announce_remedy
from search.backends.sensors import start_metering_if_measurable
from search.energy.attribution.learning import KnownWatts
from search.preflight import PreflightRequest, Report
from search.preflight.local import examining_here
from search.run import Run
from search.space import Space
from search.trial.background import Background

# Optuna (1 s) and Tune (2 to 4 s) are needed once Ray is up, and are loaded in the 5 to 7 s that it takes.
# `ray.init` itself stays on the main thread; in another thread it hung.
_LOADED_MEANWHILE = ("search.sampling.sampler", "search.backends.ray.executor")
# The module that carries tasks to workers and results back, by Ray Tune or by Ray Core alone.
Engine = Literal["tune_adapter", "core_controller"]


class RayBackend:
    """Trains as many trials at a time as cores or GPUs allow, each in a warm worker.

    Args:
        address: HOST:PORT of a running cluster's head node; None starts Ray here.
        dashboard: Whether to start Ray's dashboard and print how to sign in.
        engine: The module that controls the workers.
    """

    is_in_process = False

    def __init__(
        self, *, address: str | None = None, dashboard: bool = False, engine: Engine = "tune_adapter"
    ) -> None:
        self._address, self._dashboard = address, dashboard
        self._engine, self._has_tune = f"search.backends.ray.{engine}", engine == "tune_adapter"
        self.where = f"joining Ray at {address}" if address else "starting Ray on this machine"
        self.is_here = address is None

    @contextmanager
    def examining(self, request: PreflightRequest) -> Iterator[Callable[[Say], Sequence[Report]]]:
        """Run the checks while Ray starts on this machine, or on every node of a cluster once joined."""
        if self._address:
            yield lambda say: _examine_nodes(request)
            return
        with examining_here(request) as reports:
            yield reports

    @contextmanager
    def started(self, *, remedy: str) -> Iterator[Capacity]:
        """Start or join Ray for the block.

        Raises:
            SessionError: Ray did not start, no cluster answers, or this version of Ray is not supported.
            RayLost: Ray was lost within the block.
        """
        loading = _load_meanwhile((*_LOADED_MEANWHILE, self._engine))
        with ray_session(address=self._address, dashboard=self._dashboard) as cluster:
            announce_remedy(remedy)
            if self._has_tune:
                loading.join()  # in Ray Tune's circular imports, two threads would see half-loaded modules
                check_internals(OF_TUNE, WITHOUT_TUNE)
            sign_in = f"dashboard: {cluster.dashboard_url}   sign in with the token {cluster.token}"
            yield Capacity(
                num_cpus=sum(node.num_cpus for node in cluster.nodes),
                num_gpus=sum(node.num_gpus for node in cluster.nodes),
                nodes=cluster.nodes,
                warnings=cluster.notes,
                notes=[sign_in] if self._dashboard else [],
            )

    def start_metering(self, space: Space, known_w: KnownWatts) -> tuple[Metering, str]:
        """Start a meter on each node, as a Ray actor."""
        from search.backends.ray.metering import NodeMeters  # loads Ray, see above

        return start_metering_if_measurable(
            space, lambda cpu_power: NodeMeters(cpu_power, known_w), is_here=self.is_here
        )

    def execute(self, run: Run, *, background: Background | None = None, say: Say = lambda line: None) -> str:
        """Execute `run` to its end, `resources.workers` trials at a time."""
        from search.backends.ray.executor import execute  # loads Ray, see above

        controlling = importlib.import_module(self._engine).controlling
        slots = run.space.resources.workers
        assert slots, "resolve_resources comes first"
        return execute(run, controlling=controlling, slots=slots, background=background, say=say)


def _examine_nodes(request: PreflightRequest) -> Sequence[Report]:
    from search.backends.ray.preflight import examine_nodes  # loads Ray, see above

    return examine_nodes(request)


def _load_meanwhile(modules: Sequence[str]) -> threading.Thread:
    """Import the modules in a thread; code that needs one sooner waits at its own import."""

    def load() -> None:
        for name in modules:
            with suppress(Exception):  # code that needs the module imports it again and gets the error
                importlib.import_module(name)

    loading = threading.Thread(target=load, name="load-meanwhile", daemon=True)
    loading.start()
    return loading
