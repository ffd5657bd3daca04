"""Pictures to the network's input: two profiles, which are cached separately.

``exact`` is Ultralytics' own preprocessing, bit for bit: the whole picture to RGB, resized by Pillow. ``fast`` does the same
for small pictures, where it costs little. In large ones, FFmpeg scales the planes in the file's own pixel format, and only the
result becomes RGB: a fifth of the time, and equally good for learning (docs/decisions/0016).
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from av.video.reformatter import Interpolation, VideoReformatter

from framewise.media.video import Picture

Image = npt.NDArray[np.uint8]
Preprocessor = Callable[[Picture], Image]

PROFILES = ("fast", "exact")
FILTERS = {"bilinear": Interpolation.BILINEAR, "bicubic": Interpolation.BICUBIC, "lanczos": Interpolation.LANCZOS}
GREY = 114  # as Ultralytics pads


@dataclass(frozen=True)
class Resizing:
    """Resizing in a network's own evaluation.

    side:   to which a picture is resized before the middle is cut out; None for the side of the input
    filter: of FILTERS
    square: both sides become ``side``, and proportions are lost; otherwise the shorter one does
    """

    side: int | None = None
    filter: str = "bilinear"
    square: bool = False


def preprocessor(profile: str, crop: str, size: int, resizing: Resizing | None = None) -> Preprocessor:
    """Function that converts a picture to the network's input, RGB (size, size, 3). Thread-safe.

    profile:  "exact" or "fast".
    crop:     "center" (as in the network's own evaluation, for most of them the middle square), "squash" (the whole picture,
              proportions lost), "fit" (the whole picture, in grey).
    resizing: of the network; its side and square count for "center" alone. None: ``Resizing()``.
    """
    if profile == "exact":
        return _Exact(crop, size, resizing or Resizing())
    return _Fast(crop, size, resizing or Resizing())


class _Exact:
    """Ultralytics' and timm's transforms, which are torchvision's, by Pillow: torchvision takes over a second to import."""

    def __init__(self, crop: str, size: int, resizing: Resizing):
        from PIL import Image as PillowImage

        self._from_array = PillowImage.fromarray
        self._transform = _pillow_transform(crop, size, resizing)

    def __call__(self, picture: Picture) -> Image:
        return np.asarray(self._transform(self._from_array(picture.rgb)))


def _pillow_transform(crop: str, size: int, resizing: Resizing) -> Callable[[Any], Any]:
    from PIL import Image as PillowImage
    from PIL import ImageOps

    how, side = PillowImage.Resampling[resizing.filter.upper()], resizing.side or size

    def center(image: Any) -> Any:
        scaled = image.resize((side, side) if resizing.square else shortest_side(image.size, side), how)
        left, top = (round((length - size) / 2) for length in scaled.size)
        return scaled.crop((left, top, left + size, top + size))

    if crop == "center":  # Ultralytics' classify_transforms and timm's transforms_imagenet_eval, without their scaling
        return center
    if crop == "squash":
        return lambda image: image.resize((size, size), how)
    return lambda image: ImageOps.pad(image, (size, size), color=(GREY, GREY, GREY))


def shortest_side(picture: tuple[int, int], size: int) -> tuple[int, int]:
    """Width and height of a picture whose shorter side is scaled to ``size``, as by torchvision's Resize."""
    width, height = picture
    short = min(picture)
    return max(int(size * width / short), size), max(int(size * height / short), size)


class _Fast:
    """FFmpeg's scaler, which averages when it shrinks, as Pillow's does."""

    LARGE = 2  # times the required height or width: below, the scalers' different handling of colour would show in the features
    # Colour is interpolated too: otherwise colour edges are off by up to a sixth of the range.
    HOW = Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND

    def __init__(self, crop: str, size: int, resizing: Resizing):
        self._crop, self._size, self._resizing = crop, size, resizing
        self._how = FILTERS[resizing.filter] | self.HOW
        self._of_thread = threading.local()  # a scaler keeps state of the last picture
        self._of_small = _Exact(crop, size, resizing)

    def __call__(self, picture: Picture) -> Image:
        width, height = picture.frame.width, picture.frame.height
        if min(width, height) < self.LARGE * self._size:
            return self._of_small(picture)
        if picture.lies_on_its_side:
            width, height = height, width
        width, height = self._scaled(width, height)
        if picture.lies_on_its_side:
            width, height = height, width
        if not hasattr(self._of_thread, "scaler"):
            self._of_thread.scaler = VideoReformatter()
        frame = self._of_thread.scaler.reformat(picture.frame, width, height, "rgb24", interpolation=self._how, threads=1)
        scaled: Any = frame.to_ndarray()
        return self._square(picture.upright(scaled))

    def _scaled(self, width: int, height: int) -> tuple[int, int]:
        """Size to which a picture is scaled, as by torchvision's Resize and Pillow's contain."""
        size, side = self._size, self._resizing.side or self._size
        if self._crop == "squash":
            return size, size
        if self._crop == "center" and self._resizing.square:
            return side, side
        if self._crop == "center":
            return shortest_side((width, height), side)
        long = max(width, height)
        return max(round(size * width / long), 1), max(round(size * height / long), 1)

    def _square(self, image: Image) -> Image:
        size = self._size
        height, width = image.shape[:2]
        if height >= size and width >= size:
            top, left = round((height - size) / 2), round((width - size) / 2)
            return image[top : top + size, left : left + size]
        square = np.full((size, size, 3), GREY, dtype=np.uint8)
        top, left = round((size - height) * 0.5), round((size - width) * 0.5)
        square[top : top + height, left : left + width] = image
        return square
