"""The jobs ``train`` and ``refine``: every trainable control of a project, on all of its annotated tasks.

``train`` makes a version within seconds; ``refine`` then makes one that is validated on held-out videos.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from framewise.backend.projects import Projects, trained_models
from framewise.backend.videos import Videos
from framewise.controls import Example, Medium, Source, TrainedModel
from framewise.core.errors import FramewiseError
from framewise.core.isolation import Failure, Interruption, isolate_errors
from framewise.core.progress import Progress, between, part_of
from framewise.jobs import Jobs
from framewise.store.annotations import AnnotatedTask, Annotations
from framewise.store.job_state import Job
from framewise.store.job_warnings import LEFT_OUT, JobWarning, lines_of
from framewise.store.registry import Registry

logger = logging.getLogger(__name__)

# After this many versions in a row without a validated one, a thorough training is no longer abandoned for a newer training: a
# user who submits every minute would never see a validated version. With 2, there is one within three submits, provided that it
# takes less than two minutes.
MAX_UNMEASURED = 2

Told = dict[str, list[int]]  # a warning -> the tasks that it concerns


class _Newer(Interruption):
    """There is more to learn by now than what is being learned."""


class Trainings:
    """Trains and publishes versions."""

    def __init__(self, registry: Registry, annotations: Annotations, jobs: Jobs, projects: Projects, videos: Videos):
        self._registry = registry
        self._annotations = annotations
        self._jobs = jobs
        self._projects = projects
        self._videos = videos

    def train(self, job: Job, progress: Progress) -> dict[str, Any]:
        """Train every trainable control of a project on all of its annotated tasks, and publish the version.

        Slower improvements are left to the job ``refine``, which follows.
        """
        result = self._learn(job, progress, thorough=False)
        if result["provisional"]:
            self._jobs.submit("refine", job.project, "all", {})
        return result

    def refine(self, job: Job, progress: Progress) -> dict[str, Any]:
        """Train again, thoroughly.

        It is abandoned if a newer training waits or arrives, because another ``refine`` follows that one. After MAX_UNMEASURED
        versions without validation, it instead continues with the annotations that it started with; its version does not
        replace one of newer annotations.
        """

        def unless_newer(share: float, detail: str) -> None:
            if self._is_superseded(job) and self._may_be_abandoned(job.project):
                raise _Newer
            progress(share, detail)

        try:
            return self._learn(job, unless_newer, thorough=True)
        except _Newer:
            return {"version": None, "left to": "a newer training"}

    def train_thoroughly(self, job: Job, progress: Progress) -> dict[str, Any]:
        """Both at once, for callers who wait for the validated version and do not need the first one."""
        result = self._learn(job, part_of(progress, 0, 2), thorough=False)
        if result["provisional"]:
            result = self._learn(job, part_of(progress, 1, 2), thorough=True)
        return result

    def _learn(self, job: Job, progress: Progress, thorough: bool) -> dict[str, Any]:
        nothing = {"version": None, "current": False, "provisional": False}
        learners = trained_models(self._projects.learners(job.project))
        if thorough:
            learners = [learner for learner in learners if learner.can_refine]
        with self._annotations.together():  # so that a higher version number means newer annotations
            tasks = self._annotations.training_set(job.project)
            if not tasks:
                self._registry.withdraw(job.project)
            if not learners or not tasks:
                return nothing
            number = self._annotations.next_training(job.project)
        version = f"v{number}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
        outcomes, without = [], list[str]()
        for done, learner in enumerate(learners):
            part = part_of(progress, done, len(learners))
            # Features are mostly cached: to fetch them is a tenth of a training.
            examples, problems = self._examples(job, learner, tasks, between(part, 0.0, 0.1))
            if not examples:
                without.append(f"no annotated task can be used; the first: {problems[0]}")
                continue
            learned = f"{len(examples)} annotated task{'s' * (len(examples) != 1)}"
            between(part, 0.1, 1.0)(0.0, learned)  # also what a training shows when it has ended
            outcomes.append(learner.train(examples, version, between(part, 0.1, 1.0), thorough))
            for note in outcomes[-1].notes:
                self._jobs.states.warn(job.id, note)
        if not outcomes:
            raise FramewiseError(without[0])
        return {
            "version": version,
            "number": number,
            "tasks": len(tasks),
            "current": any(outcome.current for outcome in outcomes),
            "provisional": any(outcome.provisional for outcome in outcomes),
        }

    def _is_superseded(self, job: Job) -> bool:
        """True if there is a newer training than this thorough one: waiting, running, or finished with another ``refine`` to
        follow."""
        last = self._jobs.states.latest("refine", job.project, "all")
        return self._is_training(job.project) or (last is not None and last[0] != job.id)

    def _may_be_abandoned(self, project: str) -> bool:
        """True if a validated version comes soon enough without the running thorough training, or nothing is annotated."""
        few = self._jobs.states.unmeasured_trainings(project) < MAX_UNMEASURED
        return few or not self._annotations.is_annotated(project)

    def _is_training(self, project: str) -> bool:
        latest = self._jobs.states.latest("train", project, "all")
        return latest is not None and latest[1] in ("pending", "running")

    def train_anew(self, project: str) -> None:
        """Queue a training unless one is already waiting or running."""
        latest = self._jobs.states.latest("train", project, "all")
        if latest is None or latest[1] not in ("pending", "running", "failed"):
            self._jobs.submit("train", project, "all", {})

    def _examples(
        self, job: Job, learner: TrainedModel, tasks: list[AnnotatedTask], progress: Progress
    ) -> tuple[list[Example], list[str]]:
        """Examples of all tasks that give one; and sentences on why others give none, which are also warnings of the job."""
        examples, told = list[Example](), Told()
        for done, task in enumerate(tasks):
            read = list[Source]()
            step = partial(self._tell_features, part_of(progress, done, len(tasks)), job.project, task.task, read)
            step = partial(step, f"video {done + 1} of {len(tasks)}")
            with isolate_errors(partial(self._leave_out, job, task.task, told, read)):
                media = []
                for source in learner.sources(task.data):
                    read.append(source)
                    content, features = self._videos.features(job, source, task.task, step)
                    media.append(Medium(source.control, features, content))
                example = learner.task_example(media, task.data, task.result, task.labels, task.frame_rates)
                examples.append(replace(example, task=task.task))
                for note in example.notes:
                    told.setdefault(note, []).append(task.task)
        for text, numbers in told.items():
            self._jobs.states.warn(job.id, text, numbers)
        return examples, lines_of(JobWarning(text, tuple(of)) for text, of in told.items() if text.startswith(LEFT_OUT))

    def _tell_features(
        self, progress: Progress, project: str, task: int, read: Sequence[Source], which: str, share: float, detail: str
    ) -> None:
        """Report that features are being made, which one waits for only if they are not cached."""
        again = any(self._videos.were_made(project, source, task) for source in read)
        progress(share, f"making features{' anew' * again}, {which}: {detail}")

    def _leave_out(self, job: Job, task: int, told: Told, read: list[Source], failure: Failure) -> None:
        """Note that a task is not learned. read: its sources up to the one at which it failed."""
        if failure.is_temporary and read:
            # It is fetched as soon as that is possible, and learned then.
            self._videos.submit_extraction(job.project, read[-1], task, then="train")
        told.setdefault(f"{LEFT_OUT}{failure.text}", []).append(task)
        logger.warning("project %s, task %d is %s%s", job.project, task, LEFT_OUT, failure.text, exc_info=failure.is_defect)
