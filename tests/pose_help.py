"""Tiny pose networks with random weights, in checkpoints as Ultralytics itself writes them."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from framewise.features.kinds.ultralytics import prepare_ultralytics
from tests.tiny_networks import settle_batch_norms

IMAGE_SIZE = 128
# Ultralytics' own layers and heads, far narrower than yolov8n-pose, on three scales as there.
ARCHITECTURE = """
nc: {classes}
kpt_shape: [{points[0]}, {points[1]}]
{more}
scales:
  n: [0.5, 0.25, 1024]
backbone:
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [32, 3, 2]]
  - [-1, 1, C2f, [32, True]]
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, Conv, [64, 3, 2]]
head:
  - [[2, 3, 4], 1, {head}, [nc, kpt_shape]]
"""
HEADS = {"Pose": "", "Pose26": "end2end: True\nreg_max: 1"}


def write_pose_checkpoint(path: Path, head: str = "Pose", points: tuple[int, int] = (17, 3), classes: int = 1) -> Path:
    """Write a network that finds a dozen persons in ``random_picture``: weights are random, in the statistics of pictures."""
    folder = path.parent
    prepare_ultralytics(folder / "ultralytics")
    import torch
    from ultralytics import YOLO

    description = folder / f"{path.stem}.yaml"
    description.write_text(ARCHITECTURE.format(classes=classes, points=points, head=head, more=HEADS[head]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yolo: Any = YOLO(str(description), task="pose")
        network = yolo.model
        network.kpt_shape = list(points)  # as Ultralytics' training sets it
        settle_batch_norms(network, IMAGE_SIZE)
        last = network.model[-1]
        for scale in (*last.cv3, *(last.one2one_cv3 if last.end2end else [])):
            torch.nn.init.normal_(scale[-1].weight, std=1.0)
            scale[-1].bias.data[:] = -4
        network.eval()
    yolo.ckpt = {"train_args": {"imgsz": IMAGE_SIZE, "task": "pose"}}
    yolo.save(path)
    description.unlink()
    return path


def random_picture(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Colours that flow into each other, RGB (height, width, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


# Line figures whose pose tells the label.

# Of COCO's 17 key points, from the hip upwards, in lengths of the body; x to the figure's left.
UPRIGHT = [
    (0, -0.55), (0.02, -0.57), (-0.02, -0.57), (0.04, -0.56), (-0.04, -0.56),  # nose, eyes, ears
    (0.1, -0.42), (-0.1, -0.42), (0.16, -0.25), (-0.16, -0.25), (0.18, -0.08), (-0.18, -0.08),  # shoulders, elbows, wrists
    (0.07, 0), (-0.07, 0), (0.08, 0.22), (-0.08, 0.22), (0.08, 0.45), (-0.08, 0.45),  # hips, knees, ankles
]  # fmt: skip
ARMS_UP = {7: (0.18, -0.55), 8: (-0.18, -0.55), 9: (0.14, -0.75), 10: (-0.14, -0.75)}
KNEELING = {13: (0.1, 0.2), 14: (-0.1, 0.2), 15: (0.25, 0.22), 16: (-0.25, 0.22)}
BONES = [(0, 5), (0, 6), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14)]
BONES += [(14, 16)]
SIZE = (96, 128)  # of pictures, height and width


def posed(changes: dict[int, tuple[float, float]]) -> npt.NDArray[np.float32]:
    """Key points (17, 2) of a pose."""
    points = np.array(UPRIGHT, dtype=np.float32)
    for number, place in changes.items():
        points[number] = place
    return points


def figure_video(labels: npt.NDArray[np.uint8], seed: int) -> tuple[list[npt.NDArray[np.uint8]], list[npt.NDArray[np.float32]]]:
    """Pictures of a figure that takes poses (T, 2) of 0/1, arms up and kneeling, and the figure in each as ``find`` tells.

    Background, colours, size and place differ with the seed; other lines lie around, and all of it shakes.
    """
    rng = np.random.default_rng(seed)
    background = random_picture(*SIZE, seed=seed) // 2
    clutter = rng.integers(0, 128, (12, 2, 2))
    length, at = rng.uniform(35, 60), rng.uniform((35, 45), (95, 55))
    colours = [tuple(int(c) for c in rng.integers(60, 256, 3)) for _ in range(13)]
    pictures, persons, was = [], [], posed({})
    for row in labels:
        at = np.clip(at + rng.normal(0, 0.7, 2), (30, 40), (100, 60))
        wanted = posed((ARMS_UP if row[0] else {}) | (KNEELING if row[1] else {}))
        was = was * 0.4 + wanted * 0.6
        points = at + length * was + rng.normal(0, 0.6, (17, 2))
        picture = background.copy()
        for (one, other), colour in zip(clutter + rng.integers(-1, 2, clutter.shape), colours[1:], strict=True):
            cv2.line(picture, one.tolist(), other.tolist(), colour, 2)
        for one, other in BONES:
            cv2.line(picture, points[one].astype(int).tolist(), points[other].astype(int).tolist(), colours[0], 2)
        pictures.append(picture)
        box = [*(points.min(0) - 2), *(points.max(0) + 2)]
        persons.append(np.array([[*box, 0.9, 0, *np.c_[points, np.full(17, 0.8)].ravel()]], dtype=np.float32))
    return pictures, persons


def figure_labels(count: int, seed: int) -> npt.NDArray[np.uint8]:
    """Poses that a figure takes in ``count`` pictures, (count, 2): each for some time, in any combination."""
    rng, rows = np.random.default_rng(1000 + seed), list[npt.NDArray[np.uint8]]()
    while len(rows) < count:
        rows += [rng.integers(0, 2, 2, dtype=np.uint8)] * int(rng.integers(12, 28))
    return np.stack(rows[:count])
