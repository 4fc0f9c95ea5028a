"""Ray on nodes allocated by a batch system: find the head node's address, and wait for nodes to join.

    python -m search.backends.ray.allocation place PEER
    python -m search.backends.ray.allocation await-head HOST:PORT PID
    python -m search.backends.ray.allocation await-nodes HOST:PORT N

The batch script in `search/slurm/` makes these calls and reads what they print to standard output.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing

_EVERY_S = 0.5
_HEAD_S = 120.0  # Ray is read from a shared file system, maybe by 1,000 nodes at once
_NODES_S = 300.0
_DISCARD_PORT = 9  # nothing is sent: connecting a datagram socket only chooses a route


def own_address(peer: str) -> str:
    """Return the address of this machine on its route to `peer`, a host name or an address.

    Its own host name may resolve to 127.0.1.1, and its route to the internet may be another network or none.
    """
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as way:
        way.connect((peer, _DISCARD_PORT))
        address: str = way.getsockname()[0]
        return address


def free_ports(address: str, num_ports: int) -> list[int]:
    """Return distinct ports that are free at `address` now; other processes may take one at any time."""
    with ExitStack() as stack:
        probes = [stack.enter_context(closing(socket.socket())) for _ in range(num_ports)]
        for probe in probes:
            probe.bind((address, 0))
        return [probe.getsockname()[1] for probe in probes]


def await_head(address: str, pid: int, *, most_s: float = _HEAD_S) -> bool:
    """Wait for Ray's control service at `address`; return whether it answers before process `pid` ends."""
    host, _, port = address.rpartition(":")
    end_s = time.monotonic() + most_s
    while _is_alive(pid) and time.monotonic() < end_s:
        try:
            socket.create_connection((host, int(port)), timeout=2).close()
        except OSError:
            time.sleep(_EVERY_S)
        else:
            return True
    return False


def await_nodes(
    count_nodes: Callable[[], int],
    num_nodes: int,
    *,
    most_s: float = _NODES_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Wait until `num_nodes` have joined, at most `most_s`, and return a line that says how many did."""
    end_s = clock() + most_s
    while (joined := count_nodes()) < num_nodes and clock() < end_s:
        sleep(_EVERY_S)
    if joined >= num_nodes:
        return f"Ray runs on {joined} node{'s' if joined > 1 else ''}"
    return (
        f"warning: {joined} of {num_nodes} nodes joined within {most_s:g} s; the search runs on these alone"
    )


def _joined_nodes(address: str) -> Callable[[], int]:
    """Join the cluster and return a function that counts its live nodes."""
    import ray  # takes 2 to 4 s, which the other calls need not wait for

    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    return lambda: sum(node["Alive"] for node in ray.nodes())


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def main(words: Sequence[str]) -> int:
    """Run one of the calls above and return its exit status: 1 if no head node answers, 2 for other calls."""
    match words:
        case ["place", peer]:
            host = own_address(peer)
            print(host, *free_ports(host, 3))
        case ["await-head", address, pid]:
            return 0 if await_head(address, int(pid)) else 1
        case ["await-nodes", address, num_nodes]:
            print(await_nodes(_joined_nodes(address), int(num_nodes)), flush=True)
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
