"""Jobs of /sync (estimate, apply) in child processes, at most SLOTS at once over all web processes.

A thread of the web process waits for a slot and then for its child, holding a lock on the session: if the lock is free, nothing
is running. If the web process ends, the lock is released and the child ends with it.
"""

import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from framewise.core.errors import RequestError
from framewise.core.storage import try_acquire, write_readable_json
from framewise.processes import start_child, stop_child
from framewise.server.sync_page.sessions import BUSY, JOB, JOB_LOCK, LOG, STATE, STOP, Session

SLOTS = 2
CHECK_SECONDS = 0.2
LOCK_SECONDS = 2.0
MODULE = "framewise.server.sync_page.work"
OUTPUT = "child.txt"
FAILED, DEFECT = 1, 2  # exit codes of the child
logger = logging.getLogger(__name__)


def start(session: Session, kind: str, options: dict[str, Any]) -> None:
    """Start a job of a session, and return. Raises RequestError if one is running."""
    with session.editing():
        lock = _job_lock(session)
    try:
        (session.folder / STOP).unlink(missing_ok=True)
        (session.folder / LOG).unlink(missing_ok=True)
        write_readable_json(session.folder / JOB, {"kind": kind, **options})
        write_state(session, kind, "waiting")
        os.utime(session.folder / "session.json")
        threading.Thread(target=_run, args=(session, kind, lock), name=f"sync {session.id[:8]}", daemon=True).start()
    except BaseException:
        os.close(lock)
        raise


def _job_lock(session: Session) -> int:
    """Lock of a session's job, taken while nobody edits. Checking whether it is taken holds it for a moment. Raises
    RequestError."""
    until = time.monotonic() + LOCK_SECONDS
    while (lock := try_acquire(session.folder / JOB_LOCK)) is None:
        if time.monotonic() > until:
            raise RequestError(BUSY)
        time.sleep(0.01)
    return lock


def stop(session: Session) -> None:
    """Tell the process that runs the session's job to end it."""
    (session.folder / STOP).touch()


def write_state(session: Session, kind: str, state: str, steps: dict[str, float] | None = None, error: str = "") -> None:
    told = {"kind": kind, "state": state, "steps": list((steps or {}).items()), "error": error}
    write_readable_json(session.folder / STATE, told)


def _run(session: Session, kind: str, lock: int) -> None:
    slot = None
    try:
        while slot is None and not _is_unwanted(session):
            slot = next((s for s in (try_acquire(p) for p in _slots(session)) if s is not None), None)
            if slot is None:
                time.sleep(CHECK_SECONDS)
        if slot is not None:
            _watch(session, kind)
        elif session.folder.exists():
            write_state(session, kind, "stopped")
    except (OSError, RequestError):
        if session.folder.exists():  # otherwise the session was removed
            logger.exception("a comparison failed")
    finally:
        for handle in (slot, lock):
            if handle is not None:
                os.close(handle)


def _slots(session: Session) -> list[Path]:
    return [session.folder.parent / f"slot-{number}" for number in range(SLOTS)]


def _watch(session: Session, kind: str) -> None:
    """Run the child, and write a final state if it left none itself."""
    with (session.folder / OUTPUT).open("wb") as output:
        child = start_child([sys.executable, "-m", MODULE, str(session.folder)], os.environ, log=output)
    unwanted = False
    while not unwanted:
        try:
            child.wait(CHECK_SECONDS)
            break
        except subprocess.TimeoutExpired:
            unwanted = _is_unwanted(session)
    stop_child(child)
    if not session.folder.exists():
        return
    if unwanted:
        write_state(session, kind, "stopped")
    elif child.returncode:
        has_told = session.written_state().get("state") == "failed"
        if not has_told or child.returncode == DEFECT:
            text = (session.folder / OUTPUT).read_text(errors="replace").strip()
            logger.error("a comparison ended with code %d: %s", child.returncode, text)
        if not has_told:
            write_state(session, kind, "failed", error=f"ended with code {child.returncode}; see the server's log")


def _is_unwanted(session: Session) -> bool:
    return (session.folder / STOP).exists() or not session.folder.exists()
