"""Videos that ``framewise extract`` finds."""

import json
from pathlib import Path

import pytest

from framewise.assembly import Assembly
from framewise.backend.free_disk import FreeDisk
from framewise.bulk.videos import find
from framewise.core.errors import FramewiseError, RequestError, StorageFull
from framewise.settings import Settings
from tests.messages import labeling_config

KEY = "7.1795200057"


@pytest.fixture
def settings(tmp_path: Path, models_folder: Path) -> Settings:
    return Settings(
        model_root=models_folder, cache_dir=tmp_path / "cache", data_dir=tmp_path / "data", model_path="tiny-cls.pt"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "media"
    for name in ("b.mp4", "a.mp4", "sub/C.MKV", "notes.txt", ".hidden.mp4", "sub/._c.mkv"):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(b"x")
    return made


def config_file(tmp_path: Path, **parameters: str) -> Path:
    path = tmp_path / "config.xml"
    path.write_text(labeling_config("Walk", model_trainable="true", **parameters))
    return path


def tasks_file(tmp_path: Path, *tasks: object) -> Path:
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps(tasks))
    return path


def test_a_folder_has_the_files_below_it_whose_names_are_those_of_videos(settings: Settings, folder: Path) -> None:
    found = find(settings, folder, None, None)
    assert [video.name for video in found.videos] == ["a.mp4", "b.mp4", "sub/C.MKV"]
    assert [video.source for video in found.videos] == [str(folder / video.name) for video in found.videos]
    assert (found.unusable, found.notes) == ([], [])


def test_a_folder_that_is_named_may_be_read_and_no_other(settings: Settings, folder: Path) -> None:
    assert settings.local_files_roots == ()
    assert find(settings, folder, None, None).settings.local_files_roots == (folder,)


def test_links_that_lead_out_of_a_folder_are_left_out_and_said(settings: Settings, folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.mp4").write_bytes(b"x")
    (folder / "link.mp4").symlink_to(outside / "secret.mp4")
    (folder / "link to a folder").symlink_to(outside)
    (folder / "gone.mp4").symlink_to(tmp_path / "gone.mp4")
    (folder / "same.mp4").symlink_to(folder / "a.mp4")
    found = find(settings, folder, None, None)
    assert [video.name for video in found.videos] == ["a.mp4", "b.mp4", "sub/C.MKV"]
    assert found.notes == [f"1 links that lead out of {folder} are left out"]


def test_without_a_labeling_config_features_are_the_default_ones(settings: Settings, folder: Path, tmp_path: Path) -> None:
    (plain,) = find(settings, folder, None, None).videos[0].wanted
    assert (plain.backbone, plain.crop) == ("tiny-cls.pt", "center")
    asked = find(settings, folder, config_file(tmp_path, model_crop="squash", model_path="efficientnet-lite0"), None)
    (other,) = asked.videos[0].wanted
    assert (other.backbone, other.crop) == ("efficientnet-lite0", "squash")
    assert other.content != plain.content


def test_tasks_of_one_address_are_one_video_and_those_without_one_are_told_of(settings: Settings, tmp_path: Path) -> None:
    tasks = tasks_file(
        tmp_path,
        {"id": 4, "data": {"video": "/m/a.mp4"}},
        {"id": 5, "data": {"video": "/m/a.mp4"}},
        {"data": {"video": "https://h/b.mp4?x=1"}},
        {"id": 6, "data": {"title": "none"}},
        {"id": 7, "data": "no object"},
    )
    found = find(settings, tasks, config_file(tmp_path), None)
    assert [(v.name, v.source, v.task) for v in found.videos] == [
        ("task 4, a.mp4", "/m/a.mp4", 4),
        ("item 3, b.mp4", "https://h/b.mp4?x=1", None),
    ]
    assert [name for name, _ in found.unusable] == ["task 6", "task 7"]
    assert found.settings == settings  # what may be read is what the service may read


def test_a_known_project_gives_its_tasks_and_its_labeling_config(settings: Settings, tmp_path: Path) -> None:
    annotations = Assembly(settings).annotations
    annotations.put_project(KEY, 7, labeling_config("Walk", model_trainable="true", model_crop="fit"))
    annotations.put_tasks(KEY, [{"id": number, "data": {"video": f"/m/{number}.mp4"}} for number in (1, 2, 3)])
    annotations.delete_tasks(KEY, [2])
    found = find(settings, None, None, "7")
    assert [(v.source, v.task, v.wanted[0].crop) for v in found.videos] == [("/m/1.mp4", 1, "fit"), ("/m/3.mp4", 3, "fit")]


@pytest.mark.parametrize(
    ("source", "project", "text"),
    [
        (None, None, "which videos?"),
        ("empty", None, r"no video below it; expected names that end in .*\.mp4"),
        ("nothing-here", None, "cannot read .*nothing-here"),
        ("tasks.json", None, "--config"),
        (None, "9", "'9'.* not known"),
    ],
)
def test_what_cannot_be_is_refused(
    settings: Settings, tmp_path: Path, source: str | None, project: str | None, text: str
) -> None:
    (tmp_path / "empty").mkdir()
    tasks_file(tmp_path, {"id": 1, "data": {"video": "a.mp4"}})
    with pytest.raises(RequestError if text != "--config" else FramewiseError, match=text):
        find(settings, tmp_path / source if source else None, None, project)


def test_the_floor_of_the_disk_says_what_is_free_and_how_to_change_it(tmp_path: Path) -> None:
    FreeDisk(tmp_path, 0).check()
    with pytest.raises(
        StorageFull,
        match=rf"only .* GB are free on the disk of {tmp_path} \(CACHE_DIR\), less than MIN_FREE_DISK_BYTES \(1,000 TB",
    ):
        FreeDisk(tmp_path, 10**15).check()
