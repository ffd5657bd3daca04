"""``framewise serve`` as a child process, for the demo and for tests against a real Label Studio."""

import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from framewise.core.errors import FramewiseError
from framewise.processes import SUPERVISOR_STOP_SECONDS, framewise_command, start_child, stop_child
from framewise.settings import Settings

START_SECONDS = 600.0
POLL_SECONDS = 0.2
LOG_TAIL_CHARS = 3000


class BackendServer:
    """A backend process with these settings; its output goes to ``log_path``. ``progress`` is called while it starts."""

    def __init__(self, settings: Settings, log_path: Path, progress: Callable[[], object] = lambda: None):
        self.settings = settings
        self.url = f"http://{settings.host}:{settings.port}"
        self._log_path = log_path
        self._progress = progress
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start the backend and wait until it answers. Raises FramewiseError with the end of its log."""
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        with self._log_path.open("ab") as log:
            env = {**os.environ, **self.settings.to_env()}
            self._child = start_child(framewise_command("serve"), env, log=log)
        try:
            self._wait_until_up(self._child)
        except BaseException:  # including Ctrl-C: nothing else would stop it
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """Process id of ``framewise serve``, also after its end. Raises FramewiseError if it was never started."""
        if self._child is None:
            raise FramewiseError(f"framewise at {self.url} was not started")
        return self._child.pid

    def stop(self) -> None:
        """Stop the backend and everything it started. May be repeated."""
        child, self._child = self._child, None
        if child is not None:
            stop_child(child, SUPERVISOR_STOP_SECONDS)

    def jobs(self) -> dict[str, Any]:
        """Answer of /jobs."""
        answer: dict[str, Any] = httpx.get(f"{self.url}/jobs", timeout=60, trust_env=False).raise_for_status().json()
        return answer

    def _wait_until_up(self, child: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if child.poll() is not None or time.monotonic() > deadline:
                tail = self._log_path.read_text(errors="replace")[-LOG_TAIL_CHARS:]
                raise FramewiseError(f"framewise did not start at {self.url}; the end of {self._log_path}:\n{tail}")
            self._progress()
            time.sleep(POLL_SECONDS)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=2, trust_env=False).is_success
        except httpx.TransportError:
            return False


def free_port(wanted: int = 0) -> int:
    """``wanted`` if it is free, otherwise any free port of this machine."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise FramewiseError("no free port on this machine")
