"""Processes on this machine that extract, one video at a time each.

Not a pool: when one process of a pool is killed, joblib's and Python's own pools kill all the others, and do not report whose
video it was. See docs/decisions/0014. This module imports little: its processes set torch's threads before importing it.
"""

import os
import queue
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from joblib import cpu_count

from framewise.bulk.outcomes import outcomes
from framewise.core.errors import FramewiseError
from framewise.core.isolation import MAX_DEATHS
from framewise.core.progress import Throttled
from framewise.processes import PipedProcess
from framewise.settings import Settings

if TYPE_CHECKING:
    from framewise.bulk.extracting import ExtractionOutcome
    from framewise.bulk.videos import Video

REPORT_SECONDS = 0.5
DYING_SECONDS = 0.2  # time until the exit code of a dead process is available
ENDING_SECONDS = 10.0  # time for an idle process to clean up
NICE = 10  # a service on the same machine goes first

Told = Callable[[float], None]


def extract_here(
    settings: Settings, videos: Sequence["Video"], jobs: int, told: Told
) -> Generator["ExtractionOutcome | None", None, None]:
    """Yield outcomes as they come, and None every second. told: receives the progress of the running videos, in videos. A
    killed process is restarted, and its video tried once more. Raises FramewiseError.

    jobs: number of processes, which share the processors: a single one uses as many threads as there are processors.
    """
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    todo: queue.SimpleQueue[Video] = queue.SimpleQueue()
    for video in videos:
        todo.put(video)
    processes = min(jobs, len(videos))
    threads = settings.extraction_threads or max(cpu_count() // max(processes, 1), 1)
    places = [_Place(replace(settings, extraction_threads=threads), todo, events) for _ in range(processes)]
    try:
        for place in places:
            place.start()
        yield from outcomes(events, len(videos), lambda *_: told(sum(place.share for place in places)))
        for place in places:
            place.join()
    finally:
        for place in places:
            place.stop()


class _Place(threading.Thread):
    """A process and the thread that gives it one video after another."""

    def __init__(self, settings: Settings, todo: "queue.SimpleQueue[Video]", events: "queue.SimpleQueue[Any]"):
        super().__init__(daemon=True)
        self.share = 0.0  # of the current video
        self._settings, self._todo, self._events = settings, todo, events
        self._stopped = threading.Event()
        self._process: _Process | None = None

    def run(self) -> None:
        try:
            while not self._stopped.is_set():
                outcome = self._extract(self._todo.get_nowait())
                self.share = 0.0
                self._events.put(outcome)
        except queue.Empty:
            pass
        except Exception as error:
            self._events.put(error)
        finally:
            self._kill(ENDING_SECONDS)

    def stop(self) -> None:
        """End the process, whatever it is doing; what it has finished is in the cache."""
        self._stopped.set()
        self._kill()

    def _kill(self, patience: float = DYING_SECONDS) -> int | None:
        process, self._process = self._process, None
        return process.kill(patience) if process else None

    def _extract(self, video: "Video") -> "ExtractionOutcome":
        from framewise.bulk.extracting import FAILED, ExtractionOutcome

        code = None
        for _ in range(MAX_DEATHS):
            if self._stopped.is_set():
                break
            process = self._process = self._process or _Process(self._settings)
            try:
                return process.extract(video, self._tell)
            except (EOFError, OSError):  # OSError: this end was closed by ``stop``
                code = self._kill()
        killed = f"was killed by signal {-code}" if code and code < 0 else f"ended with code {code}"
        reason = f"its process {killed}, {MAX_DEATHS} times; is there enough memory? Fewer --jobs need less"
        return ExtractionOutcome(video, FAILED, reason=reason)

    def _tell(self, share: float) -> None:
        self.share = share


class _Process:
    """A process that extracts. Raises FramewiseError if it cannot be started."""

    def __init__(self, settings: Settings):
        self._process = PipedProcess(_serve, settings)
        self.kill = self._process.kill
        try:
            self._process.connection.recv()
        except EOFError:
            code = self.kill(DYING_SECONDS)
            raise FramewiseError(
                f"an extraction process ended during startup, with code {code}; is there enough memory? Fewer --jobs need less"
            ) from None

    def extract(self, video: "Video", told: Told) -> "ExtractionOutcome":
        """Extract one video. Raises EOFError or ConnectionError if the process dies."""
        self._process.connection.send(video)
        while isinstance(answer := self._process.connection.recv(), float):
            told(answer)
        outcome: ExtractionOutcome = answer
        return outcome


def _serve(settings: Settings, connection: Connection) -> None:
    """Main loop of the process: receives videos, sends progress and outcomes, until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the main process decides
    os.nice(NICE)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # before torch is imported
        os.environ[name] = str(settings.extraction_threads)
    from framewise.bulk.extracting import Workplace
    from framewise.foundation import configure_logging

    configure_logging("ERROR")
    place = Workplace(settings)
    progress = Throttled(lambda share, _: connection.send(float(share)), REPORT_SECONDS)
    with suppress(EOFError, ConnectionError):
        connection.send("ready")
        while True:
            connection.send(place.extract(connection.recv(), progress))
