"""Sessions of the page: a folder each below DATA_DIR/sync, with an unguessable name.

A session is stored completely in its files, so every web process sees it. Users' names of recordings are text in
``session.json`` and never part of a path: a file is stored as ``recording-NUMBER`` with one of SUFFIXES.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any

from framewise.core.errors import NotKnown, RequestError, StorageFull, brief
from framewise.core.storage import full_disk_explained, locked, part_in, try_acquire, write_readable_json
from framewise.sync import manifest as manifests
from framewise.sync.manifest import Manifest

# Suffix -> media type sent to browsers.
SUFFIXES = {
    ".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/mp4", ".mkv": "video/x-matroska", ".webm": "video/webm",
    ".avi": "video/x-msvideo", ".mts": "video/mp2t", ".m2ts": "video/mp2t", ".ts": "video/mp2t", ".mpg": "video/mpeg",
    ".mpeg": "video/mpeg", ".3gp": "video/3gpp", ".wmv": "video/x-ms-wmv", ".wav": "audio/wav", ".flac": "audio/flac",
    ".mp3": "audio/mpeg", ".m4a": "audio/mp4", ".aac": "audio/aac", ".ogg": "audio/ogg", ".opus": "audio/ogg",
}  # fmt: skip
MAX_RECORDINGS, MAX_SESSIONS = 32, 200
NAME_BYTES = 150
CHUNK_BYTES = 1 << 20
LOG_CHARS = 20_000
SESSION, MANIFEST, JOB, STATE, LOG, PICTURES, SYNCED, RESULTS, STOP = (
    "session.json", "sync.json", "job.json", "state.json", "sync.log", "pictures", "synced", "results.json", "stop",
)  # fmt: skip
JOB_LOCK, GONE = "job.lock", ".gone"
STOP_SECONDS = 10.0
BUSY = "this comparison is being worked on; wait until it is done, or stop it"
_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)


@dataclass(frozen=True)
class Stored:
    """An uploaded recording. name: as shown, unique in its session. size: bytes."""

    number: int
    name: str
    path: Path
    size: int


class Sessions:
    """All sessions. max_bytes: total size of the recordings of one session. free_bytes: space to keep free on the disk."""

    def __init__(self, root: Path, max_bytes: int, keep_hours: float, free_bytes: int):
        self.root, self.max_bytes = root, max_bytes
        self._keep_seconds, self._free_bytes = keep_hours * 3600, free_bytes

    def create(self) -> "Session":
        """Create an empty session. Raises StorageFull."""
        self.sweep()
        if len(self._folders()) >= MAX_SESSIONS:
            raise StorageFull(f"there are {MAX_SESSIONS} comparisons already; remove some of them")
        session = Session(self.root / secrets.token_hex(16))
        session.folder.mkdir(parents=True)
        write_readable_json(session.folder / SESSION, {"next": 1, "recordings": []})
        return session

    def open(self, name: str) -> "Session":
        """Open a session. Raises NotKnown if it does not exist (any more)."""
        session = Session(self.root / name)
        if not _ID.fullmatch(name) or not (session.folder / SESSION).is_file():
            raise NotKnown("no such comparison; they are deleted after a while: start a new one")
        return session

    def sweep(self) -> None:
        """Remove sessions that were unchanged for the retention time, and leftovers of killed processes."""
        for folder in self._folders():
            with contextlib.suppress(OSError):
                told = folder / SESSION
                changed = (told if told.exists() else folder).stat().st_mtime
                if time.time() - changed > self._keep_seconds and not Session(folder).is_busy():
                    Session(folder).remove()
        for gone in self.root.glob(f".*{GONE}"):
            shutil.rmtree(gone, ignore_errors=True)

    def check_room(self, session: "Session", size: int) -> None:
        """Check that there is room for a file of ``size`` bytes. Raises RequestError, StorageFull."""
        check_total(sum(stored.size for stored in session.recordings()) + size, self.max_bytes)
        if shutil.disk_usage(session.folder).free - size < self._free_bytes:
            raise StorageFull(f"no room on the disk for {size} bytes; remove comparisons that are no longer needed")

    def _folders(self) -> list[Path]:
        return [path for path in self.root.iterdir() if _ID.fullmatch(path.name)] if self.root.is_dir() else []


@dataclass(frozen=True)
class Session:
    """One comparison of recordings, in its folder."""

    folder: Path

    @property
    def id(self) -> str:
        return self.folder.name

    def recordings(self) -> list[Stored]:
        """Recordings in the order of upload."""
        found = self._read(SESSION)["recordings"]
        names = manifests.unique_names([PurePosixPath(item["name"]) for item in found])  # type: ignore[misc]
        return [
            Stored(item["number"], name, self.folder / item["file"], item["size"])
            for item, name in zip(found, names, strict=True)
        ]

    def recording(self, number: int) -> Stored:
        """One recording. Raises NotKnown."""
        for stored in self.recordings():
            if stored.number == number:
                return stored
        raise NotKnown(f"this comparison has no recording {number}")

    def add(self, name: str, stream: IO[bytes], size: int, most: int) -> Stored:
        """Store ``size`` bytes as a recording. An interrupted upload leaves nothing. most: maximum bytes of all together.

        Raises RequestError, StorageFull.
        """
        shown = shown_name(name)
        suffix = PurePosixPath(shown).suffix.lower()
        if suffix not in SUFFIXES:
            raise RequestError(f"{brief(shown)}: expected a recording ({' '.join(SUFFIXES)}), found {brief(suffix)}")
        part = part_in(self.folder)
        try:
            with full_disk_explained(brief(shown)):
                received = _receive(stream, part)
                if received != size or not size:
                    raise RequestError(f"{brief(shown)}: expected {size or 'some'} bytes, found {received}; upload it again")
                return self._keep(part, shown, suffix, size, most)
        except OSError as error:
            raise RequestError(f"{brief(shown)}: the upload was cut off ({error.strerror}); upload it again") from None
        finally:
            part.unlink(missing_ok=True)

    def _keep(self, part: Path, shown: str, suffix: str, size: int, most: int) -> Stored:
        with self.editing():
            told = self._read(SESSION)
            if len(told["recordings"]) >= MAX_RECORDINGS:
                raise RequestError(f"expected at most {MAX_RECORDINGS} recordings; remove one first")
            # others may have been uploaded in the meantime
            check_total(sum(item["size"] for item in told["recordings"]) + size, most)
            number = told["next"]
            file = f"recording-{number}{suffix}"
            os.replace(part, self.folder / file)
            told["recordings"].append({"number": number, "name": shown, "file": file, "size": size})
            told["next"] = number + 1
            write_readable_json(self.folder / SESSION, told)
        return self.recording(number)

    def drop(self, number: int) -> None:
        """Remove a recording, and the result that includes it. Raises NotKnown, RequestError."""
        with self.editing():
            stored, told = self.recording(number), self._read(SESSION)
            told["recordings"] = [item for item in told["recordings"] if item["number"] != number]
            write_readable_json(self.folder / SESSION, told)
            stored.path.unlink(missing_ok=True)
            for name in (MANIFEST, STATE, LOG):
                (self.folder / name).unlink(missing_ok=True)
            for name in (PICTURES, SYNCED):
                shutil.rmtree(self.folder / name, ignore_errors=True)

    def manifest(self) -> Manifest | None:
        """Estimated offsets, with recordings named after stored files. None before an estimate. Raises RequestError."""
        path = self.folder / MANIFEST
        return manifests.read(path) if path.is_file() else None

    def shown_manifest(self) -> Manifest:
        """The manifest for users: with their own file names, as if it were beside their own files. Raises NotKnown."""
        made = self.manifest()
        if made is None:
            raise NotKnown("no offsets were estimated yet")
        names = {stored.path.name: stored.name for stored in self.recordings()}
        recordings = tuple(
            replace(r, name=names[r.name], path=self.folder / names[r.name], reason=self.told(r.reason))
            for r in made.recordings
        )
        pairs = tuple(replace(pair, a=names[pair.a], b=names[pair.b]) for pair in made.pairs)
        return replace(made, reference=names[made.reference], recordings=recordings, pairs=pairs)

    def set_offset(self, number: int, offset: float) -> None:
        """Set an offset by hand. Raises NotKnown, RequestError."""
        with self.editing():
            made = self.manifest()
            if made is None:
                raise NotKnown("no offsets were estimated yet")
            name = self.recording(number).path.name
            manifests.write(manifests.with_offset(made, name, offset), self.folder / MANIFEST)
            os.utime(self.folder / SESSION)

    def told(self, text: str) -> str:
        """A message in which stored names are replaced by users' names of recordings."""
        for stored in self.recordings():
            text = text.replace(str(stored.path), stored.name).replace(stored.path.name, stored.name)
        return text.replace(f"{self.folder}/", "")

    def state(self) -> dict[str, Any]:
        """State of the last job: kind, state (waiting, running, done, failed, stopped), steps [(name, share)], error; {} if
        there is none."""
        # Checked first: if a job ends in between, it has already written its final state.
        busy = self.is_busy()
        state = self.written_state()
        if busy and state:  # its final state is written, but its process has not ended yet
            return state if state["state"] == "waiting" else {**state, "state": "running"}
        if state and state["state"] in ("waiting", "running"):
            state = {**state, "state": "failed", "error": "the server was stopped while this was running; start it again"}
        return state

    def written_state(self) -> dict[str, Any]:
        """Last written state, even if its job is gone."""
        return self._read(STATE)

    def log(self) -> str:
        try:
            return self.told((self.folder / LOG).read_text(encoding="utf-8", errors="replace")[-LOG_CHARS:])
        except FileNotFoundError:
            return ""

    def results(self) -> dict[str, Any]:
        """Results of apply: mode, outputs [{number, file, how}], left_out [number], stale (offsets were changed since)."""
        results = self._read(f"{SYNCED}/{RESULTS}")
        if results:
            made = (self.folder / SYNCED / RESULTS).stat().st_mtime_ns
            results["stale"] = (self.folder / MANIFEST).stat().st_mtime_ns > made
        return results

    def is_busy(self) -> bool:
        """True if a job waits or runs, in any process."""
        lock = try_acquire(self.folder / JOB_LOCK, shared=True)  # shared: checking blocks nobody
        if lock is None:
            return True
        os.close(lock)
        return False

    @contextlib.contextmanager
    def editing(self) -> Iterator[None]:
        """Context for a change: one at a time, and none while a job runs. Raises RequestError."""
        with locked(self.folder / "edit.lock"):
            if self.is_busy():
                raise RequestError(BUSY)
            yield

    def remove(self) -> None:
        """Remove the session. A running job is ended first."""
        (self.folder / STOP).touch()
        until = time.monotonic() + STOP_SECONDS
        while self.is_busy() and time.monotonic() < until:
            time.sleep(0.05)
        gone = self.folder.with_name(f".{self.id}{GONE}")
        self.folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def _read(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return found if isinstance(found, dict) else {}


def check_total(size: int, most: int) -> None:
    """Raise RequestError if the recordings together are too large."""
    if size > most:
        raise RequestError(f"expected recordings of at most {most} bytes together, found {size}; SYNC_MAX_BYTES allows more")


def shown_name(name: str) -> str:
    """Name of a file for users, safe to show and in a ZIP: without folders and control characters."""
    last = re.split(r"[/\\]", name)[-1]
    plain = "".join(c for c in last if unicodedata.category(c)[0] != "C").strip().lstrip(".")
    path = PurePosixPath(plain or "recording")
    suffix = path.suffix[:10]
    stem = path.stem.encode("utf-8", "replace")[:NAME_BYTES].decode("utf-8", "ignore")
    return (stem or "recording") + suffix


def _receive(stream: IO[bytes], target: Path) -> int:
    received = 0
    with target.open("xb") as file:
        while chunk := stream.read(CHUNK_BYTES):
            file.write(chunk)
            received += len(chunk)
    return received
