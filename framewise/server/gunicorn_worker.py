"""gunicorn's threaded worker, which slow clients cannot occupy.

gunicorn's own worker reads, computes and answers a request in one thread, and waits for the client without limit: a few
connections that send or read a byte now and then occupy all threads, and nothing else is answered, not even /health. Here each
connection has one of many threads, which cost little while they wait; the application runs in a few others, see
``application_threads``.
"""

import contextlib
import errno
import socket
import struct
import time
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

CONNECTIONS = 256  # threads for connections per web process
SILENT_SECONDS = 5  # for the next bytes of a request
PATIENCE_SECONDS = 30  # for all bytes of a request and its answer, and a second more for each SLOWEST_BYTES
CROWDED_SECONDS = 3  # the same while there are more connections than threads
SLOWEST_BYTES = 10_000
LAST_SECONDS = 2  # for a client to close its side; what it still sends is read, or its answer would be lost
LAST_BYTES = 65536


class PatientWorker(ThreadWorker):
    """gunicorn's worker with sockets that give up slow clients."""

    def handle(self, conn: Any) -> Any:
        if not isinstance(conn.sock, PatientSocket):
            conn.sock = PatientSocket(conn.sock, self)
        conn.sock.begin_request()
        kept = super().handle(conn)
        if not kept:
            conn.sock.end()
        return kept

    def patience(self) -> int:
        """Seconds that a client may take."""
        busy = self.nr_conns - len(self.keepalived_conns)
        return CROWDED_SECONDS if busy > self.cfg.threads else PATIENCE_SECONDS


class PatientSocket(socket.socket):
    """A client's connection. It is given up if the client is silent for long or too slow on the whole."""

    def __init__(self, accepted: socket.socket, worker: PatientWorker):
        super().__init__(fileno=accepted.detach())
        self._worker = worker
        for option, seconds in ((socket.SO_RCVTIMEO, SILENT_SECONDS), (socket.SO_SNDTIMEO, PATIENCE_SECONDS)):
            self.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", seconds, 0))
        self.begin_request()

    def begin_request(self) -> None:
        self._transferred, self._waited = 0, 0.0  # bytes, and seconds without those of the application

    def end(self) -> None:
        """Close both directions after the client has read its answer.

        gunicorn waits for that as well, but in its main thread, which accepts no connection meanwhile.
        """
        with contextlib.suppress(OSError):  # the client is gone or too slow
            self.shutdown(socket.SHUT_WR)
            until = time.monotonic() + LAST_SECONDS
            while time.monotonic() < until and self.recv(LAST_BYTES):
                pass
        with contextlib.suppress(OSError):
            self.shutdown(socket.SHUT_RD)

    def recv(self, size: int, flags: int = 0) -> bytes:
        start = time.monotonic()
        try:
            received = super().recv(size, flags)
        except BlockingIOError:
            raise _too_slow() from None
        self._count(len(received), start)
        return received

    def sendall(self, content: Any, flags: int = 0) -> None:
        left = memoryview(content)
        while left:
            start = time.monotonic()
            try:
                sent = self.send(left, flags)
            except BlockingIOError:
                raise _too_slow() from None
            left = left[sent:]
            self._count(sent, start)

    def _count(self, transferred: int, start: float) -> None:
        self._transferred += transferred
        self._waited += time.monotonic() - start
        if self._waited > self._worker.patience() + self._transferred / SLOWEST_BYTES:
            raise _too_slow()


def _too_slow() -> OSError:
    """An error that gunicorn takes for a client that has gone."""
    return ConnectionResetError(errno.ECONNRESET, "the client is too slow")
