"""The store: annotations whose events come twice, late and out of order; jobs whose workers die; versions."""

import contextlib
import json
import shutil
import sqlite3
import time

import pytest

from framewise.core.errors import SettingsError, StorageBusy
from framewise.store.annotations import AnnotatedTask, Annotations
from framewise.store.database import SCHEMA, Database
from framewise.store.job_state import GIVE_UP_RETRIES, LONGEST_RETRY_SECONDS, MAX_ATTEMPTS, JobStates
from framewise.store.registry import Registry
from tests.messages import labeling_config

PROJECT = "1.1795200057"
EARLY, LATER, LAST = "2025-01-01T10:00:00.100000Z", "2025-01-01T10:00:00.900000Z", "2025-01-01T10:00:01.500000Z"


@pytest.fixture
def database(tmp_path):
    return Database(tmp_path / "data" / "framewise.sqlite")


# Annotations.


@pytest.fixture
def annotations(database):
    store = Annotations(database)
    store.put_project(PROJECT, 1, "<View/>", "Football", "http://localhost:8080")
    store.put_task(PROJECT, 10, {"video": "a.mp4"})
    return store


def annotation(number, label="Rain", updated_at=EARLY, **more):
    return {"id": number, "result": [{"label": label}], "updated_at": updated_at, **more}


def test_the_last_events_are_kept(annotations, database, monkeypatch):
    monkeypatch.setattr("framewise.store.annotations.KEPT_EVENTS", 3)
    for number in range(5):
        annotations.record_event(PROJECT, "START_TRAINING", {"number": number})
    assert [json.loads(row["payload"])["number"] for row in database.read("SELECT payload FROM events")] == [2, 3, 4]


def chosen(store, project=PROJECT):
    """task -> (annotation, label) of the training set."""
    return {item.task: (item.annotation, item.result[0]["label"]) for item in store.training_set(project)}


def test_an_annotated_task_is_in_the_training_set(annotations):
    annotations.put_annotation(PROJECT, annotation(5), task=10)
    assert annotations.training_set(PROJECT) == [AnnotatedTask(10, {"video": "a.mp4"}, 5, [{"label": "Rain"}])]


def frame_rates(store):
    """annotation -> frame rates of its time."""
    return {item.annotation: item.frame_rates for item in store.training_set(PROJECT)}


def put_annotated(store, number, moment):
    store.put_task(PROJECT, number, {})
    store.put_annotation(PROJECT, annotation(number, updated_at=moment), number, store.label_sets.number(PROJECT))


def test_annotations_know_the_frame_rate_of_their_time(database):
    store = Annotations(database)
    for number, (rate, moment) in enumerate((("25", EARLY), ("$fps", LATER), ("25", LAST)), 1):
        store.put_project(PROJECT, 1, labeling_config("Rain", frame_rate=rate), told_at=moment)
        put_annotated(store, number, moment)
    assert frame_rates(store) == {1: {"tl": "25"}, 2: {"tl": "$fps"}, 3: {"tl": "25"}}
    assert store.annotations_by_frame_rates(PROJECT) == [({"tl": "25"}, 1), ({"tl": "$fps"}, 1), ({"tl": "25"}, 1)]


def test_annotations_from_before_frame_rates_were_kept_have_that_of_the_labeling_config_then(database):
    store = Annotations(database)
    store.put_project(PROJECT, 1, labeling_config("Rain", frame_rate="25"), told_at=EARLY)
    put_annotated(store, 1, EARLY)
    with database.transaction() as connection:
        connection.execute("UPDATE label_sets SET frame_rates = NULL")  # as an upgrade leaves them
    assert frame_rates(store) == {1: None}
    store.put_project(PROJECT, 1, labeling_config("Rain", frame_rate="30"), told_at=LATER)
    put_annotated(store, 2, LATER)
    assert frame_rates(store) == {1: {"tl": "25"}, 2: {"tl": "30"}}


def test_an_update_takes_the_place_of_what_was(annotations):
    annotations.put_annotation(PROJECT, annotation(5, "Rain", EARLY), task=10)
    annotations.put_annotation(PROJECT, annotation(5, "Wind", LATER), task=10)
    assert chosen(annotations) == {10: (5, "Wind")}


def test_an_older_update_that_comes_late_changes_nothing(annotations):
    annotations.put_annotation(PROJECT, annotation(5, "Wind", LATER), task=10)
    annotations.put_annotation(PROJECT, annotation(5, "Rain", EARLY), task=10)
    assert chosen(annotations) == {10: (5, "Wind")}


