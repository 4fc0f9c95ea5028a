"""The web server of the pages in a thread, and a client that controls requests byte by byte."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from search.ui.access import Access
from search.ui.runs import Runs
from search.ui.server import Pages

TIMEOUT_S = 60


@dataclass(frozen=True)
class Answer:
    """A response, with header names in lower case."""

    status: int
    headers: Mapping[str, str]
    text: str


class Stream:
    """A stream of server-sent events, read like a browser does."""

    def __init__(self, connection: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> None:
        self._connection, self._answer = connection, answer
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"

    def next(self) -> dict[str, Any]:
        """The content of the next event."""
        while line := self._answer.readline():
            if line.startswith(b"data: "):
                content: dict[str, Any] = json.loads(line[6:])
                return content
        raise EOFError("the server ended the stream")

    def close(self) -> None:
        self._answer.close()
        self._connection.close()


class UiServer:
    """A server on a free loopback port.

    Args:
        results: Folder of runs.
        file: File in which it stores rows.
    """

    def __init__(self, results: Path, file: Path) -> None:
        self.runs = Runs(results, file=file)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.access = Access("127.0.0.1", self.port)
        self.cookie = f"jouletune-{self.port}={self.access.token}"

    @contextmanager
    def serving(self) -> Iterator[None]:
        ready = threading.Event()
        loop, stop = asyncio.new_event_loop(), asyncio.Event()

        async def serve() -> None:
            runner = web.AppRunner(
                Pages(self.runs).application(self.access), handler_cancellation=True, shutdown_timeout=1.0
            )
            await runner.setup()
            await web.SockSite(runner, self._listener).start()
            ready.set()
            await stop.wait()
            await runner.cleanup()

        thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
        thread.start()
        try:
            assert ready.wait(TIMEOUT_S)
            yield
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(TIMEOUT_S)
            loop.close()

    def get(self, path: str, *, method: str = "GET", cookie: str | None = None, **headers: str) -> Answer:
        """The answer to a request with the server's cookie or with `cookie` instead; "" sends none.

        Args:
            path: Sent as it is: nothing in it is resolved or escaped.
            headers: Further headers, with _ for -.
        """
        connection, answer = self._send(path, method, cookie, headers)
        try:
            names = {name.lower(): value for name, value in answer.headers.items()}
            return Answer(answer.status, names, answer.read().decode())
        finally:
            connection.close()

    @contextmanager
    def stream(self, path: str) -> Iterator[Stream]:
        stream = Stream(*self._send(path, "GET", None, {}))
        try:
            yield stream
        finally:
            stream.close()

    def _send(
        self, path: str, method: str, cookie: str | None, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        cookie = self.cookie if cookie is None else cookie
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"Host": f"127.0.0.1:{self.port}", **({"Cookie": cookie} if cookie else {}), **given}
        for name, value in sent.items():
            connection.putheader(name, value)
        connection.endheaders()
        return connection, connection.getresponse()
