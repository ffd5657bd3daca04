"""Orientation of a file's pictures: quarter turns and mirroring."""

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
    """Transformation of a stored picture into the shown one: mirrored left to right if ``mirrored``, then turned
    counter-clockwise by ``quarter_turns``."""

    quarter_turns: int = 0
    mirrored: bool = False

    @property
    def lies_on_its_side(self) -> bool:
        """True if width and height are exchanged."""
        return self.quarter_turns % 2 == 1

    def upright(self, image: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Apply the transformation to an image, (H, W) or (H, W, 3)."""
        if self == AS_IT_LIES:
            return image
        return np.ascontiguousarray(np.rot90(image[:, ::-1] if self.mirrored else image, self.quarter_turns))


AS_IT_LIES = Orientation()

# Signs of the matrix's elements 0, 1, 3 and 4 -> orientation: x' = m0 x + m3 y, y' = m1 x + m4 y, with y downwards.
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
    """Orientation from a display matrix: nine numbers as in FFmpeg, in units of 1/65536.

    Same as in Chromium 156 for files with 80 different matrices: only exact quarter turns, possibly mirrored, have an effect.
    Other angles, shear, reduction and singular matrices have none; enlargement is ignored. An enlarged quarter turn is always
    one to the left, because Chromium reads a sine above 1 as a negative one.
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
    """Display matrix of a PyAV frame."""
    found = frame.side_data.get(Type.DISPLAYMATRIX)
    content = b"" if found is None else bytes(found)
    return MATRIX.unpack(content) if len(content) == MATRIX.size else None


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)