def test_an_event_that_comes_twice_changes_nothing(annotations):
    for _ in range(2):
        annotations.put_annotation(PROJECT, annotation(5), task=10)
    assert chosen(annotations) == {10: (5, "Rain")}
    assert annotations.counts()["annotations"] == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # Django leaves the fraction out where it is zero
        ("2025-01-01T10:00:00Z", "2025-01-01T10:00:00.500000Z"),
        # a server in Berlin, at the end of summer time: 02:30 +02:00 is 00:30 UTC, 02:10 +01:00 is 01:10 UTC
        ("2025-10-26T02:30:00+02:00", "2025-10-26T02:10:00+01:00"),
    ],
)
def test_times_are_compared_as_times_and_not_as_text(annotations, before, after):
    annotations.put_annotation(PROJECT, annotation(5, "old", before), task=10)
    annotations.put_annotation(PROJECT, annotation(5, "new", after), task=10)
    annotations.put_annotation(PROJECT, annotation(5, "old", before), task=10)
    assert chosen(annotations) == {10: (5, "new")}


@pytest.mark.parametrize("nonsense", [None, "", "yesterday", "0001-01-01T00:00:00+05:00"])
def test_what_is_no_time_is_older_than_any(annotations, nonsense):
    annotations.put_annotation(PROJECT, annotation(5, "Rain", EARLY), task=10)
    annotations.put_annotation(PROJECT, annotation(5, "Wind", nonsense), task=10)
    assert chosen(annotations) == {10: (5, "Rain")}


def test_a_deleted_annotation_is_left_out(annotations):
    annotations.put_annotation(PROJECT, annotation(5), task=10)
    annotations.put_annotation(PROJECT, annotation(6, "Wind", LATER), task=10)
    annotations.delete_annotations(PROJECT, [6])
    assert chosen(annotations) == {10: (5, "Rain")}


def test_a_deleted_annotation_stays_deleted_when_its_event_comes_late(annotations):
    annotations.delete_annotations(PROJECT, [5])
    annotations.put_annotation(PROJECT, annotation(5, updated_at=LAST), task=10)
    assert chosen(annotations) == {}


def test_a_skipped_task_is_left_out(annotations):
    annotations.put_annotation(PROJECT, annotation(5, was_cancelled=True), task=10)
    assert chosen(annotations) == {}


def test_an_annotation_that_is_skipped_later_is_left_out(annotations):
    annotations.put_annotation(PROJECT, annotation(5), task=10)
    annotations.put_annotation(PROJECT, annotation(5, updated_at=LATER, was_cancelled=True), task=10)
    assert chosen(annotations) == {}


def test_of_several_annotations_the_newest_counts(annotations):
    annotations.put_annotation(PROJECT, annotation(7, "Wind", LATER), task=10)
    annotations.put_annotation(PROJECT, annotation(8, "Rain", EARLY), task=10)
    assert chosen(annotations) == {10: (7, "Wind")}


def test_a_ground_truth_wins_over_a_newer_annotation(annotations):
    annotations.put_annotation(PROJECT, annotation(5, "Truth", EARLY, ground_truth=True), task=10)
    annotations.put_annotation(PROJECT, annotation(6, "Guess", LAST), task=10)
    assert chosen(annotations) == {10: (5, "Truth")}


def test_an_annotation_without_regions_says_that_nothing_happens(annotations):
    annotations.put_annotation(PROJECT, {"id": 5, "result": [], "updated_at": EARLY}, task=10)
    assert [item.result for item in annotations.training_set(PROJECT)] == [[]]


def test_tasks_come_by_number(annotations):
    for task in (30, 20):
        annotations.put_task(PROJECT, task, {"video": f"{task}.mp4"})
        annotations.put_annotation(PROJECT, annotation(task), task)
    assert list(chosen(annotations)) == [20, 30]


def test_a_deleted_task_is_left_out_and_does_not_come_back(annotations):
    annotations.put_annotation(PROJECT, annotation(5), task=10)
    annotations.delete_tasks(PROJECT, [10])
    annotations.put_task(PROJECT, 10, {"video": "a.mp4"})
    assert chosen(annotations) == {}
    assert annotations.task_data(PROJECT, 10) is None


def test_task_data_is_that_of_the_last_event(annotations):
    annotations.put_task(PROJECT, 10, {"video": "b.mp4"})
    assert annotations.task_data(PROJECT, 10) == {"video": "b.mp4"}


def test_a_reused_project_number_is_another_project(annotations):
    reused = "1.1795999999"
    annotations.put_annotation(PROJECT, annotation(5), task=10)
    annotations.put_project(reused, 1, "<View/>")
    assert chosen(annotations, reused) == {}
    assert annotations.project_key(1) == reused
    assert annotations.project_key(2) == "2.0"


def test_an_empty_text_leaves_what_is_known_of_a_project(annotations):
    annotations.put_project(PROJECT, 1, "")
    assert annotations.project(PROJECT).label_config == "<View/>"
    annotations.put_project(PROJECT, 1, "<View><Text/></View>")
    assert annotations.project(PROJECT).label_config == "<View><Text/></View>"
    assert annotations.project("2.2") is None


def labels_config(*names):
    tags = "".join(f'<Label value="{name}"/>' for name in names)
    return f'<View><TimelineLabels name="tl" toName="v">{tags}</TimelineLabels><Video name="v" value="$video"/></View>'


