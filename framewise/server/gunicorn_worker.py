"""gunicorn's worker with threads, in which a client that stops in the middle of a request gives its thread back."""

import socket
import struct
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

READ_SECONDS = 10


class PatientWorker(ThreadWorker):
    """A thread waits for the next bytes of a request for READ_SECONDS, and no longer.

    gunicorn's own waits forever once the first byte is there: a few connections with half a header take all threads, and
    nothing else is answered, not even /health. It has no setting for this, so the system's own limit is set.
    """

    def handle(self, conn: Any) -> Any:
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", READ_SECONDS, 0))
        return super().handle(conn)
