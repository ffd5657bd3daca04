"""Job queue: jobs are rows of the database, and huey carries their ids to the workers as JSON.

The row is authoritative. A message lost with a killed worker is sent again; a duplicate finds the job already taken.
"""

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from huey import Huey, PriorityRedisHuey, SqliteHuey
from huey.registry import Message
from huey.serializer import Serializer

from framewise.core.errors import FramewiseError, SettingsError, StorageBusy, StorageDamaged, StorageFull, is_temporary
from framewise.core.isolation import Failure, Interruption
from framewise.core.progress import Progress, Throttled
from framewise.core.storage import acquire, is_locked
from framewise.store.database import set_damaged_aside
from framewise.store.job_state import Job, JobStates, title_of

logger = logging.getLogger(__name__)

WORKER_THREADS = 2  # so that a long extraction does not block a training
KEEP_ALIVE_SECONDS = 1.0
DAMAGED_SECONDS = 60.0  # between two messages that the database is damaged
REDIS_CONNECT_SECONDS, REDIS_SECONDS = 0.5, 5.0
REPORT_SECONDS = 0.5
# Annotators wait for a training on what they just annotated: it goes before waiting extractions. Background work comes last.
PRIORITIES = {"import": 10, "train": 10, "push": 5, "refine": -2, "refresh": -5, "warm": -10}
# While annotators submit all the time, there is always a validation to do. So extraction ahead goes before it once a minute.
FAIR_SECONDS, FAIR_KIND, FAIR_PRIORITY = 60.0, "warm", -1

# A worker runs one job of each group at a time, so that no group holds both of its threads: those that ask and tell Label
# Studio, which may hang, and validations, which a first version must not wait for.
AT_LABEL_STUDIO = ("import", "push", "refresh")
ONE_AT_A_TIME = (AT_LABEL_STUDIO, ("refine",))

Handler = Callable[[Job, Progress], dict[str, Any] | None]


class YieldToUrgent(Interruption):
    """Raised by a handler to postpone its job because more urgent ones wait. The job starts again later."""


class JsonSerializer(Serializer):
    """Serializer of huey's messages as JSON, which is enough for a job's id."""

    def _serialize(self, data: Message) -> bytes:
        return json.dumps({"id": data.id, "name": data.name, "priority": data.priority, "args": list(data.args)}).encode()

    def _deserialize(self, data: bytes) -> Message:
        fields = json.loads(data)
        return Message(**{**fields, "args": tuple(fields["args"]), "kwargs": {}, "retries": 0, "retry_delay": 0})