def test_an_older_state_of_a_project_that_comes_late_changes_nothing(annotations):
    newer, older = labels_config("Walk"), labels_config("Run")
    assert annotations.put_project(PROJECT, 1, newer, "New", told_at=LATER) == "<View/>"
    assert annotations.put_project(PROJECT, 1, older, "Old", told_at=EARLY) is None
    assert annotations.project(PROJECT).label_config == newer
    assert annotations.put_project(PROJECT, 1, older, told_at=LAST) == newer
    assert annotations.project(PROJECT).label_config == older


def test_a_config_that_is_told_without_a_time_is_newer_than_those_before(annotations):
    for names, told_at in ((("Walk",), LATER), (("Stroll",), ""), (("Walk",), EARLY)):
        annotations.put_project(PROJECT, 1, labels_config(*names), told_at=told_at)
    assert annotations.renames(PROJECT) == {"tl": {"Walk": "Stroll"}}
    annotations.put_project(PROJECT, 1, labels_config("Amble"), told_at=LAST)
    assert annotations.renames(PROJECT) == {"tl": {"Walk": "Amble", "Stroll": "Amble"}}


def test_annotations_from_before_label_sets_were_kept_have_the_labels_of_the_first(annotations, database):
    annotations.put_project(PROJECT, 1, labels_config("Walk"))
    annotations.put_annotation(PROJECT, annotation(5), task=10)
    with database.transaction() as connection:
        connection.execute("DELETE FROM label_sets")
    annotations.put_project(PROJECT, 1, labels_config("Walk", "Run"), told_at=LATER)
    assert [item.labels for item in annotations.training_set(PROJECT)] == [{"tl": ["Walk"]}]


def test_a_task_has_the_data_of_its_newest_state(annotations):
    annotations.put_task(PROJECT, 11, {"video": "new.mp4"}, LATER)
    annotations.put_task(PROJECT, 11, {"video": "old.mp4"}, EARLY)
    assert annotations.task_data(PROJECT, 11) == {"video": "new.mp4"}


def test_what_was_told_since_a_list_was_begun_is_not_missing_in_it(annotations):
    annotations.put_annotation(PROJECT, annotation(5), task=10)
    began = time.time()
    annotations.put_task(PROJECT, 20, {"video": "b.mp4"})
    annotations.put_annotation(PROJECT, annotation(6), task=20)
    assert not annotations.mark_missing(PROJECT, {10}, {5}, began)
    assert chosen(annotations) == {10: (5, "Rain"), 20: (6, "Rain")}
    assert annotations.mark_missing(PROJECT, {10}, {5}, time.time() + 1)
    assert chosen(annotations) == {10: (5, "Rain")}


def test_no_number_of_a_training_is_given_twice(annotations):
    annotations.put_project("2.2", 2, "")
    assert [annotations.next_training(PROJECT) for _ in range(3)] == [1, 2, 3]
    assert annotations.next_training("2.2") == 1


def test_an_event_is_kept_as_it_came(annotations, database):
    annotations.record_event(PROJECT, "UNHEARD_OF", {"a": [1, None, "é"]})
    (row,) = database.read("SELECT project, action, payload FROM events")
    assert (row["project"], row["action"], json.loads(row["payload"])) == (PROJECT, "UNHEARD_OF", {"a": [1, None, "é"]})


def test_a_promise_is_due_once_its_job_has_ended(annotations, database):
    """Three tasks wait for two jobs; one of the jobs fails, and one task gets its answer otherwise."""
    states = JobStates(database)
    first, second = (states.add("extract", PROJECT, name, {}) for name in ("a.mp4", "b.mp4"))
    for job, task in ((first, 10), (first, 11), (first, 10), (second, 12)):
        annotations.promise_prediction(job, task)
    assert annotations.due_promises() == []

    for job, error in ((first, None), (second, "broken")):
        states.claim(job, "me")
        states.finish(job, "me", error=error)
    annotations.withdraw_promise(first, 11)

    assert sorted(annotations.due_promises()) == [(first, PROJECT, 10, True), (second, PROJECT, 12, False)]


def test_who_asks_between_a_videos_features_and_its_promised_prediction_is_told_that_something_is_left(annotations, database):
    states = JobStates(database)
    job = states.add("extract", PROJECT, "a.mp4", {})
    annotations.promise_prediction(job, 10)
    unfinished = [states.overview()]
    states.claim(job, "me")
    unfinished.append(states.overview())
    states.finish(job, "me")
    unfinished.append(states.overview())
    annotations.withdraw_promise(job, 10)
    unfinished.append(states.overview())
    assert [(told["pending"], told["running"]) for told in unfinished] == [(1, 0), (0, 1), (1, 0), (0, 0)]


# Jobs.


@pytest.fixture
def jobs(database):
    return JobStates(database)


def states(store):
    """Job's number -> state."""
    return {job["id"]: job["state"] for job in store.overview()["jobs"]}


