"""Files of tasks on this machine, found by their address and identified by their content.

Addresses are untrusted: only Label Studio's own files, allowed hosts and allowed folders are read.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import httpx

from framewise.core.errors import MediaError, MediaForbidden, MediaUnavailable
from framewise.core.progress import Progress
from framewise.core.storage import write_json
from framewise.label_studio import LabelStudioClient
from framewise.media.addresses import MediaHosts, Network, checked_url, file_name, host_of, shown
from framewise.media.cures import renamed
from framewise.media.fetch import Downloads, Limits, Permit, Remote

# Schemes of storage addresses in task data that Label Studio resolves: url_scheme in its io_storages/*/models.py.
CLOUD_SCHEMES = ("s3", "gs", "azure-blob")


@dataclass(frozen=True)
class MediaFile:
    """A readable file. content: SHA-256 of its bytes, so that the same video under two names is one. stamp: its size and times
    when it was hashed, for files that others may change."""

    path: Path
    content: str
    stamp: str = ""

    @classmethod
    def of(cls, path: Path) -> Self:
        """A local file, which is read once to hash its content. Raises OSError."""
        stamp = _stat_key(path)
        with path.open("rb") as file:
            return cls(path, hashlib.file_digest(file, "sha256").hexdigest(), stamp)

    def check_unchanged(self) -> None:
        """Raises MediaUnavailable if the file has changed since ``content`` was computed."""
        try:
            changed = bool(self.stamp) and _stat_key(self.path) != self.stamp
        except OSError:
            changed = True
        if changed:
            raise MediaUnavailable(f"{self.path.name}: the file changed while it was read")


class MediaLibrary:
    """Files of tasks. data_dir: contains downloads and hashes of local files. local_roots, hosts: allow-lists.

    limits: of downloads. network: name resolution and connections, replaced in tests.
    """

    def __init__(
        self,
        data_dir: Path,
        label_studio: LabelStudioClient,
        local_roots: tuple[Path, ...],
        hosts: tuple[str, ...],
        limits: Limits | None = None,
        network: Network | None = None,
    ):
        self._label_studio = label_studio
        self._local_roots = tuple(root.resolve() for root in local_roots)
        self._hosts = MediaHosts(hosts)
        self._hashes = data_dir / "hashes"
        self._downloads = Downloads(data_dir / "downloads", self._permit, limits, network, self._check_wait)

    @contextmanager
    def opened(self, source: str, task: int | None = None, progress: Progress | None = None) -> Iterator[MediaFile]:
        """Context with the file of an address in task data, downloaded if necessary.

        A download is deleted at the end, unless another process or thread has it open. task: Label Studio's task id, with which
        it resolves addresses in cloud storage. May take as long as ``Limits`` allows. Raises MediaError, LabelStudioError,
        StorageFull.
        """
        remote = self._remote(source, task)
        if remote is None:
            path = self._local_path(source)
            stamp = _stat_key(path)
            file = MediaFile(path, self._content_of(path), stamp)
            file.check_unchanged()
            yield file
            return
        with self._downloads.held(remote, progress) as (path, record), _named(path, file_name(source)):
            yield MediaFile(path, record.sha256)

    def known_content(self, source: str, task: int | None = None) -> str | None:
        """Content of the file at an address, if known without reading or downloading it; the file itself may be gone.

        Local files are recognised by size and time of change; uploads to Label Studio, whose names are never reused, by their
        URL; others by asking their server, for a few seconds at most, whether they changed. For files in cloud storage, Label
        Studio first confirms that the task may see them. None: the file has to be opened. Raises MediaError, LabelStudioError.
        """
        remote = self._remote(source, task)
        if remote is None:
            return self._known_hash(self._local_path(source))
        record = self._downloads.known(remote) if self._is_upload(remote.url) else self._downloads.unchanged(remote)
        return record.sha256 if record else None

    def at_hand(self, source: str) -> Path | None:
        """Path of a file that is on this disk; None for one that has to be downloaded. Raises MediaError for a file that is
        missing or must not be read."""
        if self._is_path_of_label_studio(source):
            return self._upload_at_hand(source)
        return None if _scheme(source) else self._local_path(source)

    def _upload_at_hand(self, source: str) -> Path | None:
        """Path of an upload, if Label Studio's media folder is one of the allowed folders."""
        _, found, name = source.partition("/data/upload/")
        for root in self._local_roots if found else ():
            path = Path(os.path.realpath(root / "upload" / name))
            if path.is_relative_to(root / "upload") and os.path.isfile(path):
                return path
        return None

    def stamp(self, source: str) -> str:
        """Text that changes when a local file is replaced; for other sources, the source itself."""
        if _scheme(source) in CLOUD_SCHEMES:
            return source
        remote = self._remote(source, None)
        return str(remote.url) if remote else _stat_key(self._local_path(source))

    def sweep(self) -> None:
        """Delete downloads left by killed processes."""
        self._downloads.sweep()

    def _remote(self, source: str, task: int | None) -> Remote | None:
        """Remote file of a source; None for a plain path. Raises MediaError for other schemes and addresses."""
        scheme = _scheme(source)
        if scheme in CLOUD_SCHEMES:
            if not isinstance(task, int):
                raise MediaError(f"{shown(source)}: Label Studio resolves addresses in cloud storage for a task; none is given")
            try:
                return self._in_cloud(source, checked_url(self._label_studio.presign_url(source, task)))
            except UnicodeEncodeError:  # half of a surrogate pair, which JSON can contain
                raise MediaError(f"{source!r} is not an address: it contains characters that are not text") from None
        if self._is_path_of_label_studio(source):
            url = checked_url(self._label_studio.absolute("/" + source.lstrip("/")))
        elif scheme in ("http", "https"):
            url = checked_url(source)
        elif scheme:
            raise MediaError(
                f"{shown(source)}: addresses of scheme {scheme!r} are not read; expected a Label Studio upload or local file, "
                f"http(s), {', '.join(CLOUD_SCHEMES)}, or a path below LOCAL_FILES_ROOTS"
            )
        else:
            return None
        stored = self._label_studio.storage_uri(url)
        return self._in_cloud(stored, url) if stored else Remote.at(url)

    def _in_cloud(self, storage_uri: str, url: httpx.URL) -> Remote:
        # Equal bucket names may mean different buckets in different Label Studios.
        return Remote(url, shown(storage_uri), f"{self._label_studio.url}\n{storage_uri}", cloud=True)

    def _is_path_of_label_studio(self, source: str) -> bool:
        # Behind a path prefix, Label Studio includes it in the addresses of uploads.
        path = source.removeprefix(urlsplit(self._label_studio.url or "").path)
        resolves = path.startswith(("/tasks/", "/projects/")) and "fileuri=" in path
        return resolves or path.startswith(("/data/upload/", "data/upload/", "/data/local-files"))

    def _is_upload(self, url: httpx.URL) -> bool:
        return self._label_studio.owns(url) and self._label_studio.path_of(url).startswith("/data/upload/")

    def _permit(self, url: httpx.URL, before: Permit | None) -> Permit:
        """Permissions for an address in a task, or for one that ``before`` redirected to."""
        if self._label_studio.owns(url):
            if before and before.hosts is not None:
                raise MediaForbidden(f"{shown(url)}: redirects of other hosts to Label Studio are not followed")
            headers = self._label_studio.media_headers(url)
            vouches = self._label_studio.storage_uri(url) is not None
            return Permit(headers, vouches=vouches, asking=self._label_studio.downloading)
        vouched = before is not None and before.vouches
        host = host_of(url)
        if not vouched and not self._hosts.may_ask(host):
            raise MediaForbidden(f"{shown(url)}: host {host!r} is not allowed; add it to MEDIA_HOSTS to fetch from it")
        return Permit(hosts=self._hosts, vouches=vouched)

    def _check_wait(self, url: httpx.URL) -> None:
        """Raises LabelStudioUnavailable if another thread fetches this file from a Label Studio that hangs."""
        if self._label_studio.owns(url):
            self._label_studio.check_downloads()

    def _local_path(self, source: str) -> Path:
        if "\0" in source:
            raise MediaError(f"{source!r}: a file name cannot contain a zero byte")
        path = Path(os.path.realpath(source))
        if not any(path.is_relative_to(root) for root in self._local_roots):
            # Refused before checking whether it exists, because the answer would reveal what is on this disk.
            raise MediaForbidden(f"{source}: not below any folder of LOCAL_FILES_ROOTS; add its folder there to read it")
        if not os.path.isfile(path):  # unlike Path.is_file, also False for a name that is too long
            raise MediaError(f"{source}: no such file")
        return path

    def _content_of(self, path: Path) -> str:
        known = self._known_hash(path)
        if known:
            return known
        file = MediaFile.of(path)
        file.check_unchanged()
        write_json(self._hash_record(path), {"key": file.stamp, "sha256": file.content})
        return file.content

    def _known_hash(self, path: Path) -> str | None:
        try:
            record = json.loads(self._hash_record(path).read_text())
            return str(record["sha256"]) if record["key"] == _stat_key(path) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _hash_record(self, path: Path) -> Path:
        return self._hashes / (hashlib.sha256(str(path).encode()).hexdigest()[:24] + ".json")


@contextmanager
def _named(path: Path, name: str) -> Iterator[None]:
    """Context in which errors about a download, which is stored under its hash, name it as its user knows it."""
    try:
        yield
    except MediaError as error:
        if path.name not in str(error):
            raise
        raise type(error)(renamed(str(error), path.name, name)) from error


def _scheme(source: str) -> str:
    return source.partition("://")[0].lower() if "://" in source else ""


def _stat_key(path: Path) -> str:
    # Also the time of change: overwriting a file can keep its size and modification time.
    stat = path.stat()
    return f"{path}:{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:{stat.st_ino}"
