"""Warnings of jobs name the tasks that they concern, and are stored and said once for tasks of which the same is said."""

import json

import pytest

from framewise.store.database import Database
from framewise.store.job_state import JobStates
from framewise.store.job_warnings import LEFT_OUT, MAX_WARNINGS

PROJECT = "7.1600000000"


@pytest.fixture
def database(tmp_path):
    return Database(tmp_path / "framewise.sqlite")


@pytest.fixture
def states(database):
    return JobStates(database)


@pytest.fixture
def job(states):
    return states.begin("train", PROJECT, "all", "me").id


def test_a_line_a_task_and_one_line_for_more_than_ten(states, job):
    states.warn(job, f"{LEFT_OUT}why", range(1, 11))
    states.warn(job, "why", [11])
    states.warn(job, "nothing can be held out")
    expected = [*(f"task {task} is left out of the training: why" for task in range(1, 11)), "task 11: why"]
    assert states.warnings(job) == [*expected, "nothing can be held out"]
    states.warn(job, f"{LEFT_OUT}why", [11, 1])
    told = ["11 tasks (1, 2, 3, ...) are left out of the training: why", "task 11: why", "nothing can be held out"]
    assert states.warnings(job) == told
    assert states.overview()["jobs"][0]["warnings"] == told


def test_no_more_than_some_texts_are_kept_with_all_tasks(states, job):
    for number in range(MAX_WARNINGS + 5):
        states.warn(job, f"text {number}", [number])
    states.warn(job, "text 0", [999])
    lines = states.warnings(job)
    assert (len(lines), lines[:3]) == (MAX_WARNINGS + 1, ["task 0: text 0", "task 999: text 0", "task 1: text 1"])


def test_texts_of_earlier_versions_are_still_shown(states, database, job):
    old = ["task 3: regions of 'x' are left out", "no interval"]
    with database.transaction() as connection:
        connection.execute("UPDATE jobs SET warnings = ? WHERE id = ?", (json.dumps(old), job))
    assert states.warnings(job) == old
    states.warn(job, "one more", [4])
    assert states.overview()["jobs"][0]["warnings"] == [*old, "task 4: one more"]


def test_a_warning_of_a_job_that_was_forgotten_is_dropped(states):
    states.warn(99, "too late", [1])
    assert states.warnings(99) == []
