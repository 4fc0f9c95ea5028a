"""Who may read the pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from search.ui.access import Access
from tests.support.ui_server import UiServer

PATHS = (
    "/",
    "/events",
    "/static/list.js",
    "/runs/mine",
    "/runs/mine/report",
    "/runs/mine/events",
    "/nothing",
)
NEEDED = "This page needs its token: open the address that `jouletune ui` printed.\n"
WRONG = "This is not the token of this server: open the address that `jouletune ui` printed last.\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UiServer]:
    """Of a folder without runs."""
    folder = tmp_path_factory.mktemp("ui")
    made = UiServer(folder, folder / "rows.json")
    with made.serving():
        yield made


@pytest.mark.parametrize("path", PATHS)
def test_without_the_token_nothing_is_shown(server: UiServer, path: str) -> None:
    answer = server.get(path, cookie="")
    assert (answer.status, answer.text) == (401, NEEDED)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("token", ["x", "", "ä€", "\x80"])
def test_with_another_token_nothing_is_shown(server: UiServer, path: str, token: str) -> None:
    wrong = f"jouletune-{server.port}={token}".encode().decode("latin-1")
    answer = server.get(path, cookie=wrong)
    assert answer.status in (401, 403)  # an empty or unreadable cookie is none
    assert answer.text in (NEEDED, WRONG)
    in_address = server.get(f"{path}?token=wrong")  # and the cookie does not help
    assert (in_address.status, in_address.text) == (403, WRONG)


def test_the_cookie_of_another_port_does_not_count(server: UiServer) -> None:
    assert server.get("/", cookie=f"jouletune-{server.port + 1}={server.access.token}").status == 401


def test_the_printed_address_gives_a_cookie_and_leaves_no_token_in_the_address(server: UiServer) -> None:
    address = server.access.address()
    assert address == f"http://127.0.0.1:{server.port}/?token={server.access.token}"
    answer = server.get(address.removeprefix(f"http://127.0.0.1:{server.port}"), cookie="")
    assert (answer.status, answer.headers["location"], answer.text) == (303, "/", "")
    assert answer.headers["set-cookie"] == f"{server.cookie}; HttpOnly; Path=/; SameSite=Lax"
    assert server.get("/").status == 200


@pytest.mark.parametrize(
    ("path", "target"), [("/runs/a%20b", "/runs/a%20b"), ("//elsewhere.example/", "/"), ("/nothing", "/")]
)
def test_a_token_sends_nobody_to_another_server(server: UiServer, path: str, target: str) -> None:
    assert server.get(f"{path}?token={server.access.token}", cookie="").headers["location"] == target


def test_the_address_for_a_browser_s_command_line_opens_once_and_for_a_minute() -> None:
    now = [0.0]
    access = Access("127.0.0.1", 8266, clock=lambda: now[0])
    first = access.address_once().partition("once=")[2]
    assert access.token not in access.address_once()
    assert not access._is_once(first)  # a later one replaces it
    second = access.address_once("/runs/mine").partition("once=")[2]
    assert [access._is_once("x"), access._is_once(second), access._is_once(second)] == [False, True, False]
    third = access.address_once().partition("once=")[2]
    now[0] = 60.5
    assert not access._is_once(third)


def test_an_address_that_was_used_opens_nothing(server: UiServer) -> None:
    once = server.access.address_once().partition("once=")[2]
    assert [server.get(f"/?once={once}", cookie="").status for _ in range(2)] == [303, 403]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("localhost:9999", 200),  # the other end of a tunnel
        ("[::1]:80", 200),
        ("127.9.9.9", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example:8266", 403),
        ("localhost.evil.example", 403),
        ("10.0.0.5", 403),
        ("0.0.0.0", 403),
        ("", 403),
        ("[", 403),
    ],
)
def test_a_name_that_was_pointed_here_is_refused(server: UiServer, host: str, status: int) -> None:
    answer = server.get("/", Host=host)
    assert answer.status == status
    if status == 403:
        assert answer.text.startswith("These pages are served only at addresses of this machine")


@pytest.mark.parametrize(
    ("bound", "host", "is_own"),
    [
        ("0.0.0.0", "10.0.0.5:8266", True),  # of numbers: nobody can have pointed it here
        ("0.0.0.0", "evil.example", False),
        ("0.0.0.0", "localhost", True),
        ("node7.example", "node7.example:1", True),
        ("::1", "[::1]:8266", True),
    ],
)
def test_where_more_than_loopback_is_listened_on_addresses_of_numbers_are_taken(
    bound: str, host: str, is_own: bool
) -> None:
    assert Access(bound, 8266).is_own_host(host) is is_own


@pytest.mark.parametrize(
    ("path", "cookie"), [("/", None), ("/", ""), ("/nothing", None), ("/static/x", None)]
)
def test_every_answer_forbids_what_no_page_needs(server: UiServer, path: str, cookie: str | None) -> None:
    headers = server.get(path, cookie=cookie).headers
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["server"] == "jouletune"
    assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_can_be_sent(server: UiServer, method: str) -> None:
    answer = server.get("/", method=method, Origin="http://evil.example")
    assert answer.status == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py",
        "/static/..%2fserver.py",
        "/static/%2e%2e/server.py",
        "/static/%2Fetc%2Fpasswd",
        "/runs/..",
        "/runs/%2e%2e/report",
        "/runs/..%2f..%2fetc/report",
        "/runs/%2e%2e%2frows.json/report",
        "/runs/mine%00/report",
        "/../../etc/passwd",
        "//etc/passwd",
    ],
)
def test_no_address_leads_out_of_the_folder(server: UiServer, path: str) -> None:
    assert server.get(path).status == 404


def test_a_token_is_made_anew_for_each_server(tmp_path: Path) -> None:
    tokens = {Access("127.0.0.1", 1).token for _ in range(3)}
    assert len(tokens) == 3
    assert {len(token) for token in tokens} == {43}  # 256 bits
