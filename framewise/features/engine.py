"""Interface of engines."""

from collections.abc import Iterable
from typing import Protocol

import numpy as np
import numpy.typing as npt

CPU_BATCH = 8  # larger batches exceed the processor's cache

Pictures = npt.NDArray[np.uint8]
Features = npt.NDArray[np.float32]
Colour = float | tuple[float, float, float]


def of_255(colours: Iterable[float]) -> Colour:
    """Numbers of red, green and blue for colours from 0 to 1, for colours from 0 to 255."""
    red, green, blue = (255 * float(value) for value in colours)
    return red, green, blue


class Engine(Protocol):
    """Maps pictures (B, S, S, 3) to features (B, D). Calls may overlap. ``batch``: best number of pictures per call."""

    batch: int

    def __call__(self, pictures: Pictures) -> Features: ...