def only(*living):
    """True if an owner of a job is one of these."""
    return lambda owner: owner in living


def test_a_job_that_waits_to_do_the_same_is_not_added_again(jobs):
    first = jobs.add("train", PROJECT, "all", {})
    assert jobs.add("train", PROJECT, "all", {}) == first
    others = [jobs.add("extract", PROJECT, "all", {}), jobs.add("train", "2.2", "all", {}), jobs.add("train", PROJECT, "b", {})]
    assert len({first, *others}) == 4
    assert [job for job, _ in jobs.due()] == [first, *others]


def test_while_a_job_runs_the_same_can_wait(jobs):
    first = jobs.add("train", PROJECT, "all", {})
    jobs.claim(first, "worker")
    second = jobs.add("train", PROJECT, "all", {})
    assert second != first
    assert states(jobs) == {first: "running", second: "pending"}


def test_a_job_that_does_the_same_already_will_do_where_that_is_said(jobs):
    first = jobs.add("extract", PROJECT, "a.mp4", {})
    assert jobs.add("extract", PROJECT, "a.mp4", {}, or_running=True) == first
    jobs.claim(first, "worker")
    assert jobs.add("extract", PROJECT, "a.mp4", {}, or_running=True) == first
    jobs.finish(first, "worker")
    assert jobs.add("extract", PROJECT, "a.mp4", {}, or_running=True) != first


def test_a_job_that_is_to_be_done_later_is_scheduled_and_not_pending(jobs):
    job = jobs.add("refresh", PROJECT, "all", {}, delay_seconds=1000)
    assert jobs.due() == []
    assert jobs.claim(job, "one") is None
    overview = jobs.overview()
    assert (overview["scheduled"], overview["pending"], overview["jobs"][0]["state"]) == (1, 0, "scheduled")
    assert jobs.counts() == {("refresh", "scheduled"): 1}


def test_asked_for_again_the_time_of_a_scheduled_job_begins_anew(jobs, database):
    job = jobs.add("refresh", PROJECT, "all", {}, delay_seconds=1000)
    with database.transaction() as connection:
        connection.execute("UPDATE jobs SET not_before = 1")
    assert jobs.due() == [(job, "refresh")]
    assert jobs.add("refresh", PROJECT, "all", {}, delay_seconds=1000) == job
    assert jobs.due() == []


@pytest.mark.parametrize("kind", ["extract", "train"])
def test_a_job_that_could_not_be_done_is_pending_until_it_is_asked_for_again(jobs, kind):
    job = jobs.add(kind, PROJECT, "all", {})
    jobs.postpone(jobs.claim(job, "one"), "one", "no room on the disk")
    assert (jobs.overview()["scheduled"], jobs.overview()["pending"]) == (0, 1)
    assert jobs.add(kind, PROJECT, "all", {}, delay_seconds=1000) == job
    assert (jobs.overview()["scheduled"], jobs.overview()["pending"], jobs.overview()["jobs"][0]["detail"]) == (1, 0, "")


@pytest.mark.parametrize("kind", ["import", "push", "refresh"])
def test_a_job_that_waits_for_label_studio_alone_is_scheduled_until_it_is_tried_again(jobs, database, kind):
    job = jobs.add(kind, PROJECT, "all", {})
    jobs.postpone(jobs.claim(job, "one"), "one", "Label Studio is away")
    overview = jobs.overview()
    assert (overview["scheduled"], overview["pending"], overview["jobs"][0]["state"]) == (1, 0, "scheduled")
    assert overview["jobs"][0]["detail"] == "will be retried: Label Studio is away"
    assert jobs.outcomes([job])[job][0] == "postponed"
    let_the_time_come(database, job)
    assert (jobs.overview()["scheduled"], jobs.overview()["pending"]) == (0, 1)


@pytest.mark.parametrize("retried", [False, True])
def test_a_job_does_not_wait_until_a_clock_that_was_set_back_has_caught_up(jobs, database, retried):
    job = jobs.add("refresh", PROJECT, "all", {}, delay_seconds=0 if retried else 20)
    if retried:
        jobs.postpone(jobs.claim(job, "one"), "one", "Label Studio is away")
    assert jobs.due() == []
    with database.transaction() as connection:  # as if the clock had been an hour ahead
        connection.execute("UPDATE jobs SET created = created + 3600, not_before = not_before + 3600")
    assert jobs.due() == [(job, "refresh")]
    assert jobs.claim(job, "one") is not None


def test_a_training_waits_for_an_import_that_is_due_and_not_for_one_that_is_tried_again(jobs, database):
    fetching, training = jobs.add("import", PROJECT, "all", {}), jobs.add("train", PROJECT, "all", {})
    assert jobs.claim(training, "one") is None
    claimed = jobs.claim(fetching, "one")
    assert jobs.claim(training, "two") is None
    jobs.postpone(claimed, "one", "Label Studio is away")
    let_the_time_come(database, fetching)
    assert jobs.claim(training, "two") is not None


