"""The job ``refresh``: sends predictions of a new version that nobody has requested.

It predicts some of the tasks without annotations and sends those that the model is least sure of, so that Label Studio's
database holds a few hundred predictions per project instead of one per task and version.
"""

import hashlib
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from framewise.backend.identifiers import project_id
from framewise.backend.predictions import TaskRequest, made, prediction
from framewise.backend.projects import Projects, model_version
from framewise.backend.pushing import Pushing
from framewise.backend.videos import Videos
from framewise.controls import Learner, Source, sources_of
from framewise.core.errors import LabelStudioError, MediaUnavailable, is_temporary
from framewise.core.isolation import Failure, Interruption, concerns_all, isolate_errors
from framewise.core.progress import Progress
from framewise.jobs import Jobs, YieldToUrgent
from framewise.label_studio import LabelStudioClient
from framewise.settings import Settings
from framewise.store.annotations import Annotations
from framewise.store.job_state import Job
from framewise.store.made import LastPredictions
from framewise.store.pushed import AWAITED, LEFT_OUT, PUSHED, SCORED, Arriving, PushedPredictions

logger = logging.getLogger(__name__)

LOOKED_AT_FOR_EACH_SENT = 10
OTHERS_WAIT_SECONDS = 1.0  # idle workers take a job sooner than this
LONGEST_PAUSE_SECONDS = 0.2


class NewerVersion(Interruption):
    """A newer version is in use; its predictions are sent instead."""


@dataclass
class Round:
    """A job's round of predictions of one version. ``known``: state of each task, also from before an interruption."""

    job: Job
    number: int  # Label Studio's project number
    version: str
    learners: list[Learner]
    progress: Progress
    known: dict[int, Arriving]

    def count(self, *states: str) -> int:
        return sum(arriving.state in states for arriving in self.known.values())

    def sources(self, data: Mapping[str, Any]) -> list[Source]:
        """Media of a task that a prediction needs."""
        return sources_of([learner for learner in self.learners if learner.version()], data)


