"""Interface of engines."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

CPU_BATCH = 8  # larger batches exceed the processor's cache

Pictures = npt.NDArray[np.uint8]
Features = npt.NDArray[np.float32]
Colour = float | tuple[float, float, float]


class Engine(Protocol):
    """Maps pictures (B, S, S, 3) to features (B, D). Calls may overlap. ``batch``: best number of pictures per call."""

    batch: int

    def __call__(self, pictures: Pictures) -> Features: ...
