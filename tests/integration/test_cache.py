"""A service whose cache has a limit, and the command that shows the cache and removes from it beside a running service."""

import json
import re
import shutil

import pytest

from tests.integration.service import (
    Project,
    Service,
    endless_config,
    frames_of,
    learning_config,
    region,
    start_endless_training,
    wait_for,
)
from tests.integration.test_versions import command

EVERY_FRAME = learning_config(model_score_threshold="0", model_classifier_epochs="3")


@pytest.fixture
def project():
    return Project(EVERY_FRAME)


@pytest.fixture(scope="module")
def small(tmp_path_factory, backbone, videos):
    """A service whose cache has room for less than one video: the newest is all that stays."""
    with Service(
        tmp_path_factory.mktemp("small"), backbone, videos, CACHE_MAX_BYTES="1kB", PREDICT_WAIT_SECONDS="60"
    ) as running:
        yield running


@pytest.fixture(scope="module")
def roomy(tmp_path_factory, backbone, videos):
    """A service whose cache is looked at and cleaned, by one test after the other."""
    with Service(tmp_path_factory.mktemp("roomy"), backbone, videos) as running:
        yield running
        cache_command(running, "--shrink", "0")


def extractions(service, project, task):
    return [job["state"] for job in service.jobs(project, "extract") if job["task"] == task["id"]]


def chunks(service):
    return list(service.cache.rglob("features_chunk/*/output.npy"))


def cache_command(service, *args):
    done = command(service, "cache", *args)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def test_what_was_evicted_is_extracted_again_when_it_is_asked_for(small, project, make_task):
    service = small
    first, second = make_task(num_frames=26), make_task(num_frames=28)
    service.train(project, (make_task(), [region("Walk", (1, 24))]))
    for task, frames, times in ((first, 26, 1), (second, 28, 1), (first, 26, 2)):
        (prediction,) = service.predict(project, [task])
        assert max(frames_of(prediction, "Walk")) == frames
        assert extractions(service, project, task) == ["done"] * times
        assert len(chunks(service)) == 1
    service.predict(project, [first])
    assert extractions(service, project, first) == ["done"] * 2, "what stays is not extracted again"


def test_a_training_keeps_all_of_its_videos_however_small_the_limit_is(small, project, make_task):
    service = small
    job = service.train(project, *[(make_task(), [region("Walk", (1, 24))]) for _ in range(4)])
    assert (job["state"], job["warnings"]) == ("done", [])
    assert service.client.get("/versions", params={"project": project.key}).json()["details"][0]["videos"] == 4
    assert "the rest is in use" in service.log()


def test_the_command_shows_the_cache_and_shrinks_it_beside_a_running_service(roomy, project, make_task):
    service, task = roomy, make_task(num_frames=26)
    service.train(project, (task, [region("Walk", (1, 24))]))
    shown = cache_command(service)
    assert re.search(r"features of 1 video, [\d.]+ kB of at most 50 GB; [\d.]+ [GT]B are free", shown)
    assert re.search(r"untrained-n-cls\.pt +fast center, .* 1 +[\d.]+ kB +0 +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", shown)
    assert "LEFTOVERS" not in shown

    assert re.search(r"removed: 1 video, [\d.]+ kB; 0 B left", cache_command(service, "--shrink", "1kB"))
    assert chunks(service) == []
    assert max(frames_of(service.predict_until_there(project, task), "Walk")) == 26


def test_the_command_leaves_what_a_training_reads(start_service, make_clip, make_task):
    service, project, clip = start_service(), Project(endless_config()), make_clip()
    start_endless_training(service, project, clip, make_task)
    assert re.search(r" 1 +[\d.]+ kB +1 +", cache_command(service))
    done = command(service, "cache", "--clear", "--yes")
    assert "removed: 0 videos" in done.stdout
    assert "the rest is in use" in done.stderr
    service.kill_worker()
    service.stop()  # before another worker begins the training again
    assert "removed: 1 video" in command(service, "cache", "--clear", "--yes").stdout


def test_the_command_cleans_what_nobody_will_ask_for(roomy, project, make_task):
    service, task = roomy, make_task()
    cache_command(service, "--shrink", "0")
    service.train(project, (task, [region("Walk", (1, 24))]))
    shutil.copy(service.model_root / "untrained-n-cls.pt", service.model_root / "gone.pt")
    with (service.model_root / "gone.pt").open("ab") as file:
        file.write(b"\0")
    other = Project(learning_config(model_path="gone.pt"))
    service.predict(other, [task])
    service.wait_idle()
    assert len(chunks(service)) == 2
    assert "LEFTOVERS" not in cache_command(service)

    (service.model_root / "gone.pt").unlink()
    shown = cache_command(service)
    assert re.search(r"gone \([0-9a-f]{8}\) +fast center", shown)
    assert re.search(r"features of backbones that were removed +1 +[\d.]+ kB", shown)
    assert re.search(r"removed: [\d.]+ kB", cache_command(service, "--clean"))
    assert len(chunks(service)) == 1
    assert max(frames_of(service.predict(project, [task])[0], "Walk")) == 24


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--clear"], "this removes data for good, and there is no terminal to ask for confirmation; add --yes"),
        (["--shrink", "much"], "--shrink: expected a number of bytes, or a size such as 500MB or 10GB, found 'much'"),
        (["--data-dir", "/nowhere"], "DATA_DIR: /nowhere holds no framewise.sqlite; give the settings of the service"),
        (
            ["--cache-max-bytes", "1"],
            "--cache-max-bytes is not a flag of this command; set the environment variable CACHE_MAX_BYTES",
        ),
    ],
    ids=["nobody to ask", "no size", "no service", "no flag"],
)
def test_what_cannot_be_done_is_said(roomy, args, said):
    done = command(roomy, "cache", *args)
    assert done.returncode == 2
    assert re.fullmatch(r"framewise( cache: error)?: " + re.escape(said), done.stderr.splitlines()[-1])


def test_a_size_of_the_environment_that_is_none_is_refused(roomy):
    done = command(roomy, "cache", CACHE_MAX_BYTES="-1")
    said = "CACHE_MAX_BYTES: expected a number of bytes, or a size such as 500MB or 10GB, found '-1'"
    assert (done.returncode, done.stderr.strip()) == (2, f"framewise: {said}")


def test_what_the_cache_holds_is_told_as_json(roomy, project, make_task):
    service = roomy
    cache_command(service, "--shrink", "0")
    service.train(project, (make_task(), [region("Walk", (1, 24))]))
    told = json.loads(cache_command(service, "--json"))
    assert (told["folder"], told["videos"], told["leftovers"]) == (str(service.cache), 1, [])
    (features,) = told["features"]
    assert features["videos"] == 1
    assert 0 < features["size"] <= told["size"]
    assert features["preprocessing"].startswith("fast center")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", features["newest_use"])


def test_a_prediction_of_what_is_evicted_again_and_again_arrives(small, project, make_task):
    """More videos in one request than the cache has room for: they are extracted one after the other, each in the place of the
    one before it. What cannot be answered is asked for again, and is there in the end."""
    service = small
    service.train(project, (make_task(), [region("Walk", (1, 24))]))
    tasks = [make_task(num_frames=24 + n) for n in range(4)]
    answers = service.predict(project, tasks)
    assert any(answers), "at least the last one is there"
    for answer, task, n in zip(answers, tasks, range(4), strict=True):
        prediction = answer or wait_for(lambda task=task: service.predict(project, [task])[0], f"task {task['id']}")
        assert max(frames_of(prediction, "Walk")) == 24 + n
    assert [job for job in service.jobs(project) if job["state"] == "failed"] == []
