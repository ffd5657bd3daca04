"""Errors and notes on pages: each once for all that it concerns, errors first, and only while it is true."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from framewise.assembly import Assembly
from framewise.core.progress import silent
from framewise.features.kinds.lite0 import LITE0
from framewise.media.video import decode, probe
from framewise.media.video_notes import VideoFacts
from framewise.server.app import create_app
from framewise.server.pages.notices import Notices
from framewise.settings import Settings
from framewise.store.made import LastPrediction
from framewise.store.media_facts import FileFacts
from tests.index_clips import make_index_clip
from tests.messages import labeling_config, region

KEY = "7.1795200057"
HTML = {"Accept": "text/html"}
EARLY, LATER = "2025-01-01T10:00:00.100000Z", "2025-01-02T10:00:00.100000Z"


def config(frame_rate: str = "25") -> str:
    return labeling_config("Walk", frame_rate=frame_rate, model_trainable="true")


@pytest.fixture
def made(tmp_path: Path) -> tuple[FlaskClient, Assembly]:
    folders = {name: tmp_path / name for name in ("model_root", "cache_dir", "data_dir")}
    own = Settings(
        **folders,
        model_path=LITE0,
        label_studio_url="http://studio:8080",
        label_studio_api_key="k",
        host="127.0.0.1",
    )
    assembly = Assembly(own)
    assembly.annotations.put_project(KEY, 7, config(), "Gait study", told_at=EARLY)
    return create_app(own).test_client(), assembly


@pytest.fixture
def facts(tmp_path: Path) -> dict[str, Any]:
    """Facts of a clip of 30 pictures a second, as they are noted when it is read under a labeling config of 25."""
    path = make_index_clip(tmp_path / "clip.mp4", 60, 30, size=(64, 64))
    pts = np.array([picture.pts for picture in decode(path)])
    return VideoFacts.of(probe(path), pts, 25.0).to_json()


def note_files(assembly: Assembly, facts: dict[str, Any], *tasks: int) -> None:
    for task in tasks:
        assembly.annotations.put_task(KEY, task, {"video": f"/videos/walk-{task}.mp4"})
        assembly.facts.put(KEY, FileFacts(task, "clip", f"walk-{task}.mp4", facts, {}))


def annotate(assembly: Assembly, task: int, moment: str) -> None:
    assembly.annotations.put_task(KEY, task, {"video": f"/videos/walk-{task}.mp4"})
    annotation = {"id": 100 + task, "result": [region("Walk", (1, 9))], "updated_at": moment}
    assembly.annotations.put_annotation(KEY, annotation, task, assembly.annotations.label_sets.number(KEY, moment))


def shown(client: FlaskClient, path: str = f"/projects/{KEY}") -> str:
    return client.get(path, headers=HTML).text


def test_a_note_on_twelve_files_is_one_line_with_the_files_folded(
    made: tuple[FlaskClient, Assembly], facts: dict[str, Any]
) -> None:
    client, assembly = made
    note_files(assembly, facts, *range(1, 13))
    for path in ("/", f"/projects/{KEY}"):
        page = shown(client, path)
        assert page.count("30 pictures a second, but the labeling config&#39;s frameRate is 25") == 1
        assert "12 files: 30 pictures a second" in page
        folded = page.partition("<details>")[2].partition("</details>")[0]
        assert folded.count("<li>") == folded.count("ffmpeg -i walk-") == 12
        assert 'href="http://studio:8080/projects/7/data?task=12"' in folded
        assert page.index("Gait study") < page.index("12 files")  # below the projects


def test_a_training_that_reads_the_files_adds_no_notes_on_them(tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("model_root", "cache_dir", "data_dir")}
    assembly = Assembly(Settings(**folders, model_path=LITE0, local_files_roots=(tmp_path,), extraction_engine="torch"))
    assembly.annotations.put_project(KEY, 7, config(), "Gait study", told_at=EARLY)
    for task in (1, 2):
        annotate(assembly, task, LATER)
        clip = make_index_clip(tmp_path / f"clip-{task}.mp4", 60 + task, 30, size=(64, 64))
        assembly.annotations.put_task(KEY, task, {"video": str(clip)})
    told = assembly.backend.train_now(KEY, silent)
    notes = [note.text for note in Notices(assembly).notes(KEY)]
    assert [text for text in [*told, *notes] if "pictures a second" in text] == [
        "2 files: 30 pictures a second, but the labeling config's frameRate is 25"
    ]


def test_a_note_goes_when_the_config_fits_and_says_something_else_once_there_are_annotations(
    made: tuple[FlaskClient, Assembly], facts: dict[str, Any]
) -> None:
    client, assembly = made
    note_files(assembly, facts, 1, 2)
    assert "write frameRate=&#34;30&#34; into the Video tag" in shown(client)
    annotate(assembly, 1, EARLY)
    page = shown(client)
    assert "write frameRate" not in page
    assert "Leave frameRate as it is: another one would move the regions of 1 annotation in Label Studio" in page
    assembly.annotations.delete_tasks(KEY, [1])
    assembly.annotations.put_project(KEY, 7, config("30"), told_at=LATER)
    assert "pictures a second" not in shown(client)


def test_errors_come_first_and_notes_do_not_crowd_them_out(made: tuple[FlaskClient, Assembly]) -> None:
    client, assembly = made
    states = assembly.jobs.states
    failed = states.begin("train", KEY, "all", "me")
    states.finish(failed.id, "me", error="no annotated task can be used")
    for number in range(40):
        job = states.begin("extract", KEY, f"{number}.mp4", "me")
        states.warn(job.id, f"note number {number}", [number])
        states.finish(job.id, "me")
    page = shown(client, "/")
    assert page.index("No annotated task can be used") < page.index("Note number 39")
    notices = Notices(assembly)
    assert all(note.topic for note in notices.notes(KEY)), "each can be dismissed"
    assert not any(error.topic for error in notices.errors(KEY))


def test_the_same_trouble_of_several_tasks_is_said_once(made: tuple[FlaskClient, Assembly]) -> None:
    _, assembly = made
    states = assembly.jobs.states
    job = states.begin("train", KEY, "all", "me")
    for task in (3, 5, 9):
        states.warn(job.id, "regions of ['Fly'], which the labeling config does not have, are left out", [task])
    states.warn(job.id, "left out of the training: a.mp4 is not there", [4])
    states.finish(job.id, "me")
    later = states.begin("refine", KEY, "all", "me")
    states.warn(later.id, "regions of ['Fly'], which the labeling config does not have, are left out", [9, 10])
    states.finish(later.id, "me")
    notes = {note.text: sorted(place.task for place in note.places) for note in Notices(assembly).notes(KEY)}
    assert notes == {
        "Regions of ['Fly'], which the labeling config does not have, are left out": [3, 5, 9, 10],
        "Left out of the training: a.mp4 is not there": [4],
    }


def test_names_of_files_and_addresses_are_written_as_they_are(made: tuple[FlaskClient, Assembly]) -> None:
    _, assembly = made
    texts = ["walk.mp4: the file is truncated", "http://studio/data/a.mp4: expected a file", "b: a codec that no one knows"]
    for number, text in enumerate(texts):
        failed = assembly.jobs.states.begin("extract", KEY, f"{number}.mp4", "me")
        assembly.jobs.states.finish(failed.id, "me", error=text)
    assert sorted(notice.text for notice in Notices(assembly).errors(KEY)) == sorted(texts)


def test_a_changed_frame_rate_is_told_as_long_as_annotations_were_made_under_another(
    made: tuple[FlaskClient, Assembly],
) -> None:
    client, assembly = made
    annotate(assembly, 1, EARLY)
    annotate(assembly, 2, EARLY)
    assembly.annotations.put_project(KEY, 7, config("30"), told_at=LATER)
    annotate(assembly, 3, LATER)
    page = shown(client)
    assert 'class="error"' in page
    assert "2 annotations were made while frameRate was &#34;25&#34;; the labeling config now has &#34;30&#34;" in page
    assert "Set frameRate back to &#34;25&#34;" in page
    annotate(assembly, 1, LATER.replace("10:00", "11:00"))  # corrected
    assert "1 annotation was made while" in shown(client)
    assembly.annotations.put_project(KEY, 7, config("25"), told_at=LATER.replace("10:00", "12:00"))
    (notice,) = Notices(assembly).errors(KEY)
    assert notice.text.startswith('2 annotations were made while frameRate was "30"; the labeling config now has "25"')
    assembly.annotations.put_project(KEY, 7, config("25.0"), told_at=LATER.replace("10:00", "13:00"))
    assert len(Notices(assembly).errors(KEY)) == 1


def test_a_skipped_task_is_no_suggestion_of_what_to_annotate_next(made: tuple[FlaskClient, Assembly]) -> None:
    _, assembly = made
    assembly.made.put(KEY, [LastPrediction(task, "v1", 0.1 * task, {}, {}) for task in (1, 2, 3)])
    skipped = {"id": 1, "result": [], "was_cancelled": True, "updated_at": EARLY}
    assembly.annotations.put_annotation(KEY, skipped, 2)
    assert [one.task for one in assembly.made.next(KEY, 9, 0)[0]] == [1, 3]
    assert assembly.made.unannotated(KEY) == 2
