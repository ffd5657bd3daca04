"""Kinds of media that are labelled in time: Label Studio's tags, region types and units."""

from dataclasses import dataclass
from typing import Literal

Unit = Literal["frames", "samples", "seconds"]


@dataclass(frozen=True)
class MediaKind:
    """A kind of media.

    control: tag of its controls. object: tag that shows it; older_objects: earlier names of that tag. region: type of its
    regions, and name of the field with their labels. unit: of its regions' ends. noun: its name for users. cached_as: used in
    cache keys in place of a backbone's content; "" for media whose features come from a backbone. only_here: False if the
    control tag is also used on text and other objects, where it is ignored.
    """

    control: str
    object: str
    region: str
    unit: Unit
    noun: str
    cached_as: str = ""
    older_objects: tuple[str, ...] = ()
    only_here: bool = True

    @property
    def possessive(self) -> str:
        return self.noun + ("'" if self.noun.endswith("s") else "'s")

    @property
    def tag(self) -> str:
        """Name of the tag that shows it, with an article."""
        return f"{'an' if self.object[0] in 'AEIOU' else 'a'} {self.object}"


VIDEO = MediaKind("TimelineLabels", "Video", "timelinelabels", "frames", "video")
SOUND = MediaKind("Labels", "Audio", "labels", "seconds", "sound", "sound", ("AudioPlus",), only_here=False)
SERIES = MediaKind("TimeSeriesLabels", "TimeSeries", "timeserieslabels", "samples", "series", "time series")

MEDIA = {kind.control: kind for kind in (VIDEO, SOUND, SERIES)}  # by the tag of the control
MEDIA_TAGS = tuple(kind.object for kind in MEDIA.values())
# Label Studio's editor ignores the case of tags, and has two names for some.
TAGS = {tag.lower(): tag for tag in (*MEDIA, *MEDIA_TAGS, "Label", "Channel", "MultiChannel", "Repeater", "HyperText")}
TAGS |= {older.lower(): kind.object for kind in MEDIA.values() for older in kind.older_objects}


def expected_controls() -> str:
    """List of the supported controls, for messages."""
    *first, last = (f"{kind.control} on {kind.object}" for kind in MEDIA.values())
    return f"{', '.join(first)} or {last}"
