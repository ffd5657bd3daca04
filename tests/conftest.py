"""Fixtures that several tests share."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from framewise.core.progress import silent
from framewise.features.kinds.ultralytics import prepare_ultralytics
from tests.tiny_networks import settle_batch_norms

# Where it is set, each of the hundreds of processes that tests start would compile the package for itself.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

TINY_CLASSES = ("person", "soccer_ball", "golf_ball", "boot", "grass", "goal")
TINY_IMAGE_SIZE = 64
# Ultralytics' own layers and its Classify head (1280 features), far narrower than yolov8n-cls.
TINY_ARCHITECTURE = f"""
nc: {len(TINY_CLASSES)}
depth_multiple: 1.0
width_multiple: 1.0
backbone:
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [32, 3, 2]]
  - [-1, 1, C2f, [32, True]]
  - [-1, 1, Conv, [64, 3, 2]]
head:
  - [-1, 1, Classify, [nc]]
"""


@pytest.fixture(autouse=True)
def ordinary_priority() -> Iterator[None]:
    """SVT-AV1, which some tests encode with, gives its caller real-time priority where that is allowed (as root), and keeps it.

    All processes that are started afterwards would have it too, and would starve the browsers and servers of other tests.
    """
    yield
    if hasattr(os, "sched_setscheduler") and os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classification checkpoint as Ultralytics itself writes it, with random weights: ``models/tiny-cls.pt``."""
    folder = tmp_path_factory.mktemp("tiny")
    prepare_ultralytics(folder / "data")
    import torch
    from ultralytics import YOLO

    description = folder / "tiny-cls.yaml"
    description.write_text(TINY_ARCHITECTURE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yolo = YOLO(str(description), task="classify")
        network = yolo.model
        network.names = dict(enumerate(TINY_CLASSES))
        settle_batch_norms(network, TINY_IMAGE_SIZE)
        torch.nn.init.normal_(network.model[-1].linear.weight, std=0.3)
        network.eval()
    yolo.ckpt = {"train_args": {"imgsz": TINY_IMAGE_SIZE, "task": "classify"}}
    path = folder / "models" / "tiny-cls.pt"
    path.parent.mkdir()
    yolo.save(path)
    return path


@pytest.fixture
def models_folder(tmp_path: Path, tiny_checkpoint: Path) -> Path:
    """A models folder of its own, with ``tiny-cls.pt`` in it."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / tiny_checkpoint.name).write_bytes(tiny_checkpoint.read_bytes())
    return folder


@pytest.fixture
def quiet() -> Callable[[float, str], None]:
    """A progress callback that tells nobody."""
    return silent
