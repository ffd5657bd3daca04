"""Processes that are killed or told to end: nothing that was recorded is lost, and nothing is left running."""

import json
import os
import signal

import pytest

from framewise.processes import SUPERVISOR_STOP_SECONDS
from tests.integration.service import (
    Project,
    Service,
    endless_config,
    frames_of,
    is_alive,
    learning_config,
    region,
    start_endless_training,
    wait_for,
)


def all_dead(processes):
    return wait_for(lambda: not any(is_alive(pid) for pid in processes), f"the end of {processes}")


def assert_current_version_is_whole(service, project):
    """The version in use has every file, and its network's weights are read by who predicts."""
    (row,) = service.rows("SELECT control, version FROM current_versions WHERE project = ?", project.key)
    (folder,) = service.model_folders(project)
    version = folder / row["version"]
    assert {path.name for path in version.iterdir()} == {"network.json", "version.json", "weights.safetensors"}
    assert json.loads((version / "version.json").read_text())["version"] == row["version"] == service.version(project)


@pytest.fixture
def interrupted(start_service, make_clip, make_task):
    """A service in the middle of a training and of an extraction, that are short once they are begun again."""
    service, project, clip = start_service(PREDICT_WAIT_SECONDS="0"), Project(endless_config()), make_clip()
    start_endless_training(service, project, clip, make_task)
    quick = project.with_config(learning_config(model_classifier_epochs="3", model_score_threshold="0"))
    service.send(quick.event("PROJECT_UPDATED"))
    long = make_task(num_frames=3000)
    service.predict(quick, [long])
    # A chunk of the cache has 1024 pictures: the first is stored, the last is not.
    wait_for(lambda: [j for j in service.jobs(project, "extract") if j["progress"] > 0.4], "the first third of an extraction")
    return service, quick, long


def test_a_killed_workers_training_and_extraction_are_done_again(interrupted, make_task):
    """A dead worker's jobs wait again within about a second; most of the time here goes into the start of another."""
    service, project, long = interrupted
    chunks = {path: path.stat().st_mtime_ns for path in service.cache.rglob("*.npy") if path.stat().st_size > 10_000}
    assert service.version(project) == "untrained"

    half_written = service.model_root / f"timelinelabels-{project.key}-tl" / ".writing-x"
    half_written.mkdir(parents=True)
    (half_written / "version.json").write_text('{"version": "v1-half"}')

    killed = service.kill_worker()

    # The web goes on, and what it is told meanwhile is kept.
    service.send(project.event("TASKS_CREATED", tasks=[make_task()]))
    assert service.version(project) == "untrained"
    service.wait_idle()

    assert service.worker_pid() != killed
    (extraction,) = service.jobs(project, "extract")
    assert (extraction["state"], extraction["attempts"], extraction["progress"]) == ("done", 2, 1)
    (training,) = service.jobs(project, "train")
    assert (training["state"], training["attempts"], training["error"]) == ("done", 2, None)
    assert [row["action"] for row in service.rows("SELECT action FROM events ORDER BY id")] == [
        "ANNOTATIONS_CREATED",
        "PROJECT_UPDATED",
        "TASKS_CREATED",
    ]
    assert_current_version_is_whole(service, project)
    (version,) = service.client.get("/versions").json()["details"]
    assert (version["version"], version["videos"]) == (service.version(project), 2)
    assert frames_of(service.predict(project, [long])[0], "Walk") == set(range(1, 3001))
    # What was in the cache is used, not made again.
    assert chunks
    assert {path: path.stat().st_mtime_ns for path in chunks} == chunks


