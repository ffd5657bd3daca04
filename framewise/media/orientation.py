"""Orientation of a file's pictures: turned by quarters, mirrored, or as they lie in the file."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import Type

UNIT = 1 << 16  # 1.0 in a display matrix
MATRIX = struct.Struct("=9i")


@dataclass(frozen=True)
class Orientation:
    """Steps from a picture as it lies in the file to the one that is shown: mirrored left and right, if it is, then turned
    counter-clockwise by ``quarter_turns``."""

    quarter_turns: int = 0
    mirrored: bool = False

    @property
    def lies_on_its_side(self) -> bool:
        """True if width and height change places."""
        return self.quarter_turns % 2 == 1

    def upright(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The image (H, W, 3) as it is shown."""
        if self == AS_IT_LIES:
            return image
        return np.ascontiguousarray(np.rot90(image[:, ::-1] if self.mirrored else image, self.quarter_turns))


AS_IT_LIES = Orientation()

# By the signs of the matrix's elements 0, 1, 3 and 4: x' = m0 x + m3 y, y' = m1 x + m4 y, with y downwards.
_ORIENTATIONS = {
    (1, 0, 0, 1): AS_IT_LIES,
    (0, -1, 1, 0): Orientation(1),
    (-1, 0, 0, -1): Orientation(2),
    (0, 1, -1, 0): Orientation(3),
    (-1, 0, 0, 1): Orientation(0, mirrored=True),
    (0, 1, 1, 0): Orientation(1, mirrored=True),
    (1, 0, 0, -1): Orientation(2, mirrored=True),
    (0, -1, -1, 0): Orientation(3, mirrored=True),
}


def orientation_of(matrix: Sequence[int]) -> Orientation:
    """Orientation by a display matrix: nine numbers as FFmpeg gives them, of which 65536 is 1.

    As Chromium 156 shows files with 80 different matrices: quarter turns and mirrored ones alone count, and these exactly. By
    any other angle nothing is turned, nor by a matrix that shears, makes smaller or is singular; zoom is left out. A zoomed
    turn is one to the left, whichever it is: Chromium takes a sine above 1 for a negative one.
    """
    m0, m1, m3, m4 = matrix[0], matrix[1], matrix[3], matrix[4]
    upright = m1 == m3 == 0 and abs(m0) == abs(m4) == UNIT
    on_its_side = m0 == m4 == 0 and abs(m1) == abs(m3) >= UNIT
    if not upright and not on_its_side:
        return AS_IT_LIES
    if abs(m1) > UNIT:
        m1, m3 = -abs(m1), m3 if m1 < 0 else -m3
    return _ORIENTATIONS[_sign(m0), _sign(m1), _sign(m3), _sign(m4)]


def matrix_of(frame: Any) -> tuple[int, ...] | None:
    """Display matrix of one of PyAV's frames."""
    found = frame.side_data.get(Type.DISPLAYMATRIX)
    content = b"" if found is None else bytes(found)
    return MATRIX.unpack(content) if len(content) == MATRIX.size else None


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)
