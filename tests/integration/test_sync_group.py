"""Media that play in sync through the running service: annotated on one, predicted on each, in its own units."""

import itertools
import json
import re

import pytest

from tests.audio_help import sound
from tests.integration.service import Project
from tests.integration.test_offline import Workplace, annotation
from tests.series_help import LABELS
from tests.sync_group_help import marked, seconds_of, sync_config, sync_task

_numbers = itertools.count(97_001)


@pytest.fixture
def make(videos, make_clip):
    """Makes a task of 14 seconds of clip and series, and sound if it is asked for."""

    def make_task(seed, audio=False, kind="number", frames=350):
        number = next(_numbers)
        heard = sound(seed, 14.0).write(videos / f"sync-{number}.wav") if audio else None
        return sync_task(number, seed, videos, make_clip(frames), heard, kind)

    return make_task


def found(prediction, task, kind="number", seconds=14.0):
    """from_name -> share of hundredths of a second that are right, of each control that has a region."""
    names = {region["from_name"] for region in prediction["result"]}
    right = {}
    for name in names:
        regions = [seconds_of(r, task, kind) for r in prediction["result"] if r["from_name"] == name]
        right[name] = (marked(regions, seconds) == marked(task.truth, seconds)).mean()
    return right


@pytest.mark.parametrize("kind", ["number", "date"])
def test_what_is_annotated_on_the_series_is_predicted_on_all_media(service, make, kind):
    project = Project(sync_config("video", "audio", kind=kind))
    assert service.setup(project).status_code == 200
    learned, new = [make(seed, audio=True, kind=kind) for seed in (1, 2)], make(3, audio=True, kind=kind)

    job = service.train(project, *((t.task, t.recording.regions(kind)) for t in learned))

    assert job["state"] == "done", job
    assert not [w for w in job["warnings"] if "left out" in w]
    versions = service.client.get("/versions", params={"project": project.key}).json()["details"]
    assert {v["control"] for v in versions} == {"moves"}
    assert {tuple(v["labels"]) for v in versions} == {LABELS}
    prediction = service.predict_until_there(project, new.task)
    assert prediction["model_version"] == service.version(project) == versions[0]["version"]
    right = found(prediction, new, kind)
    assert right.keys() == {"moves", "timeline", "sounds"}
    assert min(right.values()) > 0.9, right
    # Two samples lie in each frame: what is predicted is the same on each medium, to the sample.
    edges = {name: sorted(seconds_of(r, new, kind) for r in prediction["result"] if r["from_name"] == name) for name in right}
    for name in ("moves", "sounds"):
        assert [label for label, *_ in edges[name]] == [label for label, *_ in edges["timeline"]]
        expected = [edge for region in edges["timeline"] for edge in region[1:]]
        assert [edge for region in edges[name] for edge in region[1:]] == pytest.approx(expected, abs=1e-6)


def test_what_is_annotated_on_the_video_is_predicted_on_the_series(service, make):
    project = Project(sync_config("video"))
    learned, new = [make(seed) for seed in (4, 5)], make(6)
    service.train(project, *((t.task, t.timeline()) for t in learned))
    right = found(service.predict_until_there(project, new.task), new)
    assert right.keys() == {"moves", "timeline"}
    assert min(right.values()) > 0.9, right


def test_what_two_controls_say_of_one_task_is_joined(service, make):
    """Turns on the series, shakes on the timeline."""
    project = Project(sync_config("video"))
    learned, new = [make(seed) for seed in (7, 8)], make(9)

    def halves(t):
        return [
            *(r for r in t.recording.regions("number") if "Turn" in str(r)),
            *(r for r in t.timeline() if "Shake" in str(r)),
        ]

    service.train(project, *((t.task, halves(t)) for t in learned))
    right = found(service.predict_until_there(project, new.task), new)
    assert min(right.values()) > 0.9, right


def test_a_task_without_one_of_the_media_is_learned_and_predicted(service, make):
    project = Project(sync_config("video"))
    learned, new = [make(seed) for seed in (10, 11)], make(12)
    del learned[1].task["data"]["video"]
    new.task["data"]["video"] = None
    job = service.train(project, *((t.task, t.recording.regions("number")) for t in learned))
    assert not job["warnings"], job
    right = found(service.predict_until_there(project, new.task), new)
    assert right.keys() == {"moves"}
    assert right["moves"] > 0.9


def test_beyond_the_shortest_medium_nothing_is_claimed(service, make):
    """Clips of 6 s, but one, and series of 14 s."""
    project = Project(sync_config("video"))
    learned, new = [make(13), make(14, frames=150)], make(15, frames=150)
    job = service.train(project, *((t.task, t.recording.regions("number")) for t in learned))
    told = "\n".join(job["warnings"])
    assert re.search(r"\d regions after 6.00 s, where the shortest medium of the sync group ends, are left out", told), told
    prediction = service.predict_until_there(project, new.task)
    assert max(seconds_of(r, new, "number")[2] for r in prediction["result"]) <= 6.0
    assert min(found(prediction, new, seconds=6.0).values()) > 0.85


def test_a_task_without_any_medium_is_named(service, make):
    project, empty, good = Project(sync_config("video")), make(16), make(17)
    empty.task["data"] = {"other": 1}
    job = service.train(project, (empty.task, []), (good.task, good.timeline()))
    assert "expected the address of a medium in at least one of ['series', 'video'], found none" in "\n".join(job["warnings"])


def test_a_control_that_leaves_the_group_is_trained_by_itself(service, make):
    project = Project(sync_config("video"))
    learned = make(18)
    service.train(project, (learned.task, learned.recording.regions("number")))
    together = service.version(project)
    alone = project.with_config(project.config.replace('frameRate="25" sync="all"', 'frameRate="25"'))
    service.setup(alone)
    service.wait_idle()
    assert together not in service.version(alone)
    assert len(service.version(alone).split("+")) in (1, 2)
    right = found(service.predict_until_there(alone, learned.task), learned)
    assert right.keys() == {"moves"}  # nothing was ever said on the timeline


def test_an_export_of_a_sync_group_is_learned_and_predicted_on_the_command_line(tmp_path, backbone, videos, make):
    workplace = Workplace(tmp_path / "workplace", backbone, videos)
    learned, new = make(19), make(20)
    config = workplace.file("config.xml", sync_config("video"))
    export = workplace.file(
        "export.json", [learned.task | {"annotations": [annotation(1, *learned.recording.regions("number"))]}]
    )
    trained = workplace.run("train", export, "--config", config)
    assert trained.returncode == 0, trained.stderr
    project = next(word for word in trained.stdout.split() if word.startswith("0.")).rstrip(",")
    tasks = workplace.file("tasks.json", [new.task])
    done = workplace.run("predict", tasks, "--project", project, "--output", tmp_path / "predicted.json")
    assert done.returncode == 0, done.stderr
    (predicted,) = json.loads((tmp_path / "predicted.json").read_text())
    assert min(found(predicted["predictions"][0], new).values()) > 0.85