def test_a_killed_supervisor_leaves_no_process_and_a_new_one_finishes_the_work(interrupted, make_task):
    service, project, long = interrupted
    waiting = [make_task(num_frames=100) for _ in range(5)]
    service.predict(project, waiting)
    service.send(project.annotation_event(waiting[0], [region("Walk", (1, 100))]))
    processes = service.children()
    assert len(processes) >= 3

    assert service.end_by(signal.SIGKILL) == -signal.SIGKILL
    all_dead(processes)
    assert service.rows("SELECT * FROM jobs WHERE state IN ('pending', 'running')"), "all was done before the kill"

    service.start()
    service.wait_idle()

    assert {job["state"] for job in service.jobs(project, "extract")} == {"done"}
    # The interrupted training and the one that waited behind it are the same work: it is done once.
    last, interrupted_one = service.jobs(project, "train")
    assert last["state"] == "done"
    assert (interrupted_one["state"], interrupted_one["error"]) == ("superseded", "its worker died")
    assert service.client.get("/versions").json()["details"][0]["videos"] == 3
    assert_current_version_is_whole(service, project)
    found = service.predict(project, [long, *waiting])
    assert [max(frames_of(prediction, "Walk")) for prediction in found] == [3000, *[100] * 5]


def assert_ended_in_order(service, project, code, processes):
    assert code == 0
    assert not [pid for pid in processes if is_alive(pid)]
    assert "Traceback" not in service.log()
    assert "terminate called" not in service.log(), "the worker's threads aborted it"
    # The work is not lost: a new service takes it up.
    rows = service.rows("SELECT kind FROM jobs WHERE state IN ('pending', 'running') AND project = ?", project.key)
    assert "train" in {row["kind"] for row in rows}


def test_ctrl_c_ends_everything_also_in_the_middle_of_work(interrupted):
    service, project, _ = interrupted
    processes = service.children()
    assert_ended_in_order(service, project, service.end_by(signal.SIGINT), processes)


def test_every_process_ends_by_itself_when_it_is_told_to_also_in_the_middle_of_work(interrupted):
    """The supervisor is stopped meanwhile: it cannot kill a process that it would have to wait for."""
    service, project, _ = interrupted
    processes, supervisor = service.children(), service.supervisor_pid
    os.kill(supervisor, signal.SIGSTOP)
    for pid in (service.web_pids()[0], service.worker_pid()):  # each leads the processes below it
        os.killpg(pid, signal.SIGTERM)
    all_dead(processes)
    os.kill(supervisor, signal.SIGTERM)
    assert_ended_in_order(service, project, service.end_by(signal.SIGCONT), processes)


def test_a_web_process_that_does_not_end_is_ended_before_its_supervisor_is(start_service):
    """One that is still importing does not hear a signal for seconds. Whoever stops the service waits that long, too."""
    service = start_service()
    processes = service.children()
    os.kill(service.web_pids()[1], signal.SIGSTOP)

    service.stop(SUPERVISOR_STOP_SECONDS)

    assert not [pid for pid in processes if is_alive(pid)]


def test_a_killed_web_master_ends_the_service_so_that_it_is_started_again(start_service):
    service = start_service()
    processes, master = service.children(), service.web_pids()[0]
    assert service.end_by(signal.SIGKILL, master) not in (0, None)
    all_dead(processes)


@pytest.fixture(scope="module")
def standing_service(tmp_path_factory, backbone, videos):
    """A service that these tests leave running."""
    with Service(tmp_path_factory.mktemp("standing"), backbone, videos) as service:
        yield service


def test_a_killed_web_process_is_replaced(standing_service, project):
    service = standing_service
    master, serving = service.web_pids()
    os.kill(serving, signal.SIGKILL)
    wait_for(lambda: not is_alive(serving), "the end of the web process")
    wait_for(service.is_up, "the service answers again")
    assert service.version(project) == "untrained"
    assert service.web_pids()[0] == master
    assert service.web_pids()[1] != serving


def test_a_port_that_is_taken_ends_the_service_with_an_error(standing_service, backbone, videos):
    """gunicorn tries for 5 s."""
    first = standing_service
    with Service(first.folder / "second", backbone, videos, start=False, PORT=first.settings["PORT"]) as second:
        assert second.launch().wait(timeout=300) not in (0, None)
        assert "in use" in second.log()
    assert first.is_up()
