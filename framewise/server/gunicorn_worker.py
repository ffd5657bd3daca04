"""gunicorn's threaded worker, with a time limit for clients that stop in the middle of a request."""

import socket
import struct
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

READ_SECONDS = 10


class PatientWorker(ThreadWorker):
    """A thread waits at most READ_SECONDS for the next bytes of a request.

    gunicorn's own worker waits forever once the first byte has arrived: a few connections with half a header occupy all
    threads, and nothing else is answered, not even /health. It has no setting for this, so the socket's own timeout is set.
    """

    def handle(self, conn: Any) -> Any:
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", READ_SECONDS, 0))
        return super().handle(conn)
