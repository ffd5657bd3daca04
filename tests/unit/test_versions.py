"""Choosing, keeping and removing versions, and forgetting a project: on the store alone."""

import json
import os
import shutil
import sqlite3
from contextlib import closing

import pytest

from framewise.core.errors import ModelError, NotKnown, ProjectForgotten, VersionGone
from framewise.store.annotations import Annotations
from framewise.store.database import MIGRATIONS, SCHEMA, Database
from framewise.store.job_state import JobStates
from framewise.store.projects import KnownProjects
from framewise.store.registry import InUse, Registry

PROJECT, OTHER = "1.1795200057", "2.1795200057"


@pytest.fixture
def database(tmp_path):
    return Database(tmp_path / "data" / "framewise.sqlite")


@pytest.fixture
def registry(tmp_path, database):
    return Registry(tmp_path / "models", database, keep=3)


def write_weights(folder):
    (folder / "weights.safetensors").write_bytes(b"numbers")


def train(registry, *names, project=PROJECT, control="tl"):
    """Publish versions one second after the other, the first at second 0; what was said of the last."""
    for name in names:
        second = int("".join(c for c in name.split("-")[0] if c.isdigit()))
        published = registry.publish(project, control, name, {"trained_at": f"2026-01-01T00:00:{second:02}Z"}, write_weights)
    return published


def stored(registry, project=PROJECT):
    return [v["version"] for v in registry.versions(project)]


# Rolling back.


def test_a_version_that_was_rolled_back_to_is_in_use_and_stays_it_whatever_is_trained(registry):
    train(registry, "v1", "v2")
    assert registry.roll_back(PROJECT, "v1") == ["tl"]
    published = train(registry, "v3")
    assert (published.folder.name, published.current) == ("v3", False)
    assert registry.in_use(PROJECT) == [InUse("tl", "v1", pinned=True)]
    assert [(v["version"], v["current"], v["pinned"]) for v in registry.versions()] == [
        ("v3", False, False),
        ("v2", False, False),
        ("v1", True, True),
    ]


def test_unpinned_the_newest_version_is_in_use(registry):
    train(registry, "v1", "v2")
    registry.roll_back(PROJECT, "v1")
    train(registry, "v3")
    assert registry.unpin(PROJECT) == ["tl"]
    assert registry.in_use(PROJECT) == [InUse("tl", "v3", pinned=False)]
    assert registry.unpin(PROJECT) == []
    assert train(registry, "v4").current


def test_released_the_version_stays_in_use_until_the_next_is_trained(registry):
    train(registry, "v1", "v2")
    registry.roll_back(PROJECT, "v1")
    registry.release(PROJECT)
    assert registry.in_use(PROJECT) == [InUse("tl", "v1", pinned=False)]
    assert train(registry, "v3").current


def test_every_control_that_has_the_version_is_rolled_back_and_no_other(registry):
    train(registry, "v1", "v2", control="feet")
    train(registry, "v1", "v2", control="hands")
    train(registry, "v2", control="head")
    train(registry, "v1", "v2", project=OTHER)
    assert registry.roll_back(PROJECT, "v1") == ["feet", "hands"]
    assert registry.in_use(PROJECT) == [
        InUse("feet", "v1", pinned=True),
        InUse("hands", "v1", pinned=True),
        InUse("head", "v2", pinned=False),
    ]
    assert registry.in_use(OTHER) == [InUse("tl", "v2", pinned=False)]
    assert registry.unpin(PROJECT) == ["feet", "hands"]


@pytest.mark.parametrize(
    "name", ["v1-20260101T000001Z", "v1", "v1-20260101T000001Z-0a1b2c3d"], ids=["name", "number", "as Label Studio shows it"]
)
def test_a_version_may_be_named_in_three_ways(registry, name):
    train(registry, "v1-20260101T000001Z", "v10-20260101T000010Z")
    registry.roll_back(PROJECT, name)
    assert registry.in_use(PROJECT) == [InUse("tl", "v1-20260101T000001Z", pinned=True)]


@pytest.mark.parametrize("name", ["v3", "", ".", "..", "../tl", "../../timelinelabels-1.1795200057-tl/v1", "v"])
def test_a_version_that_is_not_there_is_refused_with_those_that_are(registry, name):
    train(registry, "v1", "v2")
    with pytest.raises(NotKnown, match="has no version .*; it has v2, v1"):
        registry.roll_back(PROJECT, name)
    assert registry.in_use(PROJECT) == [InUse("tl", "v2", pinned=False)]


