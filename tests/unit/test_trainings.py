"""Trainings of a project in the order in which a worker may do them, on real recordings: what is measured, and what is in use.

A thorough training is made to see a submit in its middle: its progress is told to the test, which submits and trains then.
"""

import itertools

import pytest

from framewise.assembly import Assembly
from framewise.backend.projects import Projects
from framewise.backend.training import Trainings
from framewise.backend.videos import Videos
from framewise.demo.messages import Project
from framewise.learning.models import load_model
from framewise.settings import Settings
from tests.series_help import record, series_config, task

WORKER = "worker"


class Story:
    """A project of one person who submits, and one worker."""

    def __init__(self, folder):
        self.assembly = Assembly(
            Settings(
                model_root=folder / "models", cache_dir=folder / "cache", data_dir=folder / "data", local_files_roots=(folder,)
            )
        )
        assembly = self.assembly
        self.jobs, self.states, self.registry = assembly.jobs, assembly.jobs.states, assembly.registry
        projects = Projects(assembly.parts, assembly.annotations, self.states)
        videos = Videos(assembly.annotations, self.jobs, projects)
        self.trainings = Trainings(self.registry, assembly.annotations, self.jobs, projects, videos)
        self.project = Project(series_config())
        self._folder, self._numbers, self._annotations = folder, itertools.count(1), []

    def submit(self):
        number = next(self._numbers)
        recording = record(number, seconds=8)
        path = recording.write_csv(self._folder / f"{number}.csv", "number")
        event = self.project.annotation_event(task(number, str(path)), recording.regions("number"))
        self._annotations.append(event["annotation"]["id"])
        self.assembly.backend.on_event(event)

    def delete_all(self):
        self.assembly.backend.on_event(
            self.project.event("ANNOTATIONS_DELETED", annotations=[{"id": number} for number in self._annotations])
        )

    def do(self, kind, progress=lambda share, detail: None):
        """Do the job of a kind that waits, as a worker does; its result."""
        number, state, _ = self.states.latest(kind, self.project.key, "all")
        assert state == "pending"
        job = self.states.claim(number, WORKER)
        handler = {"train": self.trainings.train, "refine": self.trainings.refine}[kind]
        result = handler(job, progress)
        self.states.finish(job.id, WORKER, result=result)
        self.warnings = self.states.warnings(job.id)
        return result

    def refine_while(self, *steps):
        """Do a thorough training, in whose midst these are done, each at another moment."""
        left = list(steps)

        def progress(share, detail):
            if left:
                left.pop(0)()

        result = self.do("refine", progress)
        assert not left
        return result

    def train(self):
        return self.do("train")

    def models(self):
        """Classifiers of the versions, newest first."""
        folder = self.registry.folder(self.project.key, "moves")
        return [load_model(folder / version["version"]) for version in self.registry.versions(self.project.key)]

    def versions(self):
        """(videos, stage, whether it is in use), newest first."""
        return [(v["videos"], v["stage"], v["current"]) for v in self.registry.versions(self.project.key)]


ABANDONED = {"version": None, "left to": "a newer training"}


@pytest.fixture(autouse=True, scope="module")
def hasty_networks():
    """Networks that learn next to nothing, which takes seconds in place of a minute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("framewise.learning.temporal.STEPS", 10)
        yield


def begun(folder):
    """A story with five annotated recordings: of fewer, a thorough training has no networks to train, and is over at once."""
    story = Story(folder)
    for _ in range(5):
        story.submit()
    story.train()
    return story


@pytest.fixture(scope="module")
def late(tmp_path_factory):
    """A story where a version of six annotations was measured while a quick one of seven was made."""
    story = begun(tmp_path_factory.mktemp("late"))
    story.submit()
    story.train()
    assert not story.refine_while(story.submit, story.train)["current"]
    return story


def test_a_thorough_training_is_abandoned_once_and_the_next_one_ends_although_more_is_submitted(tmp_path):
    story = begun(tmp_path)
    assert story.refine_while(story.submit) == ABANDONED
    story.train()
    assert story.refine_while(story.submit, story.train, story.submit)["version"]
    assert story.versions() == [(7, "quick", True), (6, "validated", False), (6, "quick", False), (5, "quick", False)]


def test_a_measured_version_of_older_annotations_is_listed_and_does_not_replace_the_newer_one(late):
    assert late.versions()[:2] == [(7, "quick", True), (6, "validated", False)]
    assert late.registry.versions(late.project.key)[1]["quality"]["method"] == "5-fold by video"
    assert late.warnings == [], "no other version is pinned"


def test_the_version_that_is_unpinned_to_is_that_of_the_newest_annotations(late):
    late.registry.roll_back(late.project.key, "v1")
    late.registry.unpin(late.project.key)
    assert late.versions()[0] == (7, "quick", True)


def test_after_a_measured_version_the_next_quick_one_is_decided_by_it_and_the_next_thorough_training_may_be_abandoned(late):
    assert late.refine_while(late.submit) == ABANDONED
    late.train()
    quick, _, measured, *_ = late.models()
    assert measured.calibration is not None
    assert quick.decisions == measured.decisions
    assert quick.calibration.to_json() == measured.calibration.to_json()


def test_a_thorough_training_ends_when_nothing_is_annotated_any_more(tmp_path):
    story = begun(tmp_path)
    story.submit()
    story.train()
    assert story.refine_while(story.delete_all) == ABANDONED
    story.train()
    assert story.versions() == []
