"""What Label Studio asks for: predictions from what is cached, and jobs for what is not."""

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from framewise.backend.identifiers import is_id, storable, task_data
from framewise.backend.projects import model_version
from framewise.backend.videos import Videos
from framewise.controls import ControlModel
from framewise.core.errors import FramewiseError, VersionGone
from framewise.jobs import Jobs
from framewise.store.annotations import Annotations

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.1
RETRY_FAILED_SECONDS = 30.0  # a task whose video failed is not tried again at every request
LOOKUP_THREADS = 8


@dataclass
class Asked:
    """A task of a prediction request: what is known of it so far."""

    task: Mapping[str, Any]
    ready: list[tuple[ControlModel, str]] = field(default_factory=list)  # the content of its file
    jobs: list[tuple[ControlModel, int]] = field(default_factory=list)
    failed: bool = False


class Predictions:
    """Answers requests for predictions. ``waiting_slots``: how many may wait at once in this process."""

    def __init__(self, annotations: Annotations, jobs: Jobs, videos: Videos, waiting_slots: int):
        self._annotations = annotations
        self._jobs = jobs
        self._videos = videos
        self._waiting = threading.BoundedSemaphore(waiting_slots) if waiting_slots > 0 else None

    def answer(
        self, project: str, controls: list[ControlModel], tasks: Sequence[Mapping[str, Any]], deadline: float
    ) -> list[Any]:
        """One item a task, in order: a prediction, or [] where there is none (yet). deadline: on the monotonic clock."""
        version = model_version(controls)
        with ThreadPoolExecutor(LOOKUP_THREADS) as pool:
            asked = list(pool.map(lambda task: self._look_up(project, controls, task), tasks))
        if any(a.jobs for a in asked) and any(c.version() for c in controls):
            self._wait(asked, deadline)
        return [self._answer(project, version, a) for a in asked]

    def _look_up(self, project: str, controls: list[ControlModel], task: Mapping[str, Any]) -> Asked:
        """What of a task is cached; jobs for what is not. An error concerns this task alone."""
        asked = Asked(task)
        with self._spoils_only(project, asked):
            data = task_data(task)
            for control in controls:
                source = control.control.media_source(data)
                content = self._videos.cached_content(control, source, task["id"])
                if content:
                    asked.ready.append((control, content))
                else:
                    self._ask_for(project, control, task, data, source, asked)
        return asked

    def _ask_for(
        self, project: str, control: ControlModel, task: Mapping[str, Any], data: Mapping[str, Any], source: str, asked: Asked
    ) -> None:
        latest = self._jobs.states.latest("extract", project, self._videos.subject(control, source))
        if latest and latest[1] == "failed" and time.time() - latest[2] < RETRY_FAILED_SECONDS:
            asked.failed = True
            return
        self._annotations.put_task(project, task["id"], data)
        if latest and latest[1] in ("pending", "running"):
            job = latest[0]
        else:
            job = self._videos.submit_extraction(project, control, source, task["id"])
        asked.jobs.append((control, job))

    def _wait(self, asked: list[Asked], deadline: float) -> None:
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

    def _answer(self, project: str, version: str, asked: Asked) -> Any:
        with self._spoils_only(project, asked):
            if asked.failed or not self._collect(asked):
                return []
            asked.ready = [(control, content) for control, content in asked.ready if control.version()]
            if asked.ready:
                return prediction(version, asked)
        return []

    def _collect(self, asked: Asked) -> bool:
        """Take over what jobs have finished; False, and a promise to push, if something is still missing."""
        outcomes = self._jobs.states.outcomes([job for _, job in asked.jobs])
        for control, job in asked.jobs:
            # A worker looks for promises after the job's end as well: it does not matter which of the two comes first.
            if outcomes[job][0] in ("pending", "postponed", "running") and control.version():
                self._annotations.promise_prediction(job, asked.task["id"])
        if any(outcomes[job][0] != "done" for _, job in asked.jobs):
            return False
        for control, job in asked.jobs:
            asked.ready.append((control, outcomes[job][1]["content"]))
        return True

    @contextmanager
    def _spoils_only(self, project: str, asked: Asked) -> Iterator[None]:
        """Whatever goes wrong with one task is logged and shown, and leaves the others alone."""
        try:
            yield
        except VersionGone:
            raise  # concerns them all: the answers are made anew
        except Exception as error:
            asked.failed = True
            task = asked.task.get("id") if isinstance(asked.task, Mapping) else None
            known = isinstance(error, FramewiseError)
            logger.log(logging.ERROR, "predict, project %s, task %s: %s", project, task, error, exc_info=not known)
            text = str(error) if known else f"{type(error).__name__}: {error}"
            self._jobs.states.record_failure("predict", project, task if is_id(task) else None, storable(text))


def prediction(version: str, asked: Asked) -> dict[str, Any]:
    """Label Studio's prediction of a task whose features are cached. Raises FramewiseError if they are not any more.

    Its score is how certain the frames are: tasks with the lowest are those from which most would be learned.
    """
    regions: list[dict[str, Any]] = []
    certainties = []
    for control, content in asked.ready:
        features = control.cached_features(content)
        if features is None:
            raise FramewiseError("the features were removed from the cache; ask again")
        predicted = control.predict(features, control.control.frame_rate(task_data(asked.task)))
        regions += predicted.regions
        certainties.append(predicted.certainty)
    score = round(sum(certainties) / len(certainties), 4) if certainties else 0.0
    return {"result": regions, "score": score, "model_version": version}
