"""Answers to prediction requests: predictions from cached features, and jobs for the rest."""

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from framewise.backend.identifiers import is_id, is_offline, storable, task_data
from framewise.backend.projects import model_version
from framewise.backend.videos import Videos
from framewise.controls import Learner, Medium, Source, sources_of
from framewise.core.errors import VersionGone
from framewise.core.intervals import Intervals
from framewise.core.isolation import Failure, isolate_errors
from framewise.jobs import Jobs
from framewise.store.annotations import Annotations
from framewise.store.made import LastPrediction, LastPredictions

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.1
TOLD = 100  # errors of a request that are logged and shown; it may have 100,000 bad tasks
RETRY_FAILED_SECONDS = 30.0  # a task whose video failed is not retried at every request
LOOKUP_THREADS = 8
PROCESSORS = os.cpu_count() or 1
LOOKED_UP_AT_ONCE = 32  # tasks per batch, so that features of at most this many are held at once


@dataclass
class TaskRequest:
    """A task of a prediction request, and what is known about it so far."""

    task: Mapping[str, Any]
    ready: dict[Learner, list[Medium]] = field(default_factory=dict)
    jobs: list[tuple[Source, int]] = field(default_factory=list)  # sources being extracted, with their jobs' ids
    failed: bool = False
    problem: str = ""  # why it failed
    defect: BaseException | None = None  # if that is an error of our own
    answer: Any = field(default_factory=list)
    intervals: dict[str, Intervals] = field(default_factory=dict)  # intervals of the answer, by from_name

    def add(self, source: Source, features: Any) -> None:
        """Add the features of one of its media."""
        self.ready.setdefault(source.learner, []).append(Medium(source.control, features))


