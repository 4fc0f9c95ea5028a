"""The server of the pages: a list of runs, and each run's page, with events when something changes.

One thread reads runs and others make pages, so that nothing waits for a slow page. Runs are read only while
someone is watching. No path is taken from a request: a run is looked up by its name among those that a scan
of the folder found.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from aiohttp import ClientConnectionResetError, web
from jinja2 import Environment, FileSystemLoader

from search.ledger import LedgerError
from search.printable import printable
from search.space import SpaceError
from search.ui.access import Access, add_security_headers
from search.ui.run_row import RunRow
from search.ui.runs import Runs

_HERE = Path(__file__).parent
_FILES = {
    "ui.css": "text/css",
    "list.js": "text/javascript",
    "run.js": "text/javascript",
    "connection.js": "text/javascript",
}
_SCAN_S = 1.0  # between two scans; ten times as long as the last one took, if that is longer
_GATHER_S = 0.25  # between two events of a stream: rows that are read one by one are sent together
_ALIVE_S = 15.0  # after which a silent stream sends a comment, so that a closed one is noticed
_GONE = -2  # the version of a run that no longer exists
_WAIT_MS = 2000  # after which a browser tries to reconnect


class Pages:
    """The answers of the server.

    Args:
        runs: The runs of the folder.
    """

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="runs")
        self._num_viewers = 0
        self._wanted, self._news = asyncio.Event(), asyncio.Event()
        self._is_ending = False

    def application(self, access: Access) -> web.Application:
        """The application, to be run by a server."""
        app = web.Application(middlewares=[access.check])
        app.on_response_prepare.append(add_security_headers)
        app.add_routes(
            [
                web.get("/", self._list),
                web.get("/events", self._list_events, allow_head=False),
                web.get("/static/{file}", self._file),
                web.get("/runs/{name}", self._run),
                web.get("/runs/{name}/events", self._run_events, allow_head=False),
                web.get("/runs/{name}/report", self._report, name="report"),
            ]
        )
        app.cleanup_ctx.append(self._scanning)
        app.on_shutdown.append(self._end_streams)
        return app

    async def _scanning(self, app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self._scan_while_wanted())
        yield
        task.cancel()
        self._reader.shutdown(wait=False, cancel_futures=True)

    async def _scan_while_wanted(self) -> None:
        """Scan the folder while anyone reads a stream of events."""
        clock = asyncio.get_running_loop().time
        while True:
            await self._wanted.wait()
            begun_s = clock()
            version, is_left = self._runs.version, False
            try:
                is_left = await self._scan()
            except Exception as error:  # such as a disk that does not answer: report it and try again
                context = {"message": f"{self._runs.results} was not read", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)
            if self._runs.version != version or is_left:
                self._tell()
            if not is_left:
                await asyncio.sleep(max(_SCAN_S, 10 * (clock() - begun_s)))

    async def _scan(self) -> bool:
        return await asyncio.get_running_loop().run_in_executor(self._reader, self._runs.scan)

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _end_streams(self, app: web.Application) -> None:
        self._is_ending = True
        self._tell()

    async def _list(self, request: web.Request) -> web.StreamResponse:
        return _page("list")

    async def _file(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["file"]
        if name not in _FILES:
            raise web.HTTPNotFound(text="There is no such file.\n")
        return web.Response(text=_text(name), content_type=_FILES[name])

    async def _run(self, request: web.Request) -> web.StreamResponse:
        await self._found(request)
        return _page("run")

    async def _found(self, request: web.Request) -> tuple[RunRow, int]:
        """The run that a request names; if it is not known yet, the folder is scanned for it."""
        name = request.match_info["name"]
        if self._runs.row(name) is None:
            await self._scan()
        if (found := self._runs.row(name)) is None:
            raise web.HTTPNotFound(text=f"There is no run {printable(name)!r} in {self._runs.results}.\n")
        return found

    async def _report(self, request: web.Request) -> web.StreamResponse:
        """The page of the run as `report.html` would be now."""
        row, _ = await self._found(request)
        is_packed = "gzip" in request.headers.get("Accept-Encoding", "")
        try:
            body = await asyncio.to_thread(self._page_of, row.name, is_packed=is_packed)
        except KeyError:
            raise web.HTTPNotFound(text="The run is gone.\n") from None
        except (LedgerError, SpaceError) as error:
            return web.Response(status=500, text=f"{printable(str(error))}\n")
        except Exception as error:
            text = printable(f"The page cannot be made ({type(error).__name__}: {error})")
            return web.Response(status=500, text=f"{text}\n")
        headers = {"Content-Type": "text/html; charset=utf-8"}
        return web.Response(
            body=body, headers={**headers, "Content-Encoding": "gzip"} if is_packed else headers
        )

    def _page_of(self, name: str, *, is_packed: bool) -> bytes:
        """The page; compressed it is a fifth of its size, which matters through a tunnel."""
        page = self._runs.page(name).encode()
        return gzip.compress(page, compresslevel=1) if is_packed else page

    async def _list_events(self, request: web.Request) -> web.StreamResponse:
        """Stream all rows, then those that change."""
        if not self._runs.version:  # no scan has found a run yet, and an empty list may be wrong
            await self._scan()

        def news(version: int) -> tuple[int, dict[str, Any] | None]:
            newest = self._runs.version
            rows, gone = self._runs.since(version)
            content = {
                "folder": printable(str(self._runs.results)),
                "is_whole": version < 0,
                "rows": [_row(*each) for each in rows],
                "gone": gone,
                "unread": self._runs.num_unread,
            }
            return newest, content if rows or gone or version < 0 else None

        return await self._stream(request, news)

    async def _run_events(self, request: web.Request) -> web.StreamResponse:
        """Stream the row of one run whenever it changes."""
        row, _ = await self._found(request)

        def news(version: int) -> tuple[int, dict[str, Any] | None]:
            found = self._runs.row(row.name) or (RunRow(name=row.name, state="gone"), _GONE)
            return found[1], _row(*found) if found[1] != version else None

        return await self._stream(request, news)

    async def _stream(
        self, request: web.Request, news: Callable[[int], tuple[int, dict[str, Any] | None]]
    ) -> web.StreamResponse:
        """Send what is new as server-sent events, until the reader leaves or the server stops.

        Args:
            news: Returns the newest version and what is new since the given one, None if nothing is.
        """
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        version = -1
        async with self._viewing():
            try:
                await response.write(b"retry: %d\n\n" % _WAIT_MS)
                while not self._is_ending:
                    change = self._news
                    version, content = news(version)
                    if content is not None:
                        data = json.dumps(content, allow_nan=False, separators=(",", ":"))
                        await response.write(f"data: {data}\n\n".encode())
                        await asyncio.sleep(_GATHER_S)
                    elif not await _is_set(change, _ALIVE_S):
                        await response.write(b": alive\n\n")
            except (ClientConnectionResetError, ConnectionResetError):
                pass
        return response

    @asynccontextmanager
    async def _viewing(self) -> AsyncIterator[None]:
        self._num_viewers += 1
        self._wanted.set()
        try:
            yield
        finally:
            self._num_viewers -= 1
            if not self._num_viewers:
                self._wanted.clear()


def _row(row: RunRow, version: int) -> dict[str, Any]:
    return {**row.to_dict(), "version": version}


def _page(kind: str) -> web.Response:
    """The list, or the frame of a run: a template with a script of the same name."""
    page = _templates().get_template(f"{kind}.html").render(kind=kind)
    return web.Response(text=page, content_type="text/html")


@cache
def _templates() -> Environment:
    return Environment(loader=FileSystemLoader(_HERE), autoescape=True, trim_blocks=True)


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


async def _is_set(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, and return whether it came in time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
