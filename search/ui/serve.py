"""Starts the server of the pages, prints their address, and stops the server on Ctrl-C."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from aiohttp import web

from search.bucket.address import Address, is_address
from search.errors import UserError
from search.ledger import RunFolder
from search.output import Output
from search.ui.access import Access, is_loopback
from search.ui.runs import Runs
from search.ui.server import Pages

USUAL_PORT = 8266  # beside Ray's dashboard


@dataclass(frozen=True, kw_only=True)
class Service:
    """What to serve, and where.

    Attributes:
        results: The folder of runs, or that of one run, whose page is then opened first.
        port: None means the usual port, or a free one if that is taken; 0 means a free one.
        should_open: Whether to open a browser, if the machine has a screen.
    """

    results: Path
    host: str = "127.0.0.1"
    port: int | None = None
    should_open: bool = True


def serve(service: Service, output: Output) -> None:
    """Serve the pages until Ctrl-C or SIGTERM.

    Raises:
        UserError: There is no such folder, or the address cannot be listened on.
    """
    results, path = _place(service.results)
    with _listening(service.host, service.port) as listener:
        asyncio.run(_serve(results, path, listener, service, output))


def _place(results: Path) -> tuple[Path, str]:
    """The folder of runs, and the page to open first."""
    if is_address(results):
        bucket = Address.parse(results)
        raise UserError(
            f"{bucket} is in a bucket, but only runs in a folder of this machine are shown live: fetch one "
            f"with `jouletune fetch {bucket}/NAME`, or write its page with `jouletune report {bucket}/NAME`"
        )
    results = results.absolute()
    if not results.is_dir():
        raise UserError(f"{results} is not a folder; give the one that has the runs")
    if RunFolder(results).has_run:
        return results.parent, f"/runs/{quote(results.name)}"
    return results, "/"


def _listening(host: str, port: int | None) -> socket.socket:
    """A listening socket.

    Raises:
        UserError: The address is not this machine's, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    wanted = [USUAL_PORT, 0] if port is None else [port]
    for number in wanted:
        try:
            return socket.create_server((host, number), family=family)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and number != wanted[-1]:
                continue
            advice = "; --port 0 takes a free one" if error.errno == errno.EADDRINUSE else ""
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
            raise UserError(f"cannot listen on {host} port {number}: {reason}{advice}") from error
    raise AssertionError("unreachable: the last one is taken or raises")


async def _serve(results: Path, path: str, listener: socket.socket, service: Service, output: Output) -> None:
    port = listener.getsockname()[1]
    access = Access(service.host, port)
    runner = web.AppRunner(
        Pages(Runs(results)).application(access),
        handle_signals=False,
        handler_cancellation=True,
        access_log=None,
        shutdown_timeout=1.0,
    )
    await runner.setup()
    await web.SockSite(runner, listener).start()
    stop = _stop_event()  # before the announcement, after which a signal may be sent
    _announce(results, access.address(path), port, service, output)
    if service.should_open and _has_screen():
        await asyncio.to_thread(webbrowser.open, access.address_once(path))
    await stop.wait()
    output.print("stopped serving the pages; searches are not affected")
    await runner.cleanup()


def _announce(results: Path, address: str, port: int, service: Service, output: Output) -> None:
    if not is_loopback(service.host):
        output.warn(
            f"listening on {service.host}: anyone who can reach this port and has the token can read all "
            f"runs in {results}, and traffic is not encrypted; to encrypt it, leave out --host and use "
            "`ssh -L`"
        )
    output.print(f"the runs in {results}, live:\n  {address}")
    if "SSH_CONNECTION" in os.environ and is_loopback(service.host):
        here = socket.gethostname()
        output.print(f"first, on your own machine: ssh -L {port}:127.0.0.1:{port} {here}")
    output.print("Ctrl-C stops this server; searches are not affected")


def _stop_event() -> asyncio.Event:
    """An event that Ctrl-C or SIGTERM sets; a second signal ends the process at once."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def end(number: signal.Signals) -> None:
        loop.remove_signal_handler(number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end, number)
    return stop


def _has_screen() -> bool:
    """Whether a browser would open a window; one in the terminal would take the terminal over."""
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