def test_a_number_that_two_versions_have_is_refused(registry):
    train(registry, "v1-a", "v1-b")
    with pytest.raises(NotKnown, match="v1-a"):
        registry.roll_back(PROJECT, "v1")


def test_a_project_without_versions_has_none_to_roll_back_to(registry):
    with pytest.raises(NotKnown, match="no trained version"):
        registry.roll_back(PROJECT, "v1")


def test_a_pinned_version_whose_folder_was_removed_holds_nothing_back(registry):
    train(registry, "v1", "v2")
    registry.roll_back(PROJECT, "v1")
    shutil.rmtree(registry.current(PROJECT, "tl"))
    assert registry.in_use(PROJECT) == []
    assert train(registry, "v3").current


# Trainings that end in another order than they began.


def test_a_version_of_older_annotations_does_not_replace_a_newer_one(registry):
    older, newer = "v9-20260101T000009Z", "v10-20260101T000009Z"
    ends = {newer: "2026-01-01T00:00:11Z", older: "2026-01-01T00:00:59Z"}
    current = [registry.publish(PROJECT, "tl", name, {"trained_at": ends[name]}, write_weights).current for name in ends]
    assert current == [True, False]
    assert stored(registry) == [newer, older]
    registry.roll_back(PROJECT, older)
    registry.unpin(PROJECT)
    assert registry.in_use(PROJECT) == [InUse("tl", newer, pinned=False)]


def test_a_clock_that_was_set_back_keeps_no_version_from_use(registry):
    train(registry, "v1-20260101T000030Z")
    assert train(registry, "v2-20260101T000010Z").current


def test_names_that_tell_no_number_are_sorted_by_when_they_were_trained(registry):
    train(registry, "v2-20260101T000002Z")
    fitted = "fit-20260101T000003Z-1"
    assert registry.publish(PROJECT, "tl", fitted, {"trained_at": "2026-01-01T00:00:03Z"}, write_weights).current
    train(registry, "v4-20260101T000004Z")
    assert stored(registry) == ["v4-20260101T000004Z", fitted, "v2-20260101T000002Z"]


# Checking.


def test_a_version_that_its_check_refuses_is_none(registry):
    first = train(registry, "v1").folder

    def check(folder):
        assert (folder / "weights.safetensors").exists()
        raise ModelError("it gives NaN")

    with pytest.raises(ModelError, match="it gives NaN"):
        registry.publish(PROJECT, "tl", "v2", {}, write_weights, check)
    assert registry.current(PROJECT, "tl") == first
    assert list(first.parent.iterdir()) == [first]


# Keeping and removing.


def test_the_newest_versions_are_kept_and_the_one_in_use(registry):
    train(registry, "v1", "v2", "v3")
    registry.roll_back(PROJECT, "v1")
    train(registry, "v4", "v5", "v6")
    assert stored(registry) == ["v6", "v5", "v4", "v1"]
    registry.unpin(PROJECT)
    train(registry, "v7")
    assert stored(registry) == ["v7", "v6", "v5"]
    assert {path.name for path in registry.folder(PROJECT, "tl").iterdir()} == {"v5", "v6", "v7"}


def test_versions_of_other_controls_and_projects_are_not_counted(registry):
    for control, project in (("feet", PROJECT), ("hands", PROJECT), ("feet", OTHER)):
        train(registry, "v1", "v2", control=control, project=project)
    train(registry, "v3", "v4", control="feet")
    assert sorted((v["control"], v["version"]) for v in registry.versions(PROJECT)) == [
        ("feet", "v2"), ("feet", "v3"), ("feet", "v4"), ("hands", "v1"), ("hands", "v2"),
    ]  # fmt: skip
    assert stored(registry, OTHER) == ["v2", "v1"]


def test_a_version_older_than_all_that_are_kept_is_not_removed_by_its_own_publication(tmp_path, database):
    """A clock that was set back."""
    registry = Registry(tmp_path / "models", database, keep=1)
    train(registry, "v9")
    assert train(registry, "v1").current
    assert registry.current(PROJECT, "tl").name == "v1"


