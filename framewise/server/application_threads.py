"""The threads that the application runs in, apart from those that read requests and send answers."""

import io
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

BUFFERED_BYTES = 1024 * 1024


class ApplicationThreads:
    """A WSGI application that runs in ``threads`` threads of its own, once the body of its request is there.

    A longer body than BUFFERED_BYTES, or one of unknown length, is read by the application itself, which first asks who sends
    it. Such requests never occupy the last ``free`` threads: small ones are always answered.
    """

    def __init__(self, app: "WSGIApplication", threads: int, free: int):
        self._app = app
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="application")
        self._long_bodies = threading.BoundedSemaphore(max(1, threads - free))

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if _is_long(environ):
            with self._long_bodies:
                return self._run(environ, start_response)
        environ["wsgi.input"] = io.BytesIO(_body(environ))
        return self._run(environ, start_response)

    def _run(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        return self._threads.submit(self._app, environ, start_response).result()


def _is_long(environ: "WSGIEnvironment") -> bool:
    return "HTTP_TRANSFER_ENCODING" in environ or int(environ.get("CONTENT_LENGTH") or 0) > BUFFERED_BYTES


def _body(environ: "WSGIEnvironment") -> bytes:
    """Body of a request; what the application takes for a part of one if the client does not send it all."""
    try:
        body: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        return body
    except OSError:
        return b""
