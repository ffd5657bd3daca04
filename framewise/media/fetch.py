"""Downloads of files over HTTP, which are deleted when no longer in use.

They are streamed, limited in time and size, written under a temporary name and renamed. A small record of each download is
kept: its hash and the server's validators. With it, an unchanged file is recognised although its bytes were deleted.
"""

import hashlib
import json
import os
import re
import shutil
import ssl
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urljoin

import httpcore
import httpx

from framewise.core.errors import FramewiseError, MediaError, MediaForbidden, MediaUnavailable, StorageFull
from framewise.core.progress import Progress
from framewise.core.storage import PARTIAL, become_exclusive, full_disk_explained, locked, try_acquire, write_json
from framewise.label_studio import is_untrusted_certificate
from framewise.media.addresses import Deadline, MediaHosts, Network, PinnedBackend, checked_url, shown

MAX_REDIRECTS = 5
POLL_SECONDS = 0.05  # of a lock
CHECK_ROOM_BYTES = 64_000_000
RECORD_NAME = "record.json"


@dataclass(frozen=True)
class Limits:
    """Limits of downloads.

    A download ends after first_seconds + bytes / slowest_bytes_per_second, after longest_seconds, or after max_bytes, whichever
    comes first, so a slow server cannot occupy a worker, and none can fill the disk, of which reserve_bytes stay free.
    connect_seconds and silence_seconds (between two bytes) detect unreachable servers sooner.
    """

    connect_seconds: float = 10.0
    silence_seconds: float = 30.0
    first_seconds: float = 60.0
    slowest_bytes_per_second: float = 50_000.0
    longest_seconds: float = 6 * 3600.0
    max_bytes: int = 50_000_000_000
    reserve_bytes: int = 500_000_000

    def deadline(self) -> Deadline:
        return Deadline(self.first_seconds, self.slowest_bytes_per_second, self.longest_seconds)


QUICK = Limits(connect_seconds=2.0, silence_seconds=2.0, first_seconds=5.0)


@dataclass(frozen=True)
class Permit:
    """Permissions for an address. headers: additional ones to send. hosts: allowed hosts and addresses; None for Label Studio
    itself, whose address an administrator set. vouches: True if its redirects may lead to hosts that are not listed. asking:
    context of a request, with a function to call with the number of bytes received; both may raise."""

    headers: dict[str, str] = field(default_factory=dict)
    hosts: MediaHosts | None = None
    vouches: bool = False
    asking: Callable[[], AbstractContextManager[Callable[[int], None]]] = lambda: nullcontext(lambda _: None)


# The permit of an address, given that of the address that redirected to it. Raises MediaForbidden.
Rule = Callable[[httpx.URL, Permit | None], Permit]


@dataclass(frozen=True)
class Remote:
    """A file on a server. name: for messages. key: of its record. cloud: True if ``url`` redirects to the file's address,
    which is signed anew each time; its record is then tied to that address without the signature."""

    url: httpx.URL
    name: str
    key: str
    cloud: bool = False

    @classmethod
    def at(cls, url: httpx.URL) -> "Remote":
        return cls(url, shown(url), str(url))


@dataclass(frozen=True)
class Record:
    """Record of a download. sha256: identifies the content. place: its address without query."""

    sha256: str
    etag: str | None
    last_modified: str | None
    place: str


@dataclass(frozen=True)
class _Answer:
    """Response from ``place``. known: record of that address, whose validators were sent with the request."""

    response: httpx.Response
    place: str
    known: Record | None

    def record(self, sha256: str) -> Record:
        headers = self.response.headers
        return Record(sha256, headers.get("etag"), headers.get("last-modified"), self.place)

    def unchanged(self) -> Record | None:
        """The known record if the file is unchanged. Servers that ignore validators in requests answer 200."""
        if self.known is None or self.response.status_code == 304:
            return self.known
        now = self.record(self.known.sha256)
        if self.known.etag or now.etag:
            return self.known if self.known.etag == now.etag else None
        return self.known if now.last_modified is not None and self.known.last_modified == now.last_modified else None


