"""The default learner in the running service: a first version at once, then one that is measured, and nothing forgotten.

Films are coloured: what is labelled is seen at a glance, also by a backbone that was never trained.
"""

import itertools

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.service import Project, frames_of, learning_config, region, wait_for
from tests.process_tree import paused
from tests.videos import write_video

COLOURS = {"Walk": (220, 40, 40), "Run": (40, 40, 220), "Jump": (40, 200, 60)}
GREY = (120, 120, 120)
FRAMES = 100
_films = itertools.count(1)


def auto_config(*labels):
    return learning_config(*labels, model_classifier_type="auto")


@pytest.fixture
def project():
    return Project(auto_config())


@pytest.fixture(scope="session")
def make_film(videos, make_task):
    """Makes a task with a film of 4 seconds and what it shows, label -> (first frame, last frame); each film differs, and those
    of one seed are the same in every run. A longer one is grey in the end."""

    def make(*labels, frames=FRAMES, seed=None):
        number = next(_films) if seed is None else f"seed-{seed}"
        rng = np.random.default_rng(number if seed is None else seed)
        shown, pictures = {}, []
        for place, label in enumerate(labels or ("Walk", "Run")):
            start = 33 * place + int(rng.integers(3, 8))
            shown[label] = (start, start + int(rng.integers(20, 25)))
        for frame in range(1, frames + 1):
            colour = next((COLOURS[label] for label, (a, b) in shown.items() if a <= frame <= b), GREY)
            picture = np.array(colour) + rng.integers(-20, 20, (4, 4, 3))
            pictures.append(picture.clip(0, 255).astype(np.uint8).repeat(16, axis=0).repeat(16, axis=1))
        return make_task(write_video(videos / f"film-{number}.mp4", pictures)), shown

    return make


def regions_of(shown, *labels):
    return [region(label, shown[label]) for label in labels or shown]


def agreement(prediction, shown, *labels):
    """Share of frames that are as the truth says, of the label where it is least."""
    frames = {label: set(range(shown[label][0], shown[label][1] + 1)) for label in labels or shown}
    return min(1 - len(frames_of(prediction, label) ^ frames[label]) / FRAMES for label in frames)


def versions(service, project):
    """Versions of a project, newest first."""
    return [v for v in service.client.get("/versions").json()["details"] if v["project"] == project.key]


def wait_for_first_version(service, project, videos):
    wait_for(lambda: videos in [v["videos"] for v in versions(service, project)], f"a version of {videos} videos")


def wait_for_refining(service, project, *states):
    """The last job of the longer training, once it is in one of these states."""
    return wait_for(lambda: [j for j in service.jobs(project, "refine")[:1] if j["state"] in states], "a longer training")[0]


# What is learned.


def test_an_annotation_is_learned_and_found_in_another_film(service, project, make_film):
    task, shown = make_film()
    other, other_shown = make_film()
    assert service.train(project, (task, regions_of(shown)))["state"] == "done"
    assert agreement(service.predict_until_there(project, task), shown) > 0.95
    assert agreement(service.predict_until_there(project, other), other_shown) > 0.9


def test_what_was_learned_stays_learned_and_is_measured_from_three_videos_on(service, project, make_film):
    films = [make_film() for _ in range(3)]
    before = {}
    for number, (task, shown) in enumerate(films, 1):
        service.train(project, (task, regions_of(shown)))
        now = {t["id"]: agreement(service.predict(project, [t])[0], s) for t, s in films[:number]}
        for learned, score in before.items():
            assert now[learned] >= score - 0.01, f"{before} became {now}"
        before = {t: max(score, before.get(t, 0)) for t, score in now.items()}
    version = versions(service, project)[0]
    assert (version["version"], version["stage"], version["videos"]) == (service.version(project), "validated", 3)
    quality = version["quality"]
    assert (quality["method"], quality["weak"], quality["videos"]) == ("leave one video out", False, 3)
    assert quality["mean"]["f1"] > 0.8
    assert set(quality["labels"]) == {"Walk", "Run"}

    text = service.client.get("/metrics").text
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    told = [s for s in samples if s.name == "framewise_version_quality" and s.labels["project"] == project.key]
    assert {s.labels["label"] for s in told} == {"Walk", "Run"}
    assert {s.labels["version"] for s in told} == {version["version"]}


def test_twenty_annotations_in_a_row_end_in_one_version_that_knows_them_all(service, project, make_film):
    films = [make_film() for _ in range(20)]
    for task, shown in films:
        service.send(project.annotation_event(task, regions_of(shown)))
    service.wait_idle()
    version = versions(service, project)[0]
    assert (version["videos"], version["stage"], version["version"]) == (20, "validated", service.version(project))
    assert len(service.jobs(project, "train")) < 15
    assert not [j for j in service.jobs(project) if j["state"] == "failed"]


