"""Start a Ray session for the run, or join a running cluster."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.backends.backend import NodeCapacity
from search.backends.errors import SessionError
from search.backends.ray.children import descendants, end_orphans, kill_all
from search.backends.ray.internals import OF_CORE, OTHER_RAY, check_internals
from search.backends.ray.liveness import RayWatch, set_current
from search.backends.ray.session_folder import NoSessionFolder, SessionFolder, closed, session_folder
from search.backends.room import USABLE
from search.preflight.machine import GIB, memory_gib
from search.printable import first_line
from search.trial.worker_env import ROOT, offer_worker_env, runtime_env

_DRIVER_ENV = {
    "RAY_worker_niceness": "0",  # with Ray's 15, anything else on the machine starves a trial
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # they are in the trial's log and the table
}
# The autoscaler's and dashboard's exporters fail on an invalid port, which Ray only notes in its own log.
_NO_METRICS = {
    "AUTOSCALER_METRIC_PORT": "-1",
    "DASHBOARD_METRIC_PORT": "-1",
    "RAY_enable_metrics_collection": "0",
}
_TOKEN_HINT = "if its nodes were started with a token, set RAY_AUTH_TOKEN to the same, before Ray is imported"
_TAKEN = (
    "Ray is already running in this Python (ray.init); a search starts its own session, whose workers "
    "have its settings: call ray.shutdown() first, or join a cluster by its address"
)


@dataclass(frozen=True, kw_only=True)
class RayCluster:
    """A started or joined session.

    Attributes:
        dashboard_url: Address of the dashboard, if any.
        token: Token to sign in there.
        notes: What users should know about where its files are and who can join it, one line each.
        nodes: The cores and GPUs of each node.
    """

    nodes: Sequence[NodeCapacity]
    dashboard_url: str | None = None
    token: str | None = None
    notes: Sequence[str] = ()


@contextmanager
def ray_session(*, address: str | None = None, dashboard: bool = False) -> Iterator[RayCluster]:
    """Start Ray on this machine, or join the cluster at `address`, and leave it after the block.

    A local session has a random token of its own, so that no other user can use it, and listens only on
    loopback. Its metrics endpoints, which need no token, exist only with the dashboard. Its files are in a
    folder that no other user can read, and are removed with it.

    Raises:
        SessionError: No cluster answers at `address`, Ray did not start, or its version is not supported.
        RayLost: Ray was lost within the block, as `check_ray` found; if the block is stuck in Ray, the
            process ends instead.
    """
    _check_unhidden()
    if address:
        _check_answers(address)
    os.environ.update(_DRIVER_ENV)
    token = _token_of_cluster() if address else _own_token()
    if not address:
        offer_worker_env()
    logging.getLogger("ray").setLevel(logging.ERROR)  # before Ray logs about its token on start
    import ray

    check_internals(OF_CORE, OTHER_RAY)
    if ray.is_initialized():
        raise SessionError(_TAKEN)
    with _placed(address, has_dashboard=dashboard) as folder, _private(address, has_metrics=dashboard):
        context = _start_or_join(address, dashboard=dashboard, folder=folder)
        is_shared = dashboard and not address
        with closed(Path(context.address_info["session_dir"])) if is_shared else nullcontext():
            watch = None
            try:
                watch = _watch()
                has_url = dashboard and context.dashboard_url
                notes = [folder and folder.note, _open_session_note(address), _unused_address_note(address)]
                yield RayCluster(
                    nodes=[_capacity_of(node["Resources"]) for node in ray.nodes() if node["Alive"]],
                    dashboard_url=f"http://{context.dashboard_url}" if has_url else None,
                    token=token,
                    notes=[note for note in notes if note],
                )
            finally:
                _end(watch)


def _packable_bytes() -> int | None:
    """Return this machine's memory that packed trials may reserve.

    Ray's default would leave 30 % to its object store, which a search does not fill.
    """
    total_gib = memory_gib()
    return None if total_gib is None else int(USABLE * total_gib * GIB)


def _capacity_of(resources: Mapping[str, float]) -> NodeCapacity:
    return NodeCapacity(num_cpus=int(resources.get("CPU", 0)), num_gpus=int(resources.get("GPU", 0)))


def _start_or_join(address: str | None, *, dashboard: bool, folder: SessionFolder | None) -> Any:
    """Call `ray.init` and return its context.

    Raises:
        SessionError: Ray did not start, or the cluster was not joined.
    """
    import ray  # see backend.py: 2 to 4 s

    try:
        return ray.init(
            address=address or "local",
            include_dashboard=dashboard if address is None else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env=runtime_env() if address else None,
            namespace="jouletune",
            _memory=None if address else _packable_bytes(),
            _temp_dir=str(folder.path) if folder else None,
        )
    except Exception as error:  # Ray has no specific class for a node that is not up within 30 s
        reason = first_line(error)
        if address:
            raise SessionError(f"no Ray cluster joined at {address}: {reason}; {_TOKEN_HINT}") from error
        remedy = "try again when this machine is less busy, or without Ray: --backend local"
        raise SessionError(f"Ray did not start: {reason.removesuffix('.')}; {remedy}") from error


@contextmanager
def _private(address: str | None, *, has_metrics: bool) -> Iterator[None]:
    """Make our own session listen only on loopback, and export metrics only if requested.

    Given 127.0.0.1, Ray takes the node's external address and listens on all interfaces, unless it believes
    that the platform supports no clusters: then all its processes keep to loopback.
    """
    if address:
        yield
        return
    from ray._private import ray_constants

    before = {name: os.environ.get(name) for name in _NO_METRICS}
    forms_clusters, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    os.environ.update({} if has_metrics else _NO_METRICS)
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = forms_clusters
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ.update({} if value is None else {name: value})


@contextmanager
def _placed(address: str | None, *, has_dashboard: bool) -> Iterator[SessionFolder | None]:
    """Provide the folder of our own session; None for a cluster, which has its own.

    Raises:
        SessionError: There is no place for the folder.
    """
    with ExitStack() as stack:
        folder = None
        if not address:
            try:
                folder = stack.enter_context(session_folder(has_dashboard=has_dashboard))
            except NoSessionFolder as error:
                raise SessionError(str(error)) from error
        yield folder


def _watch() -> RayWatch:
    """Watch the session that was just started or joined."""
    import ray

    context = ray.get_runtime_context()
    host, _, port = context.gcs_address.rpartition(":")
    here = next(node for node in ray.nodes() if node["NodeID"] == context.get_node_id())
    ports = {
        "its control service (GCS)": (host.strip("[]"), int(port)),
        "the raylet of this machine": (here["NodeManagerAddress"], int(here["NodeManagerPort"])),
    }
    watch = RayWatch(ports, end_ray=_kill_own_processes)
    set_current(watch)
    return watch


def _end(watch: RayWatch | None) -> None:
    import ray

    raylet = _own_raylet()
    if watch and watch.lost:
        _kill_own_processes()  # a raylet told to stop would wait 5 s for the GCS
    ray.shutdown()
    if raylet:
        end_orphans(raylet)
    if watch:
        watch.leave()
    set_current(None)


def _kill_own_processes() -> None:
    """Kill what Ray started on this machine for this process, which is nothing if a cluster was joined."""
    import ray

    raylet = _own_raylet()
    below = list(descendants(raylet)) if raylet else []  # the raylet's agents outlive it by a minute
    if node := ray._private.worker._global_node:
        node.kill_all_processes(check_alive=False, allow_graceful=False)
    kill_all(below)
    if raylet:
        end_orphans(raylet)


def end_orphans_here() -> list[int]:
    """Kill processes left behind by dead workers of our own session, and return their pids.

    Nodes of a joined cluster are left alone.
    """
    raylet = _own_raylet()
    return end_orphans(raylet) if raylet else []


def is_own_session() -> bool:
    """Return whether Ray was started for this process, so that no other program uses it."""
    return _own_raylet() is not None


def _own_raylet() -> int | None:
    import ray

    node = ray._private.worker._global_node
    found = node.all_processes.get("raylet") if node else None
    return found[0].process.pid if found else None


def _check_unhidden() -> None:
    """Check that workers find this program: Ray makes them search the current folder and the script's first.

    Raises:
        SessionError: A module there has the name of one of this program's packages.
    """
    script = os.path.dirname(os.path.realpath(sys.argv[0]))  # noqa: PTH120 - as Ray forms it
    folders = [Path.cwd(), *([Path(script)] if script in sys.path else [])]
    for folder in folders:
        for name in ("search", "trainables"):
            for path in (folder / f"{name}.py", folder / name / "__init__.py"):
                if path.is_file() and folder.resolve() != ROOT:
                    what = f"{path} hides jouletune's package {name} from Ray's workers"
                    raise SessionError(f"{what}; rename it, or start elsewhere")


def _check_answers(address: str) -> None:
    """Check that a head node listens: if none does, Ray itself ends the whole process.

    Raises:
        SessionError: No cluster answers, or the address is malformed.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        client = "; ray:// is Ray's client, through which no search runs" if "://" in address else ""
        raise SessionError(
            f"an address is HOST:PORT of a Ray head node, such as 10.0.0.5:6379, got {address!r}{client}"
        )
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise SessionError(
            f"no Ray cluster answers at {address} ({error.strerror or error}); start one: ray start --head"
        ) from error