def test_what_a_killed_training_left_of_a_removal_is_removed_by_the_next(registry):
    left = train(registry, "v1").folder.with_name(".removed-v0-1234")
    left.mkdir()
    train(registry, "v2")
    assert not left.exists()


def test_reading_a_version_that_was_removed_meanwhile_says_so(tmp_path, database):
    registry = Registry(tmp_path / "models", database, keep=1)
    first = train(registry, "v1").folder
    train(registry, "v2")
    with pytest.raises(VersionGone, match="v1 was removed while it was read"):
        registry.about(first)
    with pytest.raises(VersionGone), registry.reading(first):
        raise ModelError("no such file")
    assert VersionGone("").temporary


def test_an_error_of_a_version_that_is_there_stays_what_it_is(registry):
    with pytest.raises(ModelError, match="broken") as caught, registry.reading(train(registry, "v1").folder):
        raise ModelError("broken")
    assert not isinstance(caught.value, VersionGone)


@pytest.mark.parametrize("content", [b"", b"[1]", b"null", b"{", b"\xff"])
def test_a_version_whose_description_is_broken_is_named_and_left_out_of_the_list(registry, content):
    folder = train(registry, "v1", "v2").folder
    (folder / "version.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"v2/version\.json: expected a JSON object"):
        registry.about(folder)
    assert stored(registry) == ["v1"]
    registry.roll_back(PROJECT, "v1")
    assert registry.current(PROJECT, "tl").name == "v1"


def test_a_description_cannot_name_another_project_or_version(registry):
    folder = train(registry, "v1").folder
    (folder / "version.json").write_text(
        json.dumps({"version": "v9", "project": OTHER, "current": False, "quality": {"weak": True}})
    )
    (shown,) = registry.versions()
    assert (shown["project"], shown["version"], shown["current"], shown["quality"]) == (PROJECT, "v1", True, {"weak": True})


def test_versions_of_one_second_are_in_the_order_in_which_they_were_written(registry):
    for number in (1, 2, 3):
        folder = registry.publish(PROJECT, "tl", f"v{number}", {"trained_at": "2026-01-01T00:00:00Z"}, write_weights).folder
        os.utime(folder / "version.json", ns=(number, number))
    assert stored(registry) == ["v3", "v2", "v1"]


# Projects.


@pytest.fixture
def known(database):
    return KnownProjects(database)


@pytest.fixture
def annotations(database):
    store = Annotations(database)
    for key in (PROJECT, OTHER):
        store.put_project(key, int(key[0]), "<View/>", f"Title of {key}")
        store.put_task(key, 10, {"video": "a.mp4"})
        store.put_annotation(key, {"id": 5, "result": []}, 10)
        store.record_event(key, "ANNOTATION_CREATED", {})
    return store


def test_a_project_is_found_by_its_key_or_its_number(known, annotations):
    assert known.find(PROJECT) == PROJECT
    assert known.find("2") == OTHER


@pytest.mark.parametrize("name", ["3", "1.17", "", "Title of 1.1795200057"])
def test_a_project_that_is_not_known_is_refused_with_those_that_are(known, annotations, name):
    with pytest.raises(NotKnown, match=f"is not known here; known are {PROJECT}, {OTHER}"):
        known.find(name)


def test_a_number_that_two_projects_had_is_refused_with_their_keys(known, annotations):
    annotations.put_project("1.1800000000", 1, "<View/>")
    with pytest.raises(NotKnown, match=f"several projects had this number; choose one of: {PROJECT}, 1.1800000000"):
        known.find("1")


def everything(database):
    """Every row of the database, as text."""
    tables = [r["name"] for r in database.read("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return [(t, tuple(row)) for t in tables if t != "sqlite_sequence" for row in database.read(f"SELECT * FROM {t}")]


def test_forgotten_a_project_has_no_row_left_and_the_other_all(database, registry, known, annotations):
    with database.transaction() as connection:  # tables that somebody adds one day
        connection.execute("CREATE TABLE later (id INTEGER PRIMARY KEY, project TEXT)")
        connection.execute("CREATE TABLE later_of_jobs (job INTEGER)")
        connection.executemany("INSERT INTO later (project) VALUES (?)", [(PROJECT,), (OTHER,)])
    jobs = JobStates(database)
    for key in (PROJECT, OTHER):
        train(registry, "v1", project=key)
        job = jobs.add("train", key, "all", {})
        annotations.promise_prediction(job, 10)
        with database.transaction() as connection:
            connection.execute("INSERT INTO later_of_jobs VALUES (?)", (job,))
    of_other = known.rows(OTHER)
    assert known.rows(PROJECT) == of_other
    assert of_other.items() >= {
        "annotations": 1, "current_versions": 1, "events": 1, "jobs": 1, "later": 1, "later_of_jobs": 1, "projects": 1,
        "promised_predictions": 1, "tasks": 1,
    }.items()  # fmt: skip

    known.forget(PROJECT)

    assert known.rows(PROJECT) == {}
    assert known.rows(OTHER) == of_other
    assert [t for t, row in everything(database) if PROJECT in row] == ["forgotten_projects"]


def test_models_of_a_project_are_removed_and_no_others(tmp_path, registry):
    """Names that begin alike belong to others; one folder is not in the database, as after a crash."""
    alike = [f"{PROJECT}-tl", f"{PROJECT}0", "1.179520005"]
    for project in (PROJECT, OTHER, *alike):
        train(registry, "v1", project=project)
    (tmp_path / "models" / f"timelinelabels-{PROJECT}-gone" / "v1").mkdir(parents=True)
    (tmp_path / "models" / "yolov8n-cls.pt").write_bytes(b"")
    kept = {registry.folder(project, "tl").name for project in (OTHER, *alike)} | {"yolov8n-cls.pt"}

    removed = registry.remove_models(PROJECT)

    assert {path.name for path in (tmp_path / "models").iterdir()} == kept
    assert len(removed) == 2


def test_a_training_of_a_forgotten_project_publishes_nothing(tmp_path, database, registry, known, annotations):
    train(registry, "v1")

    def forgotten_meanwhile(folder):
        write_weights(folder)
        registry.remove_models(PROJECT)
        known.forget(PROJECT)

    with pytest.raises(ProjectForgotten, match="v2 is discarded"):
        registry.publish(PROJECT, "tl", "v2", {}, forgotten_meanwhile)
    with pytest.raises(ProjectForgotten):
        train(registry, "v3")
    assert list((tmp_path / "models").iterdir()) == []
    assert known.rows(PROJECT) == {}


def test_a_job_of_a_forgotten_project_ends_and_none_is_added(database, known, annotations):
    jobs = JobStates(database)
    job = jobs.claim(jobs.add("train", PROJECT, "all", {}), "worker")
    known.forget(PROJECT)
    with pytest.raises(ProjectForgotten):
        jobs.report(job.id, 0.5, "epoch 2")
    with pytest.raises(ProjectForgotten):
        jobs.add("train", PROJECT, "all", {})
    with pytest.raises(ProjectForgotten):
        annotations.next_training(PROJECT)
    jobs.warn(job.id, "a warning")
    jobs.finish(job.id, "worker", result={"version": "v1"})
    jobs.postpone(job, "worker", "later")
    assert known.rows(PROJECT) == {}


def test_a_project_that_label_studio_tells_of_again_is_one_like_any(registry, database, known, annotations):
    known.forget(PROJECT)
    annotations.put_project(PROJECT, 1, "<View/>")
    assert JobStates(database).add("train", PROJECT, "all", {})
    assert train(registry, "v1").current


def test_a_database_from_before_pins_and_forgetting_has_nothing_pinned(tmp_path):
    path = tmp_path / "framewise.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA + MIGRATIONS[0])
        connection.execute("INSERT INTO current_versions VALUES (?, 'tl', 'v1')", (PROJECT,))
        connection.execute("PRAGMA user_version = 1")
        connection.commit()
    folder = tmp_path / "models" / f"timelinelabels-{PROJECT}-tl" / "v1"
    folder.mkdir(parents=True)
    (folder / "version.json").write_text("{}")
    registry = Registry(tmp_path / "models", Database(path))
    assert registry.in_use(PROJECT) == [InUse("tl", "v1", pinned=False)]
    assert train(registry, "v2").current


def test_a_version_is_written_although_the_clock_is_set_forward_and_another_is_written_meanwhile(registry):
    def write(folder):
        os.utime(folder, (0, 0))  # for the clock of now, the folder is old
        train(registry, "v2")
        write_weights(folder)

    registry.publish(PROJECT, "tl", "v1", {}, write)
    assert stored(registry) == ["v2", "v1"]
