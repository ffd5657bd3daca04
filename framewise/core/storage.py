"""Atomic writes of files and folders, errors of full disks, and locks between processes."""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from framewise.core.errors import RequestError, StorageFull, is_disk_full

PARTIAL = ".part-"  # beginning of the names of files and folders that are being written


# Writing.


@contextlib.contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """Context with a temporary path, which is renamed to ``path`` at the end, or removed after an error.

    It is in the folder of ``path`` and has its suffix, by which some writers choose the format. Raises StorageFull, OSError.
    """
    with full_disk_explained(str(path)):
        part = part_in(path.parent, path.suffix)
        try:
            yield part
            _sync(part)
            os.replace(part, path)
        except BaseException:  # on a full disk, a partial file would take up space
            part.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def folder_written_atomically(path: Path) -> Iterator[Path]:
    """Context with a new temporary folder, which is renamed to ``path`` at the end, or removed after an error.

    ``path`` must not exist, or be an empty folder. Raises OSError.
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
    """Unique temporary path in a folder, for a file whose name is known only once it is written."""
    return folder / f"{PARTIAL}{secrets.token_hex(8)}{suffix.lower()}"


def write_json(path: Path, value: object) -> None:
    """Write a small JSON file atomically, and create its folder. Raises StorageFull, OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_atomically(path) as part:
        part.write_text(json.dumps(value), encoding="utf-8")


def write_readable_json(path: Path, value: object) -> None:
    """Write a JSON file for people atomically: indented, with unescaped Unicode. Raises RequestError, StorageFull."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):  # names of files may contain bytes that are no text
        text = json.dumps(value, indent=2) + "\n"
    try:
        with written_atomically(path) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RequestError(f"cannot write {path}: {error.strerror}") from None


@contextlib.contextmanager
def full_disk_explained(what: str, cure: str = "make room there") -> Iterator[None]:
    """Context that raises StorageFull in place of the system's error of a full disk. what: the file's name for the message."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise StorageFull(f"{what}: no room on the disk; {cure}") from None
        raise


def _sync(path: Path) -> None:
    """Flush a file to the disk: otherwise a crash of the machine may leave an empty file of the right name."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# Locks, which the system releases when their holder dies.


@contextlib.contextmanager
def locked(path: Path, shared: bool = False) -> Iterator[int]:
    """Context that holds a lock between processes and threads, and waits for it; yields the open file. See ``acquire``."""
    handle = acquire(path, shared)
    try:
        yield handle
    finally:
        os.close(handle)


def acquire(path: Path, shared: bool = False, wait: bool = True) -> int:
    """Open and lock a file; the lock is held until the file is closed. path: a file in an existing folder, created if missing,
    or an existing folder. A locked file still has its name, because removing such a file requires its exclusive lock.

    shared: the lock may be held together with other shared ones. Raises BlockingIOError if others hold it and ``wait`` is off,
    OSError.
    """
    mode = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    while True:
        handle = _open(path)
        try:
            fcntl.flock(handle, mode)
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except FileNotFoundError:  # it was removed while this process waited
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def try_acquire(path: Path, shared: bool = False) -> int | None:
    """Like ``acquire``, but without waiting; None if others hold the lock. Raises OSError."""
    try:
        return acquire(path, shared, wait=False)
    except BlockingIOError:
        return None


def become_exclusive(handle: int) -> bool:
    """Turn a shared lock into an exclusive one, unless others hold it too. If several try this at once, the last one succeeds:
    each releases its lock before it requests the other, because flock(2) does not convert atomically."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(path: Path) -> bool:
    """True if any process holds a lock on a file. Raises OSError."""
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
        return os.open(path, os.O_RDONLY)  # a folder, or another user's file: reading is enough for a lock
