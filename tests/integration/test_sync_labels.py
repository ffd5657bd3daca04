"""``framewise sync labels``, as a process on files."""

import json
from pathlib import Path
from typing import Any

import pytest

from framewise.commands.cli import main
from tests.sync_help import framewise_sync, write_manifest

CONFIG = """<View><Video name="v" value="$video" frameRate="25"/>
<TimelineLabels name="l" toName="v"><Label value="Kick"/></TimelineLabels></View>"""


def kick(start: int, end: int) -> dict[str, Any]:
    value = {"ranges": [{"start": start, "end": end}], "timelinelabels": ["Kick"]}
    return {"id": f"k{start}", "type": "timelinelabels", "from_name": "l", "to_name": "v", "value": value}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two cameras of 10 s, the second one 2 s later; two kicks on the first."""
    paths = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    for path in paths:
        path.write_bytes(b"never opened")
    write_manifest(tmp_path, paths, [0, 2.0])
    (tmp_path / "config.xml").write_text(CONFIG)
    annotation = {"id": 5, "result": [kick(1, 25), kick(76, 100)]}
    tasks = [
        {"id": 1, "data": {"video": "/data/upload/1/0123abcd-a.mp4"}, "annotations": [annotation]},
        {"id": 2, "data": {"video": "/data/upload/1/4567cdef-b.mp4"}, "annotations": []},
    ]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    return tmp_path


def test_an_export_comes_out_with_what_was_carried_and_what_was_not_is_named(project: Path) -> None:
    args = ("sync.json", "export.json", "--config", "config.xml", "--output", "carried.json")
    done = framewise_sync(project, "labels", *args)

    assert (done.returncode, done.stderr) == (1, "")
    assert "b.mp4:  'k1' (Kick, 0.00 s to 1.00 s): outside of it" in done.stdout
    first, second = json.loads((project / "carried.json").read_text())
    assert first == json.loads((project / "export.json").read_text())[0]
    ((region,),) = [annotation["result"] for annotation in second["annotations"]]
    assert region["value"] == {"ranges": [{"start": 26, "end": 50}], "timelinelabels": ["Kick"]}

    done = framewise_sync(project, "labels", *args, "--as", "predictions")
    assert json.loads((project / "carried.json").read_text())[1]["predictions"][0]["result"][0]["value"] == region["value"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("{}", "expected a list of tasks"),
        ("[5]", "expected a list of tasks"),
        ('[{"id": 1, "data": {}, "annotations": 5}]', "item 1: expected annotations in a list, found 5"),
        ('[{"data": {"video": "a.mp4"}, "annotations": [{"result": {}}]}]', "expected a list 'result'"),
        ('[{"id": 1, "video": "a.mp4", "tl": [], "annotation_id": 2}]', "JSON-MIN"),
    ],
)
def test_a_file_that_is_no_export_is_refused_in_one_line(
    project: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (project / "export.json").write_text(text)

    assert main([*command(project), "--output", str(project / "out.json")]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (project / "out.json").exists()


def test_pushing_needs_to_know_where_and_nothing_to_do_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)

    assert main(command(project)) == main([*command(project), "--push"]) == 2

    first, second = capsys.readouterr().err.splitlines()
    assert "give --output FILE, or --push" in first
    assert "LABEL_STUDIO_URL" in second


def command(project: Path) -> list[str]:
    return ["sync", "labels", str(project / "sync.json"), str(project / "export.json"), "--config", str(project / "config.xml")]
