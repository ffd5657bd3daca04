"""Child processes that never outlive their parent."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

STOP_SECONDS = 10.0
KILL_SECONDS = 2.0  # the system needs a moment to end what was killed; in a container, what nobody waits for is left over
SUPERVISOR_STOP_SECONDS = STOP_SECONDS + 2 * KILL_SECONDS  # one killed while it stops its children would leave them
POLL_SECONDS = 0.02

# Run by a fresh interpreter, where it is safe to call prctl (a preexec_fn is not, once there are threads).
# 1 is PR_SET_PDEATHSIG of linux/prctl.h: the kernel signals the child when the thread that started it ends; it survives
# exec. A parent that died before the call is seen by the changed parent id.
_LAUNCHER = """
import os, sys
if sys.platform.startswith("linux"):
    import ctypes
    ctypes.CDLL(None).prctl(1, int(sys.argv[2]))
    if os.getppid() != int(sys.argv[1]):
        os._exit(1)
os.execv(sys.argv[3], sys.argv[3:])
"""


def start_child(
    args: Sequence[str],
    env: Mapping[str, str],
    cwd: Path | None = None,
    log: IO[bytes] | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
) -> "subprocess.Popen[bytes]":
    """Start a program that gets ``death_signal`` when the thread that called this ends, however it ends (Linux).

    It has a session of its own: Ctrl-C in a terminal reaches only the parent, which stops its children in order.
    log: where its output goes; this process's own output if None.
    """
    launcher = [sys.executable, "-c", _LAUNCHER, str(os.getpid()), str(int(death_signal))]
    return subprocess.Popen(
        [*launcher, *args], cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )


def allow_open_files() -> None:
    """Let this process have as many files open as the system lets it: of each video that is learned from, some are."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def stop_child(child: "subprocess.Popen[bytes]", seconds: float = STOP_SECONDS) -> None:
    """Ask a child to stop, end it if it does not, and end what it leaves behind in its process group.

    seconds: how long it may take. Of a child that stops children of its own, more than it gives them: see
    ``SUPERVISOR_STOP_SECONDS``.
    """
    stop_children([child], seconds)


def stop_children(children: "Sequence[subprocess.Popen[bytes]]", seconds: float = STOP_SECONDS) -> None:
    """Stop several at once, as ``stop_child`` does one: together they take no longer than the slowest."""
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
        child.wait()  # its own end; that of others in its group, which are nobody's children now, is seen by asking
        while _signal_group(child, 0) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)


def _signal_group(child: "subprocess.Popen[bytes]", number: int) -> bool:
    """Signal a child and what is left of its process group (0 asks only); whether anything was there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)
        return True
    return False
