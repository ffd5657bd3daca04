"""Child processes that never outlive their parent."""

import contextlib
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

STOP_SECONDS = 10.0
KILL_SECONDS = 2.0  # the system needs a moment to end killed processes; in a container, orphans may remain as zombies
SUPERVISOR_STOP_SECONDS = STOP_SECONDS + 2 * KILL_SECONDS  # killed earlier, it would leave its children running
POLL_SECONDS = 0.02

# Run by a fresh interpreter, where it is safe to call prctl (a preexec_fn is not, once there are threads).
# 1 is PR_SET_PDEATHSIG of linux/prctl.h: the kernel signals the child when the thread that started it ends; it survives
# exec. If the parent died before the call, the parent id has changed.
_LAUNCHER = """
import os, sys
if sys.platform.startswith("linux"):
    import ctypes
    ctypes.CDLL(None).prctl(1, int(sys.argv[2]))
    if os.getppid() != int(sys.argv[1]):
        os._exit(1)
os.execv(sys.argv[3], sys.argv[3:])
"""


def framewise_command(*args: str) -> list[str]:
    """Command line that runs framewise in this Python."""
    return [sys.executable, "-m", "framewise", *args]


def start_child(
    args: Sequence[str],
    env: Mapping[str, str],
    cwd: Path | None = None,
    log: IO[bytes] | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
) -> "subprocess.Popen[bytes]":
    """Start a program that gets ``death_signal`` when the calling thread ends for any reason (Linux).

    It has its own session: Ctrl-C in a terminal reaches only the parent, which stops its children in order.
    log: file for its output; None: this process's own output.
    """
    launcher = [sys.executable, "-c", _LAUNCHER, str(os.getpid()), str(int(death_signal))]
    return subprocess.Popen(
        [*launcher, *args], cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )


def allow_open_files() -> None:
    """Raise this process's limit of open files to the maximum: training keeps several open per video."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def stop_child(child: "subprocess.Popen[bytes]", seconds: float = STOP_SECONDS) -> None:
    """Ask a child to stop, kill it if it does not, and kill what remains of its process group.

    seconds: time to stop. A child that stops its own children needs more than it gives them: see
    ``SUPERVISOR_STOP_SECONDS``.
    """
    stop_children([child], seconds)


def stop_children(children: "Sequence[subprocess.Popen[bytes]]", seconds: float = STOP_SECONDS) -> None:
    """Stop several children at once, like ``stop_child``; takes no longer than the slowest."""
    for child in children:
        _signal_group(child, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    for child in children:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=max(0.0, deadline - time.monotonic()))
    for child in children:
        _signal_group(child, signal.SIGKILL)
    deadline = time.monotonic() + KILL_SECONDS
    for child in children:
        child.wait()  # for the child itself; orphans in its group can only be polled
        while _signal_group(child, 0) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)


class PipedProcess:
    """A Python process connected by a pipe: it runs ``target(*args, connection)`` in a fresh interpreter, because a fork would
    inherit locks of threads that it does not have. It ends with this one, even if this one is killed.

    ``connection.recv()`` raises EOFError, and ``send`` ConnectionError, once it has ended.
    """

    def __init__(self, target: Callable[..., None], *args: Any):
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self._process = context.Process(target=_with_parent, args=(target, *args, other), daemon=True)
        self._process.start()
        other.close()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def kill(self, patience: float = 0.0) -> int | None:
        """Kill the process if it has not ended by itself after ``patience`` seconds; returns its exit code, negative for the
        signal that ended it."""
        with contextlib.suppress(EOFError, OSError):
            self.connection.close()
        self._process.join(timeout=patience)
        self._process.kill()
        self._process.join()
        return self._process.exitcode


def _with_parent(target: Callable[..., None], *args: Any) -> None:
    """Run a function in a child, and end the child when its parent has ended, whatever it waits for."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    target(*args)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _signal_group(child: "subprocess.Popen[bytes]", number: int) -> bool:
    """Signal the process group of a child (0 only checks); returns True if any process was left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)
        return True
    return False
