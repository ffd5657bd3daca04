"""Disks that are full: what cannot be written says so and waits, everything else goes on, and nothing half written is read."""

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

import numpy as np

from tests.integration.service import (
    LABELS,
    Project,
    endless_config,
    frames_of,
    learning_config,
    region,
    start_endless_training,
    wait_for,
)
from tests.sync_page_help import COMPARE, Heard, Person

QUICK = learning_config(model_classifier_epochs="3", model_score_threshold="0")
NO_ROOM = "no room on the disk"
PAGE_BYTES = 4096
BIG_TEXT = "x" * 200_000  # of an event, so that the database soon needs another page


def fill(disk, but=0):
    """Leave no room, but so many bytes; the ballast that takes it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(PAGE_BYTES))
    assert shutil.disk_usage(disk).free == 0
    os.truncate(ballast, ballast.stat().st_size - but)
    return ballast


def postponed(service, project, kind):
    """The job of a kind that waits for room."""

    def found():
        return [j for j in service.jobs(project, kind) if j["state"] == "pending" and NO_ROOM in j["detail"]]

    return wait_for(found, f"a job {kind} that says that there is no room")[0]


def assert_ended_well(service, project):
    """All work was done in the end, with nothing left out, and the databases are whole."""
    service.wait_idle()
    for job in service.jobs(project):
        # Of two jobs for the same work, one is done.
        assert job["state"] in ("done", "superseded"), job
        assert job["warnings"] == []
    for name in ("framewise.sqlite", "queue.sqlite"):
        path = Path(service.settings["DATA_DIR"]) / name
        with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_an_extraction_for_which_the_cache_has_no_room_waits_for_it(small_disk, start_service, project, make_task):
    cache = small_disk(32)
    service = start_service(CACHE_DIR=str(cache), PREDICT_WAIT_SECONDS="0")
    task = make_task(num_frames=3000)  # three chunks of features, 5 MB each but the last
    service.predict(project, [task])
    wait_for(lambda: list(cache.rglob("features_chunk/*/output.npy")), "the first chunk")
    ballast = fill(cache)

    job = postponed(service, project, "extract")

    assert "make room" in job["detail"]
    assert not list(cache.rglob(".part-*")), "a part of a file takes room that is missing"
    assert service.is_up()
    assert service.predict(project, [task]) == [[]]
    kept = {path: path.stat().st_mtime_ns for path in cache.rglob("*.npy")}

    ballast.unlink()
    assert_ended_well(service, project)
    arrays = [np.load(path) for path in cache.rglob("*.npy")]
    assert sorted(len(array) for array in arrays) == [1, 952, 1024, 1024]  # the first holds the times of all pictures
    assert kept.items() <= {path: path.stat().st_mtime_ns for path in cache.rglob("*.npy")}.items()


def test_a_training_whose_version_finds_no_room_waits_for_it_and_the_old_version_goes_on(
    small_disk, start_service, make_task, backbone
):
    models = small_disk(16)
    shutil.copy(backbone, models)
    service, project, task = start_service(MODEL_ROOT=str(models)), Project(QUICK), make_task()
    service.train(project, (task, [region("Walk", (1, 24))]))
    before = service.version(project)
    ballast = fill(models)

    service.send(project.annotation_event(make_task(), [region("Run", (1, 24))]))
    postponed(service, project, "train")

    assert service.version(project) == before
    assert max(frames_of(service.predict(project, [task])[0], "Walk")) == 24
    assert [path.name for path in models.glob("timelinelabels-*/*")] == [before]
    assert service.is_up()

    ballast.unlink()
    assert_ended_well(service, project)
    assert service.version(project) not in ("untrained", before)
    assert service.client.get("/versions").json()["details"][0]["videos"] == 2


def test_webhooks_are_refused_while_the_database_has_no_room_and_what_was_recorded_is_learned(
    small_disk, start_service, make_clip, make_task
):
    data = small_disk(24)
    service, project = start_service(DATA_DIR=str(data), WORKERS="2"), Project(endless_config())
    start_endless_training(service, project, make_clip(), make_task)
    quick = project.with_config(QUICK)
    service.send(quick.event("PROJECT_UPDATED"))
    assert service.version(quick) == "untrained"
    ballast = fill(data)

    recorded, refused = submit_until_refused(service, quick, make_task)

    assert NO_ROOM in refused.json()["error"]
    assert "DATA_DIR" in refused.json()["error"]
    # The training cannot even tell how far it is: it is given up, and taken up again when there is room.
    wait_for(lambda: "will be retried" in service.log(), "the training stops")
    assert service.is_up()
    assert service.version(quick) == "untrained"
    service.kill_worker()  # another one is started, again and again if need be

    ballast.unlink()
    wait_for(lambda: service.setup(quick).status_code == 200, "the service answers")
    service.send(quick.annotation_event(make_task(), [region("Run", (1, 24))]))
    with contextlib.closing(sqlite3.connect(data / "framewise.sqlite", timeout=30)) as connection:
        stored = {row[0] for row in connection.execute("SELECT id FROM annotations")}
    assert recorded <= stored
    assert_ended_well(service, project)
    assert service.client.get("/versions").json()["details"][0]["videos"] == len(stored)
    assert len(service.log()) < 2_000_000, "a full disk is not said thousands of times"


def submit_until_refused(service, project, make_task):
    """Submit annotations until one is not recorded; numbers of those that were, and the refusal."""
    recorded = set()
    for number in range(500):
        event = project.annotation_event(make_task(), [region(LABELS[number % 2], (1, 24))], note=BIG_TEXT)
        answer = service.post("/webhook", event)
        if answer.status_code == 507:
            return recorded, answer
        assert answer.status_code == 200, answer.text
        recorded.add(event["annotation"]["id"])
    raise AssertionError("500 events were recorded on a disk that is full")


def test_recordings_for_which_there_is_no_room_to_be_written_on_one_clock_stay_as_they_were(
    small_disk, start_service, tmp_path
):
    """The page /sync, where a recording's copy is begun and finds no room for its rest."""
    data = small_disk(48)
    service = start_service(DATA_DIR=str(data), SYNC_PAGE="true", MIN_FREE_DISK_BYTES="0")
    person = Person.comes(str(service.client.base_url))
    session = person.begins()
    for name, start in (("left.mp4", 100.0), ("right.mp4", 101.234)):
        content = Heard(start, 20, size=(640, 360)).write(tmp_path / name).read_bytes()
        assert person.uploads(session, name, content).status_code == 200
    assert person.post(f"{session}/estimate", **COMPARE).status_code == 303
    assert person.waits(session)["state"] == "done"
    folder = data / "sync" / session.rsplit("/", 1)[1]

    def kept():
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.name.startswith("recording-")}

    before, ballast = kept(), fill(data, but=256 * 1024)
    assert person.post(f"{session}/apply", mode="union").status_code == 303
    failed = person.waits(session)

    assert (failed["state"], "no room on the disk" in failed["error"]) == ("failed", True), failed
    assert kept() == before
    assert len(before) == 2
    assert not [path for path in folder.rglob("*synced*") if path.is_file()]
    assert service.is_up()

    ballast.unlink()
    assert person.post(f"{session}/apply", mode="union").status_code == 303
    assert person.waits(session)["state"] == "done"
    assert len(person.client.get(f"{session}/synced_videos.zip").content) > 256 * 1024
    person.client.close()
