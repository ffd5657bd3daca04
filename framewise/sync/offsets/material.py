"""Measurements of one recording."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from framewise.sync.offsets.movement import Movement
from framewise.sync.offsets.sound import Sound


@dataclass
class Material:
    """A recording's file, header and measurements. no_sound, no_picture: the reason why there is none."""

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
