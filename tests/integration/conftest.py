"""The shared service, small real videos, and a checkpoint of Ultralytics with weights that nobody trained."""

import itertools
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from service import Project, Service, labeling_config

from framewise.demo.clips import make_index_clip
from framewise.features.backbone import _prepare_ultralytics

LABELS = ("Walk", "Run")
BALL_CLASS = 7
IMAGE_SIZE = 64  # small pictures: a clip is extracted in a fraction of a second

_task_ids = itertools.count(1)
_clip_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as Ultralytics writes it: random weights, but every picture is of class "soccer_ball".

    Statistics of batch normalisation come from one batch of noise: without them all features would be about the same.
    """
    folder = tmp_path_factory.mktemp("backbone")
    _prepare_ultralytics(folder)
    import torch
    from ultralytics import YOLO

    torch.manual_seed(0)
    yolo = YOLO("yolov8n-cls.yaml")
    for module in yolo.model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    yolo.model.train()
    with torch.no_grad():
        yolo.model(torch.rand(64, 3, 1, 1) * torch.rand(64, 3, IMAGE_SIZE, IMAGE_SIZE))
        yolo.model.model[-1].linear.bias[BALL_CLASS] = 1000.0
    yolo.model.eval()
    yolo.model.names = {number: f"thing_{number}" for number in yolo.model.names} | {BALL_CLASS: "soccer_ball"}
    yolo.ckpt = {"train_args": {"imgsz": IMAGE_SIZE}}
    path = folder / "untrained-n-cls.pt"
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
        path = videos / (name or f"clip-{number}.mp4")
        path.write_bytes(original.read_bytes() + _free_box(number))
        return path

    return make


def _free_box(number: int) -> bytes:
    """A box of ISO 14496-12, 8.1.2, "free space": players pass over it."""
    return struct.pack(">I4sQ", 16, b"free", number)


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
    return Project(labeling_config(*LABELS, model_trainable="true"))
