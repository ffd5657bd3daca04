"""The use cases: Label Studio's requests and events, and the jobs that follow from them.

The web process answers from stored data and records; workers fetch, extract, train and push.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from framewise.backend.events import Events
from framewise.backend.free_disk import FreeDisk
from framewise.backend.identifiers import NO_PROJECT, is_offline, project_id
from framewise.backend.importing import Importing
from framewise.backend.predictions import Predictions
from framewise.backend.projects import Projects, model_version
from framewise.backend.pushing import Pushing
from framewise.backend.refreshing import Refresh
from framewise.backend.suggesting import Suggesting
from framewise.backend.training import Trainings
from framewise.backend.versions import Versions
from framewise.backend.videos import Videos
from framewise.backend.warming import Warming
from framewise.controls import Learner, Parts, Source
from framewise.core.errors import RequestError, VersionGone
from framewise.core.progress import Progress
from framewise.jobs import Jobs
from framewise.label_studio import HOW_TO_CONNECT, LabelStudioClient
from framewise.store.annotations import Annotations
from framewise.store.job_state import Job
from framewise.store.made import LastPredictions
from framewise.store.media_facts import MediaFacts
from framewise.store.projects import KnownProjects
from framewise.store.pushed import PushedPredictions
from framewise.store.registry import forget_project
from framewise.store.suggestions import Suggestions

Answer = TypeVar("Answer")

VERSIONS_TRIED = 5


class Backend:
    """All use cases, over the parts that are passed in. ``waiting_slots``: number of predictions that may wait at once in this
    process."""

    def __init__(
        self,
        parts: Parts,
        annotations: Annotations,
        known: KnownProjects,
        facts: MediaFacts,
        pushed: PushedPredictions,
        made: LastPredictions,
        suggestions: Suggestions,
        jobs: Jobs,
        label_studio: LabelStudioClient,
        waiting_slots: int = 1,
    ):
        self._parts = parts
        self._annotations = annotations
        self._known = known
        self._jobs = jobs
        self._projects = Projects(parts, annotations, jobs.states)
        self._videos = Videos(annotations, facts, jobs, self._projects)
        self._predictions = Predictions(annotations, made, jobs, self._videos, waiting_slots)
        self._suggesting = Suggesting(self._predictions, suggestions)
        self._importing = Importing(annotations, jobs, self._projects, label_studio)
        free_disk = FreeDisk(parts.settings.cache_dir, parts.settings.min_free_disk_bytes)
        self._warming = Warming(annotations, jobs, self._projects, self._videos, free_disk)
        self._events = Events(annotations, suggestions, jobs, self._projects, self._importing)
        self._versions = Versions(parts, annotations, known, self._projects, self.version_changed)
        self._trainings = Trainings(parts.registry, annotations, jobs, self._projects, self._videos)
        self._pushing = Pushing(parts.settings, annotations, pushed, made, jobs, self._projects, self._videos, label_studio)
        self._refresh = Refresh(
            parts.settings, annotations, pushed, made, jobs, self._projects, self._videos, self._pushing, label_studio
        )

    def setup(self, project: str, label_config: str, hostname: str = "", title: str = "") -> str:
        """Store a project, check that its labeling config can work, and return the model version in use.

        Raises ConfigError, BackboneError.
        """

        def answer() -> str:
            learners = self._projects.learners(project, label_config)
            self._put_project(project, label_config, title, hostname)
            self._importing.begin_once(project)
            if outdated := [learner.name for learner in learners if learner.is_outdated()]:
                self._parts.registry.release(project, outdated)  # A version that cannot be used any more need not stay pinned.
                self._trainings.train_anew(project)
            return self._pushing.tell_version(project, model_version(learners))

        return _with_one_version(answer)

    def config_notes(self, label_config: str) -> list[str]:
        """Sentences on attributes of a labeling config that do nothing. Raises ConfigError."""
        return self._projects.notes(label_config)

    def predict(self, project: str | int | None, label_config: str, tasks: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Return one item per task, in order: a prediction, or [] if there is none (yet). Raises ConfigError.

        project: a key; a number, for the newest project with that number; or None, for tasks of no project.
        """
        return self._answered(
            project, label_config, lambda key, learners, deadline: self._predictions.answer(key, learners, tasks, deadline)
        )

    def suggest(
        self, project: str | int | None, label_config: str, task: Mapping[str, Any], context: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return suggestions for a task that somebody is annotating: see ``Suggesting.answer``. Raises FramewiseError."""
        return self._answered(
            project,
            label_config,
            lambda key, learners, deadline: self._suggesting.answer(key, learners, task, context, deadline),
        )

    def _answered(
        self, project: str | int | None, label_config: str, answer: Callable[[str, list[Learner], float], Answer]
    ) -> Answer:
        """Answer by the key and the learners of a project, which is stored, and the end of the time that a request may wait, on
        the monotonic clock."""
        key = project if isinstance(project, str) else self._annotations.project_key(project) if project else NO_PROJECT
        deadline = time.monotonic() + self._parts.settings.predict_wait_seconds

        def of_one_version() -> Answer:
            learners = self._projects.learners(key, label_config)
            self._put_project(key, label_config)
            return answer(key, learners, deadline)

        return _with_one_version(of_one_version)

    def _put_project(self, project: str, label_config: str, title: str = "", hostname: str = "") -> None:
        before = self._annotations.put_project(project, project_id(project), label_config, title, hostname)
        if self._projects.training_config_changed(project, before):
            self._jobs.submit("train", project, "all", {})

    def on_event(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Record a webhook's event and queue the jobs that follow from it. Raises RequestError for an unreadable event."""
        return self._events.record(event)

    def versions(self, project: str = "") -> dict[str, Any]:
        """All trained versions, or those of one project, newest first: see ``Registry.overview``. Raises NotKnown."""
        return self._versions.overview(project)

    def roll_back(self, project: str, version: str) -> dict[str, Any]:
        """Put an earlier version into use: see ``Versions.roll_back``."""
        return self._versions.roll_back(project, version)

    def unpin(self, project: str) -> dict[str, Any]:
        """Put the newest version into use again: see ``Versions.unpin``."""
        return self._versions.unpin(project)

    def start_training(self, project: str) -> None:
        """Queue a training of a project, as Label Studio's "Start training" does. Raises NotKnown."""
        self._events.start_training(self._known.find(project))

    def predict_again(self, project: str) -> None:
        """Queue new predictions of tasks without annotations, and send them. Raises NotKnown, RequestError."""
        key = self._known.find(project)
        if not self._pushing.can_send:
            raise RequestError(f"predictions cannot be sent to Label Studio: set PUSH_PREDICTIONS=true, and {HOW_TO_CONNECT}")
        self._jobs.submit("refresh", key, "all", {})

    def forget(self, project: str) -> None:
        """Delete a project's data and models. Raises NotKnown."""
        key = self._known.find(project)
        forget_project(self._known, self._parts.registry, key)

    # For callers other than Label Studio, who wait.

    def learners(self, project: str, label_config: str) -> list[Learner]:
        """Learners of a labeling config, checked against the backbone. Raises ConfigError, BackboneError."""
        return self._projects.learners(project, label_config)

    def features_now(self, source: Source, task: int | None, progress: Progress) -> tuple[str, Any]:
        """Content and features of a file, extracted in this process if necessary. Raises FramewiseError."""
        return self._videos.features(Job(0, "extract", source.control.project, task, {}), source, task, progress)

    def train_now(self, project: str, progress: Progress) -> list[str]:
        """Train thoroughly in this process; returns warnings for the user. Raises FramewiseError."""

        def train(job: Job, report: Progress) -> dict[str, Any]:
            return self._noticed(job, self._trainings.train_thoroughly(job, report))

        return self._jobs.do_now("train", project, train, progress)

    def version_changed(self, project: str) -> None:
        """Start what follows when a project's predictions come from another version than before."""
        if not is_offline(project):
            self._pushing.version_published(project)

    def register(self) -> None:
        """Register this process as a worker for all jobs."""
        self._jobs.register_chore(self._pushing.keep_promises)
        self._jobs.register("extract", self._videos.extract)
        self._jobs.register("warm", self._warming.warm)
        self._jobs.register("import", self._importing.fetch)
        self._jobs.register("train", lambda job, progress: self._noticed(job, self._trainings.train(job, progress)))
        self._jobs.register("refine", lambda job, progress: self._noticed(job, self._trainings.refine(job, progress)))
        self._jobs.register("push", self._pushing.push)
        self._jobs.register("refresh", self._refresh.refresh)

    def _noticed(self, job: Job, result: dict[str, Any]) -> dict[str, Any]:
        if result.get("version") and result.get("current", True):  # not if another version is pinned
            self.version_changed(job.project)
        return result


def _with_one_version(answer: Callable[[], Answer]) -> Answer:
    """An answer from a single version: computed again, with the version then in use, if the first was removed meanwhile."""
    for _ in range(VERSIONS_TRIED - 1):
        try:
            return answer()
        except VersionGone:
            continue
    return answer()