class Predictions:
    """Answers prediction requests. ``waiting_slots``: number of requests that may wait at once in this process."""

    def __init__(self, annotations: Annotations, made: LastPredictions, jobs: Jobs, videos: Videos, waiting_slots: int):
        self._annotations = annotations
        self._made = made
        self._jobs = jobs
        self._videos = videos
        self._waiting = threading.BoundedSemaphore(waiting_slots) if waiting_slots > 0 else None

    def answer(
        self, project: str, learners: Sequence[Learner], tasks: Sequence[Mapping[str, Any]], deadline: float
    ) -> list[Any]:
        """Return one item per task, in order: a prediction, or [] if there is none (yet). deadline: on the monotonic clock."""
        version = model_version(learners)
        asked = [TaskRequest(task) for task in tasks]
        # In parallel: a look-up may have to ask a server, and each computation uses one processor.
        with ThreadPoolExecutor(LOOKUP_THREADS) as looking_up, ThreadPoolExecutor(PROCESSORS) as predicting:
            for first in range(0, len(asked), LOOKED_UP_AT_ONCE):
                few = asked[first : first + LOOKED_UP_AT_ONCE]
                _at_once(lambda one: self._look_up(project, learners, one), few, looking_up, LOOKUP_THREADS)
                ready = [one for one in few if not one.jobs and not one.failed]
                _at_once(lambda one: self._predict(project, version, one), ready, predicting, PROCESSORS)
        waiting = [one for one in asked if one.jobs and not one.failed]
        if waiting and any(learner.version() for learner in learners):
            self._wait(waiting, deadline)
        for one in waiting:
            if self._collect(project, one):
                self._predict(project, version, one)
        self._made.put(project, [made(one) for one in asked if one.answer and is_id(one.task["id"])])
        self._tell(project, asked)
        return [one.answer for one in asked]

    def media_of(self, project: str, learner: Learner, task: Mapping[str, Any], deadline: float) -> list[Medium]:
        """A task's media with their features, which are awaited up to the deadline. Empty if they are still missing; a failure
        is logged and shown."""
        asked = TaskRequest(task)
        self._look_up(project, [learner], asked)
        if asked.jobs and not asked.failed:
            self._wait([asked], deadline)
            if not self._collect(project, asked):
                return []
        self._tell(project, [asked])
        return [] if asked.failed else asked.ready.get(learner, [])

    def _look_up(self, project: str, learners: Sequence[Learner], asked: TaskRequest) -> None:
        """Look up a task's cached features; queue jobs for the rest."""
        with self._isolated(asked):
            data = task_data(asked.task)
            for source in sources_of(learners, data):
                features = self._videos.cached(source, asked.task["id"])
                if features:
                    asked.add(source, features)
                else:
                    self._ask_for(project, source, data, asked)

    def _ask_for(self, project: str, source: Source, data: Mapping[str, Any], asked: TaskRequest) -> None:
        latest = self._jobs.states.latest("extract", project, self._videos.subject(source))
        if latest and latest[1] == "failed" and time.time() - latest[2] < RETRY_FAILED_SECONDS:
            asked.failed = True
            return
        task = asked.task["id"]
        self._annotations.put_task(project, task, data)
        if latest and latest[1] in ("pending", "running"):
            job = latest[0]
        else:
            job = self._videos.submit_extraction(project, source, task)
        asked.jobs.append((source, job))

    def _wait(self, asked: list[TaskRequest], deadline: float) -> None:
        """Wait for the jobs of a request, but never on the last free threads of this process."""
        if self._waiting is None or not self._waiting.acquire(blocking=False):
            return
        try:
            waiting = [job for a in asked for _, job in a.jobs]
            while waiting and time.monotonic() < deadline:
                outcomes = self._jobs.states.outcomes(waiting)
                waiting = [job for job in waiting if outcomes[job][0] in ("pending", "running")]
                if waiting:
                    time.sleep(POLL_SECONDS)
        finally:
            self._waiting.release()

    def _collect(self, project: str, asked: TaskRequest) -> bool:
        """Take over the results of finished jobs; return False, and promise a push, if something is still missing."""
        with self._isolated(asked):
            outcomes, complete = self._jobs.states.outcomes([job for _, job in asked.jobs]), True
            for source, job in asked.jobs:
                state, result = outcomes[job][:2]
                features = source.control.cached_features(result["content"]) if state == "done" else None
                if features:
                    asked.add(source, features)
                    continue
                complete = False
                if state == "done":  # and evicted since, in favour of other features
                    state, job = "pending", self._videos.submit_extraction(project, source, asked.task["id"])
                # A worker also looks for promises after the job ends, so the order of the two does not matter.
                if state in ("pending", "postponed", "running") and source.learner.version() and not is_offline(project):
                    self._annotations.promise_prediction(job, asked.task["id"])
            return complete
        return False

    def _predict(self, project: str, version: str, asked: TaskRequest) -> None:
        """Answer a task if all its media are ready, and release its features."""
        with self._isolated(asked):
            asked.ready = {learner: media for learner, media in asked.ready.items() if learner.version()}
            if asked.ready and not asked.failed:
                asked.answer = prediction(version, asked)
        asked.ready = {}

    def _tell(self, project: str, asked: Sequence[TaskRequest]) -> None:
        """Log and show errors of tasks, of many the first."""
        failed = [one for one in asked if one.problem]
        for one in failed[:TOLD]:
            logger.error("predict, project %s, task %s: %s", project, _number(one), one.problem, exc_info=one.defect)
        if len(failed) > TOLD:
            logger.error("predict, project %s: %d more tasks of this request failed", project, len(failed) - TOLD)
        if failed:
            told = [(_number(one), storable(one.problem)) for one in failed[:TOLD]]
            self._jobs.states.record_failures("predict", project, told)

    def _isolated(self, asked: TaskRequest) -> AbstractContextManager[None]:
        """Keep any error of one task, and let the others continue."""

        def fail(failure: Failure) -> None:
            asked.failed, asked.problem = True, failure.text
            asked.defect = failure.error if failure.is_defect else None

        return isolate_errors(fail, lambda error: isinstance(error, VersionGone))


def _number(asked: TaskRequest) -> int | None:
    task = asked.task.get("id") if isinstance(asked.task, Mapping) else None
    return task if is_id(task) else None


def _at_once(call: Callable[[TaskRequest], None], asked: Sequence[TaskRequest], pool: ThreadPoolExecutor, threads: int) -> None:
    """Call the function for each item in parallel, in as many parts as there are threads. A single item needs no thread."""

    def call_each(part: Sequence[TaskRequest]) -> None:
        for one in part:
            call(one)

    if len(asked) < 2:
        call_each(asked)
    else:
        list(pool.map(call_each, (asked[number::threads] for number in range(min(threads, len(asked))))))


def prediction(version: str, asked: TaskRequest) -> dict[str, Any]:
    """Label Studio's prediction of a task whose features are available.

    Its score is the mean certainty of its frames: the lower it is, the more there is to learn from the task.
    """
    regions: list[dict[str, Any]] = []
    certainties, data = [], task_data(asked.task)
    for learner, media in asked.ready.items():
        predicted = learner.task_prediction(media, data)
        regions += predicted.regions
        certainties.append(predicted.certainty)
        asked.intervals |= predicted.intervals
    score = round(sum(certainties) / len(certainties), 4) if certainties else 0.0
    return {"result": regions, "score": score, "model_version": version}


def made(asked: TaskRequest) -> LastPrediction:
    """Record of a task's prediction."""
    told = asked.answer
    return LastPrediction(asked.task["id"], told["model_version"], told["score"], asked.intervals, task_data(asked.task))
