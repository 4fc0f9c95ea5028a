"""A Ray session of the run's own, or a running cluster joined."""

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
from search.trial.worker_env import ROOT, offer_worker_env, runtime_env

_DRIVER_ENV = {
    "RAY_worker_niceness": "0",  # Ray's 15 starves a trial beside anything else on the machine
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # they are in the trial's log and the table
}
# The exporters of scaling and dashboard fail on a port that is none, which Ray only notes in its own log.
_NO_METRICS = {
    "AUTOSCALER_METRIC_PORT": "-1",
    "DASHBOARD_METRIC_PORT": "-1",
    "RAY_enable_metrics_collection": "0",
}
_TOKEN_HINT = "if its nodes were started with a token, set RAY_AUTH_TOKEN to the same, before Ray is imported"
_TAKEN = (
    "Ray is started in this Python already (ray.init); a search starts a session of its own, whose workers "
    "have its settings: call ray.shutdown() first, and then search, or join a cluster by its address"
)


@dataclass(frozen=True, kw_only=True)
class RayCluster:
    """A started session.

    Attributes:
        dashboard_url: Where the dashboard answers, or None.
        token: What signs in there.
        notes: What a user should know of where its files are and who can join it, a line each.
        nodes: The cores and GPUs of each node.
    """

    nodes: Sequence[NodeCapacity]
    dashboard_url: str | None = None
    token: str | None = None
    notes: Sequence[str] = ()


@contextmanager
def ray_session(*, address: str | None = None, dashboard: bool = False) -> Iterator[RayCluster]:
    """Start Ray on this machine, or join the cluster at `address`, and leave it in the end.

    A local session has a random token of its own, so that no other user can use it, and listens on loopback
    alone. Its metrics endpoints, which ask for no token, are there only beside the dashboard. Its files are
    in a folder that no other user can read and that is gone with it.

    Raises:
        SessionError: No cluster answers at `address`, Ray did not start, or it is one that is not known here.
        RayLost: It is gone within the block, as `check_ray` found; a block that is stuck in Ray ends with the
            process.
    """
    _check_unhidden()
    if address:
        _check_answers(address)
    os.environ.update(_DRIVER_ENV)
    token = _token_of_cluster() if address else _own_token()
    if not address:
        offer_worker_env()
    logging.getLogger("ray").setLevel(logging.ERROR)  # before Ray speaks of its token on start
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
                yield RayCluster(
                    nodes=[_capacity_of(node["Resources"]) for node in ray.nodes() if node["Alive"]],
                    dashboard_url=f"http://{context.dashboard_url}" if has_url else None,
                    token=token,
                    notes=[note for note in (folder and folder.note, _open_session_note(address)) if note],
                )
            finally:
                _end(watch)


def _packable_bytes() -> int | None:
    """The memory that trials may reserve of this machine, where they are packed by it.

    Ray's own choice leaves 30 % to a store of objects, which a search does not fill.
    """
    total_gib = memory_gib()
    return None if total_gib is None else int(USABLE * total_gib * GIB)


def _capacity_of(resources: Mapping[str, float]) -> NodeCapacity:
    return NodeCapacity(num_cpus=int(resources.get("CPU", 0)), num_gpus=int(resources.get("GPU", 0)))


def _start_or_join(address: str | None, *, dashboard: bool, folder: SessionFolder | None) -> Any:
    """Call `ray.init`; gives its context.

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
    except Exception as error:  # of no class of its own where the node is not up in 30 s
        reason = str(error).splitlines()[0]
        if address:
            raise SessionError(f"no Ray cluster joined at {address}: {reason}; {_TOKEN_HINT}") from error
        raise SessionError(f"Ray did not start: {reason}") from error


@contextmanager
def _private(address: str | None, *, has_metrics: bool) -> Iterator[None]:
    """Have a session of our own listen on loopback alone, and export no metrics unless they are asked for.

    Given 127.0.0.1, Ray takes the node's outer address and listens on all interfaces, except where it
    believes that the platform forms no clusters: then all its processes keep to loopback.
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
    """The folder of a session of our own; None for a cluster, which has its own.

    Raises:
        SessionError: There is no place for it.
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
    """Watch the session that was started or joined just now."""
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
        _kill_own_processes()  # asked to end, a raylet would wait 5 s for the GCS
    ray.shutdown()
    if raylet:
        end_orphans(raylet)
    if watch:
        watch.leave()
    set_current(None)


def _kill_own_processes() -> None:
    """End what Ray started on this machine for this process: nothing, where a cluster was joined."""
    import ray

    raylet = _own_raylet()
    below = list(descendants(raylet)) if raylet else []  # its agents outlive it by a minute
    if node := ray._private.worker._global_node:
        node.kill_all_processes(check_alive=False, allow_graceful=False)
    kill_all(below)
    if raylet:
        end_orphans(raylet)


def end_orphans_here() -> list[int]:
    """Kill what dead workers of a session of our own have left; gives their numbers.

    The nodes of a cluster that was joined are left alone.
    """
    raylet = _own_raylet()
    return end_orphans(raylet) if raylet else []


def is_own_session() -> bool:
    """Whether Ray was started for this process, so that no other program asks it for anything."""
    return _own_raylet() is not None


def _own_raylet() -> int | None:
    import ray

    node = ray._private.worker._global_node
    found = node.all_processes.get("raylet") if node else None
    return found[0].process.pid if found else None


def _check_unhidden() -> None:
    """See that workers find this program: Ray has them look in the current folder and the script's first.

    Raises:
        SessionError: A module there has the name of one of its packages.
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
    """See that a head node listens: Ray itself ends the whole process when none does.

    Raises:
        SessionError: No cluster does, or the address is none.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise SessionError(
            f"an address is HOST:PORT of a Ray head node, such as 10.0.0.5:6379, got {address!r}"
        )
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise SessionError(
            f"no Ray cluster answers at {address} ({error.strerror or error}); start one: ray start --head"
        ) from error


def _open_session_note(address: str | None) -> str:
    """What is to be known of a session of our own that anybody on this machine can join; else empty.

    Ray has tokens since 2.52 and asks for them by itself since 2.59 at the latest: of 2.46, 2.52, 2.59 and
    2.60 the first two let a process with another token join.
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


def _token_of_cluster() -> str | None:
    """The token that the user gave; with it Ray has to be told that a cluster is joined by tokens.

    `ray start --head` takes token mode where it finds a token. A process that joins does not, and its
    requests are then refused for 20 s, token or not. Told before `import ray`: see `_own_token`.
    """
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    return token


def _own_token() -> str:
    """A random token, the same for every session of this process: Ray caches the first.

    RAY_AUTH_MODE stays unset: token mode is Ray's default for a local session, and setting it
    after `import ray` is read by one half of Ray only.
    """
    return os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
