"""The queue: jobs are rows of the database, and huey carries their ids to the workers as JSON.

The row is the truth. A message that is lost with a killed worker is sent again, one that comes twice finds the job taken.
"""

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huey import SqliteHuey
from huey.registry import Message
from huey.serializer import Serializer

from framewise.core.errors import FramewiseError
from framewise.store.job_state import Job, JobStates

logger = logging.getLogger(__name__)

WORKER_THREADS = 2  # so that a long extraction does not keep a training waiting
HEARTBEAT_SECONDS = 2.0
REPORT_SECONDS = 0.5
# Label Studio's user waits for what was just annotated: a training goes before the extractions that wait.
PRIORITIES = {"train": 10, "push": 5}

Progress = Callable[[float, str], None]
Handler = Callable[[Job, Progress], dict[str, Any] | None]


class JsonSerializer(Serializer):
    """huey's messages as JSON. They hold a job's id and nothing else that would need more."""

    def _serialize(self, data: Message) -> bytes:
        return json.dumps({"id": data.id, "name": data.name, "priority": data.priority, "args": list(data.args)}).encode()

    def _deserialize(self, data: bytes) -> Message:
        fields = json.loads(data)
        return Message(**{**fields, "args": tuple(fields["args"]), "kwargs": {}, "retries": 0, "retry_delay": 0})


class Jobs:
    """Submitting jobs, and doing them where handlers are registered. ``states`` is the table, queue_path huey's file."""

    def __init__(self, states: JobStates, queue_path: Path):
        queue_path.parent.mkdir(parents=True, exist_ok=True)
        self.states = states
        self._owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._handlers: dict[str, Handler] = {}
        self._chore: Callable[[], None] = lambda: None
        self._huey = SqliteHuey("framewise", filename=str(queue_path), results=False, serializer=JsonSerializer(), timeout=30)
        self._do = self._huey.task(name="do")(self._run)

    def submit(self, kind: str, project: str, subject: str, payload: dict[str, Any], task: int | None = None) -> int:
        """Id of a job that will do this: a new one, or one that waits to do the same."""
        job_id = self.states.add(kind, project, subject, payload, task)
        self._send(job_id, kind)
        return job_id

    def register(self, kind: str, handler: Handler) -> None:
        """Say who does jobs of a kind, in this process."""
        self._handlers[kind] = handler

    def register_chore(self, chore: Callable[[], None]) -> None:
        """Say what is to be looked after when a job has ended, and now and then: it must not matter if it is done twice."""
        self._chore = chore

    def work(self) -> None:
        """Do jobs until the process is told to stop (SIGTERM, SIGINT)."""
        consumer = self._huey.create_consumer(
            workers=WORKER_THREADS, worker_type="thread", periodic=False, initial_delay=0.05, max_delay=0.2
        )
        threading.Thread(target=self._keep_alive, name="keep-alive", daemon=True).start()
        consumer.run()

    def _send(self, job_id: int, kind: str) -> None:
        self._huey.enqueue(self._do.s(job_id, priority=PRIORITIES.get(kind, 0)))

    def _run(self, job_id: int) -> None:
        job = self.states.claim(job_id, self._owner)
        if job is None:
            return
        logger.info("job %d: %s, project %s, task %s", job.id, job.kind, job.project, job.task)
        progress = _Throttled(self.states, job.id)
        try:
            result = self._handlers[job.kind](job, progress)
            progress.flush()
            self.states.finish(job.id, self._owner, result=result)
        except FramewiseError as error:
            logger.error("job %d (%s, project %s, task %s): %s", job.id, job.kind, job.project, job.task, error)
            self.states.finish(job.id, self._owner, error=str(error))
        except Exception as error:
            logger.exception("job %d (%s) failed", job.id, job.kind)
            self.states.finish(job.id, self._owner, error=f"{type(error).__name__}: {error}")
        for waiting in self.states.waiting_behind(job.id):
            self._send(waiting, job.kind)
        self._chore()

    def _keep_alive(self) -> None:
        while True:
            try:
                self.states.heartbeat(self._owner)
                self.states.revive()
                self._chore()
                sent = {m.args[0] for m in self._huey.pending()}
                for job_id in self.states.pending():
                    if job_id not in sent:
                        self._send(job_id, self.states.kind_of(job_id) or "")
            except Exception:
                logger.exception("keeping jobs alive")  # a full disk or a locked database must not end this thread
            time.sleep(HEARTBEAT_SECONDS)


class _Throttled:
    """Progress into the database, but not at every step."""

    def __init__(self, states: JobStates, job_id: int):
        self._states, self._job_id, self._last = states, job_id, 0.0
        self._unsaid: tuple[float, str] | None = None

    def __call__(self, share: float, detail: str) -> None:
        self._unsaid = (share, detail)
        if time.monotonic() - self._last >= REPORT_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what was told last, so that a job that is done shows its end."""
        if self._unsaid:
            self._states.report(self._job_id, *self._unsaid)
            self._last, self._unsaid = time.monotonic(), None
