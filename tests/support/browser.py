"""A real headless browser: Chromium, driven by its DevTools protocol over aiohttp's WebSocket."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.processes import wait_for

TIMEOUT_S = 180.0
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_AXE = importlib.util.find_spec("axe_core_python")
_LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
needs_axe = pytest.mark.skipif(_AXE is None, reason="axe-core is not there: make test-browser installs it")


def browser_program() -> str:
    """The browser of this machine; skips the test if there is none."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(_NAMES)} is installed")
    return found


class Tab:
    """The one page of a browser.

    Attributes:
        problems: Script errors, policy violations and failed loads, as logged by the browser.
        requests: Addresses of all requests.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._loop, self._socket, self._number = loop, socket, 0
        self.problems: list[str] = []
        self.requests: list[str] = []

    def call(self, method: str, **params: Any) -> Any:
        """Send a command of the protocol and return its result."""
        return self._loop.run_until_complete(self._call(method, params))

    async def _call(self, method: str, params: dict[str, Any]) -> Any:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        while True:
            message = json.loads(await self._socket.receive_str(timeout=TIMEOUT_S))
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self._take_in(message)

    def _take_in(self, message: dict[str, Any]) -> None:
        match message["method"], message["params"]:
            case "Network.requestWillBeSent", {"request": {"url": url}}:
                self.requests.append(url)
            case "Runtime.exceptionThrown", {"exceptionDetails": details}:
                self.problems.append(str(details))
            case "Log.entryAdded", {"entry": {"level": "error", "text": text}}:
                self.problems.append(text)

    def open(self, address: str) -> None:
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'")

    def value(self, script: str) -> Any:
        """The JSON value of an expression in the page."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, f"{script}: {result}"
        return result["result"].get("value")

    def wait(self, script: str) -> None:
        """Wait until an expression is true in the page."""
        end_s = time.monotonic() + TIMEOUT_S
        while not self.value(f"!!({script})"):
            assert time.monotonic() < end_s, f"never true: {script}"
            self._loop.run_until_complete(asyncio.sleep(0.05))

    def click(self, selector: str) -> None:
        """Click in the middle of an element, like a user."""
        x, y = self.value(
            f"(() => {{ const found = document.querySelector({json.dumps(selector)});"
            "found.scrollIntoView({block: 'center'}); const box = found.getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, selector: str, text: str) -> None:
        self.value(f"document.querySelector({json.dumps(selector)}).focus()")
        self.call("Input.insertText", text=text)

    def look(self, width: int, height: int, *, dark: bool = False) -> None:
        """Set the window's size and the system's preferred theme."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def violations(self) -> list[Any]:
        """What axe-core finds against WCAG's levels A and AA: rule, number of elements, the first one."""
        [folder] = _AXE.submodule_search_locations  # type: ignore[union-attr]
        self.value((Path(folder) / "axe.min.js").read_text(encoding="utf-8") + "; 1")
        return self.value(  # type: ignore[no-any-return]
            f"axe.run(document, {{iframes: false, runOnly: {json.dumps(_LEVELS)}}}).then((found) => "
            "found.violations.map((each) => [each.id, each.nodes.length, each.nodes[0].html]))"
        )

    def write_picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def browsing(folder: Path) -> Iterator[Tab]:
    """Run a browser with its profile in a new folder until the block ends."""
    profile = folder / "browser"
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    process = subprocess.Popen(
        [browser_program(), *flags, f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    loop = asyncio.new_event_loop()
    try:
        port_file = profile / "DevToolsActivePort"
        wait_for(lambda: port_file.is_file() and "\n" in port_file.read_text(), every_s=0.05)
        tab, session = loop.run_until_complete(_attached(loop, int(port_file.read_text().split()[0])))
        try:
            for domain in ("Page", "Runtime", "Network", "Log"):
                tab.call(f"{domain}.enable")
            yield tab
            tab.call("Browser.close")
        finally:
            loop.run_until_complete(session.close())
    finally:
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        loop.close()


async def _attached(loop: asyncio.AbstractEventLoop, port: int) -> tuple[Tab, aiohttp.ClientSession]:
    session = aiohttp.ClientSession()
    async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
        pages = [each for each in await answer.json() if each["type"] == "page"]
    socket = await session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0)
    return Tab(loop, socket), session