class Jobs:
    """Submission of jobs, and their execution in a process with registered handlers. states: the table. queue_path: huey's
    file, unless queue_url names a Redis server. Raises SettingsError."""

    def __init__(self, states: JobStates, queue_path: Path, queue_url: str | None = None):
        self._lock_folder = queue_path.parent / "workers"
        self._lock_folder.mkdir(parents=True, exist_ok=True)
        self.states = states
        self._owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._handlers: dict[str, Handler] = {}
        self._chore: Callable[[], None] = lambda: None
        self._lock: int | None = None
        # Of each kind of ONE_AT_A_TIME: its group, and the lock that the thread holds which runs a job of it.
        self._turns = {kind: (group, lock) for group in ONE_AT_A_TIME for lock in [threading.Lock()] for kind in group}
        self._unwritten: list[Callable[[], None]] = []  # ends of jobs for which the disk had no room
        self._huey = _queue(queue_path, queue_url)
        self._queue_errors = _queue_errors() if queue_url else ()
        self._longest_delay = 5.0 if queue_url else 0.2  # Redis wakes workers: its delay matters only while it is unreachable
        self._do = self._huey.task(name="do")(self._run)

    def submit(
        self, kind: str, project: str, subject: str, payload: dict[str, Any], task: int | None = None, or_running: bool = False
    ) -> int:
        """Submit a job, or find an equal one; returns its id: see ``JobStates.add``."""
        job_id = self.states.add(kind, project, subject, payload, task, or_running)
        self.announce(job_id, kind)
        return job_id

    def announce(self, job_id: int, kind: str) -> None:
        """Notify the workers of a job in the table. Otherwise they find it themselves a little later."""
        try:
            self._send(job_id, kind)
        except Exception as error:
            logger.warning("job %d is recorded, and will be sent to a worker when possible: %s", job_id, error)

    def more_urgent_wait(self, kind: str, seconds: float) -> bool:
        """True if a job with priority over this kind has waited this long, and could begin in this worker."""
        later = {k for k in {*PRIORITIES, kind} if PRIORITIES.get(k, 0) <= PRIORITIES.get(kind, 0)} | self._taken()
        return self.states.others_wait(later, seconds)

    def register(self, kind: str, handler: Handler) -> None:
        """Register the handler of a kind of job in this process."""
        self._handlers[kind] = handler

    def register_chore(self, chore: Callable[[], None]) -> None:
        """Register a chore that runs after each job, and from time to time. It must be idempotent."""
        self._chore = chore

    def work(self) -> None:
        """Run jobs until the process is told to stop (SIGTERM, SIGINT)."""
        self._lock = self._take_lock()
        for owner in os.listdir(self._lock_folder):
            self._is_alive(owner)  # removes the files of dead ones
        consumer = self._huey.create_consumer(
            workers=WORKER_THREADS, worker_type="thread", periodic=False, initial_delay=0.05, max_delay=self._longest_delay
        )
        threading.Thread(target=self._keep_alive, name="keep-alive", daemon=True).start()
        consumer.run()

    def do_now(self, kind: str, project: str, handler: Handler, progress: Progress) -> list[str]:
        """Run a job on a whole project in this process, which is not a worker; returns its warnings.

        It is listed like any other job, and no worker runs the same meanwhile. Raises RequestError if a worker already runs it,
        and whatever the handler raises, without a retry.
        """
        lock = self._take_lock()
        try:
            job = self.states.begin(kind, project, "all", self._owner)
            shown = self._reporting(job)

            def report(share: float, detail: str) -> None:
                shown(share, detail)
                progress(share, detail)

            try:
                result = handler(job, report)
            except BaseException as error:  # even if interrupted: no worker may continue it
                self.states.finish(job.id, self._owner, error=Failure(error).text)
                raise
            shown.flush()
            self.states.finish(job.id, self._owner, result=result)
            return self.states.warnings(job.id)
        finally:
            (self._lock_folder / self._owner).unlink(missing_ok=True)
            os.close(lock)

    def _reporting(self, job: Job) -> Throttled:
        """Progress that is written to the database, but not at every step."""
        return Throttled(partial(self.states.report, job.id), REPORT_SECONDS)

    def _take_lock(self) -> int:
        """Lock that shows others that this process is alive. A starting process may mistake its file for a dead one's."""
        return acquire(self._lock_folder / self._owner)

    def _send(self, job_id: int, kind: str, priority: int | None = None) -> None:
        self._huey.enqueue(self._do.s(job_id, priority=PRIORITIES.get(kind, 0) if priority is None else priority))

    def _run(self, job_id: int) -> None:
        group, turn = self._turns.get(self.states.kind(job_id) or "", ((), None))
        if turn is None:
            self._do_job(job_id)
        elif turn.acquire(blocking=False):  # else it is sent again when the turn is free
            try:
                self._do_job(job_id)
            finally:
                turn.release()
            self._send_next(group)

    def _send_next(self, group: Sequence[str]) -> None:
        due = [(PRIORITIES[kind], -job_id, kind) for job_id, kind in self.states.due() if kind in group]
        if due:
            _, number, kind = max(due)
            self.announce(-number, kind)

    def _taken(self) -> set[str]:
        """Kinds of jobs that this worker cannot start now, because it runs one of their group."""
        return {kind for kind, (_, turn) in self._turns.items() if turn.locked()}

    def _do_job(self, job_id: int) -> None:
        job = self.states.claim(job_id, self._owner)
        if job is None:
            return
        logger.info("job %d: %s, project %s, task %s", job.id, title_of(job.kind), job.project, job.task)
        end = self._outcome(job)
        try:
            end()
        except (StorageFull, StorageBusy) as error:
            logger.error("job %d ended, but that could not be saved yet: %s", job.id, error)
            self._unwritten.append(end)
            return
        for waiting in self.states.waiting_behind(job.id):
            self._send(waiting, job.kind)
        self._chore()

    def _outcome(self, job: Job) -> Callable[[], None]:
        """Run a job; returns a function that saves its outcome."""
        progress = self._reporting(job)
        about = f"job {job.id} ({title_of(job.kind)}, project {job.project}, task {job.task})"
        try:
            result = self._handlers[job.kind](job, progress)
            progress.flush()
            return lambda: self.states.finish(job.id, self._owner, result=result)
        except YieldToUrgent:
            return lambda: self.states.give_way(job, self._owner)
        except Exception as error:
            reason = Failure(error).text
            if is_temporary(error):
                logger.warning("%s will be retried: %s", about, reason)
                return lambda: self.states.postpone(job, self._owner, reason)
            logger.error("%s: %s", about, reason, exc_info=not isinstance(error, FramewiseError))
            return lambda: self.states.finish(job.id, self._owner, error=reason)

    def _keep_alive(self) -> None:
        while True:
            try:
                while self._unwritten:
                    self._unwritten[0]()
                    del self._unwritten[0]
                self.states.revive(self._is_alive)
                self._chore()
                self._send_due()
            except (StorageFull, StorageBusy) as error:
                logger.error("%s", error)
            except StorageDamaged as error:  # nothing but a person helps
                logger.critical("%s", error)
                time.sleep(DAMAGED_SECONDS)
            except self._queue_errors as error:
                logger.error("QUEUE_URL: Redis cannot be reached; jobs wait until it can: %s", error)
            except Exception:
                logger.exception("error while monitoring jobs")  # no error may end this thread
            time.sleep(KEEP_ALIVE_SECONDS)

    def _send_due(self) -> None:
        """Send the jobs that are due and not in the queue, or not with their priority."""
        sent = {(m.args[0], m.priority) for m in self._huey.pending()}
        overdue = self.states.waiting(FAIR_KIND, FAIR_SECONDS)
        for job_id, kind in self.states.due():
            priority = FAIR_PRIORITY if job_id in overdue else PRIORITIES.get(kind, 0)
            if (job_id, priority) not in sent and kind not in self._taken():
                self._send(job_id, kind, priority)

    def _is_alive(self, owner: str) -> bool:
        """True if the process of an owner is alive: it holds a lock, which the system releases when it dies."""
        if owner == self._owner:
            return True
        path = self._lock_folder / owner
        alive = is_locked(path)
        if not alive:
            path.unlink(missing_ok=True)
        return alive


def _queue(path: Path, url: str | None) -> Huey:
    """huey on a file, or on Redis, without connecting yet."""
    if not url:
        set_damaged_aside(path)
        return SqliteHuey("framewise", filename=str(path), results=False, serializer=JsonSerializer(), timeout=30)
    try:
        from redis import ConnectionPool
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError:
        raise SettingsError("QUEUE_URL: Redis needs its library: pip install 'framewise[redis]'") from None
    # A request must not wait for an unreachable Redis: its job is recorded, and sent later.
    at_once = {"socket_connect_timeout": REDIS_CONNECT_SECONDS, "socket_timeout": REDIS_SECONDS, "retry": Retry(NoBackoff(), 0)}
    pool = ConnectionPool.from_url(url, **at_once)
    return PriorityRedisHuey("framewise", connection_pool=pool, results=False, serializer=JsonSerializer(), read_timeout=1)


def _queue_errors() -> tuple[type[Exception], ...]:
    """Errors that mean that Redis is unreachable."""
    try:
        from redis.exceptions import RedisError
    except ImportError:
        return ()
    return (RedisError,)