def test_a_job_gives_way_to_others_that_wait_and_goes_on_after_them(jobs):
    giving, project = jobs.add("refresh", PROJECT, "all", {}), "2.2"
    job = jobs.claim(giving, "one")
    assert not jobs.others_wait(["refresh"], 0)
    jobs.add("refresh", project, "all", {})
    assert not jobs.others_wait(["refresh"], 0)
    other = jobs.add("train", PROJECT, "all", {})
    assert jobs.others_wait(["refresh"], 0)
    assert not jobs.others_wait(["refresh"], 1000)
    jobs.give_way(job, "one")
    assert states(jobs)[giving] == "pending"
    jobs.claim(other, "one")
    assert jobs.claim(giving, "one") is not None


def test_what_cannot_be_begun_does_not_wait_for_a_worker(jobs):
    jobs.claim(jobs.add("train", PROJECT, "all", {}), "one")
    jobs.add("train", PROJECT, "all", {})
    jobs.add("train", "2.2", "all", {}, delay_seconds=1000)
    assert not jobs.others_wait(["refresh"], 0)


def test_one_round_of_predictions_at_a_time_so_that_a_worker_stays_free(jobs):
    jobs.claim(jobs.add("refresh", PROJECT, "all", {}), "one")
    other = jobs.add("refresh", "2.2", "all", {})
    assert jobs.claim(other, "one") is None


def test_a_job_that_gives_way_leaves_its_work_to_the_same_that_waits(jobs):
    job = jobs.claim(jobs.add("refresh", PROJECT, "all", {}), "one")
    waiting = jobs.add("refresh", PROJECT, "all", {}, delay_seconds=1000)
    jobs.give_way(job, "one")
    assert states(jobs) == {job.id: "superseded", waiting: "scheduled"}


def test_a_note_is_shown_once(jobs):
    for _ in range(2):
        jobs.record_note("refresh", PROJECT, "set a key", warning=False)
        jobs.record_note("import", PROJECT, "set a key")
    warning, note = jobs.overview()["jobs"]
    assert (note["kind"], note["state"], note["detail"], note["warnings"]) == ("refresh", "done", "set a key", [])
    assert (warning["kind"], warning["detail"], warning["warnings"]) == ("import", "", ["set a key"])


def test_a_job_is_claimed_once(jobs):
    job = jobs.add("extract", PROJECT, "a.mp4", {"source": "a.mp4"}, task=10)
    claimed = jobs.claim(job, "one")
    assert (claimed.id, claimed.kind, claimed.project, claimed.task, claimed.payload) == (
        job, "extract", PROJECT, 10, {"source": "a.mp4"},
    )  # fmt: skip
    assert jobs.claim(job, "two") is None
    assert jobs.claim(999, "two") is None


def test_a_finished_job_keeps_its_result(jobs):
    job = jobs.add("extract", PROJECT, "a.mp4", {})
    jobs.claim(job, "one")
    jobs.finish(job, "one", result={"content": "abc"})
    assert jobs.outcomes([job, 999]) == {job: ("done", {"content": "abc"})}
    (shown,) = jobs.overview()["jobs"]
    assert (shown["state"], shown["progress"], shown["error"]) == ("done", 1.0, None)
    assert jobs.claim(job, "two") is None


def test_a_failed_job_says_why_and_how_far_it_was(jobs):
    job = jobs.add("train", PROJECT, "all", {})
    jobs.claim(job, "one")
    jobs.report(job, 0.25, "epoch 5")
    jobs.warn(job, "task 7 was left out")
    jobs.warn(job, "and 'task' \"8\"")
    jobs.finish(job, "one", error="no video")
    (shown,) = jobs.overview()["jobs"]
    assert (shown["state"], shown["error"], shown["progress"], shown["detail"]) == ("failed", "no video", 0.25, "epoch 5")
    assert shown["warnings"] == ["task 7 was left out", "and 'task' \"8\""]


def test_the_job_of_a_dead_worker_waits_again(jobs):
    job = jobs.add("train", PROJECT, "all", {})
    jobs.claim(job, "dead")
    jobs.revive(only("alive"))
    assert states(jobs) == {job: "pending"}
    assert jobs.claim(job, "alive") is not None


def test_the_job_of_a_living_worker_is_left_to_it(jobs):
    others = jobs.add("extract", PROJECT, "a.mp4", {})
    jobs.claim(others, "dead")
    job = jobs.add("train", PROJECT, "all", {})
    jobs.claim(job, "alive")
    jobs.revive(only("alive"))
    assert states(jobs) == {job: "running", others: "pending"}


def test_a_worker_whose_job_was_taken_from_it_ends_nothing(jobs):
    job = jobs.add("train", PROJECT, "all", {})
    slow = jobs.claim(job, "slow")
    jobs.revive(only())
    jobs.claim(job, "other")
    jobs.finish(job, "slow", error="too late")
    jobs.postpone(slow, "slow", "too late")
    assert states(jobs) == {job: "running"}
    jobs.finish(job, "other")
    assert states(jobs) == {job: "done"}


