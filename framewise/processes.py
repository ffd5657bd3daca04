"""Child processes that never outlive their parent."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

STOP_SECONDS = 10.0

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
    """Ask a child to stop, end it if it does not, and end what it leaves behind in its process group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        _signal_group(child, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=seconds)
            break
    _signal_group(child, signal.SIGKILL)


def _signal_group(child: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)
