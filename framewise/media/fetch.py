"""Fetching a file over HTTP to disk: streamed, with timeouts, written under a temporary name and renamed.

What was fetched is kept with the server's validators, so that a file that changed is fetched again and one that did not is
not.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx

from framewise.core.errors import FramewiseError, MediaError, MediaForbidden

TIMEOUT = httpx.Timeout(connect=10.0, read=30.0, write=30.0, pool=10.0)
QUICK_TIMEOUT = httpx.Timeout(2.0)
MAX_REDIRECTS = 5
CHUNK_BYTES = 1 << 20

Progress = Callable[[float, str], None]
HeadersFor = Callable[[str], dict[str, str]]


@dataclass(frozen=True)
class Fetched:
    """A file on disk and what the server said of it. ``sha256`` identifies the content."""

    path: str
    sha256: str
    etag: str | None
    last_modified: str | None


class Downloads:
    """Files fetched by URL below ``folder``. ``headers_for(url)`` gives a hop's headers, and raises MediaForbidden for
    a host that may not be asked; it is called again for every redirect."""

    def __init__(self, folder: Path, headers_for: HeadersFor):
        self.folder = folder
        self._headers_for = headers_for

    def known(self, url: str) -> Fetched | None:
        """What was fetched from ``url`` before, if it is still there; the server is not asked."""
        try:
            record = Fetched(**json.loads(self._record(url).read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return record if os.path.exists(record.path) else None

    def fetch(self, url: str, progress: Progress | None = None) -> Fetched:
        """The file at ``url``, fetched unless the server says that it has not changed. Raises MediaError."""
        known = self.known(url)
        try:
            with self._open(url, known) as response:
                if known and (response.status_code == 304 or _same(known, response)):
                    return known
                return self._store(url, response, progress)
        except httpx.HTTPError as error:
            raise MediaError(f"{shown(url)}: could not be fetched, {type(error).__name__}: {error}") from None
        except (httpx.InvalidURL, ValueError) as error:
            raise MediaError(f"{shown(url)}: could not be fetched, it led to an address that is none: {error}") from None

    def unchanged(self, url: str) -> Fetched | None:
        """What was fetched before, if the server says at once that it has not changed since; nothing is fetched."""
        known = self.known(url)
        if known is None:
            return None
        try:
            with self._open(url, known, QUICK_TIMEOUT) as response:
                return known if response.status_code == 304 or _same(known, response) else None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, FramewiseError):
            return None

    @contextmanager
    def _open(self, url: str, known: Fetched | None, timeout: httpx.Timeout = TIMEOUT) -> Iterator[httpx.Response]:
        validators = {}
        if known and known.etag:
            validators["If-None-Match"] = known.etag
        elif known and known.last_modified:
            validators["If-Modified-Since"] = known.last_modified
        # Redirects are followed by hand: each hop is checked, and gets only the headers that are meant for it.
        with httpx.Client(timeout=timeout, follow_redirects=False) as client:
            hop = url
            for _ in range(MAX_REDIRECTS + 1):
                with client.stream("GET", hop, headers={**validators, **self._headers_for(hop)}) as response:
                    if not response.is_redirect or "location" not in response.headers:
                        _refuse_failure(url, response)
                        yield response
                        return
                    hop = checked_url(urljoin(hop, response.headers["location"]))
            raise MediaError(f"{shown(url)}: more than {MAX_REDIRECTS} redirects")

    def _store(self, url: str, response: httpx.Response, progress: Progress | None) -> Fetched:
        folder = self._record(url).parent
        folder.mkdir(parents=True, exist_ok=True)
        expected = int(response.headers.get("content-length") or 0)
        digest, received = hashlib.sha256(), 0
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=".part-")
        try:
            with os.fdopen(handle, "wb") as out:
                for block in response.iter_bytes(CHUNK_BYTES):
                    out.write(block)
                    digest.update(block)
                    received += len(block)
                    if progress and expected:
                        progress(min(received / expected, 1.0), f"fetching, {received / 1e6:.1f} MB")
            path = folder / digest.hexdigest()
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        fetched = Fetched(str(path), digest.hexdigest(), response.headers.get("etag"), response.headers.get("last-modified"))
        write_json(self._record(url), asdict(fetched))
        return fetched

    def _record(self, url: str) -> Path:
        return self.folder / hashlib.sha256(url.encode()).hexdigest()[:24] / "record.json"


def write_json(path: Path, value: object) -> None:
    """Write JSON so that a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".json-")
    with os.fdopen(handle, "w") as out:
        json.dump(value, out)
    os.replace(temporary, path)


def checked_url(url: str) -> str:
    """The URL itself. Raises MediaError for one that is not of the web: another scheme, no host, a port that none can have."""
    try:
        httpx.URL(url)
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        problem = "" if usable else "expected http or https, and a host"
    except (httpx.InvalidURL, ValueError) as error:
        problem = str(error)
    if problem:
        raise MediaError(f"{re.sub('//[^/]*@', '//', url.partition('?')[0])!r} is no address: {problem}")
    return url


def shown(url: str) -> str:
    """A URL without its query and user, which may carry secrets."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}" if parts.hostname else url.split("?")[0]


def _same(known: Fetched, response: httpx.Response) -> bool:
    """Servers that send validators but ignore them in the question answer 200: the body need not be read again then."""
    etag, modified = response.headers.get("etag"), response.headers.get("last-modified")
    if known.etag or etag:
        return bool(known.etag == etag)
    return modified is not None and known.last_modified == modified


def _refuse_failure(url: str, response: httpx.Response) -> None:
    if response.status_code == 304 or response.is_success:
        return
    if response.status_code in (401, 403):
        raise MediaForbidden(
            f"{shown(url)}: the server answered {response.status_code}; may the user of LABEL_STUDIO_API_KEY see this file?"
        )
    raise MediaError(f"{shown(url)}: expected a file, the server answered {response.status_code} {response.reason_phrase}")
