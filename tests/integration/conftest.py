"""The shared service, small real videos, and a checkpoint that knows only balls."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.index_clips import copy_distinct, make_index_clip
from tests.integration.service import Project, Service, learning_config

BALL = "soccer_ball"

_task_ids = itertools.count(1)
_clip_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def backbone(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint with random weights, changed so that to it every picture is of the class BALL."""
    from ultralytics import YOLO

    yolo = YOLO(str(tiny_checkpoint), task="classify")
    number = next(n for n, name in yolo.model.names.items() if name == BALL)
    yolo.model.model[-1].linear.bias.data[number] = 1000.0
    path = tmp_path_factory.mktemp("backbone") / "untrained-n-cls.pt"
    yolo.save(path)
    return path


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that services here may read."""
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="session")
def make_clip(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a video of so many frames at 25 frames per second, whose content no other file has: so it is in no cache."""
    rendered = tmp_path_factory.mktemp("rendered")

    def make(num_frames: int = 24, name: str = "") -> Path:
        original = rendered / f"{num_frames}.mp4"
        if not original.exists():
            make_index_clip(original, num_frames, 25, (64, 64))
        number = next(_clip_numbers)
        return copy_distinct(original, videos / (name or f"clip-{number}.mp4"), number)

    return make


@pytest.fixture(scope="session")
def make_task(make_clip: Callable[..., Path]) -> Callable[..., dict[str, Any]]:
    """Makes a task as Label Studio sends it; of a new clip, or of the file or address that is given."""

    def make(video: Path | str | None = None, num_frames: int = 24) -> dict[str, Any]:
        source = str(video if video is not None else make_clip(num_frames))
        return {"id": next(_task_ids), "data": {"video": source}, "meta": {}, "annotations": [], "predictions": []}

    return make


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, backbone: Path, videos: Path) -> Iterator[Service]:
    """The service that tests share which do not change it: each has a project of its own."""
    with Service(tmp_path_factory.mktemp("service"), backbone, videos) as running:
        yield running


@pytest.fixture
def start_service(tmp_path: Path, backbone: Path, videos: Path) -> Iterator[Callable[..., Service]]:
    """Starts services of this test alone, with settings of their own, and stops them."""
    started: list[Service] = []

    def start(**settings: str) -> Service:
        running = Service(tmp_path / f"service-{len(started)}", backbone, videos, **settings)
        started.append(running)
        running.start()
        return running

    yield start
    for running in started:
        running.__exit__()


@pytest.fixture
def project() -> Project:
    """A project that learns, of an id that no other test has."""
    return Project(learning_config())
