"""Choice of the pictures that the backbone computes, and the rows of those between them.

Ten pictures a second are computed, as many as the default learner reads; more where pictures change a lot, none while they stay
the same. Whether a picture is chosen depends on pictures up to a second before it and on the next one, but not on how a pass is
divided into batches and chunks or where it was interrupted. See docs/decisions/0016.
"""

from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from framewise.features.frames import holds_same
from framewise.features.motion import STILL, FloatArray
from framewise.media.video import Picture

PER_SECOND = 10
# Mean difference of brightness between neighbours from which both are computed: a cut, a light, a fast pan. Of a camera that is
# held by hand it is .02 to .05.
CHANGED = 0.06
MOST_CHOSEN = 32  # in a stretch, however few of them are computed


class PictureChoice(Enum):
    """Source of a picture's features: the backbone, the chosen picture before it, or both chosen pictures around it."""

    COMPUTED = "computed"
    SAME = "same"
    BETWEEN = "between"


@dataclass(frozen=True)
class Chosen:
    """A picture with its thumbnail, and the choice."""

    picture: Picture
    thumbnail: FloatArray
    choice: PictureChoice


class Chooser:
    """Decides on the pictures of a video in order, on each when the next one is known."""

    def __init__(self, time_base: Fraction):
        self._time_base = time_base
        self._last: tuple[Picture, FloatArray] | None = None
        self._slot = -1
        self._wanted = True  # the last picture: the first one of its tenth of a second, or the first one after a change
        # Since a picture was chosen: any difference at all; its second; whether its features are exactly its own.
        self._differs, self._second, self._is_exact = True, -1, False
        self._computed: FloatArray | None = None  # thumbnail of the picture whose features were used last, of this second

    def follow(self, picture: Picture, thumbnail: FloatArray) -> list[Chosen]:
        """Take the next picture. Returns the one before it, if there is one, decided on."""
        found, slot = [], self._slot_of(picture)
        if self._last is not None:
            before, seen = self._last
            differs = not holds_same(before.frame, picture.frame)
            changes = differs and float(np.abs(thumbnail - seen).mean()) > CHANGED
            found.append(Chosen(before, seen, self._decided(self._wanted or changes)))
            self._differs |= differs
            self._wanted = slot != self._slot or changes
        self._last, self._slot = (picture, thumbnail), slot
        return found

    def end(self) -> list[Chosen]:
        """Return the last picture. It is chosen, so that all others are before or between chosen ones."""
        return [] if self._last is None else [Chosen(*self._last, self._decided(True))]

    def _decided(self, wanted: bool) -> PictureChoice:
        """Decision on the last picture."""
        if self._last is None or not wanted:
            return PictureChoice.BETWEEN
        thumbnail, second = self._last[1], self._slot // PER_SECOND
        begins, self._second = second != self._second, second
        differs, self._differs = self._differs, False
        if not differs and self._is_exact:
            if begins:
                self._computed = thumbnail
            return PictureChoice.SAME
        # In each second, the first chosen picture is computed unless it is exactly the same: small changes do not add up.
        if not begins and self._computed is not None and np.abs(thumbnail - self._computed).max() <= STILL:
            self._is_exact = False
            return PictureChoice.SAME
        self._computed, self._is_exact = thumbnail, True
        return PictureChoice.COMPUTED

    def _slot_of(self, picture: Picture) -> int:
        return int(picture.pts * self._time_base.numerator * PER_SECOND // self._time_base.denominator)


@dataclass
class PictureStretch:
    """Consecutive pictures; a complete stretch ends with a chosen one. chosen (A,): positions of chosen ones; index (A,): which
    of ``computed`` each is, -1 for the last one of the previous stretch."""

    pts: list[int] = field(default_factory=list)
    thumbnails: list[FloatArray] = field(default_factory=list)
    chosen: list[int] = field(default_factory=list)
    index: list[int] = field(default_factory=list)
    computed: list[Picture] = field(default_factory=list)

    def add(self, found: Chosen) -> None:
        if found.choice is not PictureChoice.BETWEEN:
            if found.choice is PictureChoice.COMPUTED:
                self.computed.append(found.picture)
            self.chosen.append(len(self.pts))
            self.index.append(len(self.computed) - 1)
        self.pts.append(found.picture.pts)
        self.thumbnails.append(found.thumbnail)

    @property
    def is_long(self) -> bool:
        return len(self.chosen) >= MOST_CHOSEN

    def split(self) -> "tuple[PictureStretch, PictureStretch]":
        """Part up to the last chosen picture, and the pictures after it."""
        end = self.chosen[-1] + 1
        whole = PictureStretch(self.pts[:end], self.thumbnails[:end], self.chosen, self.index, self.computed)
        return whole, PictureStretch(self.pts[end:], self.thumbnails[end:])


def interpolated(pts: npt.NDArray[np.int64], chosen_pts: npt.NDArray[np.int64], chosen: FloatArray) -> FloatArray:
    """Features (P, D) at times ``pts`` (P,), linear in time between those of the chosen pictures, (A, D) at (A,). All times are
    within those of the chosen ones."""
    after = np.searchsorted(chosen_pts, pts)
    before = np.maximum(after - 1, 0)
    step = np.maximum(chosen_pts[after] - chosen_pts[before], 1)
    share = ((pts - chosen_pts[before]) / step).astype(np.float32)
    # Of equal ends this is exactly their value.
    rows: FloatArray = chosen[before] + share[:, None] * (chosen[after] - chosen[before])
    return rows
