"""Predictions that are sent to Label Studio: promised ones, as soon as they can be made."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from framewise.backend.predictions import TaskRequest, made, prediction
from framewise.backend.projects import UNTRAINED, Projects, model_version
from framewise.backend.videos import Videos
from framewise.controls import Learner, sources_of
from framewise.core.errors import StorageBusy, StorageFull
from framewise.core.progress import Progress
from framewise.core.storage import locked
from framewise.jobs import Jobs
from framewise.label_studio import HOW_TO_CONNECT, LabelStudioClient
from framewise.settings import Settings
from framewise.store.annotations import Annotations
from framewise.store.job_state import Job
from framewise.store.made import LastPredictions
from framewise.store.pushed import LEFT_OUT, PUSHED, PushedPredictions

logger = logging.getLogger(__name__)


class Pushing:
    """The job ``push``, what queues it, and how a prediction is stored in Label Studio."""

    def __init__(
        self,
        settings: Settings,
        annotations: Annotations,
        pushed: PushedPredictions,
        made: LastPredictions,
        jobs: Jobs,
        projects: Projects,
        videos: Videos,
        label_studio: LabelStudioClient,
    ):
        self._settings = settings
        self._annotations = annotations
        self._pushed = pushed
        self._made = made
        self._jobs = jobs
        self._projects = projects
        self._videos = videos
        self._label_studio = label_studio

    def tell_version(self, project: str, version: str) -> str:
        """Remember a model version that is reported to Label Studio: predictions of this name may be replaced."""
        if version == UNTRAINED:
            return version
        with suppress(StorageFull, StorageBusy):  # the next request does it
            self._pushed.remember_version(project, version)
        return version

    @property
    def can_send(self) -> bool:
        """True if sending predictions is enabled and Label Studio's address and key are known."""
        return self._settings.push_predictions and self._label_studio.connected

    def version_published(self, project: str) -> None:
        """Schedule sending predictions of tasks without annotations, for when no newer version came for a while."""
        if not self._settings.push_predictions:
            return
        if not self._label_studio.connected:
            note = f"after a training, predictions are not sent to Label Studio: {HOW_TO_CONNECT}"
            self._jobs.states.record_note("refresh", project, note, warning=False)
            return
        self._jobs.states.add("refresh", project, "all", {}, delay_seconds=self._settings.push_quiet_seconds)

    def keep_promises(self) -> None:
        """Queue pushes of promised predictions that can be made now."""
        for job, project, task, succeeded in self._annotations.due_promises():
            if succeeded:
                self._jobs.submit("push", project, str(task), {}, task)
            self._annotations.withdraw_promise(job, task)

    def push(self, job: Job, progress: Progress) -> None:
        """Send a promised prediction to Label Studio, if its address and a key are known."""
        task = int(job.task or 0)
        data = self._annotations.task_data(job.project, task)
        if data is None or not self._label_studio.connected:
            return
        learners = self._projects.learners(job.project)
        version, awaited = model_version(learners), self._pushed.awaited(job.project, task)
        if awaited and (awaited.version != version or self._label_studio.is_annotated(task)):
            self._pushed.put(job.project, task, replace(awaited, state=LEFT_OUT))
            return  # no longer wanted
        asked = TaskRequest({"id": task, "data": data})
        for source in sources_of([learner for learner in learners if learner.version()], data):
            _, features = self._videos.features(job, source, task, progress)
            asked.add(source, features)
        if asked.ready:
            self.send(job.project, learners, asked)
        if awaited:
            self._pushed.put(job.project, task, replace(awaited, state=PUSHED))

    def superseded(self, project: str, version: str) -> list[str]:
        """Model versions whose predictions a prediction of this version replaces."""
        if not self._settings.push_predictions or self._settings.push_keep_superseded:
            return []
        return [told for told in self._pushed.versions(project) if told != version]

    def send(self, project: str, learners: Sequence[Learner], asked: TaskRequest) -> None:
        """Store the prediction of a task whose features are cached in Label Studio, unless it is already there. Raises
        FramewiseError."""
        version = model_version(learners)
        content = asked.answer = prediction(version, asked)
        self._made.put(project, [made(asked)])
        self.tell_version(project, version)
        # One worker at a time: two workers pushing the same prediction would each find that it is not there yet.
        with locked(self._settings.data_dir / "push.lock"):
            superseded = self.superseded(project, version)
            self._label_studio.push_prediction(asked.task["id"], **content, superseded=superseded)
