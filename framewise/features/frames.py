"""Decoded frames as bytes: their planes, their size, and whether two hold the same picture."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt


def holds_same(one: Any, other: Any) -> bool:
    """True if two frames hold the same picture: in screen recordings most do, and where a rate was padded."""
    if (one.width, one.height, one.format.name) != (other.width, other.height, other.format.name):
        return False
    return all(
        np.array_equal(a[len(a) // 2], b[len(b) // 2]) and np.array_equal(a, b)  # most pictures differ in any line
        for a, b in zip(planes(one), planes(other), strict=True)
    )


def planes(frame: Any) -> Iterator[npt.NDArray[np.uint8]]:
    """Bytes of a frame's planes (lines, bytes), without the padding of lines if one byte is one sample."""
    one_byte = frame.format.is_planar and all(part.bits <= 8 for part in frame.format.components)
    for plane in frame.planes:
        lines = np.frombuffer(plane, dtype=np.uint8).reshape(-1, plane.line_size)
        yield lines[:, : plane.width] if one_byte else lines


def num_bytes(frame: Any) -> int:
    """Approximate memory: the decoded frame, and its RGB copy during resizing."""
    return sum(int(plane.buffer_size) for plane in frame.planes) + 3 * int(frame.width) * int(frame.height)