def _open_session_note(address: str | None) -> str:
    """Return a note if anyone on this machine can join our own session; otherwise empty.

    Ray has had tokens since 2.52, and has required them by default since 2.59 at the latest: of 2.46, 2.52,
    2.59 and 2.60, the first two let a process with another token join.
    """
    import ray  # see backend.py: 2 to 4 s

    try:
        from ray._private.authentication.authentication_utils import is_token_auth_enabled
    except ImportError:
        asks = False
    else:
        asks = is_token_auth_enabled()
    if address or asks:
        return ""
    return (
        f"Ray {ray.__version__} asks for no token: every user of this machine can join the search's session; "
        "Ray 2.59 and later ask for one"
    )


def _unused_address_note(address: str | None) -> str:
    """Return a note if the environment names a cluster, as in a Ray job, that the search does not join."""
    named = os.environ.get("RAY_ADDRESS", "")
    if address or named in ("", "local"):
        return ""
    return f"RAY_ADDRESS ({named}) is not used: the search has a Ray of its own; --address joins a cluster"


def _token_of_cluster() -> str | None:
    """Return the user's token, and if there is one, switch Ray to token mode.

    `ray start --head` switches to token mode by itself if it finds a token. A process that joins does not,
    and its requests are then refused for 20 s, token or not. Set before `import ray`: see `_own_token`.
    """
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    return token


def _own_token() -> str:
    """Return a random token, the same for every session of this process because Ray caches the first.

    RAY_AUTH_MODE stays unset: token mode is Ray's default for a local session, and only half of Ray would
    read a value that is set after `import ray`.
    """
    return os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
