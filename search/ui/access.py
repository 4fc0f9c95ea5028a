"""Who may read the pages: anyone with the token, at an address of this machine.

Any user of the machine and any page in the browser can reach a port on loopback. The token, which is in the
printed address and then in a cookie, keeps out other users and programs. The check of the Host header keeps
out a page elsewhere whose host name was pointed at 127.0.0.1 (DNS rebinding), which the browser takes for the
same site as this one.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web
from yarl import URL

_ONCE_S = 60.0
_NEEDED = "This page needs its token: open the address that `jouletune ui` printed.\n"
_WRONG = "This is not the token of this server: open the address that `jouletune ui` printed last.\n"
# The page of a run has a policy of its own, with the hashes of its scripts and `style-src 'unsafe-inline'`.
# The rest is added here; `frame-ancestors` has no effect inside a document.
_OF_REPORTS = "frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
_OF_THE_REST = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Server": "jouletune",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Access:
    """The token of one server, and the answers to requests without it.

    Args:
        host: The address that the server listens on.
        port: Its port, which is in the cookie's name, because browsers send cookies to every port of a host.
        clock: Monotonic seconds.
    """

    def __init__(self, host: str, port: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.token = secrets.token_urlsafe(32)
        self._host, self._port, self._clock = host, port, clock
        self._cookie = f"jouletune-{port}"
        self._once, self._once_until_s = "", 0.0

    def address(self, path: str = "/") -> str:
        """The address to print."""
        return str(self._url(path).with_query(token=self.token))

    def address_once(self, path: str = "/") -> str:
        """An address that opens the pages once, within a minute.

        It is for the command line of a browser, which every user of the machine can read.
        """
        self._once, self._once_until_s = secrets.token_urlsafe(32), self._clock() + _ONCE_S
        return str(self._url(path).with_query(once=self._once))

    def _url(self, path: str) -> URL:
        host = "127.0.0.1" if self._host in ("0.0.0.0", "::") else self._host
        return URL.build(scheme="http", host=host, port=self._port, path=path)

    @web.middleware
    async def check(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Refuse requests that may not read the pages, turn a token into the cookie, and pass others on."""
        if not self.is_own_host(request.headers.get("Host", "")):
            text = (
                "These pages are served only at addresses of this machine, such as 127.0.0.1 or localhost.\n"
            )
            return web.Response(status=403, text=text)
        given, once = request.query.get("token"), request.query.get("once")
        if given is None and once is None:
            cookie = request.cookies.get(self._cookie)
            if cookie is None:
                return web.Response(status=401, text=_NEEDED)
            return await handler(request) if self._is_token(cookie) else web.Response(status=403, text=_WRONG)
        if not (self._is_token(given) or self._is_once(once)):
            return web.Response(status=403, text=_WRONG)
        return self._with_cookie(request)

    def _with_cookie(self, request: web.Request) -> web.Response:
        """Redirect to the same page without the token in its address, where browsing histories would keep it.

        The cookie is Lax, not Strict: a browser that followed a link on another page, such as a terminal in a
        browser, would not send it right after it was set. Every request is a GET and changes nothing.
        """
        path = request.rel_url.raw_path
        target = path if path.startswith("/runs/") else "/"  # "//host" is another server's
        response = web.Response(status=303, headers={"Location": target})
        response.set_cookie(self._cookie, self.token, httponly=True, samesite="Lax", path="/")
        return response

    def is_own_host(self, header: str) -> bool:
        """Whether a Host header names this machine, whatever the port: a tunnel may end at another one.

        A numeric address is not looked up, so nobody can have pointed it here. If the server listens on more
        than loopback, all numeric addresses are accepted, and the machine's name.
        """
        name = _name_in(header)
        try:
            number = ipaddress.ip_address(name)
        except ValueError:
            if name == "localhost" or (name and name == self._host.lower()):
                return True
            names = {socket.gethostname().lower(), socket.getfqdn().lower()}
            return not is_loopback(self._host) and name in names
        return number.is_loopback or not is_loopback(self._host)

    def _is_token(self, given: str | None) -> bool:
        return given is not None and hmac.compare_digest(_encoded(given), self.token.encode())

    def _is_once(self, given: str | None) -> bool:
        if given is None or not self._once or self._clock() > self._once_until_s:
            return False
        is_it = hmac.compare_digest(_encoded(given), self._once.encode())
        self._once = "" if is_it else self._once
        return is_it


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def add_security_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add headers that limit what pages here may do and keep answers from scripts of other sites."""
    response.headers.update(_HEADERS)
    is_report = request.match_info.route.name == "report"
    response.headers["Content-Security-Policy"] = _OF_REPORTS if is_report else _OF_THE_REST


def _name_in(header: str) -> str:
    """The name in a Host header, without its port; empty if there is none."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _encoded(text: str) -> bytes:
    return text.encode(errors="surrogatepass")