def test_who_annotates_faster_than_is_measured_gets_a_measured_version_meanwhile(service, project, make_film):
    *first, sixth, seventh = [make_film() for _ in range(7)]
    for task, shown in first:
        service.send(project.annotation_event(task, regions_of(shown)))
    wait_for_first_version(service, project, 5)
    for videos, (task, shown) in ((6, sixth), (7, seventh)):
        wait_for_refining(service, project, "running", "done")
        service.send(project.annotation_event(task, regions_of(shown)))
        wait_for_first_version(service, project, videos)
        assert versions(service, project)[0]["videos"] == videos, "what was measured meanwhile replaces none of it"
    service.wait_idle()
    newest, *measured = [v for v in versions(service, project) if v["stage"] == "validated"]
    assert (newest["videos"], newest["version"]) == (7, service.version(project))
    assert [v for v in measured if v["videos"] in (5, 6)]
    assert not [j for j in service.jobs(project) if j["state"] == "failed"]


# Labels and annotations come and go.


def test_a_label_that_is_added_is_learned_from_what_was_annotated_since(service, make_film):
    """The older films show it as well, and were annotated without it: that is no statement that it is not there."""
    project = Project(auto_config("Walk", "Run"))
    films = [make_film("Walk", "Run", "Jump") for _ in range(2)]
    service.train(project, *((task, regions_of(shown, "Walk", "Run")) for task, shown in films))
    edited = project.with_config(auto_config("Walk", "Run", "Jump"))
    service.setup(edited)
    (task, shown), prediction = films[0], service.predict(edited, [films[0][0]])[0]
    assert agreement(prediction, shown, "Walk", "Run") > 0.9
    assert not frames_of(prediction, "Jump")

    added, added_shown = make_film("Walk", "Run", "Jump")
    service.train(edited, (added, regions_of(added_shown)))
    version = versions(service, edited)[0]
    assert (version["labels"], version["videos"]) == (["Walk", "Run", "Jump"], 3)
    assert version["quality"]["labels"]["Jump"]["true_segments"] == 1
    assert agreement(service.predict(edited, [task])[0], shown, "Walk", "Run", "Jump") > 0.9


def test_a_label_that_is_removed_is_left_out_and_the_others_are_still_known(service, make_film):
    project = Project(auto_config("Walk", "Run"))
    (task, shown), (second, second_shown) = make_film(), make_film()
    service.train(project, (task, regions_of(shown)))
    edited = project.with_config(auto_config("Walk"))
    service.setup(edited)
    job = service.train(edited, (second, regions_of(second_shown, "Walk")))
    assert job["state"] == "done"
    assert any(f"task {task['id']}" in text and "Run" in text for text in job["warnings"])
    prediction = service.predict(edited, [task])[0]
    assert agreement(prediction, shown, "Walk") > 0.9
    assert not frames_of(prediction, "Run")
    assert versions(service, edited)[0]["labels"] == ["Walk"]


def test_without_its_last_annotation_a_project_is_untrained_again(service, project, make_film):
    task, shown = make_film()
    event = project.annotation_event(task, regions_of(shown))
    service.send(event)
    service.wait_idle()
    assert service.version(project) != "untrained"
    service.send(project.event("ANNOTATIONS_DELETED", annotations=[{"id": event["annotation"]["id"]}]))
    service.wait_idle()
    assert service.version(project) == "untrained"
    assert not [j for j in service.jobs(project) if j["state"] == "failed"]


# Accidents.


def test_a_worker_killed_in_the_longer_training_leaves_the_first_version_and_then_one_that_is_measured(
    start_service, project, make_film
):
    # So long that the longer training takes seconds.
    service, films = start_service(), [make_film(frames=500) for _ in range(5)]
    for task, shown in films:
        service.send(project.annotation_event(task, regions_of(shown)))
    wait_for_first_version(service, project, 5)

    def killed_in_the_middle():
        wait_for_refining(service, project, "running")
        with paused(service.worker_pid(), service.data):
            if service.jobs(project, "refine")[0]["state"] != "running":
                return None
            first = service.version(project)
            service.kill_worker()
        return first

    first = wait_for(killed_in_the_middle, "the worker is killed in a longer training")
    assert service.version(project) == first
    assert agreement(service.predict(project, [films[0][0]])[0], films[0][1]) > 0.9
    service.wait_idle()
    kept = versions(service, project)
    assert [v["videos"] for v in kept if v["stage"] == "validated"] == [5]
    assert kept[0]["version"] == service.version(project) != first
    assert kept[0]["quality"]["method"] == "leave one video out"
    assert service.jobs(project, "refine")[0]["attempts"] == 2
