"""Processes below another one, as Linux shows them in /proc: who they are, who lives, how much memory they hold; pauses."""

import contextlib
import os
import re
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")


def is_alive(pid: int) -> bool:
    """True if a process runs; one that ended and was not waited for does not."""
    try:
        return _stat(pid)[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def parent_of(pid: int) -> int:
    """Process id of the parent. Raises FileNotFoundError, ProcessLookupError if the process ended."""
    return int(_stat(pid)[1])


def descendants(root: int) -> dict[int, str]:
    """Process id -> command line of all living processes below one."""
    commands, parents = {}, {}
    for folder in PROC.glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            pid = int(folder.name)
            commands[pid] = (folder / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ").strip()
            parents[pid] = parent_of(pid)
    found: dict[int, str] = {}
    todo = [root]
    while todo:
        parent = todo.pop()
        below = [pid for pid, of in parents.items() if of == parent and is_alive(pid)]
        found.update({pid: commands[pid] for pid in below})
        todo += below
    return found


def web_pids(supervisor: int) -> list[int]:
    """Process ids of gunicorn below a ``framewise serve``: the master, then those that answer requests."""
    found = [pid for pid, command in descendants(supervisor).items() if " -m gunicorn " in command]
    return sorted(found, key=lambda pid: parent_of(pid) != supervisor)


def worker_pids(supervisor: int) -> list[int]:
    """Process ids of the workers below a ``framewise serve``: one, or none while it is started again."""
    return [pid for pid, command in descendants(supervisor).items() if command.endswith("framewise work")]


def memory_bytes(pid: int) -> int:
    """Proportional set size: pages that several processes share are divided between them. OSError if the process ended."""
    rollup = (PROC / str(pid) / "smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+) kB$", rollup, re.MULTILINE)
    if found is None:
        raise ProcessLookupError(f"process {pid} shows no memory any more")
    return int(found[1]) * 1024


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used, in its own code and in the system's. OSError if the process ended."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def paused(pid: int, data: Path) -> Iterator[None]:
    """A process that is stopped meanwhile, at a moment at which it locks no database in a folder: others go on."""
    os.kill(pid, signal.SIGSTOP)
    try:
        while not all(_can_be_written(path) for path in data.glob("*.sqlite")):
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.05)
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _can_be_written(database: Path) -> bool:
    with contextlib.closing(sqlite3.connect(database, timeout=0.5, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return False
    return True


def _stat(pid: int) -> list[str]:
    """State, parent, ... of a process: what follows its name, which may contain anything."""
    return (PROC / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()
