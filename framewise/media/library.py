"""From the address in a task to a file on this machine, identified by its content.

Addresses come from strangers: only Label Studio's own files, hosts that were allowed and folders that were allowed are read.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from framewise.core.errors import MediaError, MediaForbidden
from framewise.label_studio import LabelStudioClient
from framewise.media.fetch import Downloads, Progress, checked_url, shown, write_json


@dataclass(frozen=True)
class MediaFile:
    """A readable file. ``content`` is the SHA-256 of its bytes: the same video under two names is one."""

    path: Path
    content: str


class MediaLibrary:
    """Files of tasks. data_dir keeps downloads and the hashes of local files; local_roots and hosts are allow-lists."""

    def __init__(self, data_dir: Path, label_studio: LabelStudioClient, local_roots: tuple[Path, ...], hosts: tuple[str, ...]):
        self._label_studio = label_studio
        self._local_roots = tuple(root.resolve() for root in local_roots)
        self._hosts = hosts
        self._hashes = data_dir / "hashes"
        self._downloads = Downloads(data_dir / "downloads", self._headers_for)

    @contextmanager
    def opened(self, source: str, task: int | None = None, progress: Progress | None = None) -> Iterator[MediaFile]:
        """The file of an address in task data, fetched or looked up; it is there as long as the context lasts.

        task: Label Studio's number, with which it resolves addresses in cloud storage. May take long. Raises MediaError,
        LabelStudioError.
        """
        yield self.open(source, progress)

    def known_content(self, source: str, task: int | None = None) -> str | None:
        """The content of an address if that is known without reading or fetching the file, which may be gone by now."""
        found = self.peek(source)
        return found.content if found else None

    def open(self, source: str, progress: Progress | None = None) -> MediaFile:
        """The file of an address in task data, fetched or looked up. May take long. Raises MediaError, LabelStudioError."""
        url = self._url(source)
        if url is None:
            path = self._local_path(source)
            return MediaFile(path, self._content_of(path))
        fetched = self._downloads.fetch(url, progress)
        return MediaFile(Path(fetched.path), fetched.sha256)

    def peek(self, source: str) -> MediaFile | None:
        """The file if that is known without reading or fetching it: a local file by its size and time of change, an upload
        of Label Studio, whose names are never used again, by its URL, another by asking the server whether it changed.
        None means: ``open`` it to know."""
        url = self._url(source)
        if url is None:
            path = self._local_path(source)
            content = self._known_hash(path)
            return MediaFile(path, content) if content else None
        known = self._downloads.known(url) if self._is_upload(url) else self._downloads.unchanged(url)
        return MediaFile(Path(known.path), known.sha256) if known else None

    def stamp(self, source: str) -> str:
        """Text that changes when a local file is replaced; for other sources the source itself."""
        url = self._url(source)
        return url if url is not None else _stat_key(self._local_path(source))

    def _is_upload(self, url: str) -> bool:
        return self._label_studio.owns(url) and "/data/upload/" in urlsplit(url).path

    def _url(self, source: str) -> str | None:
        """The URL of a source, or None for a plain path. Raises for a scheme that is not read and for no address at all."""
        # Label Studio behind a path prefix writes it into the addresses of uploads.
        prefix = urlsplit(self._label_studio.url or "").path
        if source.removeprefix(prefix).startswith(("/data/upload/", "data/upload/", "/data/local-files")):
            return self._label_studio.absolute("/" + source.lstrip("/"))
        scheme = source.partition("://")[0].lower() if "://" in source else ""
        if scheme in ("http", "https"):
            return checked_url(source)
        if scheme:
            raise MediaError(
                f"{shown(source)}: addresses of scheme {scheme!r} are not read; expected a Label Studio upload or local file, "
                "http(s), or a path below LOCAL_FILES_ROOTS"
            )
        return None

    def _headers_for(self, url: str) -> dict[str, str]:
        if self._label_studio.owns(url):
            return self._label_studio.auth_headers()
        host = (urlsplit(url).hostname or "").lower()
        if "*" in self._hosts or host in self._hosts:
            return {}
        raise MediaForbidden(f"{shown(url)}: host {host!r} is not allowed; add it to MEDIA_HOSTS to fetch from it")

    def _local_path(self, source: str) -> Path:
        if "\0" in source:
            raise MediaError(f"{source!r}: no file can have a name with a zero byte")
        path = Path(os.path.realpath(source))
        if not any(path.is_relative_to(root) for root in self._local_roots):
            # Said before looking whether it exists: an answer either way would tell a stranger what is on this disk.
            raise MediaForbidden(f"{source}: not below any folder of LOCAL_FILES_ROOTS; add its folder there to read it")
        if not os.path.isfile(path):  # unlike Path.is_file, also false for a name that is too long
            raise MediaError(f"{source}: there is no such file")
        return path

    def _content_of(self, path: Path) -> str:
        known = self._known_hash(path)
        if known:
            return known
        key = _stat_key(path)
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        if _stat_key(path) != key:
            raise MediaError(f"{path.name}: the file changed while it was read; it will be tried again when next asked for")
        write_json(self._hash_record(path), {"key": key, "sha256": content})
        return content

    def _known_hash(self, path: Path) -> str | None:
        try:
            record = json.loads(self._hash_record(path).read_text())
            return str(record["sha256"]) if record["key"] == _stat_key(path) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _hash_record(self, path: Path) -> Path:
        return self._hashes / (hashlib.sha256(str(path).encode()).hexdigest()[:24] + ".json")


def _stat_key(path: Path) -> str:
    # The time of change too: copying over a file can keep its size and its time of modification.
    stat = path.stat()
    return f"{path}:{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:{stat.st_ino}"
