"""Ultralytics' pose networks: persons in a picture, and their key points.

Pictures are prepared, and what the network finds is chosen, as by Ultralytics' own ``predict``. Objects of other networks,
such as animals, count as persons.
"""

import copy
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from framewise.features.preprocessing import GREY
from framewise.features.ultralytics_checkpoint import PoseCheckpoint

# As in Ultralytics' predict: least confidence of an object, overlap above which two are the same one, most objects.
MIN_CONFIDENCE, SAME_IOU, MAX_OBJECTS = 0.25, 0.7, 300
BOX, CONFIDENCE, KIND, POINTS = slice(0, 4), 4, 5, 6  # columns of a found object

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class PoseNetwork:
    """A pose network in PyTorch and single precision, on the GPU if there is one. Thread-safe.

    points: number of key points of a person, and of numbers of each: x, y and, of 3, a confidence.
    """

    def __init__(self, checkpoint: PoseCheckpoint):
        import torch

        self._torch, self._about = torch, checkpoint
        self.points = checkpoint.points
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        network = copy.deepcopy(checkpoint.network)
        network.fuse(verbose=False)
        self._network = network.eval().to(self._device, memory_format=torch.channels_last)
        self._of_shape: dict[tuple[int, int], Any] = {}

    @property
    def batch(self) -> int:
        """Best number of pictures per call."""
        return 8 if self._device == "cuda" else 2

    def find(self, images: Sequence[Image]) -> list[Floats]:
        """Persons in pictures RGB (H, W, 3) of one size, most confident first: (N, 6 + numbers of key points) of each picture.

        A person is x1, y1, x2, y2, confidence, kind and key points, in pixels of the picture.
        """
        boxed = np.stack([self._letterboxed(image) for image in images])
        with self._torch.inference_mode():
            batch = self._torch.from_numpy(boxed).to(self._device).permute(0, 3, 1, 2)
            output = self._for_shape((boxed.shape[1], boxed.shape[2]))(batch.float().div_(255))[0].float().cpu().numpy()
        height, width = images[0].shape[:2]
        return [self._in_picture(self._objects(own), width, height) for own in output]

    def _for_shape(self, shape: tuple[int, int]) -> Any:
        """The network for pictures of a shape. Its head keeps the places of its cells for the last shape, so that threads with
        other shapes need another one; weights are shared."""
        found = self._of_shape.get(shape)
        if found is None:
            tensors = [*self._network.parameters(), *self._network.buffers()]
            found = self._of_shape.setdefault(shape, copy.deepcopy(self._network, {id(tensor): tensor for tensor in tensors}))
        return found

    def _scale(self, width: int, height: int) -> float:
        return min(self._about.image_size / width, self._about.image_size / height)

    def _margins(self, width: int, height: int) -> tuple[float, float]:
        """Grey pixels to add to the scaled picture so that its sides are multiples of the stride."""
        scale, size, stride = self._scale(width, height), self._about.image_size, self._about.stride
        return (size - round(width * scale)) % stride, (size - round(height * scale)) % stride

    def _letterboxed(self, image: Image) -> Image:
        height, width = image.shape[:2]
        scale = self._scale(width, height)
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        scaled = image if size == (width, height) else cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        x, y = (margin / 2 for margin in self._margins(width, height))
        sides = round(y - 0.1), round(y + 0.1), round(x - 0.1), round(x + 0.1)
        return np.asarray(cv2.copyMakeBorder(scaled, *sides, cv2.BORDER_CONSTANT, value=(GREY,) * 3), dtype=np.uint8)

    def _objects(self, output: Floats) -> Floats:
        """Objects (N, 6 + numbers of key points) in the network's output of a picture, in pixels of its input."""
        if self._about.end_to_end:
            return output[output[:, CONFIDENCE] > MIN_CONFIDENCE]
        kinds = output[4 : 4 + self._about.classes]
        likely = kinds.max(axis=0) > MIN_CONFIDENCE
        output, kinds = output[:, likely], kinds[:, likely]
        centre, half = output[:2], output[2:4] / 2
        kind = kinds.argmax(axis=0)[np.newaxis].astype(np.float32)
        rows = [
            centre - half,
            centre + half,
            kinds.max(axis=0, initial=0.0)[np.newaxis],
            kind,
            output[4 + self._about.classes :],
        ]
        return _each_once(np.concatenate(rows).T)

    def _in_picture(self, objects: Floats, width: int, height: int) -> Floats:
        """Objects in pixels of the picture, none outside of it."""
        scale, (x, y) = self._scale(width, height), self._margins(width, height)
        found = objects.copy()
        places = [found[:, BOX].reshape(len(found), 2, 2), found[:, POINTS:].reshape(len(found), *self.points)]
        for place in places:
            place[..., 0] = ((place[..., 0] - round(x / 2 - 0.1)) / scale).clip(0, width)
            place[..., 1] = ((place[..., 1] - round(y / 2 - 0.1)) / scale).clip(0, height)
        found[:, BOX] = places[0].reshape(len(found), 4)
        found[:, POINTS:] = places[1].reshape(len(found), self.points[0] * self.points[1])
        return found


def _each_once(objects: Floats) -> Floats:
    """Objects by falling confidence, without those that overlap a more confident one of their kind."""
    rest = np.argsort(-objects[:, CONFIDENCE], kind="stable")
    boxes, kinds = np.ascontiguousarray(objects[:, BOX]), objects[:, KIND]
    kept: list[int] = []
    while len(rest) and len(kept) < MAX_OBJECTS:
        best, rest = int(rest[0]), rest[1:]
        kept.append(best)
        rest = rest[(_overlaps(boxes[best], boxes[rest]) <= SAME_IOU) | (kinds[rest] != kinds[best])]
    return objects[kept]


def _overlaps(one: Floats, others: Floats) -> Floats:
    """Intersection over union of a box with others, (N,)."""
    low, high = np.maximum(one[:2], others[:, :2]), np.minimum(one[2:4], others[:, 2:4])
    shared = (high - low).clip(0).prod(axis=1)
    own, areas = (one[2:4] - one[:2]).prod(), (others[:, 2:4] - others[:, :2]).prod(axis=1)
    found: Floats = shared / np.maximum(own + areas - shared, 1e-9)
    return found
