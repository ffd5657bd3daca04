"""Amount, place and shape of motion in a picture, computed in the same decoding pass as the backbone's features.

Motion is the difference of brightness between a picture and an earlier one, over two time spans: its mean in each cell of a
grid, and the moments of its position. Labels are often about movement, which a network that sees single pictures cannot
detect; see docs/decisions/0012.
"""

import cv2
import numpy as np
import numpy.typing as npt

GRID = 4
SPANS_SECONDS = (2 / 30, 8 / 30)
SHAPE_SIZE = 6  # amount, centre (y, x), spread (y, x), covariance
SPAN_SIZE = GRID * GRID + SHAPE_SIZE
MOTION_SIZE = len(SPANS_SECONDS) * SPAN_SIZE
THUMBNAIL = 56
DARKEST = 0.02  # added to a brightness from 0 to 1 before taking the root, so that noise in black counts less
STILL = 0.02  # a difference that is no movement but noise of sensor and encoding
EVENLY = 1e-7  # if nothing moves, the motion counts as spread evenly
# Pictures that may lie in the longest span: enough for 240 per second.
KEPT_PICTURES = 70

FloatArray = npt.NDArray[np.float32]


class Motion:
    """Computes the motion of a video's pictures, batch by batch."""

    def __init__(self) -> None:
        self._times: npt.NDArray[np.float64] = np.empty(0)
        self._thumbnails: FloatArray = np.empty((0, THUMBNAIL, THUMBNAIL), dtype=np.float32)

    def of(self, thumbnails: FloatArray, seconds: npt.NDArray[np.float64]) -> FloatArray:
        """Motion (B, MOTION_SIZE) of pictures; for each span the cells, by row, then column, and then the shape.

        thumbnails (B, THUMBNAIL, THUMBNAIL); seconds (B,), ascending. A picture is compared with the one nearest to a span
        earlier, so the first picture has no motion.
        """
        self._times = np.concatenate([self._times, seconds])
        self._thumbnails = np.concatenate([self._thumbnails, thumbnails])
        rows = np.arange(len(self._times) - len(seconds), len(self._times))
        parts = []
        for span in SPANS_SECONDS:
            difference = np.abs(thumbnails - self._thumbnails[self._nearest(rows, span)])
            parts += [_cells(difference), _shape(difference)]
        self._times, self._thumbnails = self._times[-KEPT_PICTURES:], self._thumbnails[-KEPT_PICTURES:]
        return np.concatenate(parts, axis=1)

    def _nearest(self, rows: npt.NDArray[np.int64], span: float) -> npt.NDArray[np.int64]:
        """For each row, the earlier one nearest to ``span`` before it; of two, the earlier."""
        wanted = self._times[rows] - span
        after = np.searchsorted(self._times, wanted)
        before = np.maximum(after - 1, 0)
        is_before = wanted - self._times[before] <= self._times[after] - wanted
        nearest: npt.NDArray[np.int64] = np.maximum(np.where(is_before, before, after), rows - KEPT_PICTURES + 1)
        return nearest


def thumbnails_of(images: npt.NDArray[np.uint8]) -> FloatArray:
    """Brightness (B, THUMBNAIL, THUMBNAIL) of preprocessed pictures (B, S, S, 3), as its root: a step in the dark counts as
    much as a larger one in the light, as for the eye."""
    small = [cv2.resize(image.astype(np.float32), (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA) for image in images]
    brightness: FloatArray = np.sqrt(np.stack(small).mean(axis=-1) / 255 + np.float32(DARKEST))
    return brightness


def _cells(difference: FloatArray) -> FloatArray:
    """Means of each cell, (B, GRID * GRID)."""
    side = THUMBNAIL // GRID
    means: FloatArray = difference.reshape(-1, GRID, side, GRID, side).mean(axis=(2, 4)).reshape(-1, GRID * GRID)
    return means


def _shape(difference: FloatArray) -> FloatArray:
    """(B, SHAPE_SIZE): mean difference above the noise; its centre, standard deviations and covariance, in units of the
    picture's sides, y downwards."""
    moves = np.maximum(difference - np.float32(STILL), 0)
    weights = (moves + np.float32(EVENLY)).astype(np.float64)
    weights /= weights.sum(axis=(1, 2), keepdims=True)
    rows, columns, places = weights.sum(2), weights.sum(1), (np.arange(THUMBNAIL) + 0.5) / THUMBNAIL
    y, x = rows @ places, columns @ places
    from_y, from_x = places - y[:, None], places - x[:, None]
    covariance = np.einsum("bi,bij,bj->b", from_y, weights, from_x, optimize=True)
    spread_y, spread_x = np.sqrt((rows * from_y**2).sum(1)), np.sqrt((columns * from_x**2).sum(1))
    return np.stack([moves.mean(axis=(1, 2)), y, x, spread_y, spread_x, covariance], axis=1).astype(np.float32)
