"""``framewise migrate``, as a process on files."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.service import OFFLINE
from tests.legacy import GUIDE_CONFIG, exported, player, region, write_series, write_tasks
from tests.videos import colour_pictures, write_video

VIDEO = "/data/upload/1/1a2b3c4d-clip.mp4"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a legacy project: a task that agrees, one of 5 s beside a video of 10 s, and two of strangers."""
    media = tmp_path / "media"
    media.mkdir()
    write_video(media / "clip.mp4", colour_pictures(100), 10)
    write_series(media / "same.csv", [row / 10 for row in range(100)])
    write_series(media / "half.csv", [100 + row / 20 for row in range(101)])
    tasks = [
        exported(1, {"csv": "/data/upload/1/same.csv", "video": player(VIDEO)}, [region(2.0, 3.0)]),
        exported(2, {"csv": "/data/upload/1/half.csv", "video": player(VIDEO)}, [region(101.0, 102.5)]),
        exported(3, {"csv": "/data/upload/1/same.csv", "video": "<video src='javascript:\x1b[2Jalert(1)' onloadeddata='x()'>"}),
        exported(4, {"csv": "/data/upload/1/gone.csv", "video": player(VIDEO)}),
    ]
    write_tasks(tmp_path / "export.json", tasks)
    (tmp_path / "old.xml").write_text(GUIDE_CONFIG)
    return tmp_path


def framewise(folder: Path, *args: str | Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(OFFLINE), str(Path(__file__).parents[2])])}
    command = [sys.executable, "-m", "framewise", "migrate", *map(str, args)]
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=600)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_without_write_it_says_what_becomes_of_every_task_and_writes_nothing(project: Path) -> None:
    before = files(project)

    done = framewise(project, "export.json", "--config", "old.xml", "--media-folder", "media", "--output", "new")

    assert (done.returncode, done.stderr) == (1, "")
    assert [line.split("  ")[:2] for line in done.stdout.splitlines() if line.startswith("task")] == [
        ["task 1", "converted"], ["task 2", "rescaled"], ["task 3", "needs review"], ["task 4", "needs review"],
    ]  # fmt: skip
    for text in (
        "times x 2",
        "1 region is in the new times",
        "more than 2 %",
        "put the file gone.csv there",
        "4 tasks: 1 converted, ",
    ):
        assert text in done.stdout
    assert "\x1b" not in done.stdout
    assert "Nothing was written" in done.stdout
    assert files(project) == before


def test_what_it_writes_is_the_modern_project_and_given_again_changes_nothing(project: Path) -> None:
    args = ("export.json", "--config", "old.xml", "--media-folder", "media", "--output", "new", "--write")
    done = framewise(project, *args)

    assert (done.returncode, done.stderr) == (1, "")
    new = project / "new"
    assert files(new) == ["config.xml", "needs-review.json", "series/task-2-half.csv", "tasks.json"]
    first, second = json.loads((new / "tasks.json").read_text())
    assert first["data"] == {"csv": "/data/upload/1/same.csv", "video": VIDEO}
    assert first["annotations"][0]["result"] == [region(2.0, 3.0)]
    assert second["data"] == {"csv": "/data/local-files/?d=series/task-2-half.csv", "video": VIDEO}
    assert second["annotations"][0] == {"id": 102, "completed_by": 1, "result": [region(2.0, 5.0)]}
    rows = list(csv.reader((new / "series" / "task-2-half.csv").open()))
    assert rows[0] == ["time_column", "first_column"]
    assert [float(time) for time, _ in rows[1:]] == pytest.approx([row / 10 for row in range(101)])
    assert {"2.0", "5.0"} <= {time for time, _ in rows[1:]}  # where the region is there is a sample, to the last bit
    assert [int(value) for _, value in rows[1:]] == list(range(101))
    left: list[dict[str, Any]] = json.loads((new / "needs-review.json").read_text())
    assert left == json.loads((project / "export.json").read_text())[2:]

    again = framewise(project, "new/tasks.json", "--config", "new/config.xml", "--output", "newer", "--write")
    assert (again.returncode, again.stderr) == (0, "")
    assert "This project is migrated already." in again.stdout
    assert not (project / "newer").exists()


def test_a_folder_with_something_in_it_is_never_written_to(project: Path) -> None:
    done = framewise(project, "export.json", "--config", "old.xml", "--output", "media", "--write")

    assert (done.returncode, done.stdout) == (2, "")
    assert "media is not empty" in done.stderr


def test_durations_of_what_is_elsewhere_are_given_in_a_file(project: Path) -> None:
    source = "s3://bucket/elsewhere.mp4"
    write_tasks(project / "export.json", [exported(1, {"csv": "/data/upload/1/same.csv", "video": player(source)})])
    (project / "durations.json").write_text(json.dumps({source: {"seconds": 10, "frame_rate": 29.97}}))
    args = ("export.json", "--config", "old.xml", "--media-folder", "media")

    assert "its duration with --durations" in framewise(project, *args).stdout
    done = framewise(project, *args, "--durations", "durations.json")

    assert (done.returncode, done.stderr) == (0, "")
    assert 'frameRate="29.97"' in done.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("[]", "expected a list of tasks"),
        ("[1]", "expected a list of tasks"),
        ('[{"data": []}]', "item 1: expected a task with an object 'data'"),
        ('[{"id": 1, "csv": "a", "annotation_id": 2}]', "JSON-MIN"),
        ('[{"id": 1, "data": {}}, {"id": 1, "data": {}}]', "item 2: a second task 1"),
    ],
)
def test_a_file_that_is_no_export_is_refused_in_one_line(project: Path, text: str, said: str) -> None:
    (project / "export.json").write_text(text)

    done = framewise(project, "export.json", "--config", "old.xml")

    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert said in line


def test_the_report_in_the_documentation_is_what_the_command_prints(project: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "migrating.md").read_text()

    done = framewise(project, "export.json", "--config", "old.xml", "--media-folder", "media")

    assert f"```\n{done.stdout}```" in page
