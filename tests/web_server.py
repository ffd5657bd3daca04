"""Web servers on loopback ports that answer what a test puts there and note what they were asked."""

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Page:
    """The answer of a server for a path.

    cut: close the connection after so many bytes of the body. wait: called before the answer. send: writes the whole answer
    itself.
    """

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    wait: Callable[[], object] | None = None
    send: Callable[[BaseHTTPRequestHandler], None] | None = None


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Clients that hang up are what many tests are about."""


class Server:
    """A web server with ``pages`` by path that notes every request; ``bodies`` counts those that it sent in full.

    tls: encrypts. Pages may be put by whole addresses as well, for what a proxy is asked.
    """

    def __init__(self, tls: ssl.SSLContext | None = None):
        self.pages: dict[str, Page] = {}
        self.elsewhere = Page(b"nothing here", 404)
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.bodies = 0
        self._http = _Quiet(("127.0.0.1", 0), self._handler())
        if tls:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.port = self._http.server_address[1]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"

    def close(self):
        self._http.shutdown()
        self._http.server_close()

    @property
    def paths(self):
        return [path for path, _ in self.requests]

    def _handler(server):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                server.answer(self, server.pages.get(self.path, server.elsewhere))

            def do_POST(self):
                self.rfile.read(int(self.headers.get("content-length") or 0))
                self.do_GET()

            do_CONNECT = do_HEAD = do_GET

            def log_message(self, *args):
                pass

        return Handler

    def answer(self, handler, page):
        if page.wait:
            page.wait()
        if page.send:
            page.send(handler)
            return
        validators = (("etag", "if-none-match"), ("last-modified", "if-modified-since"))
        asked = {name.lower(): value for name, value in handler.headers.items()}
        same = any(name in page.headers and asked.get(question) == page.headers[name] for name, question in validators)
        handler.send_response(304 if same else page.status)
        for name, value in page.headers.items():
            handler.send_header(name, value)
        if same:
            handler.end_headers()
            return
        handler.send_header("content-length", str(len(page.body)))
        handler.end_headers()
        handler.wfile.write(page.body[: page.cut])
        self.bodies += page.cut is None and bool(page.body)


def closed_url() -> str:
    """The address of a server that is gone."""
    server = Server()
    server.close()
    return server.url