def test_a_dead_job_ends_where_the_same_waits_already(jobs):
    dead = jobs.add("train", PROJECT, "all", {})
    jobs.claim(dead, "dead")
    waiting = jobs.add("train", PROJECT, "all", {})
    jobs.revive(only())
    assert states(jobs) == {dead: "superseded", waiting: "pending"}


def test_a_job_that_kills_its_workers_is_given_up(jobs):
    job = jobs.add("extract", PROJECT, "a.mp4", {})
    for attempt in range(MAX_ATTEMPTS):
        assert jobs.claim(job, f"worker {attempt}") is not None
        jobs.revive(only())
    (shown,) = jobs.overview()["jobs"]
    assert shown["state"] == "failed"
    assert f"its worker died {MAX_ATTEMPTS} times" in shown["error"]
    assert jobs.due() == []


def let_the_time_come(database, job):
    with database.transaction() as connection:
        connection.execute("UPDATE jobs SET not_before = ? WHERE id = ?", (time.time(), job))


def test_a_job_that_cannot_be_done_now_is_done_later_and_does_not_count_as_one_that_kills(jobs, database):
    job = jobs.add("push", PROJECT, "7", {}, task=7)
    for _ in range(MAX_ATTEMPTS + 1):
        claimed = jobs.claim(job, "worker")
        jobs.postpone(claimed, "worker", "Label Studio is not there")
        assert jobs.due() == []
        assert jobs.claim(job, "worker") is None
        assert jobs.outcomes([job])[job][0] == "postponed"
        let_the_time_come(database, job)
    (shown,) = jobs.overview()["jobs"]
    assert (shown["state"], shown["attempts"]) == ("pending", 0)
    assert shown["detail"] == "will be retried: Label Studio is not there"
    assert jobs.due() == [(job, "push")]
    assert jobs.outcomes([job])[job][0] == "pending"
    jobs.claim(job, "worker")
    jobs.finish(job, "worker")
    assert states(jobs) == {job: "done"}


def test_a_job_is_tried_again_less_and_less_often(jobs, database):
    job = jobs.add("push", PROJECT, "7", {})
    waits = []
    for _ in range(8):
        jobs.postpone(jobs.claim(job, "worker"), "worker", "no")
        before = time.time()
        (row,) = database.read("SELECT not_before FROM jobs")
        waits.append(row["not_before"] - before)
        let_the_time_come(database, job)
    assert waits[:5] == pytest.approx([2, 4, 8, 16, 32], abs=0.5)
    assert waits[5:] == pytest.approx([LONGEST_RETRY_SECONDS] * 3, abs=0.5)


def test_a_job_that_could_not_be_done_for_a_day_ends(jobs, database):
    job = jobs.add("push", PROJECT, "7", {})
    assert GIVE_UP_RETRIES * LONGEST_RETRY_SECONDS == 24 * 3600
    for retries, state in ((GIVE_UP_RETRIES - 1, "scheduled"), (GIVE_UP_RETRIES, "failed")):
        let_the_time_come(database, job)
        claimed = jobs.claim(job, "worker")
        with database.transaction() as connection:
            connection.execute("UPDATE jobs SET retries = ?", (retries,))
        jobs.postpone(claimed, "worker", "Label Studio is not there")
        (shown,) = jobs.overview()["jobs"]
        assert shown["state"] == state
    assert shown["error"] == "Label Studio is not there"


def test_a_clock_that_is_set_forward_ends_no_job_that_could_not_be_done(jobs, database):
    job = jobs.add("push", PROJECT, "7", {})
    for _ in range(3):
        let_the_time_come(database, job)
        claimed = jobs.claim(job, "worker")
        with database.transaction() as connection:
            connection.execute("UPDATE jobs SET created = created - ?", (3 * 24 * 3600.0,))
        jobs.postpone(claimed, "worker", "Label Studio is not there")
    assert states(jobs) == {job: "scheduled"}


def test_a_job_that_cannot_be_done_now_ends_where_the_same_waits_already(jobs):
    first = jobs.add("train", PROJECT, "all", {})
    claimed = jobs.claim(first, "worker")
    second = jobs.add("train", PROJECT, "all", {})
    jobs.postpone(claimed, "worker", "the disk is full")
    assert states(jobs) == {first: "superseded", second: "pending"}


def test_finished_jobs_of_long_ago_are_forgotten_and_others_are_not(jobs, database, monkeypatch):
    monkeypatch.setattr("framewise.store.job_state.KEPT_JOBS", 3)
    waiting = jobs.add("push", PROJECT, "waits", {})
    for number in range(5):
        job = jobs.add("push", PROJECT, str(number), {})
        jobs.claim(job, "worker")
        jobs.finish(job, "worker")
    assert states(jobs) == {waiting: "pending", job - 2: "done", job - 1: "done", job: "done"}