class Refresh:
    """The job ``refresh``."""

    def __init__(
        self,
        settings: Settings,
        annotations: Annotations,
        pushed: PushedPredictions,
        made: LastPredictions,
        jobs: Jobs,
        projects: Projects,
        videos: Videos,
        pushing: Pushing,
        label_studio: LabelStudioClient,
    ):
        self._settings = settings
        self._annotations = annotations
        self._pushed = pushed
        self._made = made
        self._jobs = jobs
        self._projects = projects
        self._videos = videos
        self._pushing = pushing
        self._label_studio = label_studio

    def refresh(self, job: Job, progress: Progress) -> dict[str, Any]:
        """Send predictions of the version in use for the most useful tasks, and remove those that they supersede.

        An interrupted round continues where it stopped. Raises FramewiseError.
        """
        learners = self._projects.learners(job.project)
        connected = self._settings.push_predictions and self._label_studio.connected
        if not connected or not any(learner.version() for learner in learners):
            return {"version": None}
        version, number = model_version(learners), project_id(job.project)
        chosen = self._chosen_version(job.project, number)
        self._pushing.tell_version(job.project, version)
        round = Round(job, number, version, learners, progress, dict(self._pushed.begin(job.project, job.id, version)))
        try:
            tasks = self._label_studio.tasks_without_annotation(number)
            cold = self._score(round, tasks)
            self._send(round, tasks)
            self._extract(round, tasks, cold)
            removed = self._tidy(round, chosen)
        except NewerVersion:
            progress(1.0, f"sent {round.count(PUSHED)}, then stopped: there is a newer version than {version}")
            return {"version": version, "pushed": round.count(PUSHED), "stopped": True}
        counts = {"pushed": round.count(PUSHED), "awaited": round.count(AWAITED), "removed": removed}
        progress(1.0, f"sent {counts['pushed']} of {version}, {counts['awaited']} follow when their videos are extracted")
        return {"version": version, **counts}

    def _chosen_version(self, project: str, number: int) -> str:
        """The model version that is chosen in Label Studio's project. Raises LabelStudioError if that is another project."""
        created, _, chosen = self._label_studio.project_state(number)
        if project != f"{number}.{created}":
            raise LabelStudioError(
                f"project {number} at LABEL_STUDIO_URL was created at another time than {project}, so it is another project, "
                "and predictions are not sent; does LABEL_STUDIO_URL point to the Label Studio in which this backend is "
                "connected?"
            )
        return chosen

    def _score(self, round: Round, tasks: Mapping[int, dict[str, Any]]) -> list[int]:
        """Predict some of the tasks, to learn how useful each is; return those whose videos are not extracted yet."""
        cold = []
        some = _spread(tasks, round.version)[: self._settings.push_max_tasks * LOOKED_AT_FOR_EACH_SENT]
        for done, task in enumerate(some):
            if task in round.known:
                continue
            self._let_others_go_first(round)
            round.progress(done / len(some) / 2, f"predicted {done} of {len(some)} tasks")
            with self._isolated(round, task), _pause():
                asked = self._cached(round, task, tasks[task])
                if asked is None:
                    cold.append(task)
                else:
                    asked.answer = prediction(round.version, asked)
                    self._made.put(round.job.project, [made(asked)])
                    self._note(round, task, SCORED, asked.answer["score"])
        return cold

    def _send(self, round: Round, tasks: Mapping[int, dict[str, Any]]) -> None:
        """Send the predictions of the most useful tasks."""
        scored = [(arriving.score or 0.0, task) for task, arriving in round.known.items() if arriving.state == SCORED]
        left = [task for _, task in sorted(scored) if task in tasks]
        while left and self._room(round) > 0:
            self._let_others_go_first(round)
            sent, task = round.count(PUSHED), left.pop(0)
            aim = sent + min(self._room(round), len(left) + 1)
            round.progress(0.5 + sent / aim / 2, f"sent {sent} of {aim}")
            with self._isolated(round, task), _pause():
                asked = self._cached(round, task, tasks[task])
                if asked is None or self._label_studio.is_annotated(task):
                    self._note(round, task, LEFT_OUT)
                else:
                    self._pushing.send(round.job.project, round.learners, asked)
                    self._note(round, task, PUSHED)

    def _extract(self, round: Round, tasks: Mapping[int, dict[str, Any]], cold: list[int]) -> None:
        """Queue the extraction of more videos if there is room, and promise their predictions."""
        for task in cold:
            if self._room(round) <= 0:
                return
            with self._isolated(round, task):
                self._promise(round, task, tasks[task])

    def _promise(self, round: Round, task: int, data: dict[str, Any]) -> None:
        project, jobs = round.job.project, self._jobs.states
        sources = round.sources(data)
        latest = [jobs.latest("extract", project, self._videos.subject(source)) for source in sources]
        if any(job and job[1] == "failed" for job in latest):
            self._note(round, task, LEFT_OUT)  # it is retried when somebody requests it
            return
        self._annotations.put_task(project, task, data)
        missing = [one for one in sources if self._videos.cached(one, task) is None]
        extractions = [self._videos.submit_extraction(project, source, task) for source in missing]
        with self._annotations.together():  # a restarted round leaves promised tasks alone
            self._note(round, task, AWAITED)
            for extraction in extractions:
                self._annotations.promise_prediction(extraction, task)
            # If nothing is missing, somebody else had it extracted since this round looked.
            push = None if extractions else jobs.add("push", project, str(task), {}, task)
        if push is not None:
            self._jobs.announce(push, "push")

    def _tidy(self, round: Round, chosen: str) -> int:
        """Remove predictions of earlier versions from the tasks without annotations; return their number."""
        superseded = self._pushing.superseded(round.job.project, round.version)
        if chosen in superseded and round.count(PUSHED):
            # otherwise the chosen version would show nothing any more
            self._label_studio.choose_version(round.number, round.version)
        removed = 0
        for task in self._label_studio.tasks_with_versions(round.number, superseded):
            self._let_others_go_first(round)
            with self._isolated(round, task), _pause():
                removed += self._label_studio.remove_predictions(task, superseded)
        return removed

    def _cached(self, round: Round, task: int, data: dict[str, Any]) -> TaskRequest | None:
        """A task with its cached features; None if some are missing."""
        asked = TaskRequest({"id": task, "data": data})
        for source in round.sources(data):
            try:
                features = self._videos.cached(source, task)
            except MediaUnavailable:  # the extraction handles it
                return None
            if features is None:
                return None
            asked.add(source, features)
        return asked

    def _room(self, round: Round) -> int:
        return self._settings.push_max_tasks - round.count(PUSHED, AWAITED)

    def _note(self, round: Round, task: int, state: str, score: float | None = None) -> None:
        round.known[task] = Arriving(round.job.id, round.version, state, score)
        self._pushed.put(round.job.project, task, round.known[task])

    def _let_others_go_first(self, round: Round) -> None:
        """Raise NewerVersion, or YieldToUrgent if other work waits: this job can be done later."""
        if model_version(self._projects.learners(round.job.project)) != round.version:
            raise NewerVersion
        if self._jobs.more_urgent_wait(round.job.kind, OTHERS_WAIT_SECONDS):
            raise YieldToUrgent

    def _isolated(self, round: Round, task: int) -> AbstractContextManager[None]:
        """Show an error of one task and continue with the others. Temporary errors are left to the job."""

        def leave_out(failure: Failure) -> None:
            text = f"task {task} gets no prediction: {failure.text}"
            logger.warning("project %s, %s", round.job.project, text, exc_info=failure.is_defect)
            self._jobs.states.warn(round.job.id, text)
            self._note(round, task, LEFT_OUT)

        return isolate_errors(leave_out, lambda error: concerns_all(error) or is_temporary(error))


def _spread(tasks: Iterable[int], version: str) -> list[int]:
    """Tasks in an order that differs between versions, but is the same when a round restarts."""
    return sorted(tasks, key=lambda task: hashlib.sha256(f"{version} {task}".encode()).digest())


@contextmanager
def _pause() -> Iterator[None]:
    """Sleep for as long as the enclosed work took: prediction requests are answered on the same processors."""
    began = time.monotonic()
    yield
    time.sleep(min(time.monotonic() - began, LONGEST_PAUSE_SECONDS))
