"""How much moves where in the picture: a channel of motion beside the backbone's features, from the same decoding pass.

A picture's motion is the mean difference of brightness between it and an earlier one, in each cell of a grid, over two spans of
time. Labels are often about movement, which a network that sees single pictures cannot tell; see docs/decisions/0012.
"""

import collections
from typing import Any

import numpy as np
import numpy.typing as npt

GRID = 4
SPANS_SECONDS = (2 / 30, 8 / 30)
MOTION_SIZE = len(SPANS_SECONDS) * GRID * GRID
THUMBNAIL = 56
# Pictures that may lie in the longest span: enough for 240 a second.
KEPT_PICTURES = 70


class Motion:
    """Takes the pictures of a video one after the other."""

    def __init__(self) -> None:
        self._earlier: collections.deque[tuple[float, npt.NDArray[np.float32]]] = collections.deque(maxlen=KEPT_PICTURES)

    def of(self, image: Any, seconds: float) -> npt.NDArray[np.float32]:
        """Motion (MOTION_SIZE,) of a preprocessed picture, a tensor (3, S, S) in [0, 1]: by span, then row, then column.

        It is compared with the picture that is nearest to a span earlier, and so has none if it is the first.
        """
        thumbnail = _thumbnail(image)
        self._earlier.append((seconds, thumbnail))
        times = np.array([time for time, _ in self._earlier])
        nearest = [int(np.argmin(np.abs(times - (seconds - span)))) for span in SPANS_SECONDS]
        return np.concatenate([_cells(np.abs(thumbnail - self._earlier[n][1])) for n in nearest])


def _thumbnail(image: Any) -> npt.NDArray[np.float32]:
    from torch.nn.functional import adaptive_avg_pool2d

    small: npt.NDArray[np.float32] = adaptive_avg_pool2d(image.mean(0, keepdim=True), THUMBNAIL)[0].numpy()
    return small


def _cells(difference: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    side = THUMBNAIL // GRID
    means: npt.NDArray[np.float32] = difference.reshape(GRID, side, GRID, side).mean(axis=(1, 3)).reshape(-1)
    return means
