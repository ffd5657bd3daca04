"""Child processes that never outlive their parent."""

import ctypes
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO

logger = logging.getLogger(__name__)

STOP_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def start_child(args: Sequence[str], env: Mapping[str, str], log: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own; it is told to stop when this process dies, however it dies (Linux).

    A session of its own: Ctrl-C in a terminal reaches only the parent, which stops its children in order.
    log: where its output goes; this process's own output if None.
    """
    return subprocess.Popen(
        list(args),
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    )


def stop_child(child: subprocess.Popen[bytes], seconds: float = STOP_SECONDS) -> None:
    """Ask a child and all that it started to stop, and end what does not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            break
        try:
            child.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            continue
    child.wait(timeout=seconds)


def _die_with_parent() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
