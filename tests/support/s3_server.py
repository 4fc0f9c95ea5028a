"""A real S3 server on loopback that survives SIGKILL, and a network in front of it that can be cut.

    python tests/support/s3_server.py PORT FOLDER

moto's server keeps its objects in memory. Here each request that changes something is written to FOLDER
before it is answered, and replayed when the server starts: after a kill, every answered request has taken
effect, and an unanswered one may or may not have, as with any server.
"""

from __future__ import annotations

import io
import os
import pickle
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Server:
    """The server as a process that can be killed.

    Attributes:
        port: Its port on loopback.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, __file__, str(self.port), str(self._folder)]
        log = (self._folder / "server.log").open("ab")
        self._process = subprocess.Popen(command, stdout=log, stderr=log)
        end_s = time.monotonic() + 60
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            assert time.monotonic() < end_s
            assert self._process.poll() is None, (self._folder / "server.log").read_text()[-2000:]
            time.sleep(0.05)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()


class Network:
    """Forwards connections to a server until it is cut.

    Attributes:
        port: Its port on loopback.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._is_cut = False
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break every connection, in the middle of whatever it carries, and refuse new ones."""
        self._is_cut = True
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._is_cut = False

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            try:
                if self._is_cut:
                    raise ConnectionError
                server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            self._open |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
        for end in (source, sink):
            self._open.discard(end)
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


class Remembering:
    """An application whose changes outlive its process.

    Args:
        seed: Seeds its random draws, such as the name of an upload, so that a replay repeats them.
    """

    def __init__(self, application: Application, log: Path, seed: Callable[[int], object]) -> None:
        self._application, self._seed = application, seed
        self._lock = threading.Lock()
        self._num_changes = 0
        self._replay(log)
        self._log = log.open("ab")

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            with self._lock:
                return list(self._application(environ, start_response))
        try:
            body = _body_of(environ)
        except OSError:  # the connection was cut: like S3, discard the whole object
            start_response("400 Bad Request", [])
            return []
        kept = {name: value for name, value in environ.items() if isinstance(value, str)}
        with self._lock:
            answer = self._answer(kept, body, start_response)
            pickle.dump((kept, body), self._log)
            self._log.flush()
            return answer

    def _answer(
        self, environ: Mapping[str, Any], body: bytes, start_response: Callable[..., Any]
    ) -> list[bytes]:
        self._num_changes += 1
        self._seed(self._num_changes)
        whole = {
            **environ,
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.url_scheme": "http",
            "wsgi.version": (1, 0),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            "CONTENT_LENGTH": str(len(body)),
        }
        return list(self._application(whole, start_response))

    def _replay(self, log: Path) -> None:
        """Replay the log; a request cut short by a kill was never answered, and is dropped."""
        if not log.exists():
            return
        whole = 0
        with log.open("rb") as file, suppress(EOFError, pickle.UnpicklingError):
            while True:
                environ, body = pickle.load(file)
                self._answer(environ, body, lambda *_: None)
                whole = file.tell()
        with log.open("rb+") as file:
            file.truncate(whole)


def _body_of(environ: Mapping[str, Any]) -> bytes:
    length = environ.get("CONTENT_LENGTH")
    stream = environ["wsgi.input"]
    body: bytes = stream.read(int(length)) if length else stream.read() if _is_chunked(environ) else b""
    if length and len(body) < int(length):
        raise ConnectionError(f"{len(body)} of {length} bytes")
    return body


def _is_chunked(environ: Mapping[str, Any]) -> bool:
    return bool(environ.get("wsgi.input_terminated"))


def _seed(number: int) -> None:
    """Make names of uploads repeatable: moto draws them from the system."""
    os.urandom = random.Random(number).randbytes


def _serve(port: int, folder: Path) -> None:
    # Installed only in the folder of S3_TESTS.
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import run_simple

    application = Remembering(
        DomainDispatcherApplication(create_backend_app), folder / "requests.pickle", _seed
    )
    run_simple("127.0.0.1", port, application, threaded=True)


if __name__ == "__main__":
    _serve(int(sys.argv[1]), Path(sys.argv[2]))