def test_the_last_job_of_a_subject(jobs):
    assert jobs.latest("extract", PROJECT, "a.mp4") is None
    first = jobs.add("extract", PROJECT, "a.mp4", {})
    assert jobs.latest("extract", PROJECT, "a.mp4") == (first, "pending", 0.0)
    jobs.claim(first, "one")
    before = time.time()
    jobs.finish(first, "one", error="broken")
    number, state, finished = jobs.latest("extract", PROJECT, "a.mp4")
    assert (number, state) == (first, "failed")
    assert before <= finished <= time.time()


def test_the_overview_counts_and_shows_what_is_not_finished_before_the_rest(jobs):
    waiting, running, done = (jobs.add("extract", PROJECT, name, {}) for name in "abc")
    jobs.claim(running, "one")
    jobs.claim(done, "one")
    jobs.finish(done, "one")
    jobs.record_failures("predict", PROJECT, [(7, "task 7 has no video")])
    overview = jobs.overview(limit=3)
    assert (overview["pending"], overview["running"]) == (1, 1)
    assert [job["id"] for job in overview["jobs"][:2]] == [running, waiting]
    assert (overview["jobs"][2]["state"], overview["jobs"][2]["error"]) == ("failed", "task 7 has no video")
    assert jobs.counts() == {
        ("extract", "pending"): 1, ("extract", "running"): 1, ("extract", "done"): 1, ("predict", "failed"): 1,
    }  # fmt: skip


def test_times_are_shown_as_utc(jobs, database):
    job = jobs.add("train", PROJECT, "all", {})
    with database.transaction() as connection:
        connection.execute("UPDATE jobs SET created = 1735689600 WHERE id = ?", (job,))  # date -u -d @1735689600
    (shown,) = jobs.overview()["jobs"]
    assert (shown["created"], shown["started"]) == ("2025-01-01T00:00:00Z", None)


# The database.


def test_a_transaction_that_fails_leaves_nothing(database):
    with pytest.raises(sqlite3.OperationalError), database.transaction() as connection:  # noqa: PT012
        connection.execute("INSERT INTO promised_predictions VALUES (1, 2)")
        connection.execute("INSERT INTO no_such_table VALUES (1)")
    assert database.read("SELECT * FROM promised_predictions") == []


def test_what_was_written_is_there_in_another_process(tmp_path, annotations):
    annotations.put_annotation(PROJECT, annotation(5), task=10)
    assert chosen(Annotations(Database(tmp_path / "data" / "framewise.sqlite"))) == {10: (5, "Rain")}


# Versions.


@pytest.fixture
def registry(tmp_path, database):
    return Registry(tmp_path / "models", database)


def write_weights(folder):
    (folder / "weights.safetensors").write_bytes(b"numbers")


def test_nothing_is_in_use_before_the_first_version(registry):
    assert registry.current(PROJECT, "tl") is None
    assert registry.versions() == []


def test_a_published_version_is_in_use_in_the_folder_that_the_guide_names(tmp_path, registry, database):
    folder = registry.publish(PROJECT, "tl", "v1", {"videos": 3}, write_weights).folder
    assert folder == tmp_path / "models" / f"timelinelabels-{PROJECT}-tl" / "v1"
    assert (folder / "weights.safetensors").read_bytes() == b"numbers"
    assert registry.about(folder) == {"version": "v1", "videos": 3}
    assert Registry(tmp_path / "models", database).current(PROJECT, "tl") == folder


def test_the_last_published_version_is_in_use_and_the_earlier_one_stays(registry):
    first = registry.publish(PROJECT, "tl", "v1", {"trained_at": "2025-01-01T00:00:00Z"}, write_weights).folder
    second = registry.publish(PROJECT, "tl", "v2", {"trained_at": "2025-01-02T00:00:00Z"}, write_weights).folder
    assert registry.current(PROJECT, "tl") == second
    assert first.is_dir()
    assert [(v["version"], v["current"]) for v in registry.versions()] == [("v2", True), ("v1", False)]


def test_projects_and_controls_have_versions_of_their_own(registry):
    registry.publish(PROJECT, "tl", "v1", {}, write_weights)
    assert registry.current(PROJECT, "other") is None
    assert registry.current("1.1795999999", "tl") is None


@pytest.mark.parametrize("removed", ["the version", "all versions", "the models"])
def test_a_removed_folder_means_that_nothing_is_trained(tmp_path, registry, removed):
    folder = registry.publish(PROJECT, "tl", "v1", {}, write_weights).folder
    shutil.rmtree({"the version": folder, "all versions": folder.parent, "the models": tmp_path / "models"}[removed])
    assert registry.current(PROJECT, "tl") is None
    assert registry.versions() == []
    again = registry.publish(PROJECT, "tl", "v2", {}, write_weights).folder
    assert registry.current(PROJECT, "tl") == again


