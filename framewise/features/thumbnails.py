"""Thumbnails of decoded pictures for motion, made from the planes of the file's own pixel format.

Much cheaper than scaling a whole picture for the backbone, and nearly equal to ``motion.thumbnails_of`` its result.
"""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from framewise.features.frames import planes
from framewise.features.motion import DARKEST, THUMBNAIL, FloatArray, thumbnails_of
from framewise.features.preprocessing import GREY, Preprocessor
from framewise.media.video import Picture

# Mean of red, green and blue as a sum of brightness and colour differences (ITU-R BT.601), of levels 16 to 235 and 16 to 240.
BRIGHTNESS, BLUE, RED, BLACK, NEUTRAL = 255 / 219, 0.476 * 255 / 224, 0.229 * 255 / 224, 16, 128
HALVED_FROM = 3 * THUMBNAIL  # sides: halving is fast; a last step of 1.5 or more leaves little aliasing

Plane = npt.NDArray[Any]


class Thumbnailer:
    """Makes thumbnails of pictures, cropped like those for the backbone. prepared: for pixel formats without such planes."""

    def __init__(self, crop: str, prepared: Preprocessor):
        self._crop, self._prepared = crop, prepared

    def __call__(self, picture: Picture) -> FloatArray:
        """Brightness (THUMBNAIL, THUMBNAIL) as its root."""
        if not _is_plain(picture.frame.format):
            whole: FloatArray = thumbnails_of(self._prepared(picture)[np.newaxis])[0]
            return whole
        light, blue, red = map(self._small, planes(picture.frame))
        mean = (light - BLACK) * BRIGHTNESS + (blue - NEUTRAL) * BLUE + (red - NEUTRAL) * RED
        if self._crop == "fit":
            mean = _framed(mean, picture.frame.width, picture.frame.height)
        root = np.sqrt(np.clip(mean, 0, 255) / np.float32(255) + np.float32(DARKEST))
        upright: FloatArray = picture.upright(root)
        return upright

    def _small(self, plane: Plane) -> Plane:
        if self._crop == "center":
            height, width = plane.shape
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            plane = plane[top : top + side, left : left + side]
        while min(plane.shape) >= HALVED_FROM:
            height, width = plane.shape[0] // 2, plane.shape[1] // 2
            plane = _resized(plane[: 2 * height, : 2 * width], width, height)
        return _resized(plane.astype(np.float32), THUMBNAIL, THUMBNAIL)  # rounding would show as noise in the dark


def _is_plain(pixels: Any) -> bool:
    """True for three planes of a byte a sample: brightness, blue and red."""
    parts = pixels.components
    return bool(pixels.is_planar and not pixels.is_rgb and len(parts) == 3 and all(part.bits == 8 for part in parts))


def _resized(plane: Plane, width: int, height: int) -> Plane:
    resized: Plane = cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA)
    return resized


def _framed(mean: Plane, width: int, height: int) -> Plane:
    """Squashed picture with its proportions restored, in grey."""
    long = max(width, height)
    across, down = max(round(THUMBNAIL * width / long), 1), max(round(THUMBNAIL * height / long), 1)
    square = np.full((THUMBNAIL, THUMBNAIL), GREY, dtype=np.float32)
    top, left = (THUMBNAIL - down) // 2, (THUMBNAIL - across) // 2
    square[top : top + down, left : left + across] = _resized(mean, across, down)
    return square
