"""The job ``warm``: extracts videos of new tasks in advance, when nothing else waits, and a little when only validations do."""

import logging
import time
from typing import Any

from framewise.backend.free_disk import FreeDisk
from framewise.backend.projects import Projects
from framewise.backend.videos import Videos
from framewise.controls import Learner, sources_of
from framewise.core.isolation import MAX_DEATHS, Failure, isolate_errors
from framewise.core.progress import Pace, Progress
from framewise.jobs import FAIR_SECONDS, Jobs, YieldToUrgent
from framewise.store.annotations import Annotations
from framewise.store.job_state import Job

logger = logging.getLogger(__name__)

OTHERS_WAIT_SECONDS = 1.0  # idle workers take a job sooner than this
TURN_SECONDS = 20.0  # in which validations wait, once in FAIR_SECONDS
MAX_FAILURES = 10  # in a row: then the cause is not a single file


class Warming:
    """Extracts ahead of requests, as long as the disk has room."""

    def __init__(self, annotations: Annotations, jobs: Jobs, projects: Projects, videos: Videos, free_disk: FreeDisk):
        self._annotations = annotations
        self._jobs = jobs
        self._projects = projects
        self._videos = videos
        self._free_disk = free_disk
        self._turn_ends = 0.0  # on the monotonic clock

    def warm(self, job: Job, progress: Progress) -> dict[str, Any]:
        """Extract, one by one, the videos of a project's tasks that nobody has requested yet.

        It continues later if other work waits or the disk has too little room; extracted videos are kept. Files that cannot be
        read are reported together.
        """
        if time.monotonic() - self._turn_ends > FAIR_SECONDS:
            self._turn_ends = time.monotonic() + TURN_SECONDS
        learners = self._projects.learners(job.project)
        extracted, problems, in_a_row, not_tried = 0, list[str](), 0, 0
        try:
            while cold := self._annotations.next_cold(job.project, MAX_DEATHS):
                task, data, left = cold
                if in_a_row == MAX_FAILURES:
                    not_tried = left
                    self._annotations.end_warming(job.project)
                    break
                progress(extracted / (extracted + left), f"{left} video{'s' * (left != 1)} of new tasks left to extract")
                problem = self._extract(job, learners, task, data, progress)
                extracted, in_a_row = (extracted, in_a_row + 1) if problem else (extracted + 1, 0)
                problems += [problem] if problem else []
            progress(1.0, _done(extracted, extracted + len(problems) + not_tried))
        finally:
            self._tell(job, problems, not_tried)
        return {"extracted": extracted, "failed": len(problems)}

    def _tell(self, job: Job, problems: list[str], not_tried: int) -> None:
        if problems:
            rest = f", and {not_tried} more were not tried" if not_tried else ""
            videos = f"{len(problems)} video{'s' * (len(problems) != 1)} of new tasks"
            note = f"{videos} could not be extracted ahead{rest}; the first: {problems[0]}"
            logger.warning("project %s: %s", job.project, note)
            self._jobs.states.warn(job.id, f"{note}. Each is retried when it is needed")

    def _extract(self, job: Job, learners: list[Learner], task: int, data: dict[str, Any], progress: Progress) -> str:
        """Extract one task's video; return the error, or "". Raises YieldToUrgent if other work waits, StorageFull."""
        polite = _Polite(self._jobs, job.kind, progress, self._free_disk, self._turn_ends)
        polite.give_way()
        self._annotations.begin_warming(job.project, task)
        failures: list[Failure] = []
        try:
            with isolate_errors(failures.append):
                for source in sources_of(learners, data):
                    self._videos.features(job, source, task, polite)
        except Exception:
            self._annotations.put_back(job.project, task)  # the file is not what ends its extraction
            raise
        self._annotations.end_warming(job.project, task)
        if not failures:
            return ""
        problem = f"task {task}: {failures[0].text}"
        logger.info("project %s, %s", job.project, problem, exc_info=failures[0].error if failures[0].is_defect else None)
        return problem


def _done(extracted: int, total: int) -> str:
    if not total:
        return "no videos of new tasks left to extract"
    return f"{extracted} of {total} video{'s' * (total != 1)} of new tasks extracted"


class _Polite:
    """Progress that stops with YieldToUrgent if other work waits, or with StorageFull if the disk has too little room.
    turn_ends: until then, validations may wait, and what comes after them."""

    def __init__(self, jobs: Jobs, kind: str, progress: Progress, free_disk: FreeDisk, turn_ends: float):
        self._jobs, self._kind, self._progress, self._free_disk = jobs, kind, progress, free_disk
        self._turn_ends = turn_ends
        self._pace = Pace(OTHERS_WAIT_SECONDS)

    def __call__(self, share: float, detail: str) -> None:
        if self._pace.is_due():
            self.give_way()
        self._progress(share, detail)

    def give_way(self) -> None:
        self._pace.restart()
        self._free_disk.check()
        kind = "refine" if time.monotonic() < self._turn_ends else self._kind
        if self._jobs.more_urgent_wait(kind, OTHERS_WAIT_SECONDS):
            raise YieldToUrgent