@pytest.mark.parametrize("name", ["../../etc", "..", ".", "", "/etc", "a/b", "a\\b", "a\0b", "x" * 500, "naïve label ⚽"])
def test_a_hostile_name_stays_inside_the_models_folder(tmp_path, registry, name):
    for project, control in ((name, "tl"), (PROJECT, name)):
        folder = registry.publish(project, control, "v1", {}, write_weights).folder
        assert folder.resolve().parent.parent == tmp_path / "models"
        assert registry.current(project, control) == folder
    assert {path.parent for path in tmp_path.glob("*")} == {tmp_path}
    assert {path.name for path in tmp_path.iterdir()} == {"models", "data"}


def test_names_that_look_alike_on_disk_are_kept_apart(registry):
    folders = {registry.folder(PROJECT, name) for name in ("a/b", "a b", "a_b", "a:b", "x" * 90, "x" * 91)}
    assert len(folders) == 6


def test_a_half_written_version_is_never_seen(registry):
    first = registry.publish(PROJECT, "tl", "v1", {}, write_weights).folder
    seen = []

    def write_and_look(folder):
        write_weights(folder)
        seen.append(
            (registry.current(PROJECT, "tl"), [v["version"] for v in registry.versions()], (first.parent / "v2").exists())
        )

    registry.publish(PROJECT, "tl", "v2", {}, write_and_look)
    assert seen == [(first, ["v1"], False)]


def test_a_version_that_could_not_be_written_leaves_nothing(registry):
    first = registry.publish(PROJECT, "tl", "v1", {}, write_weights).folder

    def fails(folder):
        write_weights(folder)
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        registry.publish(PROJECT, "tl", "v2", {}, fails)
    assert registry.current(PROJECT, "tl") == first
    assert list(first.parent.iterdir()) == [first]


def test_a_version_is_never_overwritten(registry):
    first = registry.publish(PROJECT, "tl", "v1", {"videos": 1}, write_weights).folder
    with pytest.raises(OSError, match="."):
        registry.publish(PROJECT, "tl", "v1", {"videos": 2}, write_weights)
    assert registry.about(first)["videos"] == 1
    assert list(first.parent.iterdir()) == [first]


# The database's format.


def test_a_database_of_the_first_format_is_brought_up_to_date_and_keeps_what_it_has(tmp_path):
    path = tmp_path / "framewise.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA)
        connection.execute(
            "INSERT INTO jobs (kind, project, subject, payload, state, created, owner, heartbeat) "
            "VALUES ('train', ?, 'all', '{}', 'running', 1.0, 'a worker of old', 2.0)",
            (PROJECT,),
        )
        connection.commit()
    for _ in range(2):  # the second time there is nothing to do
        jobs = JobStates(Database(path))
    jobs.revive(only())
    assert states(jobs) == {1: "pending"}
    assert jobs.claim(1, "worker") is not None


def test_a_database_of_a_later_format_is_refused_with_the_cure(tmp_path):
    path = tmp_path / "framewise.sqlite"
    Database(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(SettingsError, match=r"written by a newer framewise \(format 99.*restore the back-up"):
        Database(path)


def test_a_database_that_another_process_holds_is_busy_for_now(tmp_path, monkeypatch):
    monkeypatch.setattr("framewise.store.database.BUSY_TIMEOUT_SECONDS", 0.1)
    path = tmp_path / "framewise.sqlite"
    jobs = JobStates(Database(path))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageBusy, match="locked by another process for 0.1 s") as caught:
            jobs.add("train", PROJECT, "all", {})
        assert caught.value.temporary
        other.execute("ROLLBACK")
    assert states(jobs) == {}
    assert jobs.add("train", PROJECT, "all", {}) == 1


def test_a_database_of_machines_that_share_it_over_a_network_has_no_log_beside_it(tmp_path):
    path = tmp_path / "framewise.sqlite"
    Annotations(Database(path, "delete")).put_task("7.1", 1, {"video": "a.mp4"})
    assert [file.name for file in tmp_path.iterdir()] == ["framewise.sqlite"]
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_a_database_takes_another_journal_mode_where_nobody_else_has_it_open(tmp_path):
    path = tmp_path / "framewise.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as before:
        assert before.execute("PRAGMA journal_mode = wal").fetchone() == ("wal",)
        before.execute("CREATE TABLE earlier (x)")
    Annotations(Database(path, "delete")).put_task("7.1", 1, {"video": "a.mp4"})
    assert [file.name for file in tmp_path.iterdir()] == ["framewise.sqlite"]


def test_a_database_that_others_have_open_in_another_journal_mode_is_refused(tmp_path, database):
    database.read("SELECT * FROM tasks")
    path = tmp_path / "data" / "framewise.sqlite"
    with pytest.raises(
        SettingsError, match=f"{path}: a process has it open with journal mode wal, and DATABASE_JOURNAL is delete"
    ):
        Database(path, "delete")
