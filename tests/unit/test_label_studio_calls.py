"""Calls to a Label Studio that hangs or trickles: they end, one is under way at most, and for a while none is tried."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler

import httpx
import pytest

from framewise.core.errors import LabelStudioError, LabelStudioUnavailable
from framewise.label_studio import LabelStudioClient
from framewise.label_studio_calls import LONGEST_PAUSE_SECONDS, Breaker, OneCallClient
from tests.web_server import Page, Server


@pytest.fixture
def server() -> Iterator[Server]:
    with closing(Server()) as running:
        yield running


@pytest.fixture
def go_on() -> Iterator[threading.Event]:
    """Set when servers that hang may end."""
    event = threading.Event()
    yield event
    event.set()


def trickle(go_on: threading.Event, text: bytes, pause: float = 0.05):
    """An answer of which one byte is sent now and then, so that no timeout between two bytes is met."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        for byte in text:
            if go_on.wait(pause):
                return
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()

    return send


ENDLESS = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000


@pytest.mark.parametrize("text", [ENDLESS, b"HTTP/1.1 200 " + b"O" * 100_000], ids=["in the body", "in the status line"])
def test_a_call_ends_however_slowly_it_is_answered(
    server: Server, go_on: threading.Event, monkeypatch: pytest.MonkeyPatch, text: bytes
) -> None:
    monkeypatch.setattr("framewise.label_studio_calls.DEADLINE_SECONDS", 1.0)
    server.pages |= {"/slow": Page(send=trickle(go_on, text)), "/quick": Page(b"{}")}
    with OneCallClient(Breaker(), timeout=30) as client:
        assert client.get(f"{server.url}/quick").status_code == 200
        with pytest.raises(httpx.ReadTimeout, match="no complete answer within 1 s"):
            client.get(f"{server.url}/slow")
        with pytest.raises(httpx.PoolTimeout, match="an earlier call is not answered yet"):
            client.get(f"{server.url}/quick")
        assert server.paths == ["/quick", "/slow"]
        go_on.set()
        until = time.monotonic() + 30
        while time.monotonic() < until:  # as soon as the thread that was left behind has ended
            try:
                assert client.get(f"{server.url}/quick").status_code == 200
                return
            except httpx.PoolTimeout:
                time.sleep(0.02)
        pytest.fail("the client does not recover")


def test_calls_of_several_threads_follow_one_another(server: Server) -> None:
    under_way, most = [0], [0]

    def count(by: int) -> None:
        under_way[0] += by
        most[0] = max(most[0], under_way[0])

    def send(handler: BaseHTTPRequestHandler) -> None:
        count(1)
        time.sleep(0.02)
        count(-1)
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    server.pages["/"] = Page(send=send)
    with OneCallClient(Breaker(), timeout=30) as client:
        threads = [threading.Thread(target=client.get, args=(server.url,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (len(server.paths), most[0]) == (8, 1)


def test_errors_of_a_call_are_raised_where_it_was_made(server: Server) -> None:
    with OneCallClient(Breaker(), timeout=30) as client, pytest.raises(httpx.ConnectError):
        client.get("http://127.0.0.1:9/")


def test_a_breaker_pauses_longer_after_each_failure_and_closes_with_an_answer() -> None:
    now = [1000.0]
    breaker = Breaker(lambda: now[0])
    pauses = []
    for _ in range(8):
        assert breaker.refusal() is None
        breaker.fail("it is away")
        assert str(breaker.refusal()).endswith("because: it is away")
        began = now[0]
        while breaker.refusal():
            breaker.fail("a call that began earlier fails as well")
            now[0] += 0.5
        pauses.append(now[0] - began)
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]
    assert pauses[-1] == LONGEST_PAUSE_SECONDS
    breaker.succeed()
    breaker.fail("again")
    now[0] += 2
    assert breaker.refusal() is None


def test_after_a_failure_label_studio_is_not_asked_for_a_while(server: Server) -> None:
    server.pages["/api/projects/7/"] = Page(b"", status=503)
    client = LabelStudioClient(server.url, "0" * 40)
    with pytest.raises(LabelStudioUnavailable, match="it answered 503; is Label Studio running there"):
        client.project_state(7)
    for _ in range(20):
        with pytest.raises(LabelStudioUnavailable, match="not asked again for . s, because: .*it answered 503"):
            client.project_state(7)
    assert server.paths == ["/api/projects/7/"]


def test_a_refusal_of_label_studio_is_no_reason_not_to_ask_again(server: Server) -> None:
    server.pages["/api/projects/7/"] = Page(b"{}", status=404)
    client = LabelStudioClient(server.url, "0" * 40)
    for _ in range(3):
        with pytest.raises(LabelStudioError, match="it answered 404"):
            client.project_state(7)
    assert len(server.paths) == 3
