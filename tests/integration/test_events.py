"""Consequences of each event of Label Studio, through the running service and its worker."""

import random

import pytest

from framewise.store.annotations import Annotations
from framewise.store.database import DATABASE_NAME, Database
from tests.integration.service import Project, learning_config, region, start_endless_training, wait_for

QUICK = learning_config(model_classifier_epochs="5")


def learned(service, project):
    """task -> the labels drawn in it, as the service would learn them now."""
    found = Annotations(Database(service.data / DATABASE_NAME)).training_set(project.key)
    return {item.task: [name for drawn in item.result for name in drawn["value"]["timelinelabels"]] for item in found}


def versions(service, project):
    answer = service.client.get("/versions", params={"project": project.key})
    return [found for found in answer.json()["details"] if found["project"] == project.key]


def test_shuffled_and_repeated_events_with_kills_of_the_worker_lead_to_the_same(start_service, make_task):
    service = start_service()
    project = Project(QUICK)
    tasks = [make_task() for _ in range(4)]
    first = [project.annotation(task, [region("Walk", (1, 9))]) for task in tasks]
    again = [project.annotation(task, [region("Run", (1, 9))], a["id"]) for task, a in zip(tasks, first, strict=True)]
    skipped = project.annotation(tasks[2], [], first[2]["id"], was_cancelled=True)
    truth = project.annotation(tasks[0], [region("Walk", (3, 4))], ground_truth=True)
    events = [
        project.event("TASKS_CREATED", tasks=tasks),
        project.event("ANNOTATIONS_CREATED", annotation=first, task=tasks),
        *(project.event("ANNOTATION_UPDATED", annotation=a, task=t) for a, t in zip(again, tasks, strict=True)),
        project.event("ANNOTATION_UPDATED", annotation=skipped, task=tasks[2]),
        project.event("ANNOTATION_CREATED", annotation=truth, task=tasks[0]),
        project.event("ANNOTATIONS_DELETED", annotations=[{"id": again[3]["id"]}]),
        project.event("TASKS_DELETED", tasks=[{"id": tasks[3]["id"]}]),
    ]
    dice = random.Random(7)
    told = events + dice.sample(events, 5)
    dice.shuffle(told)
    for number, event in enumerate(told):
        service.send(event)
        if number % 5 == 4:
            service.kill_worker()
    service.wait_idle()

    assert learned(service, project) == {tasks[0]["id"]: ["Walk"], tasks[1]["id"]: ["Run"]}
    assert service.jobs(project, "train")[0]["state"] == "done"
    assert versions(service, project)[0]["videos"] == 2
    assert {job["state"] for job in service.jobs(project)} <= {"done", "superseded"}


def test_a_training_follows_when_an_annotation_was_deleted(service, make_task):
    project = Project(QUICK)
    events = [project.annotation_event(make_task(), [region("Walk", (1, 9))]) for _ in range(2)]
    for event in events:
        service.send(event)
    service.wait_idle()
    told = service.send(project.event("ANNOTATIONS_DELETED", annotations=[{"id": events[0]["annotation"]["id"]}]))
    service.wait_idle()
    newest = service.jobs(project, "train")[0]
    assert (str(newest["id"]), newest["state"]) == (told["job"], "done")
    assert versions(service, project)[0]["videos"] == 1


def test_deleting_the_last_annotation_is_no_failure(service, make_task):
    project = Project(QUICK)
    event = project.annotation_event(make_task(), [region("Walk", (1, 9))])
    service.send(event)
    service.wait_idle()
    service.send(project.event("ANNOTATIONS_DELETED", annotations=[{"id": event["annotation"]["id"]}]))
    service.wait_idle()
    newest = service.jobs(project, "train")[0]
    assert (newest["state"], newest["error"]) == ("done", None)
    assert learned(service, project) == {}


def test_a_changed_config_that_setup_tells_of_is_learned(service, make_task):
    project = Project(QUICK)
    service.train(project, (make_task(), [region("Walk", (1, 9))]))
    before = len(service.jobs(project, "train"))
    service.setup(project.with_config(QUICK.replace('"Walk"', '"Stroll"')))
    service.wait_idle()
    assert len(service.jobs(project, "train")) == before + 1
    assert list(learned(service, project).values()) == [["Stroll"]]


def test_videos_of_new_tasks_are_extracted_before_anybody_asks(service, make_task):
    project = Project(QUICK)
    tasks = [make_task() for _ in range(3)]
    told = service.send(project.event("TASKS_CREATED", tasks=tasks))
    service.wait_idle()
    (warm,) = service.jobs(project, "warm")
    assert (str(warm["id"]), warm["state"], warm["warnings"]) == (told["job"], "done", [])
    assert warm["detail"] == "3 of 3 videos of new tasks extracted"
    service.train(project, (tasks[0], [region("Walk", (1, 9))]))
    assert all(service.predict(project, tasks))
    assert service.jobs(project, "extract") == []


