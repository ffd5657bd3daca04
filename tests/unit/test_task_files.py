"""Files of tasks are read in every form that Label Studio, of today and of before 1.0, and people's own programs write."""

import json
from pathlib import Path
from typing import Any

import pytest

from framewise.core.errors import RequestError
from framewise.core.task_files import read_task_file, read_tasks
from framewise.store.annotations import sortable_time

TASKS = [{"id": 1, "data": {"video": "a.mp4"}, "annotations": []}, {"id": 2, "data": {"video": "ü.mp4"}}]


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def read(content: Any, **how: bool) -> list[Any]:
        path = tmp_path / "tasks.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return read_task_file(path, **how)

    return read


def test_a_list_lines_and_a_single_task_are_the_same_tasks(read: Any) -> None:
    first, second = (json.dumps(task) for task in TASKS)
    assert read(TASKS) == TASKS
    assert read(f"{first}\n{second}\n") == TASKS
    assert read(f"\ufeff{first}\r\n\r\n{second}") == TASKS
    assert read("\n".join(json.dumps(task, indent=2) for task in TASKS)) == TASKS
    assert read(TASKS[0]) == [TASKS[0]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"id": 1, "data": {}}\n{"id": 2, "data"', r"tasks.json is not valid JSON \(line 2\)"),
        ("id,video\n1,a.mp4\n", "tasks.json is not valid JSON, or nested"),
        ("[" * 100_000, "is not valid JSON"),
        ("", "expected a list of tasks"),
        ("[]", "expected a list of tasks"),
        ("{}", "expected a list of tasks, .*Export > JSON writes it, found '{}'"),
        ('{"tasks": []}', "expected a list of tasks"),
        ("5\n6", "expected a list of tasks"),
        ('[{"data": {}}]\n[{"data": {}}]', "expected a list of tasks"),
    ],
)
def test_what_is_no_file_of_tasks_is_refused(read: Any, content: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        read(content)


def test_a_task_that_is_no_more_than_its_data_is_read_where_that_may_be(read: Any) -> None:
    assert read({"video": "a.mp4"}, plain=True) == [{"video": "a.mp4"}]


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([{"data": {}}, 5], "item 2: expected a task with an object 'data', found 5"),
        ([{"data": []}], "item 1: expected a task with an object 'data'"),
        ([{"id": 1, "data": {}, "annotations": {"result": []}}], "item 1: expected annotations in a list"),
        ([{"id": 1, "data": {}, "predictions": 5}], "item 1: expected predictions in a list, found 5"),
        ([{"id": 1, "data": {}}, {"id": 2, "data": {}}, {"id": 1, "data": {}}], "item 3: a second task 1"),
        ([{"id": 1, "video": "a.mp4", "annotator": 1, "annotation_id": 3}], "it looks like JSON-MIN"),
    ],
)
def test_items_that_are_no_tasks_are_refused_by_their_place(tmp_path: Path, content: Any, said: str, plain: bool) -> None:
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps(content))
    with pytest.raises(RequestError, match=said):
        read_tasks(path, plain)


def test_tasks_without_ids_and_annotations_are_read(tmp_path: Path) -> None:
    path, items = tmp_path / "tasks.json", [{"data": {}}, {"data": {}, "id": [], "annotations": None}, {"data": {}, "id": []}]
    path.write_text(json.dumps(items))
    assert read_tasks(path) == items
    path.write_text(json.dumps([{"video": "a.mp4", "id": 1}, {"video": "b.mp4", "id": 1}]))
    assert len(read_tasks(path, plain=True)) == 2
    with pytest.raises(RequestError, match="its tasks have no 'data'"):
        read_tasks(path)


def completion(number: int | None, **more: Any) -> dict[str, Any]:
    own = {} if number is None else {"id": number}
    return {**own, "result": [{"from_name": "tl"}], "lead_time": 3.2, "created_at": 1_600_000_000, **more}


def test_completions_of_before_label_studio_1_0_are_annotations(read: Any) -> None:
    old = {
        "id": 5,
        "data": {"video": "a.mp4"},
        "completions": [completion(5001, skipped=True), completion(5002, honeypot=True)],
    }
    (task,) = read([old])
    skipped, truth = task["annotations"]
    assert (skipped["id"], skipped["was_cancelled"], truth["id"], truth["ground_truth"]) == (5001, True, 5002, True)
    assert skipped["result"] == old["completions"][0]["result"]
    assert sortable_time(skipped["updated_at"]) == "2020-09-13T12:26:40.000000Z"
    assert "completions" not in task
    dated = completion(
        1, created_at="2020-09-13T12:26:40.5Z", updated_at="2020-10-01T00:00:00Z", was_cancelled=False, skipped=True
    )
    (later,) = read([{**old, "completions": [dated]}])[0]["annotations"]
    assert (later["updated_at"], later["was_cancelled"]) == ("2020-10-01T00:00:00Z", False)


@pytest.mark.parametrize("numbers", [(1, 1), (None, None), (1, None), ("1", "2")])
def test_completions_that_their_numbers_do_not_tell_apart_are_numbered(read: Any, numbers: tuple[Any, Any]) -> None:
    tasks = [{"id": i, "data": {}, "completions": [completion(number)]} for i, number in enumerate(numbers)]
    assert [task["annotations"][0]["id"] for task in read(tasks)] == [1, 2]


def test_annotations_come_before_completions(read: Any) -> None:
    both = {"id": 1, "data": {}, "annotations": [{"id": 7, "result": []}], "completions": [completion(1)]}
    assert read([both])[0]["annotations"] == both["annotations"]
