"""Trainings of a project in the order in which a worker may do them, on rendered recordings: what is measured, what is in use.

A thorough training is made to see a submit in its middle: its progress is told to the test, which submits and trains then.
"""

import itertools
import json
import re

import numpy as np
import pytest

from framewise.assembly import Assembly
from framewise.backend.projects import Projects
from framewise.backend.training import Trainings
from framewise.backend.videos import Videos
from framewise.core.progress import silent
from framewise.learning.held_out import FILE, HeldOut, HeldOutVideo, write_held_out
from framewise.learning.models import load_model
from framewise.settings import Settings
from tests.messages import Project
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
        videos = Videos(assembly.annotations, assembly.facts, self.jobs, projects)
        self.trainings = Trainings(self.registry, assembly.annotations, self.jobs, projects, videos)
        self.project = Project(series_config())
        self._folder, self._numbers, self._annotations = folder, itertools.count(1), []

    def submit(self, nonsense=False):
        """Annotate another recording: by what happens in it, or by regions that have nothing to do with that."""
        number = next(self._numbers)
        recording = record(number, seconds=8)
        path = recording.write_csv(self._folder / f"{number}.csv", "number")
        regions = recording.regions("number")
        if nonsense:
            starts = np.random.default_rng(number).uniform(100, 107, len(regions)).round(2)
            for region, start in zip(regions, starts.tolist(), strict=True):
                region["value"] |= {"start": start, "end": round(start + 0.4, 2)}
        event = self.project.annotation_event(task(number, str(path)), regions)
        self._annotations.append(event["annotation"]["id"])
        self.assembly.backend.on_event(event)

    def delete(self, number):
        """Delete so many annotations, the first ones."""
        gone, self._annotations = self._annotations[:number], self._annotations[number:]
        self.assembly.backend.on_event(self.project.event("ANNOTATIONS_DELETED", annotations=[{"id": one} for one in gone]))

    def measure(self):
        """Train and measure without being disturbed; what the user is told."""
        self.train()
        assert self.do("refine")["version"]
        return self.warnings

    def do(self, kind, progress=silent):
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

    def folders(self):
        """Folders of the versions, newest first."""
        parent = self.registry.folder(self.project.key, "moves")
        return [parent / version["version"] for version in self.registry.versions(self.project.key)]

    def versions(self):
        """(videos, stage, whether it is in use), newest first."""
        return [(v["videos"], v["stage"], v["current"]) for v in self.registry.versions(self.project.key)]


ABANDONED = {"version": None, "left to": "a newer training"}


def begun(folder):
    """A story with five annotated recordings."""
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
    quick, _, measured, *_ = (load_model(folder) for folder in late.folders())
    assert measured.calibration is not None
    assert quick.decisions == measured.decisions
    assert quick.calibration.to_json() == measured.calibration.to_json()


def test_a_thorough_training_ends_when_nothing_is_annotated_any_more(tmp_path):
    story = begun(tmp_path)
    story.submit()
    story.train()
    assert story.refine_while(lambda: story.delete(6)) == ABANDONED
    story.train()
    assert story.versions() == []


# A version that is worse.


def make_perfect(folder):
    """Have a version's held-out scores be its annotations."""
    held_out = HeldOut(folder)
    better = [
        HeldOutVideo.of(v.task, v.frame_rate, v.truth.astype(float), v.truth, v.known) for v in held_out.videos(held_out.tasks)
    ]
    write_held_out(folder, better, held_out.labels)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A story with a measured version of four recordings, of which nothing can be learned."""
    story = Story(tmp_path_factory.mktemp("measured"))
    for _ in range(4):
        story.submit(nonsense=True)
    assert story.measure() == []
    return story


def measure_again(story):
    story.trainings.train_anew(story.project.key)
    return story.measure()


def test_a_version_that_is_clearly_worse_on_the_same_videos_is_told_of_with_the_way_back(measured):
    before = measured.folders()[0]
    make_perfect(before)
    (note,) = measure_again(measured)
    now = re.search(r"F1@50 is (0\.\d\d);", note)
    assert now
    assert note == (
        f"'moves': on videos that it did not learn from, F1@50 is {now[1]}; that of {before.name} is 1.00 on the same 4 "
        f"videos. To go back: framewise roll-back {measured.project.key} {before.name}"
    )
    fallen = json.loads((measured.folders()[0] / "version.json").read_text())["worse_than"]
    assert (fallen["version"], fallen["then"], fallen["videos"]) == (before.name, 1.0, 4)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"{}")], ids=["none", "broken"])
def test_a_version_whose_held_out_scores_cannot_be_read_is_compared_with_nothing(measured, damage):
    make_perfect(measured.folders()[0])
    damage(measured.folders()[0] / FILE)
    assert measure_again(measured) == []


def test_nothing_is_said_to_be_worse_when_videos_come_or_annotations_are_deleted(tmp_path):
    story, told = Story(tmp_path), []
    for nonsense in (False, False, True, True):
        story.submit(nonsense)
        told += story.measure()
    story.delete(2)
    told += story.measure()
    assert told == []
