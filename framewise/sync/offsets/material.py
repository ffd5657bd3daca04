"""Everything that was measured of one recording."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from framewise.sync.offsets.movement import Movement
from framewise.sync.offsets.sound import Sound


@dataclass
class Material:
    """A recording's file, its header, and what was measured in it. no_sound, no_picture: why there is none, in words."""

    path: Path
    name: str
    duration: float
    frame_rate: Fraction | None
    frames: int | None
    sample_rate: int | None
    sound: Sound | None = None
    movement: Movement | None = None
    no_sound: str = ""
    no_picture: str = ""
