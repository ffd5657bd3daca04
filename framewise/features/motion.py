"""How much moves where in the picture, and in what shape: beside the backbone's features, from the same decoding pass.

A picture's motion is the difference of brightness between it and an earlier one, over two spans of time: its mean in each cell
of a grid, and the moments of where it is. Labels are often about movement, which a network that sees single pictures cannot
tell; see docs/decisions/0012.
"""

import collections
from typing import Any

import numpy as np
import numpy.typing as npt

GRID = 4
SPANS_SECONDS = (2 / 30, 8 / 30)
SHAPE_SIZE = 6  # amount, middle (y, x), spread (y, x), covariance
SPAN_SIZE = GRID * GRID + SHAPE_SIZE
MOTION_SIZE = len(SPANS_SECONDS) * SPAN_SIZE
THUMBNAIL = 56
DARKEST = 0.02  # added to a brightness from 0 to 1 before its root is taken: the noise of black counts less
STILL = 0.02  # a difference that is no movement: noise of sensor and encoding
EVENLY = 1e-7  # where nothing moves, what moves is spread evenly
# Pictures that may lie in the longest span: enough for 240 a second.
KEPT_PICTURES = 70

FloatArray = npt.NDArray[np.float32]


class Motion:
    """Takes the pictures of a video one after the other."""

    def __init__(self) -> None:
        self._earlier: collections.deque[tuple[float, FloatArray]] = collections.deque(maxlen=KEPT_PICTURES)

    def of(self, image: Any, seconds: float) -> FloatArray:
        """Motion (MOTION_SIZE,) of a preprocessed picture, a tensor (3, S, S) in [0, 1]: of each span the cells, by row, then
        column, and then the shape.

        It is compared with the picture that is nearest to a span earlier, and so has none if it is the first.
        """
        thumbnail = _thumbnail(image)
        self._earlier.append((seconds, thumbnail))
        times = np.array([time for time, _ in self._earlier])
        nearest = [int(np.argmin(np.abs(times - (seconds - span)))) for span in SPANS_SECONDS]
        differences = [np.abs(thumbnail - self._earlier[n][1]) for n in nearest]
        return np.concatenate([part for difference in differences for part in (_cells(difference), _shape(difference))])


def _thumbnail(image: Any) -> FloatArray:
    """Brightness (THUMBNAIL, THUMBNAIL). Its root: a step in the dark is worth as much as a larger one in the light, as to the
    eye."""
    from torch.nn.functional import adaptive_avg_pool2d

    small = adaptive_avg_pool2d(image.mean(0, keepdim=True), THUMBNAIL)[0]
    brightness: FloatArray = (small + DARKEST).sqrt().numpy()
    return brightness


def _cells(difference: FloatArray) -> FloatArray:
    side = THUMBNAIL // GRID
    means: FloatArray = difference.reshape(GRID, side, GRID, side).mean(axis=(1, 3)).reshape(-1)
    return means


def _shape(difference: FloatArray) -> FloatArray:
    """(SHAPE_SIZE,): mean difference beyond what is still; its middle, standard deviations and covariance, in sides of the
    picture, y downwards."""
    moves = np.maximum(difference - np.float32(STILL), 0)
    weights = (moves + np.float32(EVENLY)).astype(np.float64)
    weights /= weights.sum()
    rows, columns, places = weights.sum(1), weights.sum(0), (np.arange(THUMBNAIL) + 0.5) / THUMBNAIL
    y, x = rows @ places, columns @ places
    covariance = (places - y) @ weights @ (places - x)
    spread = np.sqrt(rows @ (places - y) ** 2), np.sqrt(columns @ (places - x) ** 2)
    return np.array([moves.mean(), y, x, *spread, covariance], dtype=np.float32)