@pytest.mark.parametrize(
    ("source", "said"),
    [("/data/upload/1/{}.mp4", "set LABEL_STUDIO_URL"), ("/no/such/{}.mp4", "LOCAL_FILES_ROOTS"), (7, "task")],
)
def test_videos_that_cannot_be_had_are_told_of_once(service, make_task, source, said):
    project = Project(QUICK)
    tasks = [
        make_task(source.format(n)) if isinstance(source, str) else {**make_task(""), "data": {"video": n}} for n in range(30)
    ]
    service.send(project.event("TASKS_CREATED", tasks=tasks))
    service.wait_idle()
    (warm,) = service.jobs(project)
    assert (warm["state"], warm["detail"]) == ("done", "0 of 30 videos of new tasks extracted")
    (warning,) = warm["warnings"]
    assert said in warning
    assert "10 videos of new tasks could not be extracted ahead, and 20 more were not tried" in warning


def test_a_bad_video_among_new_tasks_leaves_the_others_alone(service, make_task):
    project = Project(QUICK)
    tasks = [make_task(), make_task("/no/such.mp4"), make_task()]
    service.send(project.event("TASKS_CREATED", tasks=tasks))
    service.wait_idle()
    (warm,) = service.jobs(project, "warm")
    assert f"1 video of new tasks could not be extracted ahead; the first: task {tasks[1]['id']}" in warm["warnings"][0]
    assert warm["detail"] == "2 of 3 videos of new tasks extracted"
    service.train(project, (tasks[2], [region("Walk", (1, 9))]))
    assert service.predict(project, [tasks[0]]) != [[]]
    assert service.jobs(project, "extract") == []


def test_extraction_ahead_goes_on_after_its_worker_was_killed(start_service, make_task):
    service = start_service()
    project = Project(QUICK)
    service.send(project.event("TASKS_CREATED", tasks=[make_task(num_frames=600) for _ in range(6)]))
    wait_for(lambda: service.jobs(project, "warm")[0]["state"] == "running", "extraction ahead runs")
    service.kill_worker()
    service.wait_idle()
    (warm,) = service.jobs(project, "warm")
    assert (warm["state"], warm["warnings"], warm["attempts"]) == ("done", [], 2)
    assert service.rows("SELECT id FROM tasks WHERE warm IS NOT NULL") == []


def test_what_is_asked_for_goes_before_extraction_ahead(start_service, make_clip, make_task):
    """One of a worker's two threads trains and one extracts ahead: a request for a further video takes the second."""
    service = start_service(PREDICT_WAIT_SECONDS="0")
    start_endless_training(service, Project(learning_config(
        model_classifier_epochs="100000", model_classifier_f1_threshold="1.0", model_classifier_accuracy_threshold="1.0",
    )), make_clip(), make_task)  # fmt: skip
    project = Project(QUICK)
    service.send(project.event("TASKS_CREATED", tasks=[make_task(num_frames=3000) for _ in range(30)]))
    wait_for(lambda: service.jobs(project, "warm")[0]["state"] == "running", "extraction ahead runs")

    service.predict(project, [make_task()])
    wait_for(lambda: service.jobs(project, "extract")[0]["state"] == "done", "what was asked for is extracted")

    assert service.jobs(project, "warm")[0]["state"] in ("pending", "running")
    (left,) = service.rows("SELECT count(*) AS n FROM tasks WHERE warm IS NOT NULL")
    assert left["n"] > 0


def test_on_a_disk_that_is_too_full_extraction_ahead_waits_and_what_is_asked_for_is_extracted(start_service, make_task):
    service, project = start_service(MIN_FREE_DISK_BYTES=str(10**15)), Project(QUICK)
    tasks = [make_task() for _ in range(2)]
    service.send(project.event("TASKS_CREATED", tasks=tasks))

    def waits():
        (warm,) = service.jobs(project, "warm")
        return warm["state"] == "pending" and "MIN_FREE_DISK_BYTES" in warm["detail"]

    wait_for(waits, "extraction ahead waits for room")
    service.predict(project, [tasks[0]])
    wait_for(lambda: service.jobs(project, "extract")[0]["state"] == "done", "what was asked for is extracted")
    wait_for(waits, "extraction ahead waits still")
    (left,) = service.rows("SELECT count(*) AS n FROM tasks WHERE warm = 0")
    assert left["n"] == 2  # none was tried in vain

    service.stop()
    service.env["MIN_FREE_DISK_BYTES"] = "0"
    service.start()
    service.wait_idle()
    assert service.jobs(project, "warm")[0]["state"] == "done"
    assert service.rows("SELECT id FROM tasks WHERE warm IS NOT NULL") == []