class Downloads:
    """Downloads below ``folder``, each in its own subfolder, which processes share.

    There are two locks per file. Users of the bytes share ``use.lock``; the last one gets it exclusively and deletes them. A
    process that downloads also holds ``fetch.lock`` exclusively. The system releases both if a process is killed. check_wait:
    called now and then while another downloads the file at an address; it may raise.
    """

    def __init__(
        self,
        folder: Path,
        rule: Rule,
        limits: Limits | None = None,
        network: Network | None = None,
        check_wait: Callable[[httpx.URL], None] = lambda _: None,
    ):
        self.folder = folder
        self._check_wait = check_wait
        self._rule = rule
        self._limits = limits or Limits()
        self._network = network or Network()

    @contextmanager
    def held(self, remote: Remote, progress: Progress | None = None) -> Iterator[tuple[Path, Record]]:
        """Context with a file, downloaded unless another process has it here and the server confirms that it is unchanged. It
        is deleted at the end if no other process uses it. Raises MediaError, StorageFull."""
        folder = self._folder(remote)
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "use.lock", shared=True) as in_use:
            try:
                with self._turn(remote, folder):
                    _remove(folder.glob(".*-*"))  # parts left by killed processes
                    record = self._fetched(remote, folder, progress)
                yield folder / record.sha256, record
            finally:
                _drop(folder, in_use)

    def known(self, remote: Remote) -> Record | None:
        """Record of an earlier download, without a request."""
        try:
            return Record(**json.loads((self._folder(remote) / RECORD_NAME).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def unchanged(self, remote: Remote) -> Record | None:
        """Record of an earlier download, if the server quickly confirms that the file is unchanged; nothing is downloaded."""
        known = self.known(remote)
        if known is None:
            return None
        try:
            with _explained(remote), self._open(remote, QUICK, QUICK.deadline(), known) as answer:
                return answer.unchanged()
        except FramewiseError:
            return None

    def sweep(self) -> None:
        """Delete bytes that killed processes left and no process uses."""
        for folder in self.folder.glob("*/"):
            if any(_content_of(folder)):
                with locked(folder / "use.lock", shared=True) as in_use:
                    _drop(folder, in_use)

    @contextmanager
    def _turn(self, remote: Remote, folder: Path) -> Iterator[None]:
        while (lock := try_acquire(folder / "fetch.lock")) is None:
            self._check_wait(remote.url)
            time.sleep(POLL_SECONDS)
        try:
            yield
        finally:
            os.close(lock)

    def _folder(self, remote: Remote) -> Path:
        return self.folder / hashlib.sha256(remote.key.encode()).hexdigest()[:24]

    def _fetched(self, remote: Remote, folder: Path, progress: Progress | None) -> Record:
        known = self.known(remote)
        if known and not (folder / known.sha256).exists():
            known = None
        deadline = self._limits.deadline()
        with _explained(remote), _Part(folder, remote.name, self._limits, progress) as part:
            with self._open(remote, self._limits, deadline, known) as answer:
                if unchanged := answer.unchanged():
                    return unchanged
                complete = part.receive(answer.response)
            while not complete:
                with self._open(remote, self._limits, deadline, rest_of=part) as rest:
                    complete = part.receive(rest.response)
            record = answer.record(part.finished())
        with _storage_explained(folder):
            write_json(folder / RECORD_NAME, asdict(record))
        return record

    @contextmanager
    def _open(
        self, remote: Remote, limits: Limits, deadline: Deadline, known: Record | None = None, rest_of: "_Part | None" = None
    ) -> Iterator[_Answer]:
        """Context with the response after redirects. Each hop is checked, and receives only the headers meant for it."""
        url, permit = remote.url, None
        for _ in range(MAX_REDIRECTS + 1):
            permit = self._rule(url, permit)
            place = shown(url)
            asked = known if known and (not remote.cloud or known.place == place) else None
            headers = {**permit.headers, **_validators(asked), **(rest_of.question() if rest_of else {})}
            with self._request(url, permit, headers, limits, deadline) as response:
                if not response.has_redirect_location:
                    _refuse_failure(remote, response, permit, 206 if rest_of else 304 if asked else 200)
                    yield _Answer(response, place, asked)
                    return
                url = _joined(url, response.headers["location"])
        raise MediaError(f"{remote.name}: more than {MAX_REDIRECTS} redirects")

    @contextmanager
    def _request(
        self, url: httpx.URL, permit: Permit, headers: dict[str, str], limits: Limits, deadline: Deadline
    ) -> Iterator[httpx.Response]:
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        # Some servers refuse clients without a User-Agent. A body that ends early is noticed at once only if the server closes
        # the connection.
        ours = {"Host": url.netloc.decode("ascii"), "User-Agent": "framewise", "Accept": "*/*"}
        ours |= {"Accept-Encoding": "identity", "Connection": "close"}
        seconds = {"connect": limits.connect_seconds, "read": limits.silence_seconds, "write": limits.silence_seconds}
        with (
            permit.asking() as received,
            self._pool(url, permit, deadline, received) as pool,
            pool.stream("GET", target, headers=list((ours | headers).items()), extensions={"timeout": seconds}) as answer,
        ):
            yield httpx.Response(answer.status, headers=answer.headers, content=answer.iter_stream())

    def _pool(
        self, url: httpx.URL, permit: Permit, deadline: Deadline, received: Callable[[int], None]
    ) -> httpcore.ConnectionPool:
        """Connection pool for a request: to a checked address of its host, or to the proxy that the environment names."""
        proxy = _proxy_of(url)
        if proxy is None:
            addresses = self._network.addresses(url, permit.hosts)
            backend = PinnedBackend(self._network.connect, addresses, deadline, received)
            return httpcore.ConnectionPool(ssl_context=self._tls, network_backend=backend)
        if permit.hosts:
            with suppress(MediaUnavailable):  # the proxy may resolve names that this machine cannot
                self._network.addresses(url, permit.hosts)
        return httpcore.HTTPProxy(
            proxy_url=httpcore.URL(scheme=proxy.raw_scheme, host=proxy.raw_host, port=proxy.port, target=b"/"),
            proxy_auth=(proxy.username, proxy.password) if proxy.userinfo else None,
            proxy_ssl_context=self._tls if proxy.scheme == "https" else None,
            ssl_context=self._tls,
            network_backend=PinnedBackend(self._network.connect, None, deadline, received),
        )

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        # As in the Label Studio SDK: SSL_CERT_FILE, SSL_CERT_DIR, otherwise certifi's authorities.
        try:
            return httpx.create_ssl_context()
        except OSError as error:
            raise MediaError(f"SSL_CERT_FILE or SSL_CERT_DIR names no certificates that can be read: {error}") from None


class _Part:
    """A file being received, in one response or, from servers with range requests, in several; deleted unless finished."""

    def __init__(self, folder: Path, name: str, limits: Limits, progress: Progress | None):
        self._folder, self._name, self._limits, self._progress = folder, name, limits, progress
        self._digest = hashlib.sha256()
        self._temporary: Path | None = None
        self._out: BinaryIO | None = None
        self._received = 0
        self._expected: int | None = None
        self._etag: str | None = None

    def __enter__(self) -> "_Part":
        return self

    def __exit__(self, *_: object) -> None:
        if self._out:
            with suppress(OSError):  # an error of writing was reported before
                self._out.close()
        if self._temporary:
            self._temporary.unlink(missing_ok=True)

    def question(self) -> dict[str, str]:
        """Headers that request the missing part of the same file."""
        return {"Range": f"bytes={self._received}-", "If-Range": self._etag or ""}

    def receive(self, response: httpx.Response) -> bool:
        """Receive a response's body. Returns True if the file is complete; otherwise the rest can be requested."""
        if self._out is None:
            self._begin(response)
        else:
            self._check_rest(response)
        before = self._received
        try:
            for block in response.iter_bytes():
                self._write(block)
        except (httpcore.ReadError, httpcore.ReadTimeout, httpcore.RemoteProtocolError):
            # Label Studio's proxy ends responses after 20 s (RESOLVER_PROXY_TIMEOUT), and serves ranges of at most 8 MB.
            if self._etag is None or self._received == before:
                raise
        complete = self._expected is None or self._received == self._expected
        if not complete and self._received == before:
            raise MediaUnavailable(f"{self._name}: the server stopped after {self._received} bytes")
        return complete

    def finished(self) -> str:
        """Rename the file to the SHA-256 of its bytes. Raises MediaError if it is empty."""
        if not self._out or not self._temporary or not self._received:
            raise MediaError(f"{self._name}: the file is empty")
        with _storage_explained(self._folder):
            self._out.close()
            os.replace(self._temporary, self._folder / self._digest.hexdigest())
        return self._digest.hexdigest()

    def _begin(self, response: httpx.Response) -> None:
        headers = response.headers
        encoding = headers.get("content-encoding", "identity").lower()
        if encoding not in ("identity", "gzip", "deflate"):
            raise MediaError(f"{self._name}: expected an unencoded file, the server sent it with Content-Encoding {encoding!r}")
        if encoding == "identity" and "content-length" in headers and "transfer-encoding" not in headers:
            self._expected = int(headers["content-length"])  # h11 accepts only digits
            strong = headers.get("etag", "").startswith('"')
            self._etag = headers["etag"] if strong and headers.get("accept-ranges") == "bytes" else None
        self._check_size(self._expected or 0)
        self._check_room(self._expected or 0)
        with _storage_explained(self._folder):
            handle, name = tempfile.mkstemp(dir=self._folder, prefix=PARTIAL)
            self._temporary, self._out = Path(name), os.fdopen(handle, "wb")

    def _check_rest(self, response: httpx.Response) -> None:
        answered = re.match(r"bytes (\d+)-\d+/(\d+)$", response.headers.get("content-range", ""))
        expected = (str(self._received), str(self._expected))
        if not answered or answered.groups() != expected or response.headers.get("etag") != self._etag:
            raise MediaUnavailable(f"{self._name}: the file changed while it was fetched")

    def _write(self, block: bytes) -> None:
        assert self._out
        if (self._received + len(block)) // CHECK_ROOM_BYTES > self._received // CHECK_ROOM_BYTES:
            self._check_room(len(block))
        self._received += len(block)
        self._check_size(self._received)
        self._digest.update(block)
        with _storage_explained(self._folder):
            self._out.write(block)
        if self._progress and self._expected:
            self._progress(min(self._received / self._expected, 1.0), f"fetching, {self._received / 1e6:.1f} MB")

    def _check_size(self, num_bytes: int) -> None:
        if self._expected is not None and num_bytes > self._expected:
            raise MediaError(f"{self._name}: expected {self._expected} bytes, the server sends more")
        if num_bytes > self._limits.max_bytes:
            raise MediaError(f"{self._name}: larger than {self._limits.max_bytes} bytes, the most that MEDIA_MAX_BYTES allows")

    def _check_room(self, num_bytes: int) -> None:
        free = shutil.disk_usage(self._folder).free
        if free - num_bytes < self._limits.reserve_bytes:
            raise StorageFull(
                f"{self._name}: no room for it below {self._folder.parent}: {free} bytes are free, {num_bytes} are needed and "
                f"{self._limits.reserve_bytes} are kept free; make room or choose another DATA_DIR"
            )


# Files and locks.


def _drop(folder: Path, in_use: int) -> None:
    """Delete the bytes unless another process uses them."""
    if become_exclusive(in_use):
        _remove(_content_of(folder))


def _content_of(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.name not in (RECORD_NAME, "use.lock", "fetch.lock"))


def _remove(paths: Iterator[Path]) -> None:
    for path in list(paths):
        path.unlink(missing_ok=True)


def _storage_explained(folder: Path) -> AbstractContextManager[None]:
    return full_disk_explained(str(folder.parent), "make room there, or choose another DATA_DIR")


# Requests and responses.


def _proxy_of(url: httpx.URL) -> httpx.URL | None:
    """Proxy for an address, from HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY."""
    proxies = urllib.request.getproxies()
    named = proxies.get(url.scheme) or proxies.get("all")
    if not named or urllib.request.proxy_bypass(url.netloc.decode("ascii")):
        return None
    proxy = httpx.URL(named if "://" in named else f"http://{named}")
    if proxy.scheme not in ("http", "https"):
        raise MediaError(f"{shown(url)}: the environment names a proxy of scheme {proxy.scheme!r}, expected http or https")
    return proxy


def _validators(known: Record | None) -> dict[str, str]:
    if known and known.etag:
        return {"If-None-Match": known.etag}
    return {"If-Modified-Since": known.last_modified} if known and known.last_modified else {}


def _joined(url: httpx.URL, location: str) -> httpx.URL:
    try:
        joined = urljoin(str(url), location)
    except ValueError:
        joined = location
    return checked_url(joined)


def _refuse_failure(remote: Remote, response: httpx.Response, permit: Permit, also: int) -> None:
    """Raises MediaError for a status other than 200 and those of ``also``."""
    status, name = response.status_code, remote.name
    if status in (200, also):
        return
    if status >= 500 or status in (408, 425, 429):
        raise MediaUnavailable(f"{name}: expected a file, the server answered {status} {response.reason_phrase}")
    if status in (401, 403):
        raise MediaForbidden(
            f"{name}: the server answered {status}; is the user of LABEL_STUDIO_API_KEY allowed to see this file?"
        )
    cure = ""
    if remote.cloud and permit.hosts is None:
        cure = "; does the task's project in Label Studio have a storage for this bucket, and does that reach the file?"
    raise MediaError(f"{name}: expected a file, the server answered {status} {response.reason_phrase}{cure}")


@contextmanager
def _explained(remote: Remote) -> Iterator[None]:
    """Context that turns errors of connections into MediaError. Messages contain no address, which may have secrets in it."""
    try:
        yield
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.RemoteProtocolError, httpcore.ProxyError) as error:
        what = f"{remote.name}: could not be fetched, {type(error).__name__}: {error}"
        if is_untrusted_certificate(error):
            raise MediaError(f"{what}; if your own certificate authority signed it, set SSL_CERT_FILE to its file") from None
        if isinstance(error, httpcore.ProxyError) and not str(error).startswith("5"):
            raise MediaError(what) from None
        raise MediaUnavailable(what) from None
    except (httpcore.ProtocolError, httpcore.UnsupportedProtocol, httpx.DecodingError) as error:
        raise MediaError(f"{remote.name}: could not be fetched, {type(error).__name__}: {error}") from None
