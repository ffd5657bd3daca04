"""Files and folders that appear as a whole or not at all, full disks, and locks between processes."""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from framewise.core.errors import RequestError, StorageFull, is_disk_full

PARTIAL = ".part-"  # names of files and folders that are being written begin with it


# Writing.


@contextlib.contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """A path to write a file to, which is renamed to ``path`` when the context ends, and removed if it ends with an error.

    It lies beside ``path`` and has its suffix: some writers go by that. Raises StorageFull, OSError.
    """
    with full_disk_explained(str(path)):
        part = part_in(path.parent, path.suffix)
        try:
            yield part
            _sync(part)
            os.replace(part, path)
        except BaseException:  # on a full disk, a part of a file would take the room that is missing
            part.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def folder_written_atomically(path: Path) -> Iterator[Path]:
    """A new folder to write to, which is renamed to ``path`` when the context ends, and removed if it ends with an error.

    ``path`` is not there, or an empty folder. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_in(path.parent)
    part.mkdir()
    try:
        yield part
        part.rename(path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def part_in(folder: Path, suffix: str = "") -> Path:
    """A path in a folder that nobody else writes to: for a file whose name is known when it is there."""
    return folder / f"{PARTIAL}{secrets.token_hex(8)}{suffix.lower()}"


def write_json(path: Path, value: object) -> None:
    """Write a small JSON file: a reader sees the old one or the new one. Its folder is made. Raises StorageFull, OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_atomically(path) as part:
        part.write_text(json.dumps(value), encoding="utf-8")


def write_readable_json(path: Path, value: object) -> None:
    """Write a JSON file for people, indented, in their own letters; atomically. Raises RequestError, StorageFull."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):  # a file's name may be no text
        text = json.dumps(value, indent=2) + "\n"
    try:
        with written_atomically(path) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RequestError(f"cannot write {path}: {error.strerror}") from None


@contextlib.contextmanager
def full_disk_explained(what: str, cure: str = "make room there") -> Iterator[None]:
    """StorageFull in place of the system's error of a disk that is full. what: the path, or another name for it."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise StorageFull(f"{what}: no room on the disk; {cure}") from None
        raise


def _sync(path: Path) -> None:
    """Put a file's bytes on the disk: without it, a machine that crashes may leave an empty file of the right name."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# Locks. The system frees them when their holder dies.


@contextlib.contextmanager
def locked(path: Path, shared: bool = False) -> Iterator[int]:
    """A lock between processes and threads, waited for, as long as the context lasts; the open file. See ``acquire``."""
    handle = acquire(path, shared)
    try:
        yield handle
    finally:
        os.close(handle)


def acquire(path: Path, shared: bool = False, wait: bool = True) -> int:
    """An open file under a lock, held until it is closed. The file is made if it is not there, and it is the one that has the
    name: whoever removes such a file holds its exclusive lock. path: of a file in a folder that is there, or of such a folder.

    shared: together with others that want no more. Raises BlockingIOError if it is held by others and not to be waited for,
    OSError.
    """
    mode = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    while True:
        handle = _open(path)
        try:
            fcntl.flock(handle, mode)
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except FileNotFoundError:  # it was removed while it was waited for
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def try_acquire(path: Path, shared: bool = False) -> int | None:
    """The same without waiting; None if others hold the lock. Raises OSError."""
    try:
        return acquire(path, shared, wait=False)
    except BlockingIOError:
        return None


def become_exclusive(handle: int) -> bool:
    """Change a shared lock to an exclusive one, unless others hold it too. Of several who try this at once the last succeeds:
    each gives up its own lock before it asks for the other (flock(2): a conversion is no single step)."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(path: Path) -> bool:
    """True if anybody holds a lock on a file. Raises OSError."""
    if not path.exists():
        return False
    handle = try_acquire(path, shared=False)
    if handle is not None:
        os.close(handle)
    return handle is None


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError:
        if not path.exists():
            raise
        return os.open(path, os.O_RDONLY)  # a folder, or another user's: enough for a lock
