"""Clients that send or read next to nothing keep nobody else from being answered."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from framewise.server.gunicorn_worker import CONNECTIONS
from tests.integration.service import Service, wait_for

DRIP_SECONDS = 0.5
ANSWER_SECONDS = 30  # for a busy machine; before, the first answer came after 59 s or never
POST = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@contextlib.contextmanager
def slow_clients(service: Service, number: int, opening: bytes, drip: bytes) -> Iterator[list[socket.socket]]:
    """So many connections that send ``opening``, and then ``drip`` now and then; they read one byte at a time."""
    connections, stopped = [], threading.Event()

    def dripping() -> None:
        while not stopped.wait(DRIP_SECONDS):
            for connection in connections:
                with contextlib.suppress(OSError):
                    connection.send(drip)
                    connection.recv(1)

    try:
        for _ in range(number):
            connection = socket.create_connection(("127.0.0.1", int(service.settings["PORT"])), timeout=60)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            connections.append(connection)
            connection.sendall(opening)
            connection.setblocking(False)
        thread = threading.Thread(target=dripping)
        thread.start()
        yield connections
        stopped.set()
        thread.join()
    finally:
        stopped.set()
        for connection in connections:
            connection.close()


def answers(service, project, make_task):
    """Status codes of Label Studio's calls, each of a connection of its own."""
    event = project.event("TASKS_CREATED", tasks=[make_task()])
    with httpx.Client(base_url=service.url, timeout=ANSWER_SECONDS, headers={"Connection": "close"}) as client:
        asked = [client.get("/health"), client.post("/setup", json=project.setup_body()), client.post("/webhook", json=event)]
        return [answer.status_code for answer in asked]


SLOW = {
    "nothing": (b"", b""),
    "a header": (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: ", b"a"),
    "a body": (POST % b"/webhook" + b"Content-Length: 5000\r\n\r\n{", b" "),
    "a long body": (POST % b"/predict" + b"Content-Length: 50000000\r\n\r\n{", b" "),
    "a body in chunks": (POST % b"/webhook" + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "a reader": (b"GET /jobs/ HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20, b""),
}


@pytest.mark.parametrize("sent", SLOW)
def test_200_slow_clients_keep_nobody_from_being_answered(service, project, make_task, sent):
    with slow_clients(service, 200, *SLOW[sent]):
        assert answers(service, project, make_task) == [200, 200, 200]
        time.sleep(2 * DRIP_SECONDS)
        assert answers(service, project, make_task) == [200, 200, 200]


def test_of_more_slow_clients_than_threads_the_slow_ones_are_given_up(service, project, make_task):
    before = len(service.log())
    with slow_clients(service, 2 * CONNECTIONS, *SLOW["a header"]) as connections:
        assert answers(service, project, make_task) == [200, 200, 200]
        wait_for(lambda: is_closed(connections[0]), "the first slow client is given up", ANSWER_SECONDS)
    assert "Traceback" not in service.log()[before:]


def is_closed(connection):
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_a_client_that_takes_its_time_is_served(service):
    """Its bytes come with pauses, but within the time for a request."""
    body = b'{"project": "1.2"}'
    with socket.create_connection(("127.0.0.1", int(service.settings["PORT"])), timeout=ANSWER_SECONDS) as connection:
        for part in (POST % b"/setup" + b"Content-Length: %d\r\n\r\n" % len(body), body[:4], body[4:8], body[8:]):
            time.sleep(DRIP_SECONDS)
            connection.sendall(part)
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")  # it has no labeling config
